// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's runs: neighbours that come, stay and go together. What they have
 * in common is done for all with one call, or under one lock. Lock order: see
 * pager_internal.h.
 */
#include "core/pager_internal.h"

/* Nobody wants anything of the block but what its run does; shard locked. */
static bool is_plain(struct tm_pager *p, const struct tm_ref *b)
{
	return !(b->e->flags &
		 (TM_BLOCK_WANTED | TM_BLOCK_DISCARD | TM_BLOCK_SPLIT)) &&
	       !(tm_ref_frame(p, b)->flags & (TM_FRAME_FAULT | TM_FRAME_PROBE));
}

/* What has just been done to a run: set in each frame before it settles. */
struct done {
	u64 mapped_ns;
	u8 flags;
};

/*
 * A block of a run settles where nobody wants anything else of it; its frame is
 * put in @freed if it has none then. Returns false where it is for
 * tm_block_settle(). Shard locked.
 */
static bool settle_plain(struct tm_lane *lane, const struct tm_ref *b,
			 enum tm_held held, u32 *freed, u32 *nr_freed)
{
	struct tm_pager *p = lane->pager;
	bool ahead = tm_ref_frame(p, b)->flags & TM_FRAME_AHEAD;

	if (!is_plain(p, b))
		return false;
	if (held == TM_HELD_NOTHING) {
		freed[(*nr_freed)++] = b->e->frame;
		tm_block_vacate(b);
		return true;
	}
	if (held == TM_HELD_MAPPED && ahead)
		tm_stats_add(lane->stats, prefetch_used,
			     tm_ref_frame(p, b)->blocks);
	tm_block_rest(p, b, held == TM_HELD_MAPPED ? TM_RESIDENT : TM_CACHED);
	return true;
}

/* As tm_run_settle(), and before that @done, unless NULL. */
static void run_settle(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		       enum tm_held held, const struct done *done)
{
	struct tm_pager *p = lane->pager;
	u32 freed[TM_RUN_BLOCKS], i, nr_freed = 0;
	bool locked = false;

	for (i = 0; i < nr; i++) {
		struct tm_ref b = tm_ref_neighbour(first, i);
		struct tm_frame *f;

		if (!locked)
			tm_lock_acquire(&b.shard->lock);
		f = tm_ref_frame(p, &b);
		if (done) {
			f->flags |= done->flags;
			f->mapped_ns =
				f->flags & TM_FRAME_FAULT ? done->mapped_ns : 0;
		}
		locked = settle_plain(lane, &b, held, freed, &nr_freed);
		if (!locked)
			tm_block_settle(lane, &b, held, 0);
	}
	if (locked)
		tm_lock_release(&first->shard->lock);
	if (nr_freed)
		tm_lane_frames_put(lane, freed, nr_freed);
}

void tm_run_settle(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		   enum tm_held held)
{
	run_settle(lane, first, nr, held, NULL);
}

void tm_run_map(struct tm_lane *lane, const struct tm_ref *first,
		const u32 *frame, u32 nr, unsigned int flags)
{
	struct tm_pager *p = lane->pager;
	bool zero = flags & TM_MAP_ZERO;
	struct done done = {.flags = zero ? TM_FRAME_ZERO : 0};
	u32 i, mapped;

	mapped = p->ops->map_run ? p->ops->map_run(p->ctx, lane, first->block,
						   frame, nr, flags)
				 : 0;
	done.mapped_ns = p->ops->now(p->ctx);
	run_settle(lane, first, mapped, TM_HELD_MAPPED, &done);
	for (i = mapped; i < nr; i++) {
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
	u32 i, plain, unused = 0;

	tm_lock_acquire(&first->shard->lock);
	for (plain = 0; plain < nr && is_plain(p, &b);
	     b = tm_ref_neighbour(first, ++plain))
		b.e->state = TM_UNMAPPING;
	tm_lock_release(&first->shard->lock);
	for (i = 0; i < plain; i++) {
		b = tm_ref_neighbour(first, i);
		p->ops->drop(p->ctx, lane, b.block, b.e->frame);
	}
	tm_lock_acquire(&first->shard->lock);
	for (i = 0; i < plain; i++) {
		b = tm_ref_neighbour(first, i);
		unused += !!(tm_ref_frame(p, &b)->flags & TM_FRAME_AHEAD);
		tm_ref_frame(p, &b)->flags &= TM_FRAME_FAULT;
	}
	tm_lock_release(&first->shard->lock);
	tm_stats_add(lane->stats, prefetch_dropped, unused);
	return plain;
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
			tm_run_settle(lane, &b, n, TM_HELD_NOTHING);
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

/* It is here, as itself, and not because it was read ahead; shard locked. */
static bool is_rescued(struct tm_pager *p, const struct tm_ref *b, bool probe)
{
	struct tm_frame *f;

	if (b->e->state != TM_CACHED || tm_ref_is_huge(p, b))
		return false;
	f = tm_ref_frame(p, b);
	if (f->flags & TM_FRAME_AHEAD)
		return false;
	if (probe)
		f->flags |= TM_FRAME_PROBE;
	return !probe;
}

void tm_run_rescue(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		   u32 probe)
{
	struct tm_pager *p = lane->pager;
	u32 frame[TM_RUN_BLOCKS], i = 0, run;
	struct tm_ref b, begin;

	while (i < nr) {
		run = 0;
		tm_lock_acquire(&first->shard->lock);
		for (; i < nr; i++) {
			b = tm_ref_neighbour(first, i);
			if (!is_rescued(p, &b, i == probe)) {
				if (run)
					break;
				continue;
			}
			if (!run)
				begin = b;
			p->config.replace->remove(&b.shard->replace,
						  b.e->frame);
			run_add(&b, frame, &run);
		}
		tm_lock_release(&first->shard->lock);
		if (run)
			tm_run_map(lane, &begin, frame, run, 0);
	}
}
