// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Least recently used, approximately: a list of mapped blocks and one of cached
 * blocks, as Linux's active and inactive lists.
 *
 * With accessed bits the tail of the active list turns like a clock. Without,
 * blocks spend their last time in local memory unmapped on the inactive list,
 * where a fault brings them back without I/O: what is in use returns, what is
 * not gets to the tail. Where there is no such state (struct tm_pager_config,
 * can_cache) the order is that of the faults. Lock order: none taken.
 */
#include "core/replace.h"

enum { ACTIVE, INACTIVE };

/*
 * The share of cached blocks, 1 in so many: more of them tell better what is
 * in use, but each that is costs a fault.
 */
#define INACTIVE_SHARE 4

static void lru_insert(struct tm_replace *r, u32 frame, bool cached)
{
	tm_replace_push(r, frame, cached ? INACTIVE : ACTIVE);
}

static u32 lru_victim(struct tm_replace *r)
{
	bool few = r->list[INACTIVE].nr < tm_replace_nr(r) / INACTIVE_SHARE;
	u8 first = INACTIVE;
	u32 frame;

	/*
	 * To fill the inactive list, two of three victims come from the active
	 * one. Not all: the first eviction would wait for the whole of it.
	 */
	if (few && r->choice++ % 3)
		first = ACTIVE;
	frame = tm_replace_pop(r, first);
	return frame == TM_NO_FRAME ? tm_replace_pop(r, !first) : frame;
}

const struct tm_replace_ops tm_replace_lru = {
	.name = "lru",
	.ages = true,
	.insert = lru_insert,
	.remove = tm_replace_remove,
	.victim = lru_victim,
};
