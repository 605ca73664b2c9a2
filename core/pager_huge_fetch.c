// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * How huge blocks come: where a fault or a stream gets to new blocks, or to
 * ones that lie on servers in a few pieces. Lock order: see pager_internal.h.
 */
#include "core/pager_huge.h"

/* A huge block is fetched in pieces, which lie in a row, of so many on average.
 */
#define PIECE_BLOCKS_LEAST 32

/* None has a frame, nor is one waited for; shard locked. */
static bool are_plain(struct tm_pager *p, const struct tm_ref *head)
{
	struct tm_block *e;
	u32 i;

	tm_for_each_part(p, head, i, e)
	{
		if (e->state != head->e->state ||
		    e->flags & (TM_BLOCK_WAITING | TM_BLOCK_RETRY))
			return false;
	}
	return true;
}

/* Their entries, made if need be. */
static bool have_entries(struct tm_lane *lane, u64 block, struct tm_ref *head)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr = p->config.huge_blocks;

	if (block >= p->config.nr_blocks || nr > p->config.nr_blocks - block)
		return false;
	for (i = 0; i < nr; i += TM_LEAF_BLOCKS)
		if (!tm_blockmap_get(&p->map, block + i, &lane->leaves))
			return false;
	*head = tm_ref_find(p, block);
	return true;
}

/* All become one, busy; shard locked. */
static void make_huge(struct tm_lane *lane, const struct tm_ref *head,
		      u32 frame, u8 flags, u64 started_ns)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e;
	u32 i;

	tm_for_each_part(p, head, i, e) e->state = TM_TAIL;
	tm_frame_claim(p, head, frame, flags, started_ns);
	tm_stats_add(lane->stats, huge_blocks, 1);
}

static bool zero_fill(struct tm_lane *lane, const struct tm_ref *head)
{
	if (tm_huge_map(lane, head, TM_MAP_ZERO)) {
		tm_huge_drop(lane, head, false);
		tm_huge_settle(lane, head, TM_HELD_NOTHING);
		return false;
	}
	tm_ref_frame(lane->pager, head)->flags |= TM_FRAME_ZERO;
	tm_huge_settle(lane, head, TM_HELD_MAPPED);
	return true;
}

/*
 * In how many pieces the parts lie on servers that live; 0 where some do not.
 * Shard locked.
 */
static u32 count_pieces(struct tm_pager *p, const struct tm_ref *head)
{
	struct tm_replica next = {.server = TM_NO_SERVER};
	struct tm_block *e;
	u32 i, nr = 0;

	tm_for_each_part(p, head, i, e)
	{
		if (e->replica[0].server != next.server ||
		    e->replica[0].slot != next.slot) {
			if (!tm_block_copied(p, e, e->flags))
				return 0;
			nr++;
		}
		if (!(e->flags & TM_BLOCK_COPY))
			return 0;
		next = e->replica[0];
		next.slot++;
	}
	return nr;
}

/* A request for each piece; all are counted already. */
static void fetch_pieces(struct tm_lane *lane, const struct tm_ref *head)
{
	struct tm_pager *p = lane->pager;
	struct tm_replica next = head->e->replica[0];
	struct tm_ref first = *head;
	struct tm_block *e;
	u32 i, nr = 0;

	tm_for_each_part(p, head, i, e)
	{
		if (e->replica[0].server != next.server ||
		    e->replica[0].slot != next.slot) {
			tm_fetch_huge(lane, &first, head->e->frame, nr);
			first = tm_part_ref(head, i, e);
			nr = 0;
		}
		next = e->replica[0];
		next.slot++;
		nr++;
	}
	tm_fetch_huge(lane, &first, head->e->frame, nr);
}

/* Smaller pieces, on average, are not worth it. */
static u32 most_pieces(const struct tm_pager *p)
{
	u32 nr = p->config.huge_blocks / PIECE_BLOCKS_LEAST;

	return nr < 2 ? 2 : nr;
}

/*
 * Requests that may be started: those of the batches are to come still, and the
 * table has one more than the glue, for that which is just ending.
 */
static u32 requests_left(const struct tm_lane *lane)
{
	u32 taken = lane->fetch.nr + lane->store.nr + 1;

	return tm_lane_room(lane, true) && lane->nr_io_free > taken
		       ? lane->nr_io_free - taken
		       : 0;
}

/* @flags: the frame's. Shard locked; fetch_pieces() comes next. */
static enum tm_huge_ahead fetch_begin(struct tm_lane *lane,
				      const struct tm_ref *head, u8 flags)
{
	struct tm_pager *p = lane->pager;
	u32 frame, pieces = count_pieces(p, head);

	if (!pieces || pieces > most_pieces(p))
		return TM_HUGE_NONE;
	if (pieces > requests_left(lane))
		return TM_HUGE_LATER;
	frame = tm_frame_get_huge(&p->frames, tm_frames_kept(p));
	if (frame == TM_NO_FRAME)
		return TM_HUGE_LATER;
	make_huge(lane, head, frame, flags, 0);
	head->e->state = TM_FETCHING;
	p->frames.at[frame].pieces = pieces;
	p->frames.at[frame].missed = 0;
	return TM_HUGE_FETCHES;
}

enum tm_huge_ahead tm_huge_ahead(struct tm_lane *lane, u64 block, bool zeros,
				 u8 marker)
{
	struct tm_pager *p = lane->pager;
	enum tm_huge_ahead had = TM_HUGE_NONE;
	struct tm_ref head;
	u32 frame;

	if (!have_entries(lane, block, &head))
		return TM_HUGE_NONE;
	tm_lock_acquire(&head.shard->lock);
	if (head.e->state == TM_REMOTE && are_plain(p, &head)) {
		had = fetch_begin(lane, &head, TM_FRAME_AHEAD | marker);
	} else if (head.e->state == TM_ABSENT && zeros && are_plain(p, &head)) {
		had = TM_HUGE_LATER;
		frame = tm_frame_get_huge(&p->frames, tm_frames_kept(p));
		if (frame != TM_NO_FRAME) {
			make_huge(lane, &head, frame, 0, 0);
			return zero_fill(lane, &head) ? TM_HUGE_NEW
						      : TM_HUGE_LATER;
		}
	}
	tm_lock_release(&head.shard->lock);
	if (had == TM_HUGE_FETCHES) {
		fetch_pieces(lane, &head);
		tm_stats_add(lane->stats, prefetched, p->config.huge_blocks);
	}
	return had;
}

bool tm_huge_fault(struct tm_lane *lane, u64 block, u64 started_ns)
{
	struct tm_pager *p = lane->pager;
	u64 last = p->config.huge_blocks - 1;
	enum tm_huge_ahead had = TM_HUGE_NONE;
	struct tm_ref head;
	u32 frame;

	/* a pass up, or down, gets to it there */
	if (((block & last) && (block & last) != last) ||
	    tm_load_relaxed(&p->waiting) ||
	    !tm_ahead_goes_on(p, block, p->config.huge_blocks) ||
	    !have_entries(lane, block & ~last, &head))
		return false;
	tm_lock_acquire(&head.shard->lock);
	if (head.e->state == TM_ABSENT && are_plain(p, &head)) {
		frame = tm_frame_get_huge(&p->frames, tm_frames_kept(p));
		if (frame != TM_NO_FRAME) {
			make_huge(lane, &head, frame, TM_FRAME_FAULT,
				  started_ns);
			return zero_fill(lane, &head);
		}
	} else if (head.e->state == TM_REMOTE && are_plain(p, &head)) {
		had = fetch_begin(lane, &head, 0);
	}
	tm_lock_release(&head.shard->lock);
	if (had == TM_HUGE_FETCHES)
		fetch_pieces(lane, &head);
	return false;
}

/* Their places were used while a fault waited for a frame. */
static void prints_renew(struct tm_lane *lane, const struct tm_ref *head,
			 u32 first, u32 nr)
{
	struct tm_pager *p = lane->pager;
	u32 i, *which = lane->huge->frame, unknown = 0;
	struct tm_block *e;

	tm_lock_acquire(&head->shard->lock);
	for (i = first; i < first + nr; i++)
		if (!(tm_blockmap_find(&p->map, head->block + i)->flags &
		      TM_BLOCK_PRINT))
			which[unknown++] = i;
	tm_lock_release(&head->shard->lock);
	for (i = 0; i < unknown; i++) {
		e = tm_blockmap_find(&p->map, head->block + which[i]);
		e->fingerprint = p->ops->fingerprint(
			p->ctx, head->block + which[i], head->e->frame);
		tm_lock_acquire(&head->shard->lock);
		e->flags |= TM_BLOCK_PRINT;
		tm_lock_release(&head->shard->lock);
	}
}

/* Whether what came is what was sent away. */
static bool verify(struct tm_lane *lane, const struct tm_ref *head, u32 first,
		   u32 nr)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e;
	u32 i, seed;
	u64 block;

	for (i = first; i < first + nr; i++) {
		block = head->block + i;
		e = tm_blockmap_find(&p->map, block);
		seed = tm_ledger_seed(block, e->version);
		if (p->ops->checksum(p->ctx, block, head->e->frame, seed) !=
		    e->crc)
			return false;
	}
	if (p->ops->fingerprint)
		prints_renew(lane, head, first, nr);
	return true;
}

static void parts_missed(const struct tm_ref *b, struct tm_pager *p, u32 nr)
{
	u32 i;

	tm_lock_acquire(&b->shard->lock);
	for (i = 0; i < nr; i++)
		tm_blockmap_find(&p->map, b->block + i)->flags |=
			TM_BLOCK_MISSED;
	tm_lock_release(&b->shard->lock);
}

/* Up to @most neighbours of one run, all of which came, or were missed. */
static u32 take_missed(struct tm_pager *p, const struct tm_ref *first, u32 most,
		       bool *missed)
{
	u32 nr;

	tm_lock_acquire(&first->shard->lock);
	*missed = first->e->flags & TM_BLOCK_MISSED;
	for (nr = 0; nr < most; nr++) {
		if (!(first->e[nr].flags & TM_BLOCK_MISSED) == *missed)
			break;
		first->e[nr].flags &= (u16)~TM_BLOCK_MISSED;
	}
	tm_lock_release(&first->shard->lock);
	return nr;
}

/* Some of it did not come, or not as it was sent away. */
static void fetched_in_part(struct tm_lane *lane, const struct tm_ref *head,
			    int status)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr, most = tm_huge_run(p);
	struct tm_ref b;
	bool missed;

	tm_lock_acquire(&head->shard->lock);
	tm_huge_make_small(lane, head, true);
	for (i = 0; i < p->config.huge_blocks; i += nr) {
		b = tm_ref_find(p, head->block + i);
		nr = take_missed(p, &b, most - i % most, &missed);
		tm_run_came(lane, &b, nr, missed ? status : 0);
	}
}

void tm_huge_fetched(struct tm_lane *lane, const struct tm_ref *b, u32 nr,
		     int status)
{
	struct tm_pager *p = lane->pager;
	struct tm_ref head = tm_huge_head(p, b);
	struct tm_frame *f = tm_ref_frame(p, &head);

	if (status)
		parts_missed(b, p, nr);
	else if (!verify(lane, &head, (u32)(b->block - head.block), nr))
		status = -EBADMSG;
	if (status)
		f->missed = status;
	if (--f->pieces)
		return;
	if (f->missed) {
		fetched_in_part(lane, &head, f->missed);
		return;
	}
	tm_stats_add(lane->stats, fetched_blocks, p->config.huge_blocks);
	tm_lock_acquire(&head.shard->lock);
	if (tm_run_joins(p, &head))
		head.e->flags |= TM_BLOCK_WANTED;
	tm_huge_settle(lane, &head, TM_HELD_BYTES);
}
