// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * This process's share of what the job has: capacity on the servers, drawn in
 * whole extents when memory is allocated, and local memory, drawn in chunks
 * when the pager is about to reach its limit.
 *
 * Lock order: budget.lock, then the job file's own.
 */
#include <unistd.h>

#include "allocator/engine_internal.h"

#define FLOOR_BLOCKS 16
/* Local memory is drawn when this share of the limit, or less, is unused. */
#define GROW_BELOW 4
#define CHUNK_BYTES (4u << 20)
#define WAIT_MS 10000

static void limit_set(struct tm_uffd_engine *e)
{
	struct tm_budget *b = &e->budget;
	u64 frames = (b->local_bytes - b->giving_bytes) >> e->block_shift;

	tm_pager_limit_set(e->pager,
			   frames < e->nr_frames ? (u32)frames : e->nr_frames);
}

/* Draws at most @want in whole blocks; returns what was granted. */
static u64 draw(struct tm_uffd_engine *e, u64 want)
{
	u64 room = e->map.local_bytes - e->budget.local_bytes, got, rest;

	if (want > room)
		want = room;
	want &= ~((u64)e->engine.block - 1);
	if (!want || !e->budget.job)
		return want;
	got = tm_job_local_draw(e->budget.job, want);
	rest = got & (e->engine.block - 1);
	if (rest)
		tm_job_local_return(e->budget.job, rest);
	return got - rest;
}

int tm_budget_init(struct tm_uffd_engine *e, const char *job_path)
{
	struct tm_budget *b = &e->budget;
	int err;

	pthread_mutex_init(&b->lock, NULL);
	b->floor_bytes = (u64)FLOOR_BLOCKS << e->block_shift;
	if (b->floor_bytes > e->map.local_bytes / 2)
		b->floor_bytes =
			(e->map.local_bytes / 2) & ~(e->engine.block - 1);
	b->chunk_bytes =
		CHUNK_BYTES > b->floor_bytes ? CHUNK_BYTES : b->floor_bytes;
	if (!*job_path) {
		b->local_bytes = (u64)e->nr_frames << e->block_shift;
		return 0;
	}
	err = tm_job_attach(job_path, &b->job);
	if (err) {
		tm_lane_log(TM_LOG_ERROR, "attach to job file %s: %s", job_path,
			    strerror(-err));
		return err;
	}
	tm_job_block_set(b->job, e->engine.block);
	/* Those who have more than their share see that we need some. */
	for (int ms = 0; b->local_bytes < b->floor_bytes; ms += 10) {
		b->local_bytes += draw(e, b->floor_bytes - b->local_bytes);
		if (b->local_bytes >= b->floor_bytes)
			break;
		if (ms >= WAIT_MS) {
			tm_lane_log(TM_LOG_ERROR,
				    "start paging: no local memory is left for "
				    "another process of this job; give it "
				    "more (--local) or run fewer");
			return -ENOMEM;
		}
		usleep(10000);
	}
	return 0;
}

void tm_budget_fini(struct tm_uffd_engine *e)
{
	if (e->budget.job)
		tm_job_detach(e->budget.job);
}

/* Sets the drawn capacity to what is committed, rounded up. */
static int redraw(struct tm_uffd_engine *e, u64 committed)
{
	struct tm_budget *b = &e->budget;
	u64 extents = (committed + b->extent_bytes - 1) / b->extent_bytes;
	u64 need = extents * b->extent_bytes;
	int err;

	if (need > b->drawn_bytes) {
		if (!b->job && need > e->map.size_bytes)
			return -ENOMEM;
		err = b->job ? tm_job_capacity_draw(b->job,
						    need - b->drawn_bytes)
			     : 0;
		if (err)
			return err;
	}
	tm_pager_extents_limit_set(e->pager, extents);
	/*
	 * What is returned here the pager still holds until balance has
	 * released the extents: the next one to draw it may have to wait for
	 * that, which the servers tell by refusing for a moment.
	 */
	if (need < b->drawn_bytes && b->job)
		tm_job_capacity_return(b->job, b->drawn_bytes - need);
	b->drawn_bytes = need;
	b->committed_bytes = committed;
	return 0;
}

int tm_budget_commit(struct tm_uffd_engine *e, u64 bytes)
{
	int err;

	pthread_mutex_lock(&e->budget.lock);
	err = redraw(e, e->budget.committed_bytes + bytes);
	pthread_mutex_unlock(&e->budget.lock);
	return err;
}

void tm_budget_uncommit(struct tm_uffd_engine *e, u64 bytes)
{
	pthread_mutex_lock(&e->budget.lock);
	TM_BUG_ON(bytes > e->budget.committed_bytes);
	redraw(e, e->budget.committed_bytes - bytes);
	pthread_mutex_unlock(&e->budget.lock);
}

void tm_budget_grow(struct tm_uffd_engine *e)
{
	struct tm_budget *b = &e->budget;
	struct tm_pager_usage usage;
	u64 want, got;

	if (!b->job || b->local_bytes >= e->map.local_bytes)
		return;
	tm_pager_usage(e->pager, &usage);
	if (usage.limit_frames - usage.used_frames >
	    usage.limit_frames / GROW_BELOW)
		return;
	if (pthread_mutex_trylock(&b->lock))
		return;
	want = b->local_bytes / 2;
	if (want < b->chunk_bytes)
		want = b->chunk_bytes;
	if (!b->giving_bytes && !tm_job_local_excess(b->job)) {
		got = draw(e, want);
		b->local_bytes += got;
		if (got)
			limit_set(e);
	}
	pthread_mutex_unlock(&b->lock);
}

static void give_back(struct tm_uffd_engine *e)
{
	struct tm_budget *b = &e->budget;
	struct tm_pager_usage usage;
	u64 excess = tm_job_local_excess(b->job), spare, frames;

	spare = b->local_bytes > b->floor_bytes
			? b->local_bytes - b->floor_bytes
			: 0;
	/* Up: the parts of a block from several would never become one. */
	excess = (excess + e->engine.block - 1) & ~((u64)e->engine.block - 1);
	b->giving_bytes = excess < spare ? excess : spare;
	limit_set(e);
	if (!b->giving_bytes)
		return;
	frames = (b->local_bytes - b->giving_bytes) >> e->block_shift;
	tm_pager_usage(e->pager, &usage);
	if (usage.used_frames > frames)
		return; /* eviction is at it */
	if (e->mech->trim)
		e->mech->trim(e, (u32)frames);
	tm_job_local_return(b->job, b->giving_bytes);
	b->local_bytes -= b->giving_bytes;
	b->giving_bytes = 0;
}

/* Lanes do so at one time. */
static void raise_to(u64 *peak, u64 value)
{
	u64 old;

	do {
		old = tm_load_relaxed(peak);
	} while (old < value && !tm_cas(peak, old, value));
}

void tm_budget_gauges(struct tm_uffd_engine *e)
{
	struct tm_pager_usage usage;
	struct tm_job_gauges *g;
	u64 resident, remote;

	if (!e->budget.job)
		return;
	g = tm_job_gauges(e->budget.job);
	tm_pager_usage(e->pager, &usage);
	resident = usage.used_frames << e->block_shift;
	remote = usage.remote_blocks << e->block_shift;
	tm_store_relaxed(&g->resident_bytes, resident);
	tm_store_relaxed(&g->remote_bytes, remote);
	raise_to(&g->resident_peak_bytes, resident);
	raise_to(&g->remote_peak_bytes, remote);
}

void tm_budget_tick(struct tm_uffd_engine *e)
{
	struct tm_budget *b = &e->budget;

	if (b->job && !pthread_mutex_trylock(&b->lock)) {
		give_back(e);
		pthread_mutex_unlock(&b->lock);
	}
	tm_budget_gauges(e);
}
