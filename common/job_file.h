/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The layout of the job file, and what job.c (the file, its slots, statistics)
 * and job_budget.c (capacity and local memory) share. For nobody else.
 *
 * Lock order: the file's mutex only; no other lock is taken under it.
 */
#ifndef TM_COMMON_JOB_FILE_H
#define TM_COMMON_JOB_FILE_H

#include <pthread.h>

#include "common/job.h"

/*
 * A process. @start and @pid_ns make the pid unique; @pid is written last and
 * cleared first. All else is guarded by the mutex, except @excess_bytes and
 * the gauges: stores by one, loads by any.
 */
struct tm_job_slot {
	int32_t pid;
	uint32_t nr_lanes; /* of them have statistics */
	uint64_t start;	   /* clock ticks after boot */
	uint64_t pid_ns;
	uint64_t instance; /* never used twice in a file */
	uint64_t capacity_bytes;
	uint64_t local_bytes;
	uint64_t hunger_bytes; /* asked for and not granted */
	uint64_t hunger_ns;    /* when */
	uint64_t excess_bytes;
	struct tm_job_gauges gauges;
};

/*
 * @past_ref: which of @past counts, in bit 0, and above it the instance that
 *	was folded into it last
 * @peak: of the sums over processes, as sampled
 */
struct tm_job_file {
	uint64_t magic;
	uint64_t bytes; /* sizeof(struct tm_job_file): both sides agree */
	uint64_t capacity_bytes;
	uint64_t local_bytes;
	uint64_t block_bytes; /* the last process's */
	pthread_mutex_t mutex;
	uint64_t next_instance;
	uint64_t past_ref;
	struct tm_job_gauges peak;
	uint64_t capacity_peak_bytes;
	uint32_t processes_max;
	uint32_t nr_slots; /* used so far; the rest was never touched */
	struct tm_stats past[2];
	struct tm_job_slot slot[TM_JOB_PROCESSES_MAX];
	struct tm_stats stats[TM_JOB_PROCESSES_MAX][TM_JOB_LANES_MAX];
};

struct tm_job {
	struct tm_job_file *file;
	struct tm_job_slot *slot; /* NULL: only looking */
};

/*
 * What the slots add up to.
 */
struct tm_job_sums {
	uint64_t capacity_bytes;
	uint64_t local_bytes;
	struct tm_job_gauges gauges;
	unsigned int processes;
};

/** tm_job_recover() - after a pthread_mutex_*lock() that returned @err */
int tm_job_recover(struct tm_job_file *file, int err);
void tm_job_lock(struct tm_job_file *file);
void tm_job_unlock(struct tm_job_file *file);

/* With the lock held. */

/** tm_job_reap() - give back what processes that ended had drawn */
void tm_job_reap(struct tm_job_file *file);
struct tm_job_sums tm_job_sum(const struct tm_job_file *file);
static inline void tm_job_raise_to(uint64_t *peak, uint64_t value)
{
	if (value > *peak)
		*peak = value;
}

#endif /* TM_COMMON_JOB_FILE_H */
