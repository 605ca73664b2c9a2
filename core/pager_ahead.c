// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's reading ahead: what is done with the windows that prefetch.c
 * finds. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

/* A demanded block this large goes alone: it shall not wait for others. */
#define DEMAND_ALONE_BYTES 65536

/*
 * New blocks are mapped at once, and other faults wait for that; more are not
 * needed, since there is no time on the way to be covered.
 */
#define ZERO_AHEAD_BLOCKS 16

/*
 * Have one block of a window ready. Never evicts: takes only frames that faults
 * can do without. Returns false when nothing more is to be had. @zeros: how
 * many new blocks may still be mapped.
 */
static bool ahead_one(struct tm_lane *lane, u64 block, u32 *zeros, bool marker)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e;
	struct tm_ref b;
	u32 frame = TM_NO_FRAME;
	bool remote;

	if (block >= p->config.nr_blocks)
		return false;
	e = tm_blockmap_get(&p->map, block, &lane->leaves);
	if (!e)
		return false;
	b = tm_ref(p, block, e);

	tm_lock_acquire(&b.shard->lock);
	remote = e->state == TM_REMOTE;
	if ((!remote && e->state != TM_ABSENT) ||
	    (e->flags & TM_BLOCK_WAITING)) {
		tm_lock_release(&b.shard->lock);
		return true;
	}
	if (remote ? tm_block_copied(p, e, e->flags) && tm_lane_room(lane, true)
		   : *zeros > 0)
		frame = tm_frame_get(&p->frames, tm_frames_kept(p));
	if (frame == TM_NO_FRAME) {
		tm_lock_release(&b.shard->lock);
		return false;
	}
	if (!remote) {
		(*zeros)--;
		tm_frame_claim(p, &b, frame, 0, 0);
		e->flags |= TM_BLOCK_WANTED;
		tm_block_settle(lane, &b, TM_HELD_NOTHING, 0);
		return true;
	}
	tm_frame_claim(p, &b, frame,
		       marker && p->config.can_cache
			       ? TM_FRAME_AHEAD | TM_FRAME_MARKER
			       : TM_FRAME_AHEAD,
		       0);
	e->state = TM_FETCHING;
	tm_fetch_add(lane, &b);
	tm_lock_release(&b.shard->lock);
	tm_lane_flush_full(lane);
	tm_stats_add(lane->stats, prefetched, 1);
	return true;
}

void tm_read_ahead(struct tm_lane *lane, u64 block)
{
	struct tm_pager *p = lane->pager;
	struct tm_zone *zone =
		&p->zone[block >> TM_ZONE_SHIFT & (TM_ZONES - 1)];
	struct tm_window w;
	u32 i, zeros;
	bool more;

	if (!p->config.prefetch_blocks)
		return;
	tm_lock_acquire(&zone->lock);
	more = tm_prefetch_fault(&zone->prefetch, block, &w);
	tm_lock_release(&zone->lock);
	if (!more)
		return;
	if (1u << p->config.block_shift >= DEMAND_ALONE_BYTES)
		tm_fetch_flush(lane);
	/* a first pass over new memory shall not fault on every block */
	zeros = w.stride == 1 || w.stride == -1 ? ZERO_AHEAD_BLOCKS : 0;
	for (i = 0; i < w.nr; i++)
		if (!ahead_one(lane, w.first + (u64)(i * w.stride), &zeros,
			       i == 0))
			break;
	if (i == w.nr)
		return;
	tm_lock_acquire(&zone->lock);
	tm_prefetch_trim(&w, i);
	tm_lock_release(&zone->lock);
}
