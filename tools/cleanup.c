// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem cleanup: the job helper does it, which knows Slurm and what it wrote
 * down about jobs.
 */
#include <errno.h>
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

static const char usage[] =
	"Usage: teramem cleanup [--dry-run]\n"
	"Remove what Slurm jobs left on this node that are gone by the "
	"controller's\n"
	"word: processes, cgroups, files. For root; see spank_teramem(8).\n";

int tm_cleanup_main(int argc, char **argv)
{
	bool dry_run = false;
	int err = tm_option_flag(argc, argv, "cleanup", "dry-run", usage,
				 &dry_run);

	if (err)
		return err > 0 ? 0 : TM_EXIT_FAILURE;
	if (geteuid()) {
		tm_err("cleanup: needs root: run it with sudo");
		return TM_EXIT_FAILURE;
	}
	return become_helper(dry_run);
}
