/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the plugin and its job helper must agree on.
 */
#ifndef TM_SPANK_SHARED_H
#define TM_SPANK_SHARED_H

#include <stddef.h>
#include <stdint.h>

#include "common/conf.h"

/* Holds a folder for each job on this node; root's. */
#define TM_RUN_FOLDER "/run/teramem"

/* How the donors' component of a job is known. */
#define TM_DONOR_JOB_NAME "teramem-donors"

/* What a donor is given beyond what it lends: for the server itself. */
#define TM_DONOR_OVERHEAD ((uint64_t)64 << 20)

/* Servers lend in whole ones. */
#define TM_EXTENT_BYTES ((uint64_t)4 << 20)

static inline uint64_t tm_whole_extents(uint64_t bytes)
{
	return (bytes + TM_EXTENT_BYTES - 1) & ~(TM_EXTENT_BYTES - 1);
}

/* The components of a job that lend, as the plugin tells the prolog. */
#define TM_LENDERS_VARIABLE "TERAMEM_LENDERS"

/**
 * struct tm_donors - what is asked of Slurm
 * @mem_bytes: of each, with TM_DONOR_OVERHEAD; whole MiB
 */
struct tm_donors {
	uint64_t nr;
	uint64_t mem_bytes;
};

/**
 * tm_size_donors() - for a job of so many nodes
 * @error: names the limit and the option to change
 *
 * Returns 0 or -EINVAL.
 */
int tm_size_donors(const struct tm_conf *conf, const char *conf_path,
		   uint64_t nodes, struct tm_donors *donors, char *error,
		   size_t len);

/* The helper's descriptor that stands for the extern step's life. */
#define TM_LEASE_FD 3

#endif /* TM_SPANK_SHARED_H */
