// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's runs: neighbours that are mapped with one call, after they were
 * fetched together or because one of them is used again. Lock order: see
 * pager_internal.h.
 */
#include "core/pager_internal.h"

/* Nobody wants anything of the block but what its run does; shard locked. */
static bool is_plain(struct tm_pager *p, const struct tm_ref *b)
{
	return !(b->e->flags & (TM_BLOCK_WANTED | TM_BLOCK_DISCARD)) &&
	       !(tm_ref_frame(p, b)->flags & (TM_FRAME_FAULT | TM_FRAME_PROBE));
}

/*
 * Neighbours stay in their frames; @mapped_ns and @set, unless 0: they have
 * just been mapped.
 */
static void run_rest(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		     enum tm_held held, u8 set, u64 mapped_ns)
{
	bool mapped = held == TM_HELD_MAPPED;
	struct tm_pager *p = lane->pager;
	u32 i, used = 0;
	bool plain;

	for (i = 0; i < nr;) {
		tm_lock_acquire(&first->shard->lock);
		do {
			struct tm_ref b = tm_ref_neighbour(first, i++);
			struct tm_frame *f = tm_ref_frame(p, &b);

			f->flags |= set;
			if (mapped_ns)
				f->mapped_ns = f->flags & TM_FRAME_FAULT
						       ? mapped_ns
						       : 0;
			plain = is_plain(p, &b);
			if (!plain) {
				tm_block_settle(lane, &b, held, 0);
				break;
			}
			used += mapped && f->flags & TM_FRAME_AHEAD;
			tm_block_rest(p, &b, mapped ? TM_RESIDENT : TM_CACHED);
		} while (i < nr);
		if (plain)
			tm_lock_release(&first->shard->lock);
	}
	tm_stats_add(lane->stats, prefetch_used, used);
}

void tm_run_rest(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		 enum tm_held held)
{
	run_rest(lane, first, nr, held, 0, 0);
}

void tm_run_map(struct tm_lane *lane, const struct tm_ref *first,
		const u32 *frame, u32 nr, unsigned int flags)
{
	struct tm_pager *p = lane->pager;
	bool zero = flags & TM_MAP_ZERO;
	u32 i, done;

	done = p->ops->map_run ? p->ops->map_run(p->ctx, lane, first->block,
						 frame, nr, flags)
			       : 0;
	run_rest(lane, first, done, TM_HELD_MAPPED, zero ? TM_FRAME_ZERO : 0,
		 p->ops->now(p->ctx));
	for (i = done; i < nr; i++) {
		struct tm_ref b = tm_ref_neighbour(first, i);

		tm_lock_acquire(&b.shard->lock);
		b.e->flags |= TM_BLOCK_WANTED;
		tm_block_settle(lane, &b,
				zero ? TM_HELD_NOTHING : TM_HELD_BYTES, 0);
	}
}

/* Up to @nr neighbours whose bytes are not needed here; returns how many. */
static u32 run_drop(struct tm_lane *lane, const struct tm_ref *first, u32 nr)
{
	struct tm_pager *p = lane->pager;
	struct tm_ref b = *first;
	u32 i, plain;

	tm_lock_acquire(&first->shard->lock);
	for (plain = 0; plain < nr && is_plain(p, &b);
	     b = tm_ref_neighbour(first, ++plain))
		b.e->state = TM_UNMAPPING;
	tm_lock_release(&first->shard->lock);
	for (i = 0; i < plain; i++) {
		b = tm_ref_neighbour(first, i);
		p->ops->drop(p->ctx, lane, b.block, b.e->frame);
	}
	return plain;
}

/* They were dropped: their frames are free, unless they are wanted again. */
static void run_vacate(struct tm_lane *lane, const struct tm_ref *first, u32 nr)
{
	struct tm_pager *p = lane->pager;
	u32 frame[TM_RUN_BLOCKS], i, gone = 0, unused = 0;
	bool plain;

	for (i = 0; i < nr;) {
		tm_lock_acquire(&first->shard->lock);
		do {
			struct tm_ref b = tm_ref_neighbour(first, i++);
			struct tm_frame *f = tm_ref_frame(p, &b);

			unused += !!(f->flags & TM_FRAME_AHEAD);
			f->flags &= TM_FRAME_FAULT;
			plain = is_plain(p, &b);
			if (!plain) {
				tm_block_settle(lane, &b, TM_HELD_NOTHING, 0);
				break;
			}
			frame[gone++] = b.e->frame;
			tm_block_vacate(&b);
		} while (i < nr);
		if (plain)
			tm_lock_release(&first->shard->lock);
	}
	tm_stats_add(lane->stats, prefetch_dropped, unused);
	if (gone)
		tm_lane_frames_put(lane, frame, gone);
}

u32 tm_run_evict(struct tm_lane *lane, const struct tm_ref *first, u32 nr)
{
	struct tm_ref b;
	u32 i, n, gone = 0;
	bool wanted;

	for (i = 0; i < nr; i += n) {
		b = tm_ref_neighbour(first, i);
		n = run_drop(lane, &b, nr - i);
		if (n) {
			run_vacate(lane, &b, n);
			gone += n;
			continue;
		}
		tm_lock_acquire(&b.shard->lock);
		wanted = b.e->flags & TM_BLOCK_WANTED;
		tm_block_settle(lane, &b, TM_HELD_SPARE, 0);
		if (wanted)
			tm_stats_add(lane->stats, evict_rescued, 1);
		else
			gone++;
		n = 1;
	}
	tm_stats_add(lane->stats, evicted, gone);
	return gone;
}

/* It joins a run; shard locked. */
static void run_add(const struct tm_ref *b, u32 *frame, u32 *nr)
{
	b->e->flags &=
		(u16) ~(TM_BLOCK_RETRY | TM_BLOCK_WANTED | TM_BLOCK_WRITE);
	b->e->state = TM_MAPPING;
	frame[(*nr)++] = b->e->frame;
}

bool tm_run_joins(struct tm_pager *p, const struct tm_ref *b)
{
	return !(b->e->flags & TM_BLOCK_DISCARD) &&
	       !(tm_ref_frame(p, b)->flags & TM_FRAME_MARKER);
}

u32 tm_run_fetched(struct tm_lane *lane, const struct tm_ref *first, u32 nr)
{
	struct tm_pager *p = lane->pager;
	u32 frame[TM_RUN_BLOCKS], run = 0;
	struct tm_ref b, next;

	if (nr < 2 || !p->ops->map_run)
		return 0;
	tm_lock_acquire(&first->shard->lock);
	next = tm_ref_neighbour(first, 1);
	if (tm_run_joins(p, first) && tm_run_joins(p, &next))
		for (b = *first; run < nr && tm_run_joins(p, &b);
		     b = tm_ref_neighbour(&b, 1))
			run_add(&b, frame, &run);
	tm_lock_release(&first->shard->lock);
	if (run)
		tm_run_map(lane, first, frame, run, 0);
	return run;
}

void tm_run_rescue(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		   u32 probe)
{
	struct tm_pager *p = lane->pager;
	u32 frame[TM_RUN_BLOCKS], i, run;
	struct tm_ref b;

	for (i = 0; i < nr; i += run + 1) {
		run = 0;
		tm_lock_acquire(&first->shard->lock);
		for (b = tm_ref_neighbour(first, i);
		     i + run < nr && b.e->state == TM_CACHED;
		     b = tm_ref_neighbour(&b, 1)) {
			/* read ahead, and not asked for yet */
			if (tm_ref_frame(p, &b)->flags & TM_FRAME_AHEAD)
				break;
			if (i + run == probe) {
				tm_ref_frame(p, &b)->flags |= TM_FRAME_PROBE;
				break;
			}
			p->config.replace->remove(&b.shard->replace,
						  b.e->frame);
			run_add(&b, frame, &run);
		}
		tm_lock_release(&first->shard->lock);
		b = tm_ref_neighbour(first, i);
		if (run)
			tm_run_map(lane, &b, frame, run, 0);
	}
}
