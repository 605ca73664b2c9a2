// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem-job: the plugin's helper; see job.h. Not for users.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

enum option_key {
	OPT_ROLE = TM_CONF_NR_KEYS,
	OPT_JOB,
	OPT_LEADER,
	OPT_LENDERS,
	OPT_RESTART,
	OPT_UID,
	OPT_GID,
	OPT_PARTITION,
	OPT_NODE,
	OPT_CONF,
	OPT_TASK,
	OPT_DRY_RUN,
	OPT_NR,
};

static const char *const own_options[] = {
	[OPT_ROLE - OPT_ROLE] = "teramem-role",
	[OPT_JOB - OPT_ROLE] = "job",
	[OPT_LEADER - OPT_ROLE] = "leader",
	[OPT_LENDERS - OPT_ROLE] = "lenders",
	[OPT_RESTART - OPT_ROLE] = "restart",
	[OPT_UID - OPT_ROLE] = "uid",
	[OPT_GID - OPT_ROLE] = "gid",
	[OPT_PARTITION - OPT_ROLE] = "partition",
	[OPT_NODE - OPT_ROLE] = "node",
	[OPT_CONF - OPT_ROLE] = "conf",
	[OPT_TASK - OPT_ROLE] = "task",
	[OPT_DRY_RUN - OPT_ROLE] = "dry-run",
};

static int number(const char *text, uint32_t *value)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || n > UINT32_MAX)
		return -EINVAL;
	*value = (uint32_t)n;
	return 0;
}

static int take(struct tm_job_request *r, int key, const char *arg)
{
	uint32_t n;
	int err;

	switch (key) {
	case OPT_ROLE:
		r->donor = !strcmp(arg, "donor");
		return r->donor ? 0 : -EINVAL;
	case OPT_PARTITION:
		r->partition = arg;
		return 0;
	case OPT_NODE:
		r->node = arg;
		return 0;
	case OPT_LENDERS:
		r->lenders = arg;
		return 0;
	case OPT_CONF:
		r->conf_path = arg;
		return 0;
	case OPT_DRY_RUN:
		r->dry_run = true;
		return 0;
	}
	err = number(arg, &n);
	if (err)
		return err;
	switch (key) {
	case OPT_JOB:
		r->job = n;
		break;
	case OPT_LEADER:
		r->leader = n;
		break;
	case OPT_RESTART:
		r->restart = n;
		break;
	case OPT_UID:
		r->uid = n;
		break;
	case OPT_GID:
		r->gid = n;
		break;
	case OPT_TASK:
		r->task = (pid_t)n;
		break;
	}
	return 0;
}

/*
 * A value that is wrong was refused at submit. If it is wrong here all the
 * same (another version there), the job has to hear of it.
 */
static void take_setting(struct tm_job_request *r, int key, const char *arg)
{
	char why[128];

	if (tm_conf_set(&r->conf, key, arg, TM_CONF_FROM_COMMAND_LINE, why,
			sizeof(why)) &&
	    !*r->error)
		snprintf(r->error, sizeof(r->error), "--%s=%.64s: %s",
			 tm_conf_option(key), arg, why);
}

static int parse(int argc, char **argv, struct tm_job_request *r)
{
	struct option options[OPT_NR + 1] = {0};
	int key, n = 0;

	for (key = 0; key < OPT_NR; key++) {
		const char *name = key < OPT_ROLE ? tm_conf_option(key)
						  : own_options[key - OPT_ROLE];

		if (name)
			options[n++] = (struct option){name, key != OPT_DRY_RUN,
						       NULL, 256 + key};
	}
	while ((key = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		if (key < 256)
			return -EINVAL;
		if (key - 256 < TM_CONF_NR_KEYS)
			take_setting(r, key - 256, optarg);
		else if (take(r, key - 256, optarg))
			return -EINVAL;
	}
	return optind == argc ? 0 : -EINVAL;
}

int main(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*run)(struct tm_job_request *request);
		bool as_user, of_all;
	} commands[] = {
		{"prolog", tm_prolog, false, false},
		{"epilog", tm_epilog, false, false},
		{"donor", tm_donor, false, false},
		{"keep", tm_keep, false, false},
		{"hold", tm_hold, true, false},
		{"sweep", tm_cleanup, false, true},
	};
	static struct tm_job_request request = {.conf_path = ""};
	size_t i = 0;

	tm_log_init("teramem", TM_LOG_INFO);
	umask(022);
	opterr = 0;
	tm_conf_init(&request.conf);
	while (argc > 1 && i < sizeof(commands) / sizeof(*commands) &&
	       strcmp(argv[1], commands[i].name))
		i++;
	if (argc < 2 || i == sizeof(commands) / sizeof(*commands) ||
	    parse(argc - 1, argv + 1, &request) ||
	    (geteuid() && !commands[i].as_user) ||
	    commands[i].of_all == !!request.job) {
		tm_err("teramem-job: is for Slurm's plugin to use; see "
		       "spank_teramem(8)");
		return 2;
	}
	if (!request.leader)
		request.leader = request.job;
	return commands[i].run(&request) ? 1 : 0;
}
