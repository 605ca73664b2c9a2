// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's discards: blocks that the program freed, in whatever state they
 * are. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

/* The block, or the huge one that it is part of; shard locked. */
static struct tm_ref whole_of(struct tm_pager *p, const struct tm_ref *b)
{
	return b->e->state == TM_TAIL ? tm_huge_head(p, b) : *b;
}

/*
 * Another lane is mapping or unmapping the block; it finds the flag when it has
 * done that, and empties the block. No wait for I/O is in that.
 */
static void discard_await(struct tm_pager *p, const struct tm_ref *b)
{
	enum tm_block_state state;
	bool done = false;

	while (!done) {
		tm_yield();
		tm_lock_acquire(&b->shard->lock);
		state = whole_of(p, b).e->state;
		done = !(b->e->flags & TM_BLOCK_DISCARD) ||
		       (state != TM_MAPPING && state != TM_UNMAPPING);
		tm_lock_release(&b->shard->lock);
	}
}

static bool in_huge_frame(struct tm_pager *p, const struct tm_ref *b)
{
	enum tm_block_state state = b->e->state;

	return (state == TM_CACHED || state == TM_RESIDENT ||
		state >= TM_MAPPING) &&
	       tm_ref_is_huge(p, b);
}

/*
 * Take the shard's lock with the block, if it is part of a huge one that is at
 * rest, split off. Returns false where an operation is under way on that: the
 * block is emptied when it ends.
 */
static bool lock_small(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	enum tm_block_state state;
	struct tm_ref whole;

	for (;;) {
		tm_lock_acquire(&b->shard->lock);
		whole = whole_of(p, b);
		state = whole.e->state;
		if (!in_huge_frame(p, &whole))
			return true;
		if (state != TM_CACHED && state != TM_RESIDENT)
			break;
		tm_huge_split(lane, &whole);
	}
	tm_huge_discard_part(&whole, b->e);
	tm_lock_release(&b->shard->lock);
	if (state == TM_MAPPING || state == TM_UNMAPPING)
		discard_await(p, b);
	return false;
}

/* It may have been split meanwhile, and its parts are emptied in turn. */
static void discard_await_huge(struct tm_pager *p, u64 block)
{
	struct tm_ref b;
	u32 i;

	for (i = 0; i < p->config.huge_blocks; i++) {
		b = tm_ref_find(p, block + i);
		discard_await(p, &b);
	}
}

/* Returns how many blocks that was; 0 where this does not begin a huge one. */
static u32 discard_huge(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	enum tm_block_state state;

	tm_lock_acquire(&b->shard->lock);
	if (!in_huge_frame(p, b)) {
		tm_lock_release(&b->shard->lock);
		return 0;
	}
	state = b->e->state;
	tm_huge_discard(lane, b);
	if (state == TM_MAPPING || state == TM_UNMAPPING)
		discard_await_huge(p, b->block);
	tm_stats_add(lane->stats, discarded, p->config.huge_blocks);
	return p->config.huge_blocks;
}

/* Returns true when nothing of the block is mapped any more. */
static bool discard_one(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = b->e;
	struct tm_replica slot;
	bool gone = true, forgotten = false;

	if (!lock_small(lane, b)) {
		tm_stats_add(lane->stats, discarded, 1);
		return true;
	}
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
		discard_await(p, b);
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
	u32 huge = p->config.huge_blocks, nr_huge;
	bool gone = true;

	if (first < end && nr < end - first)
		end = first + nr;
	for (block = first; block < end; block++) {
		struct tm_ref b;

		block = tm_blockmap_skip(&p->map, block);
		if (block >= end)
			break;
		b = tm_ref_find(p, block);
		nr_huge = huge && block % huge == 0 && huge <= end - block
				  ? discard_huge(lane, &b)
				  : 0;
		if (nr_huge)
			block += nr_huge - 1;
		else
			gone &= discard_one(lane, &b);
	}
	tm_lane_finish(lane);
	return gone;
}
