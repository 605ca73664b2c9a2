// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's discards: blocks that the program freed, in whatever state they
 * are. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

/*
 * Another lane is mapping or unmapping the block; it finds the flag when it has
 * done that, and empties the block. No wait for I/O is in that.
 */
static void discard_await(const struct tm_ref *b)
{
	bool done = false;

	while (!done) {
		tm_yield();
		tm_lock_acquire(&b->shard->lock);
		done = !(b->e->flags & TM_BLOCK_DISCARD) ||
		       (b->e->state != TM_MAPPING &&
			b->e->state != TM_UNMAPPING);
		tm_lock_release(&b->shard->lock);
	}
}

/* Returns true when nothing of the block is mapped any more. */
static bool discard_one(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = b->e;
	struct tm_replica slot;
	bool gone = true, forgotten = false;

	tm_lock_acquire(&b->shard->lock);
	switch (e->state) {
	case TM_ABSENT:
		tm_lock_release(&b->shard->lock);
		return true;
	case TM_LOST:
		tm_add_return(&p->lost, -1);
		e->state = TM_ABSENT;
		tm_lock_release(&b->shard->lock);
		break;
	case TM_REMOTE:
		/* a fault that waits for a frame goes on waiting */
		forgotten = tm_block_forget(p, b, &slot);
		e->flags &= (u16)~TM_BLOCK_RETRY;
		e->state = TM_ABSENT;
		tm_lock_release(&b->shard->lock);
		break;
	case TM_CACHED:
	case TM_RESIDENT:
		p->config.replace->remove(&b->shard->replace, e->frame);
		e->flags |= TM_BLOCK_DISCARD;
		tm_block_settle(lane, b,
				e->state == TM_CACHED ? TM_HELD_BYTES
						      : TM_HELD_MAPPED,
				0);
		break;
	case TM_MAPPING:
	case TM_UNMAPPING:
		e->flags |= TM_BLOCK_DISCARD;
		tm_lock_release(&b->shard->lock);
		discard_await(b);
		break;
	default:
		gone = e->state == TM_FETCHING || p->config.can_cache;
		/* who asks again is not counted twice */
		if (e->flags & TM_BLOCK_DISCARD) {
			tm_lock_release(&b->shard->lock);
			return gone;
		}
		e->flags |= TM_BLOCK_DISCARD;
		tm_lock_release(&b->shard->lock);
		break;
	}
	tm_stats_add(lane->stats, discarded, 1);
	if (forgotten)
		tm_slot_free(lane, slot);
	return gone;
}

bool tm_pager_discard(struct tm_lane *lane, u64 first, u64 nr)
{
	struct tm_pager *p = lane->pager;
	u64 block, end = p->config.nr_blocks;
	bool gone = true;

	if (first < end && nr < end - first)
		end = first + nr;
	for (block = first; block < end; block++) {
		struct tm_ref b;

		block = tm_blockmap_skip(&p->map, block);
		if (block >= end)
			break;
		b = tm_ref_find(p, block);
		gone &= discard_one(lane, &b);
	}
	tm_lane_finish(lane);
	return gone;
}
