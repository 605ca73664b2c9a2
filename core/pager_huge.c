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
#include "core/pager_internal.h"

/* A huge block is fetched in pieces, which lie in a row, of so many on average.
 */
#define PIECE_BLOCKS_LEAST 32

/* The @i-th part's entry; @e is that of the one before. */
static struct tm_block *part_at(struct tm_pager *p, const struct tm_ref *head,
				u32 i, struct tm_block *e)
{
	return i % TM_LEAF_BLOCKS ? e + 1
				  : tm_blockmap_find(&p->map, head->block + i);
}

/* A unit may be smaller than a leaf, and begin within one. */
#define for_each_part(p, head, i, e)                                           \
	for ((i) = 0, (e) = (head)->e; (i) < (p)->config.huge_blocks; (i)++,   \
	    (e) = (i) < (p)->config.huge_blocks ? part_at(p, head, i, e)       \
						: NULL)

static struct tm_ref part_ref(const struct tm_ref *head, u32 i,
			      struct tm_block *e)
{
	return (struct tm_ref){head->block + i, e, head->shard};
}

/* What a run may have of it. */
static u32 run_blocks(const struct tm_pager *p)
{
	u32 nr = p->config.huge_blocks;

	return nr < TM_RUN_BLOCKS ? nr : TM_RUN_BLOCKS;
}

/* The blocks become small, without frames; shard locked. */
static void dissolve(struct tm_pager *p, const struct tm_ref *head)
{
	struct tm_block *e;
	u32 i;

	for_each_part(p, head, i, e)
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

	for_each_part(p, head, i, e) e->flags |= TM_BLOCK_DISCARD;
}

void tm_huge_split_later(const struct tm_ref *head)
{
	if (!is_discarded(head))
		head->e->flags |= TM_BLOCK_SPLIT;
}

/*
 * The blocks become small, busy still, each in a frame of its own and there its
 * bytes, if there are @bytes. The head is busy; shard locked, and not on
 * return.
 */
static void make_small(struct tm_lane *lane, const struct tm_ref *head,
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
	for_each_part(p, head, i, e)
	{
		b = part_ref(head, i, e);
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

/* As tm_huge_settle(), small ones; returns how many have no frame any more. */
static u32 settle_small(struct tm_lane *lane, const struct tm_ref *head,
			enum tm_held held)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr = run_blocks(p), gone = 0;
	struct tm_ref b;

	make_small(lane, head, held != TM_HELD_NOTHING);
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
	settle_small(lane, head, mapped ? TM_HELD_MAPPED : TM_HELD_BYTES);
}

/* Its bytes are not needed here; shard locked, and again on return. */
static void huge_drop(struct tm_lane *lane, const struct tm_ref *head,
		      bool mapped)
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
	for_each_part(p, head, i, e)
	{
		b = part_ref(head, i, e);
		nr += tm_block_forget(p, &b, &slot[nr]);
	}
	tm_lock_release(&head->shard->lock);
	for (i = 0; i < nr; i++)
		tm_slot_free(lane, slot[i]);
	tm_lock_acquire(&head->shard->lock);
}

/* Shard locked, and again on return. */
static int huge_map(struct tm_lane *lane, const struct tm_ref *head,
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

	for_each_part(p, head, i, e)
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
			settle_small(lane, head, held);
			return TM_FAULT_PENDING;
		}
		if (e->flags & TM_BLOCK_DISCARD) {
			if (held != TM_HELD_NOTHING)
				huge_drop(lane, head, held == TM_HELD_MAPPED);
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
			huge_drop(lane, head, false);
			held = TM_HELD_NOTHING;
			break;

		case TM_HELD_BYTES:
			if (!(e->flags & TM_BLOCK_WANTED)) {
				tm_block_rest(p, head, TM_CACHED);
				tm_lock_release(&head->shard->lock);
				return TM_FAULT_DONE;
			}
			if (!huge_map(lane, head, 0))
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

/* Are these blocks on one server, one after the other? Shard locked. */
static bool lie_in_row(struct tm_pager *p, const struct tm_ref *head, u16 must)
{
	struct tm_replica first = head->e->replica[0];
	struct tm_block *e;
	u32 i;

	for_each_part(p, head, i, e)
	{
		if ((e->flags & must) != must ||
		    e->replica[0].server != first.server ||
		    e->replica[0].slot != first.slot + i)
			return false;
	}
	return true;
}

/* None has a frame, nor is one waited for; shard locked. */
static bool are_plain(struct tm_pager *p, const struct tm_ref *head)
{
	struct tm_block *e;
	u32 i;

	for_each_part(p, head, i, e)
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

	for_each_part(p, head, i, e) e->state = TM_TAIL;
	tm_frame_claim(p, head, frame, flags, started_ns);
	tm_stats_add(lane->stats, huge_blocks, 1);
}

static bool zero_fill(struct tm_lane *lane, const struct tm_ref *head)
{
	if (huge_map(lane, head, TM_MAP_ZERO)) {
		huge_drop(lane, head, false);
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

	for_each_part(p, head, i, e)
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

	for_each_part(p, head, i, e)
	{
		if (e->replica[0].server != next.server ||
		    e->replica[0].slot != next.slot) {
			tm_fetch_huge(lane, &first, head->e->frame, nr);
			first = part_ref(head, i, e);
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
	u32 i, nr, most = run_blocks(p);
	struct tm_ref b;
	bool missed;

	tm_lock_acquire(&head->shard->lock);
	make_small(lane, head, true);
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

/* Its bytes are elsewhere, too; returns how many blocks have gone. */
static u32 huge_evict(struct tm_lane *lane, const struct tm_ref *head)
{
	u32 nr = lane->pager->config.huge_blocks;
	u16 flags;

	tm_lock_acquire(&head->shard->lock);
	flags = head->e->flags;
	if (flags & TM_BLOCK_SPLIT)
		return settle_small(lane, head, TM_HELD_SPARE);
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
		make_small(lane, head, true);
		for_each_part(p, head, i, e)
		{
			b = part_ref(head, i, e);
			tm_store_failed(lane, &b);
		}
		return;
	}
	for_each_part(p, head, i, e) tm_copy_set(p, e);
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

	for_each_part(p, head, i, e)
	{
		b = part_ref(head, i, e);
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

	for_each_part(p, head, i, e)
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

	for_each_part(p, head, i, e)
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
	u32 i, nr = run_blocks(p), gone = 0;
	struct tm_ref b;

	tm_lock_acquire(&head->shard->lock);
	make_small(lane, head, true);
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
	for_each_part(p, head, i, e) lane->huge->flags[i] = e->flags;
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
