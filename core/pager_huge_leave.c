// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * How huge blocks leave: dropped, stored as one where there is a row of slots,
 * or as small ones. Lock order: see pager_internal.h.
 */
#include "core/pager_huge.h"

/* Are these blocks on one server, one after the other? Shard locked. */
static bool lie_in_row(struct tm_pager *p, const struct tm_ref *head, u16 must)
{
	struct tm_replica first = head->e->replica[0];
	struct tm_block *e;
	u32 i;

	tm_for_each_part(p, head, i, e)
	{
		if ((e->flags & must) != must ||
		    e->replica[0].server != first.server ||
		    e->replica[0].slot != first.slot + i)
			return false;
	}
	return true;
}

/* Its bytes are elsewhere, too; returns how many blocks have gone. */
static u32 huge_evict(struct tm_lane *lane, const struct tm_ref *head)
{
	u32 nr = lane->pager->config.huge_blocks;
	u16 flags;

	tm_lock_acquire(&head->shard->lock);
	flags = head->e->flags;
	if (flags & TM_BLOCK_SPLIT)
		return tm_huge_settle_small(lane, head, TM_HELD_SPARE);
	tm_huge_settle(lane, head, TM_HELD_SPARE);
	if (flags & (TM_BLOCK_WANTED | TM_BLOCK_DISCARD)) {
		tm_stats_add(lane->stats, evict_rescued, nr);
		return 0;
	}
	tm_stats_add(lane->stats, evicted, nr);
	return nr;
}

void tm_huge_stored(struct tm_lane *lane, const struct tm_ref *head, int status)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e;
	struct tm_ref b;
	u32 i;

	tm_lock_acquire(&head->shard->lock);
	if (status) {
		tm_huge_make_small(lane, head, true);
		tm_for_each_part(p, head, i, e)
		{
			b = tm_part_ref(head, i, e);
			tm_store_failed(lane, &b);
		}
		return;
	}
	tm_for_each_part(p, head, i, e) tm_copy_set(p, e);
	tm_ref_frame(p, head)->flags &=
		(u8) ~(TM_FRAME_DIRTY | TM_FRAME_UNKNOWN | TM_FRAME_ZERO);
	tm_lock_release(&head->shard->lock);
	huge_evict(lane, head);
}

static bool is_wanted(u16 flags)
{
	return flags & (TM_BLOCK_WANTED | TM_BLOCK_DISCARD | TM_BLOCK_SPLIT);
}

/*
 * Look at each part: returns how many were changed. With @print set, the
 * fingerprints are in lane->huge.
 */
static u32 count_changed(struct tm_lane *lane, const struct tm_ref *head,
			 u8 frame_flags, bool *print)
{
	struct tm_pager *p = lane->pager;
	struct tm_huge *huge = lane->huge;
	struct tm_content c = {0};
	struct tm_flags flags = {.frame = frame_flags};
	u32 i, changed = 0;
	struct tm_block *e;
	struct tm_ref b;

	tm_for_each_part(p, head, i, e)
	{
		b = tm_part_ref(head, i, e);
		flags.block = huge->flags[i];
		tm_content_look(lane, &b, head->e->frame, &flags, &c);
		huge->fingerprint[i] = c.fingerprint;
		changed += !c.clean;
	}
	*print = c.print;
	return changed;
}

/* With fewer of its blocks changed, one in so many, the others stay where they
 * are, without a transfer. */
#define CHANGED_SHARE 4

/* Where all of it can go, in a row; @owns if it is there already. */
static int find_slots(struct tm_lane *lane, const struct tm_ref *head,
		      bool *owns, struct tm_replica *slot)
{
	struct tm_pager *p = lane->pager;

	*owns = tm_slot_usable(p, head->e, lane->huge->flags[0]) &&
		lie_in_row(p, head, TM_BLOCK_SLOT);
	*slot = head->e->replica[0];
	if (*owns)
		return 0;
	lane->slots_used = true;
	return tm_place_get_row(p->place, head->block, p->config.huge_blocks,
				slot);
}

/* What the parts know of their copies from now on; returns how many slots, in
 * lane->huge, are not theirs any more. Shard locked. */
static u32 parts_store(struct tm_lane *lane, const struct tm_ref *head,
		       bool owns, struct tm_replica slot, bool print)
{
	struct tm_pager *p = lane->pager;
	struct tm_huge *huge = lane->huge;
	struct tm_block *e;
	u32 i, lost = 0;

	tm_for_each_part(p, head, i, e)
	{
		tm_copy_clear(p, e);
		if (!owns) {
			if (e->flags & TM_BLOCK_SLOT)
				huge->slot[lost++] = e->replica[0];
			e->replica[0] = slot;
			e->replica[0].slot += i;
		}
		e->flags |= TM_BLOCK_SLOT;
		e->flags &= (u16)~TM_BLOCK_PRINT;
		if (print) {
			e->fingerprint = huge->fingerprint[i];
			e->flags |= TM_BLOCK_PRINT;
		}
		e->version++;
		e->crc = huge->crc[i];
	}
	return lost;
}

static u32 huge_store(struct tm_lane *lane, const struct tm_ref *head,
		      bool owns, struct tm_replica slot, bool print)
{
	struct tm_pager *p = lane->pager;
	struct tm_huge *huge = lane->huge;
	u32 i, seed, lost;
	struct tm_block *e;

	tm_for_each_part(p, head, i, e)
	{
		seed = tm_ledger_seed(head->block + i, e->version + 1);
		huge->crc[i] = p->ops->checksum(p->ctx, head->block + i,
						head->e->frame, seed);
	}
	tm_lock_acquire(&head->shard->lock);
	if (is_wanted(head->e->flags)) {
		tm_stats_add(lane->stats, evict_rescued, p->config.huge_blocks);
		tm_huge_settle(lane, head, TM_HELD_BYTES);
		if (!owns)
			tm_slots_put(p, slot, p->config.huge_blocks);
		return 0;
	}
	lost = parts_store(lane, head, owns, slot, print);
	head->e->state = TM_STORING;
	tm_lock_release(&head->shard->lock);
	tm_store_huge(lane, head);
	for (i = 0; i < lost; i++)
		tm_slot_free(lane, huge->slot[i]);
	return p->config.huge_blocks;
}

/* One by one: some of it is to be kept where it is, or there is no row. */
static u32 leave_small(struct tm_lane *lane, const struct tm_ref *head,
		       int *no_slot)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr = tm_huge_run(p), gone = 0;
	struct tm_ref b;

	tm_lock_acquire(&head->shard->lock);
	tm_huge_make_small(lane, head, true);
	for (i = 0; i < p->config.huge_blocks; i += nr) {
		b = tm_ref_find(p, head->block + i);
		gone += tm_run_leave(lane, &b, nr, no_slot);
	}
	return gone;
}

u32 tm_huge_leave(struct tm_lane *lane, const struct tm_ref *head, int *no_slot)
{
	struct tm_pager *p = lane->pager;
	u32 i, gone, changed, nr = p->config.huge_blocks;
	struct tm_replica slot;
	struct tm_block *e;
	bool print, owns;
	u8 frame_flags;
	int err;

	tm_lock_acquire(&head->shard->lock);
	if (is_wanted(head->e->flags)) {
		tm_stats_add(lane->stats, evict_rescued, nr);
		tm_huge_settle(lane, head, TM_HELD_BYTES);
		return 0;
	}
	tm_for_each_part(p, head, i, e) lane->huge->flags[i] = e->flags;
	frame_flags = tm_ref_frame(p, head)->flags;
	tm_lock_release(&head->shard->lock);

	changed = count_changed(lane, head, frame_flags, &print);
	if (!changed) {
		gone = huge_evict(lane, head);
		tm_stats_add(lane->stats, dropped_clean, gone);
		return gone;
	}
	if (changed < nr - nr / CHANGED_SHARE || *no_slot)
		return leave_small(lane, head, no_slot);
	err = find_slots(lane, head, &owns, &slot);
	if (err == -EAGAIN) {
		/* there will be room soon */
		*no_slot = err;
		tm_lock_acquire(&head->shard->lock);
		tm_ref_frame(p, head)->flags |= TM_FRAME_DIRTY;
		tm_huge_settle(lane, head, TM_HELD_BYTES);
		return 0;
	}
	if (err)
		return leave_small(lane, head, no_slot);
	return huge_store(lane, head, owns, slot, print);
}
