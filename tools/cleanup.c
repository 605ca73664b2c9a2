// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem cleanup: the job helper does it, which knows Slurm and what it wrote
 * down about jobs.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "tools/tool.h"

static int become_helper(bool dry_run)
{
	char *argv[] = {"teramem-job", "sweep", dry_run ? "--dry-run" : NULL,
			NULL};
	char path[PATH_MAX];

	if (tm_path_find("spank/teramem-job", path))
		return 1;
	execv(path, argv);
	tm_err("cleanup: start %s: %s", path, strerror(errno));
	return 1;
}

int tm_cleanup_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"dry-run", no_argument, NULL, 'n'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	bool dry_run = false;
	int key;

	opterr = 0;
	while ((key = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (key) {
		case 'n':
			dry_run = true;
			break;
		case 'h':
			puts("Usage: teramem cleanup [--dry-run]\n"
			     "Remove what Slurm jobs left on this node that "
			     "are gone by the controller's\n"
			     "word: processes, cgroups, files. For root; see "
			     "spank_teramem(8).");
			return 0;
		default:
			tm_option_unknown(key, argv, "cleanup");
			return TM_EXIT_FAILURE;
		}
	}
	if (optind < argc) {
		tm_err("cleanup: %s: not expected (see teramem cleanup --help)",
		       argv[optind]);
		return TM_EXIT_FAILURE;
	}
	if (geteuid()) {
		tm_err("cleanup: needs root: run it with sudo");
		return TM_EXIT_FAILURE;
	}
	return become_helper(dry_run);
}
