// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The options of sbatch, salloc and srun. Their values are checked as they are
 * read; what they mean together is submit.c's to check.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spank/plugin.h"

#define ROLE TM_CONF_NR_KEYS

static int read_option(int key, const char *text, int remote)
{
	char why[128];

	/* Slurm's way, in the environment, to pass an option without a value.
	 */
	if (text && !strcmp(text, "(null)"))
		text = NULL;
	tm_plugin.given = true;
	if (key == ROLE) {
		if (text && !strcmp(text, "donor")) {
			tm_plugin.donor = true;
			return 0;
		}
		slurm_error("teramem: --teramem-role=%s: unknown (use donor)",
			    text ? text : "");
		return -1;
	}
	if (!tm_conf_set(&tm_plugin.conf, key, text, TM_CONF_FROM_COMMAND_LINE,
			 why, sizeof(why)))
		return 0;
	slurm_error("teramem: --%s=%s: %s", tm_conf_option(key),
		    text ? text : "", why);
	return -1;
}

#define OPTION(option, arg, has_arg, key, help)                                \
	{                                                                      \
		option, arg, "[teramem] " help, has_arg, key, read_option      \
	}
static struct spank_option options[] = {
	OPTION("teramem", "SIZE", 1, TM_CONF_SIZE,
	       "remote memory for each compute node"),
	OPTION("teramem-local", "SIZE", 1, TM_CONF_LOCAL,
	       "of the job's memory on a node, what may hold parts of it"),
	OPTION("teramem-block", "SIZE|auto", 1, TM_CONF_BLOCK,
	       "unit of paging, 4K to 2M (auto)"),
	OPTION("teramem-policy", "lru|fifo", 1, TM_CONF_POLICY, "replacement"),
	OPTION("teramem-placement", "simple|rr", 1, TM_CONF_PLACEMENT,
	       "fill donors one by one, or all alike"),
	OPTION("teramem-donors", "N", 1, TM_CONF_DONORS,
	       "nodes that lend the memory"),
	OPTION("teramem-engine", "auto|kmod|uffd", 1, TM_CONF_ENGINE,
	       "kernel module or user space"),
	OPTION("teramem-preload", "THRESHOLD", 2, TM_CONF_PRELOAD,
	       "for unmodified programs, allocations from so much on (1M)"),
	OPTION("teramem-role", "donor", 1, ROLE,
	       "this component of a heterogeneous job lends its memory"),
};
#define NR_OPTIONS (sizeof(options) / sizeof(*options))

/* Where a command passes an option on to what it starts. */
#define PASSED_ON "SLURM_SPANK_"

/* As Slurm names an option's value for job scripts and for steps. */
static void variable(const char *prefix, const char *option, char *name,
		     size_t len)
{
	snprintf(name, len, "%s_SLURM_SPANK_OPTION_teramem_%s", prefix, option);
	for (; *name; name++)
		if (*name == '-')
			*name = '_';
}

void tm_options_forget(bool all)
{
	char name[96];
	size_t i;

	for (i = 0; i < NR_OPTIONS; i++) {
		if (!all && options[i].val != ROLE)
			continue;
		variable(PASSED_ON, options[i].name, name, sizeof(name));
		unsetenv(name);
	}
}

void tm_options_forget_role(spank_t spank)
{
	char name[96];

	variable(PASSED_ON, "teramem-role", name, sizeof(name));
	spank_unsetenv(spank, name);
}

int tm_options_give(spank_t spank, const struct tm_conf *conf)
{
	char name[96], value[TM_CONF_NAME_MAX];
	size_t i;

	for (i = 0; i < NR_OPTIONS; i++) {
		if (options[i].val == ROLE ||
		    conf->origin[options[i].val] != TM_CONF_FROM_ENVIRONMENT)
			continue;
		tm_conf_format(conf, options[i].val, value, sizeof(value));
		variable("", options[i].name, name, sizeof(name));
		if (spank_job_control_setenv(spank, name, value, 1) ||
		    setenv(name, value, 1))
			return -EIO;
		variable(PASSED_ON, options[i].name, name, sizeof(name));
		if (setenv(name, value, 1))
			return -errno;
	}
	return 0;
}

void tm_options_of_job(enum tm_conf_key key, char *text, size_t len)
{
	struct tm_conf conf;
	char name[96], why[128];
	const char *value;

	variable(PASSED_ON, tm_conf_option(key), name, sizeof(name));
	value = getenv(name);
	*text = '\0';
	if (!value)
		return;
	tm_conf_init(&conf);
	if (!strcmp(value, "(null)"))
		value = NULL;
	if (!tm_conf_set(&conf, key, value, TM_CONF_FROM_COMMAND_LINE, why,
			 sizeof(why)))
		tm_conf_format(&conf, key, text, len);
}

int tm_options_register(spank_t spank)
{
	size_t i;

	for (i = 0; i < NR_OPTIONS; i++)
		if (spank_option_register(spank, &options[i]) != ESPANK_SUCCESS)
			return -1;
	return 0;
}

int tm_options_fetch(spank_t spank, char **argv, unsigned int max)
{
	unsigned int nr = 0;
	char *value;
	size_t i;

	for (i = 0; i < NR_OPTIONS && nr < max; i++) {
		value = NULL;
		if (spank_option_getopt(spank, &options[i], &value) !=
		    ESPANK_SUCCESS)
			continue;
		if (asprintf(&argv[nr], "--%s=%s", options[i].name,
			     value && strcmp(value, "(null)") ? value : "") < 0)
			return -ENOMEM;
		nr++;
	}
	return (int)nr;
}
