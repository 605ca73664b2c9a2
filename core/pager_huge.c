// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Huge blocks: neighbours that a stream brings, and that come, stay and go as
 * one, where the glue can move them with one entry of a page table. After
 * Linux's transparent huge pages (mm/huge_memory.c), and J. Navarro, S. Iyer,
 * P. Druschel, A. Cox, "Practical, transparent operating system support for
 * superpages", OSDI 2002.
 *
 * A huge block exists in local memory only. It is made where reading ahead
 * covers an aligned unit whose blocks lie on servers in a few pieces, or are
 * all new, and it ends when it leaves, or earlier: whatever is not the usual
 * course (a discard, an error, a pinned page, few of its blocks changed) splits
 * it into small blocks, which know all that. Its first block, the head, has the
 * state and the frame of all, and the others are TM_TAIL. What is known of the
 * copies (slot, checksum, version, fingerprint) stays with each of them; and so
 * does WANTED, which says who waits.
 *
 * Lock order: see pager_internal.h. All of a huge block are of one shard.
 */
#include "core/pager_huge.h"

/* The blocks become small, without frames; shard locked. */
static void dissolve(struct tm_pager *p, const struct tm_ref *head)
{
	struct tm_block *e;
	u32 i;

	tm_for_each_part(p, head, i, e)
	{
		e->flags &= (u16) ~(TM_BLOCK_WANTED | TM_BLOCK_WRITE);
		e->state = e->flags & TM_BLOCK_COPY ? TM_REMOTE : TM_ABSENT;
	}
}

/*
 * Of a block to be split, each part says whether it is to be discarded; else
 * the head says it of all. Shard locked.
 */
static bool is_discarded(const struct tm_ref *head)
{
	return (head->e->flags & (TM_BLOCK_DISCARD | TM_BLOCK_SPLIT)) ==
	       TM_BLOCK_DISCARD;
}

static void discard_parts(struct tm_pager *p, const struct tm_ref *head)
{
	struct tm_block *e;
	u32 i;

	tm_for_each_part(p, head, i, e) e->flags |= TM_BLOCK_DISCARD;
}

void tm_huge_split_later(const struct tm_ref *head)
{
	if (!is_discarded(head))
		head->e->flags |= TM_BLOCK_SPLIT;
}

void tm_huge_make_small(struct tm_lane *lane, const struct tm_ref *head,
			bool bytes)
{
	struct tm_pager *p = lane->pager;
	u32 i, huge = head->e->frame, *small = lane->huge->frame;
	const struct tm_frame *was = &p->frames.at[huge];
	struct tm_block *e;
	struct tm_ref b;
	u8 flags;

	tm_lock_release(&head->shard->lock);
	tm_frame_split(&p->frames, small);
	if (bytes)
		p->ops->split(p->ctx, lane, head->block, huge, small);

	tm_lock_acquire(&head->shard->lock);
	if (is_discarded(head))
		discard_parts(p, head);
	head->e->flags &= (u16)~TM_BLOCK_SPLIT;
	tm_for_each_part(p, head, i, e)
	{
		b = tm_part_ref(head, i, e);
		e->state = head->e->state;
		flags = was->flags;
		if (!(e->flags & TM_BLOCK_WANTED))
			flags &= (u8)~TM_FRAME_FAULT;
		tm_frame_claim(p, &b, small[i], flags, was->started_ns);
		p->frames.at[small[i]].mapped_ns = was->mapped_ns;
	}
	tm_lock_release(&head->shard->lock);
	tm_frame_split_end(&p->frames, huge);
	tm_stats_add(lane->stats, huge_split, 1);
}

u32 tm_huge_settle_small(struct tm_lane *lane, const struct tm_ref *head,
			 enum tm_held held)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr = tm_huge_run(p), gone = 0;
	struct tm_ref b;

	tm_huge_make_small(lane, head, held != TM_HELD_NOTHING);
	for (i = 0; i < p->config.huge_blocks; i += nr) {
		b = tm_ref_find(p, head->block + i);
		if (held == TM_HELD_SPARE)
			gone += tm_run_evict(lane, &b, nr);
		else
			tm_run_settle(lane, &b, nr, held);
	}
	return gone;
}

void tm_huge_split(struct tm_lane *lane, const struct tm_ref *head)
{
	struct tm_block *e = head->e;
	bool mapped = e->state == TM_RESIDENT;

	lane->pager->config.replace->remove(&head->shard->replace, e->frame);
	e->state = TM_UNMAPPING;
	tm_huge_settle_small(lane, head,
			     mapped ? TM_HELD_MAPPED : TM_HELD_BYTES);
}

void tm_huge_drop(struct tm_lane *lane, const struct tm_ref *head, bool mapped)
{
	struct tm_pager *p = lane->pager;
	struct tm_frame *f = tm_ref_frame(p, head);

	head->e->state = TM_UNMAPPING;
	tm_lock_release(&head->shard->lock);
	/* pinned or not: the program freed it, and drop takes it away */
	if (mapped)
		p->ops->unmap(p->ctx, lane, head->block, head->e->frame);
	p->ops->drop(p->ctx, lane, head->block, head->e->frame);
	tm_lock_acquire(&head->shard->lock);
	if (f->flags & TM_FRAME_AHEAD)
		tm_stats_add(lane->stats, prefetch_dropped, f->blocks);
	f->flags &= TM_FRAME_FAULT;
}

/*
 * All of it was freed by the program, and its frame holds nothing; shard
 * locked, and again on return.
 */
static void huge_forget(struct tm_lane *lane, const struct tm_ref *head)
{
	struct tm_pager *p = lane->pager;
	struct tm_replica *slot = lane->huge->slot;
	struct tm_block *e;
	struct tm_ref b;
	u32 i, nr = 0;

	head->e->flags &= (u16)~TM_BLOCK_DISCARD;
	tm_for_each_part(p, head, i, e)
	{
		b = tm_part_ref(head, i, e);
		nr += tm_block_forget(p, &b, &slot[nr]);
	}
	tm_lock_release(&head->shard->lock);
	for (i = 0; i < nr; i++)
		tm_slot_free(lane, slot[i]);
	tm_lock_acquire(&head->shard->lock);
}

int tm_huge_map(struct tm_lane *lane, const struct tm_ref *head,
		unsigned int flags)
{
	struct tm_pager *p = lane->pager;
	struct tm_frame *f = tm_ref_frame(p, head);
	u64 now;
	int err;

	if (head->e->flags & TM_BLOCK_WRITE)
		flags |= TM_MAP_WRITE;
	head->e->state = TM_MAPPING;
	tm_lock_release(&head->shard->lock);
	err = p->ops->map(p->ctx, lane, head->block, head->e->frame, flags);
	now = p->ops->now(p->ctx);
	tm_lock_acquire(&head->shard->lock);
	f->mapped_ns = f->flags & TM_FRAME_FAULT ? now : 0;
	return err;
}

/* Take WANTED off all parts; returns how many had it, and which. */
static u32 take_wanted(struct tm_pager *p, const struct tm_ref *head,
		       u32 *which)
{
	struct tm_block *e;
	u32 i, nr = 0;

	tm_for_each_part(p, head, i, e)
	{
		if (e->flags & TM_BLOCK_WANTED)
			which[nr++] = i;
		e->flags &= (u16)~TM_BLOCK_WANTED;
	}
	return nr;
}

static void rest_mapped(struct tm_lane *lane, const struct tm_ref *head)
{
	struct tm_pager *p = lane->pager;
	struct tm_frame *f = tm_ref_frame(p, head);
	u64 waited_ns = f->mapped_ns - f->started_ns;
	u32 i, nr = 0, *which = lane->huge->frame;
	u8 was = f->flags;

	/* among them are those that came while it was being mapped */
	if (head->e->flags & TM_BLOCK_WANTED)
		nr = take_wanted(p, head, which);
	tm_block_rest(p, head, TM_RESIDENT);
	tm_lock_release(&head->shard->lock);

	if (was & TM_FRAME_FAULT) {
		for (i = 0; i < nr; i++)
			p->ops->wake(p->ctx, lane, head->block + which[i]);
		tm_hist_record(&lane->stats->fault_ns, waited_ns);
	}
	if (was & TM_FRAME_AHEAD)
		tm_stats_add(lane->stats, prefetch_used, f->blocks);
}

enum tm_fault_result tm_huge_settle(struct tm_lane *lane,
				    const struct tm_ref *head,
				    enum tm_held held)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = head->e;
	u32 frame = e->frame;

	for (;;) {
		if (e->flags & TM_BLOCK_SPLIT) {
			tm_huge_settle_small(lane, head, held);
			return TM_FAULT_PENDING;
		}
		if (e->flags & TM_BLOCK_DISCARD) {
			if (held != TM_HELD_NOTHING)
				tm_huge_drop(lane, head,
					     held == TM_HELD_MAPPED);
			held = TM_HELD_NOTHING;
			huge_forget(lane, head);
			continue;
		}
		switch (held) {
		case TM_HELD_MAPPED:
			rest_mapped(lane, head);
			return TM_FAULT_DONE;

		case TM_HELD_SPARE:
			if (e->flags & TM_BLOCK_WANTED) {
				held = TM_HELD_BYTES;
				break;
			}
			tm_huge_drop(lane, head, false);
			held = TM_HELD_NOTHING;
			break;

		case TM_HELD_BYTES:
			if (!(e->flags & TM_BLOCK_WANTED)) {
				tm_block_rest(p, head, TM_CACHED);
				tm_lock_release(&head->shard->lock);
				return TM_FAULT_DONE;
			}
			if (!tm_huge_map(lane, head, 0))
				held = TM_HELD_MAPPED;
			else
				tm_huge_split_later(head);
			break;

		case TM_HELD_NOTHING:
			if (e->flags & TM_BLOCK_WANTED) {
				tm_huge_split_later(head);
				break;
			}
			dissolve(p, head);
			tm_lock_release(&head->shard->lock);
			tm_lane_frames_put(lane, &frame, 1);
			return TM_FAULT_DONE;
		}
	}
}

void tm_huge_discard(struct tm_lane *lane, const struct tm_ref *head)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = head->e;
	bool cached = e->state == TM_CACHED;

	if (e->flags & TM_BLOCK_SPLIT)
		discard_parts(p, head);
	else
		e->flags |= TM_BLOCK_DISCARD;
	if (!cached && e->state != TM_RESIDENT) {
		tm_lock_release(&head->shard->lock);
		return;
	}
	p->config.replace->remove(&head->shard->replace, e->frame);
	tm_huge_settle(lane, head, cached ? TM_HELD_BYTES : TM_HELD_MAPPED);
}

void tm_huge_discard_part(const struct tm_ref *head, struct tm_block *part)
{
	if (is_discarded(head))
		return;
	head->e->flags |= TM_BLOCK_SPLIT;
	part->flags |= TM_BLOCK_DISCARD;
}
