// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Before a job's first and after its last process on a node, as root: the job
 * helper does the work and leaves what it came to in TM_RUN_FOLDER, where
 * step.c finds it. What goes wrong here fails the job's tasks later, never the
 * prolog.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spank/plugin.h"

#define ARGS_MAX 32

struct arguments {
	unsigned int nr;
	char *argv[ARGS_MAX + 1];
};

__attribute__((format(printf, 2, 3))) static void add(struct arguments *args,
						      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (args->nr < ARGS_MAX &&
	    vasprintf(&args->argv[args->nr], fmt, ap) >= 0)
		args->nr++;
	va_end(ap);
}

static void add_variable(struct arguments *args, const char *option,
			 const char *variable)
{
	const char *value = getenv(variable);

	if (value && *value)
		add(args, "--%s=%s", option, value);
}

static void end(struct arguments *args)
{
	/* argv[0] is the runner's */
	while (args->nr > 1)
		free(args->argv[--args->nr]);
}

int tm_script_prolog(spank_t spank)
{
	struct arguments args = {.nr = 1};
	uint32_t job = 0;
	uid_t uid = 0;
	gid_t gid = 0;
	int nr, ret;

	add(&args, "prolog");
	nr = tm_options_fetch(spank, args.argv + args.nr, ARGS_MAX / 2);
	if (nr <= 0) {
		end(&args);
		return nr;
	}
	args.nr += (unsigned int)nr;
	if (spank_get_item(spank, S_JOB_ID, &job) ||
	    spank_get_item(spank, S_JOB_UID, &uid) ||
	    spank_get_item(spank, S_JOB_GID, &gid)) {
		slurm_error("teramem: prolog: Slurm does not say which job "
			    "this is");
		end(&args);
		return -1;
	}
	add(&args, "--conf=%s", tm_plugin.conf_path);
	add(&args, "--job=%" PRIu32, job);
	add(&args, "--uid=%u", uid);
	add(&args, "--gid=%u", gid);
	add_variable(&args, "leader", "SLURM_HET_JOB_ID");
	add_variable(&args, "lenders", "SPANK_" TM_LENDERS_VARIABLE);
	add_variable(&args, "partition", "SLURM_JOB_PARTITION");
	add_variable(&args, "node", "SLURMD_NODENAME");
	ret = tm_helper_run(args.argv, -1);
	end(&args);
	return ret;
}

int tm_script_epilog(spank_t spank)
{
	struct arguments args = {.nr = 1};
	char folder[64];
	uint32_t job = 0;
	int ret;

	if (spank_get_item(spank, S_JOB_ID, &job))
		return -1;
	snprintf(folder, sizeof(folder), TM_RUN_FOLDER "/%" PRIu32, job);
	if (access(folder, F_OK))
		return 0;
	add(&args, "epilog");
	add(&args, "--job=%" PRIu32, job);
	ret = tm_helper_run(args.argv, -1);
	end(&args);
	return ret;
}
