// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The budget of a job: capacity on the servers, and local memory, which is
 * shared out fairly; see job.h. Lock order: job_file.h's.
 */
#include <errno.h>
#include <time.h>

#include "common/job_file.h"

/*
 * A process that asked for more and did not ask again within this time does
 * not need it any more.
 */
#define HUNGER_NS 1000000000ULL

/* The fault path may ask for memory; it does not wait for a stopped holder. */
#define LOCK_WAIT_NS 100000000ULL

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

static bool lock_soon(struct tm_job_file *file)
{
	uint64_t until = now_ns() + LOCK_WAIT_NS;
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000000000ULL),
		.tv_nsec = (long)(until % 1000000000ULL),
	};
	int err = tm_job_recover(
		file,
		pthread_mutex_clocklock(&file->mutex, CLOCK_MONOTONIC, &ts));

	TM_BUG_ON(err && err != ETIMEDOUT);
	return !err;
}

int tm_job_capacity_draw(struct tm_job *job, uint64_t bytes)
{
	struct tm_job_file *file = job->file;
	uint64_t drawn;
	int err = 0;

	tm_job_lock(file);
	drawn = tm_job_sum(file).capacity_bytes;
	if (bytes > file->capacity_bytes - drawn) {
		tm_job_reap(file);
		drawn = tm_job_sum(file).capacity_bytes;
	}
	if (bytes > file->capacity_bytes - drawn) {
		err = -ENOMEM;
	} else {
		job->slot->capacity_bytes += bytes;
		tm_job_raise_to(&file->capacity_peak_bytes, drawn + bytes);
	}
	tm_job_unlock(file);
	return err;
}

void tm_job_capacity_return(struct tm_job *job, uint64_t bytes)
{
	tm_job_lock(job->file);
	TM_BUG_ON(bytes > job->slot->capacity_bytes);
	job->slot->capacity_bytes -= bytes;
	tm_job_unlock(job->file);
}

/*
 * The balance of local memory between the processes: what is free, what those
 * below their fair share still want up to it, and what those above it hold
 * beyond it.
 */
struct shares {
	uint64_t share_bytes;
	uint64_t free_bytes;
	uint64_t need_bytes; /* of others than the one that asks */
	uint64_t over_bytes;
};

static uint64_t slot_need(const struct tm_job_slot *slot, uint64_t share,
			  uint64_t now)
{
	uint64_t room;

	if (!slot->pid || slot->local_bytes >= share ||
	    now - slot->hunger_ns > HUNGER_NS)
		return 0;
	room = share - slot->local_bytes;
	return slot->hunger_bytes < room ? slot->hunger_bytes : room;
}

static uint64_t slot_over(const struct tm_job_slot *slot, uint64_t share)
{
	return slot->pid && slot->local_bytes > share
		       ? slot->local_bytes - share
		       : 0;
}

static struct shares share_out(const struct tm_job_file *file,
			       const struct tm_job_slot *asks, uint64_t now)
{
	struct tm_job_sums total = tm_job_sum(file);
	struct shares s = {
		.share_bytes = file->local_bytes /
			       (total.processes ? total.processes : 1),
		.free_bytes = file->local_bytes - total.local_bytes,
	};
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++) {
		if (&file->slot[i] != asks)
			s.need_bytes +=
				slot_need(&file->slot[i], s.share_bytes, now);
		s.over_bytes += slot_over(&file->slot[i], s.share_bytes);
	}
	return s;
}

/* Ask those above their share for what those below it lack, in proportion. */
static void spread_excess(struct tm_job_file *file, uint64_t now)
{
	struct shares s = share_out(file, NULL, now);
	uint64_t lack =
		s.need_bytes > s.free_bytes ? s.need_bytes - s.free_bytes : 0;
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++) {
		struct tm_job_slot *slot = &file->slot[i];
		uint64_t over = slot_over(slot, s.share_bytes);
		uint64_t excess = 0;

		if (over && lack)
			excess = (uint64_t)(((__uint128_t)over * lack +
					     s.over_bytes - 1) /
					    s.over_bytes);
		tm_store_relaxed(&slot->excess_bytes,
				 excess < over ? excess : over);
	}
}

/*
 * What may be granted now: a process below its share takes what is free up to
 * it; beyond it, only what no other needs.
 */
static uint64_t grantable(const struct tm_job_slot *slot,
			  const struct shares *s, uint64_t want)
{
	uint64_t room = slot->local_bytes < s->share_bytes
				? s->share_bytes - slot->local_bytes
				: 0;
	uint64_t spare = s->free_bytes > s->need_bytes
				 ? s->free_bytes - s->need_bytes
				 : 0;
	uint64_t granted = want < s->free_bytes ? want : s->free_bytes;
	uint64_t most = room > spare ? room : spare;

	return granted < most ? granted : most;
}

uint64_t tm_job_local_draw(struct tm_job *job, uint64_t want)
{
	struct tm_job_file *file = job->file;
	struct tm_job_slot *slot = job->slot;
	uint64_t now = now_ns(), granted;
	struct shares s;

	if (!lock_soon(file))
		return 0;
	s = share_out(file, slot, now);
	granted = grantable(slot, &s, want);
	if (granted < want) {
		tm_job_reap(file);
		s = share_out(file, slot, now);
		granted = grantable(slot, &s, want);
	}
	slot->local_bytes += granted;
	slot->hunger_bytes = want - granted;
	slot->hunger_ns = now;
	spread_excess(file, now);
	tm_job_unlock(file);
	return granted;
}

void tm_job_local_return(struct tm_job *job, uint64_t bytes)
{
	tm_job_lock(job->file);
	TM_BUG_ON(bytes > job->slot->local_bytes);
	job->slot->local_bytes -= bytes;
	spread_excess(job->file, now_ns());
	tm_job_unlock(job->file);
}

uint64_t tm_job_local_excess(struct tm_job *job)
{
	return tm_load_relaxed(&job->slot->excess_bytes);
}

uint64_t tm_job_local_held(const struct tm_job *job)
{
	return tm_load_relaxed(&job->slot->local_bytes);
}
