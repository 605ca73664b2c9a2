// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * What the parts of pager_huge*.c share: walking a huge block's parts, and what
 * each needs of the others.
 */
#ifndef TM_CORE_PAGER_HUGE_H
#define TM_CORE_PAGER_HUGE_H

#include "core/pager_internal.h"

/* The @i-th part's entry; @e is that of the one before. */
static inline struct tm_block *tm_part_at(struct tm_pager *p,
					  const struct tm_ref *head, u32 i,
					  struct tm_block *e)
{
	return i % TM_LEAF_BLOCKS ? e + 1
				  : tm_blockmap_find(&p->map, head->block + i);
}

/* A unit may be smaller than a leaf, and begin within one. */
#define tm_for_each_part(p, head, i, e)                                        \
	for ((i) = 0, (e) = (head)->e; (i) < (p)->config.huge_blocks; (i)++,   \
	    (e) = (i) < (p)->config.huge_blocks ? tm_part_at(p, head, i, e)    \
						: NULL)

static inline struct tm_ref tm_part_ref(const struct tm_ref *head, u32 i,
					struct tm_block *e)
{
	return (struct tm_ref){head->block + i, e, head->shard};
}

/* What a run may have of it. */
static inline u32 tm_huge_run(const struct tm_pager *p)
{
	u32 nr = p->config.huge_blocks;

	return nr < TM_RUN_BLOCKS ? nr : TM_RUN_BLOCKS;
}

/* pager_huge.c */

/**
 * tm_huge_make_small() - each part has a frame of its own, busy still, and
 * there its bytes, if there are @bytes
 *
 * The head is busy. Called with the shard locked, returns with it unlocked.
 */
void tm_huge_make_small(struct tm_lane *lane, const struct tm_ref *head,
			bool bytes);

/**
 * tm_huge_settle_small() - tm_huge_settle(), and then they are small
 *
 * Returns how many have no frame any more.
 */
u32 tm_huge_settle_small(struct tm_lane *lane, const struct tm_ref *head,
			 enum tm_held held);

/** tm_huge_drop() - its bytes are not needed here; shard locked, on return too
 */
void tm_huge_drop(struct tm_lane *lane, const struct tm_ref *head, bool mapped);

/** tm_huge_map() - 0 or -errno; shard locked, and again on return */
int tm_huge_map(struct tm_lane *lane, const struct tm_ref *head,
		unsigned int flags);

#endif
