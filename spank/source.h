/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where a job's donors come from, decided as it is submitted, and what is
 * known about the job then.
 */
#ifndef TM_SPANK_SOURCE_H
#define TM_SPANK_SOURCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"

#define TM_TEXT_MAX 128

/**
 * struct tm_submission - the command as typed, and what it asks Slurm for
 * @argc, @argv: all of it; @command: index of the script or program, @argc
 *	where there is none
 * @nodes: the most that it may get
 * @partition: the first one named, or the default
 * @time, @account: "" where not given
 * @array: a job array
 * @wrap: --wrap; @name: --job-name
 * @mem: --mem or one of its kind
 * @default_mem: what holds where there is none, as Slurm has it: MiB, maybe
 *	with MEM_PER_CPU; 0: no limit
 * @het: it is heterogeneous already; @het_donor: with a component of donors
 */
struct tm_submission {
	int argc, command;
	char **argv;
	uint64_t nodes;
	char partition[TM_TEXT_MAX];
	char time[TM_TEXT_MAX];
	char account[TM_TEXT_MAX];
	bool batch, array, wrap, name, mem, het, het_donor;
	uint64_t default_mem;
	const struct tm_conf *conf;
	uint64_t donors;
	uint64_t donor_mem_bytes;
};

/**
 * struct tm_donor_source_ops - one way to get donors
 * @check: whether it can serve this submission; else why not, and the remedy
 * @submit: see to it; may replace the process
 */
struct tm_donor_source_ops {
	const char *name;
	bool (*check)(const struct tm_submission *s, char *why, size_t len);
	int (*submit)(const struct tm_submission *s);
};

extern const struct tm_donor_source_ops tm_source_het;

/* ---- submission.c ------------------------------------------------------- */

/**
 * tm_submission_read() - the command line, the environment that sbatch and
 * salloc read, and the script's #SBATCH lines
 * @first: index of the ":" that this component begins with; 0: it is the first
 * @command: of what getopt left: the script, the program, or the next ":"
 *
 * The texts in @s point into memory that is never freed. Returns 0 or -errno.
 */
int tm_submission_read(struct tm_submission *s, int first, int command);

#endif /* TM_SPANK_SOURCE_H */
