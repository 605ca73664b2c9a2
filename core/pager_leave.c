// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's victims after they were taken from the program: what equals its
 * copy is dropped, and what was changed is sent away. Lock order: see
 * pager_internal.h.
 */
#include "core/pager_internal.h"

bool tm_slot_usable(struct tm_pager *p, const struct tm_block *e, u16 flags)
{
	return (flags & TM_BLOCK_SLOT) &&
	       tm_place_server_takes(p->place, e->replica[0].server);
}

static bool is_wanted(u16 flags)
{
	return flags & (TM_BLOCK_DISCARD | TM_BLOCK_WANTED);
}

void tm_content_look(struct tm_lane *lane, const struct tm_ref *b, u32 frame,
		     const struct tm_flags *flags, struct tm_content *c)
{
	struct tm_pager *p = lane->pager;
	bool dirty = flags->frame & TM_FRAME_DIRTY;
	bool unknown = flags->frame & TM_FRAME_UNKNOWN;

	c->print = unknown && p->ops->fingerprint;
	if (c->print)
		c->fingerprint = p->ops->fingerprint(p->ctx, b->block, frame);
	if (flags->frame & TM_FRAME_ZERO) {
		/* also what was readied ahead and never written */
		c->clean =
			!dirty && (!unknown || (c->print && !c->fingerprint));
		return;
	}
	c->clean = !dirty && tm_block_copied(p, b->e, flags->block) &&
		   (!unknown || (c->print && (flags->block & TM_BLOCK_PRINT) &&
				 c->fingerprint == b->e->fingerprint));
}

/* Its bytes have been looked at: not again before they left. */
static void victim_stays(struct tm_lane *lane, const struct tm_ref *b)
{
	tm_lock_acquire(&b->shard->lock);
	tm_ref_frame(lane->pager, b)->flags |= TM_FRAME_DIRTY;
	tm_block_settle(lane, b, TM_HELD_BYTES, 0);
}

/*
 * Send a changed block to its own slot, or to a new one; @no_slot is set to
 * the error when there is none. @flags are the block's, of which others only
 * ever add WANTED and DISCARD. Returns false where it stays.
 */
static bool victim_store(struct tm_lane *lane, const struct tm_ref *b,
			 const struct tm_content *c, u16 flags, int *no_slot)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = b->e;
	u32 version = e->version + 1;
	struct tm_replica slot, lost;
	bool owns, forgotten = false;
	u32 crc;

	/* the parts of a huge block may be more than requests are left for */
	if (!tm_lane_room(lane, false)) {
		victim_stays(lane, b);
		return false;
	}
	owns = tm_slot_usable(p, e, flags);
	lane->slots_used |= !owns;
	if (!owns)
		*no_slot = tm_place_get(p->place, b->block, &slot);
	if (!owns && *no_slot) {
		victim_stays(lane, b);
		return false;
	}
	crc = p->ops->checksum(p->ctx, b->block, e->frame,
			       tm_ledger_seed(b->block, version));

	tm_lock_acquire(&b->shard->lock);
	if (e->flags & (TM_BLOCK_WANTED | TM_BLOCK_DISCARD)) {
		if (!(e->flags & TM_BLOCK_DISCARD))
			tm_stats_add(lane->stats, evict_rescued, 1);
		tm_block_settle(lane, b, TM_HELD_BYTES, 0);
		if (!owns)
			tm_place_put(p->place, slot);
		return false;
	}
	if (!owns) {
		forgotten = tm_block_forget(p, b, &lost);
		e->replica[0] = slot;
	}
	tm_copy_clear(p, e);
	e->flags |= TM_BLOCK_SLOT;
	e->flags &= (u16)~TM_BLOCK_PRINT;
	if (c->print) {
		e->fingerprint = c->fingerprint;
		e->flags |= TM_BLOCK_PRINT;
	}
	e->version = version;
	e->crc = crc;
	e->state = TM_STORING;
	tm_store_add(lane, b);
	tm_lock_release(&b->shard->lock);
	tm_lane_flush_full(lane);
	if (forgotten)
		tm_place_put(p->place, lost);
	return true;
}

/* From the @i-th on; @c is what was seen of the first that is not clean. */
static u32 count_clean(struct tm_lane *lane, const struct tm_ref *first, u32 i,
		       u32 nr, const struct tm_flags *flags,
		       struct tm_content *c)
{
	struct tm_ref b;
	u32 n;

	for (n = 0; i + n < nr && !is_wanted(flags[i + n].block); n++) {
		b = tm_ref_neighbour(first, i + n);
		tm_content_look(lane, &b, b.e->frame, &flags[i + n], c);
		if (!c->clean)
			break;
	}
	return n;
}

static u32 clean_leave(struct tm_lane *lane, const struct tm_ref *first, u32 i,
		       u32 nr)
{
	struct tm_ref b = tm_ref_neighbour(first, i);
	u32 gone = nr ? tm_run_evict(lane, &b, nr) : 0;

	tm_stats_add(lane->stats, dropped_clean, gone);
	return gone;
}

static bool victim_leave(struct tm_lane *lane, const struct tm_ref *b,
			 const struct tm_content *c, u16 flags, int *no_slot)
{
	if (!is_wanted(flags))
		return victim_store(lane, b, c, flags, no_slot);
	tm_lock_acquire(&b->shard->lock);
	if (!(b->e->flags & TM_BLOCK_DISCARD))
		tm_stats_add(lane->stats, evict_rescued, 1);
	tm_block_settle(lane, b, TM_HELD_BYTES, 0);
	return false;
}

u32 tm_run_leave(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		 int *no_slot)
{
	struct tm_flags flags[TM_RUN_BLOCKS];
	struct tm_content c = {0};
	u32 i, n, gone = 0;
	struct tm_ref b;

	if (tm_ref_is_huge(lane->pager, first))
		return tm_huge_leave(lane, first, no_slot);
	tm_lock_acquire(&first->shard->lock);
	for (i = 0; i < nr; i++) {
		b = tm_ref_neighbour(first, i);
		flags[i].block = b.e->flags;
		flags[i].frame = tm_ref_frame(lane->pager, &b)->flags;
	}
	tm_lock_release(&first->shard->lock);

	for (i = 0; i < nr; i++) {
		n = count_clean(lane, first, i, nr, flags, &c);
		gone += clean_leave(lane, first, i, n);
		i += n;
		if (i == nr)
			break;
		b = tm_ref_neighbour(first, i);
		gone += victim_leave(lane, &b, &c, flags[i].block, no_slot);
	}
	return gone;
}
