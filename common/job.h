/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The job file: what the processes of one run or job on one compute node
 * share. A small file (mmap, MAP_SHARED) that `teramem run` or the Slurm plugin
 * creates next to the map; each process with remote memory takes a slot in it.
 *
 * It holds the budget (capacity in extents and local frames in bytes, drawn
 * by the processes) and each process's statistics, which survive it.
 *
 * A robust process-shared mutex guards the budget; a process that died gives
 * back what it drew as soon as anyone looks (slots carry pid and start time).
 * Never taken on the fault path: frames are drawn in chunks.
 */
#ifndef TM_COMMON_JOB_H
#define TM_COMMON_JOB_H

#include <stdbool.h>
#include <stdint.h>

#include "core/stats.h"

#define TM_JOB_PROCESSES_MAX 1024
#define TM_JOB_LANES_MAX 8

struct tm_job;

/**
 * struct tm_job_gauges - what a process holds now and held at most; written by
 * the process, read by anyone
 */
struct tm_job_gauges {
	uint64_t resident_bytes;
	uint64_t remote_bytes;
	uint64_t resident_peak_bytes;
	uint64_t remote_peak_bytes;
};

/**
 * tm_job_create() - make the file, mode 0600; -errno, -EEXIST if it is there
 * @capacity_bytes: for all processes together
 * @local_bytes: local memory for all of them together
 */
int tm_job_create(const char *path, uint64_t capacity_bytes,
		  uint64_t local_bytes);

/**
 * tm_job_attach() - map it and take a slot
 *
 * A slot that an earlier image of this process held (before exec) is given
 * back first. Returns 0; -EUSERS when all slots are taken; -errno.
 */
int tm_job_attach(const char *path, struct tm_job **job);

/** tm_job_block_set() - this process's unit of paging, for totals */
void tm_job_block_set(struct tm_job *job, uint64_t bytes);

/** tm_job_view() - map it without taking a slot, to read totals */
int tm_job_view(const char *path, struct tm_job **job);

/** tm_job_detach() - give everything back; statistics stay */
void tm_job_detach(struct tm_job *job);

/**
 * tm_job_forget() - after fork, in the child: unmap, leave the parent's slot
 * alone
 */
void tm_job_forget(struct tm_job *job);

/**
 * tm_job_capacity_draw() - reserve capacity for allocations
 *
 * Returns 0 or -ENOMEM: nothing was drawn.
 */
int tm_job_capacity_draw(struct tm_job *job, uint64_t bytes);
void tm_job_capacity_return(struct tm_job *job, uint64_t bytes);

/**
 * tm_job_local_draw() - ask for more local memory
 * @want: bytes that would be useful
 *
 * Returns the bytes granted, 0..want. Every process is entitled to its fair
 * share (the limit divided by the processes in the job); while someone is below
 * it and wants more, those above it see a tm_job_local_excess().
 */
uint64_t tm_job_local_draw(struct tm_job *job, uint64_t want);
void tm_job_local_return(struct tm_job *job, uint64_t bytes);

/** tm_job_local_excess() - bytes that this process should return soon; cheap */
uint64_t tm_job_local_excess(struct tm_job *job);

/** tm_job_local_held() - bytes drawn by this process */
uint64_t tm_job_local_held(const struct tm_job *job);

/** this process's counters, one struct per lane, and gauges, in the file */
struct tm_stats *tm_job_stats(struct tm_job *job, unsigned int lane);
struct tm_job_gauges *tm_job_gauges(struct tm_job *job);

/**
 * struct tm_job_totals - over all processes, dead ones too
 */
struct tm_job_totals {
	struct tm_stats stats;
	struct tm_job_gauges gauges; /* peaks: of the sums, as sampled */
	uint64_t capacity_bytes;
	uint64_t capacity_drawn_bytes;
	uint64_t capacity_peak_bytes;
	uint64_t local_bytes;
	uint64_t local_drawn_bytes;
	uint64_t block_bytes;	    /* the last process's; 0: none was there */
	unsigned int processes;	    /* now */
	unsigned int processes_max; /* at one time */
	unsigned int processes_all; /* ever */
};
void tm_job_totals(struct tm_job *job, struct tm_job_totals *totals);

#endif /* TM_COMMON_JOB_H */
