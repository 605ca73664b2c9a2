/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a job's donors come from, decided as it is submitted, and what is
 * known about the job then.
 */
#ifndef TM_SPANK_SOURCE_H
#define TM_SPANK_SOURCE_H

#include <slurm/spank.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"
#include "spank/shared.h"

#define TM_TEXT_MAX 128

/**
 * struct tm_submission - the command as typed, and what it asks Slurm for
 * @argc, @argv: all of it; @command: index of the script or program, @argc
 *	where there is none
 * @nodes: the most that it may get
 * @partition: the first one named, or the default
 * @time, @account: "" where not given
 * @batch: sbatch; @interactive: salloc; else srun
 * @array: a job array
 * @wrap: --wrap; @name: --job-name
 * @unread: the script came by a pipe, so nobody knows what it asks for
 * @inside: srun for a job that there is already
 * @mem: --mem or one of its kind
 * @default_mem: what holds where there is none, as Slurm has it: MiB, maybe
 *	with MEM_PER_CPU; 0: no limit
 * @het: it is heterogeneous already
 * @lenders: its components of donors, "1,2"
 */
struct tm_submission {
	int argc, command;
	char **argv;
	uint64_t nodes;
	char partition[TM_TEXT_MAX];
	char time[TM_TEXT_MAX];
	char account[TM_TEXT_MAX];
	char lenders[TM_TEXT_MAX];
	bool batch, interactive, array, wrap, name, unread, inside, mem, het;
	uint64_t default_mem;
	const struct tm_conf *conf;
	struct tm_donors donors;
};

/**
 * struct tm_donor_source_ops - one way to get donors
 * @serves: whether it can serve this submission
 * @submit: see to it; may replace the process; 0 or -errno
 *
 * The nodes find out for themselves: donors are those components that the
 * prolog is told of, else a job that it submits; see job/companion.c.
 */
struct tm_donor_source_ops {
	const char *name;
	bool (*serves)(const struct tm_submission *s);
	int (*submit)(spank_t spank, const struct tm_submission *s);
};

extern const struct tm_donor_source_ops tm_source_static;
extern const struct tm_donor_source_ops tm_source_het;
extern const struct tm_donor_source_ops tm_source_companion;

/* ---- submission.c ------------------------------------------------------- */

/**
 * tm_submission_read() - the command line, the environment that the command
 * reads, and the script's #SBATCH lines
 * @component: of a heterogeneous job, whose options are wanted; 0: the first
 * @command: of what getopt left: the script, the program, or the next ":"
 *
 * The texts in @s point into memory that is never freed. Returns 0 or -errno.
 */
int tm_submission_read(struct tm_submission *s, unsigned int component,
		       int command);

#endif /* TM_SPANK_SOURCE_H */
