// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's faults: what a touched block needs, what follows when an
 * operation on a block has ended, and the queues of faults that wait for a
 * frame. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

bool tm_block_copied(struct tm_pager *p, const struct tm_block *e, u16 flags)
{
	return (flags & TM_BLOCK_COPY) &&
	       tm_place_server_alive(p->place, e->replica[0].server);
}

bool tm_block_forget(struct tm_pager *p, const struct tm_ref *b,
		     struct tm_replica *slot)
{
	struct tm_block *e = b->e;

	if (!(e->flags & TM_BLOCK_SLOT))
		return false;
	*slot = e->replica[0];
	tm_copy_clear(p, e);
	e->flags &= (u16) ~(TM_BLOCK_SLOT | TM_BLOCK_PRINT);
	return true;
}

void tm_block_lose(struct tm_lane *lane, const struct tm_ref *b, int err)
{
	struct tm_pager *p = lane->pager;
	struct tm_replica slot;
	bool forgotten = tm_block_forget(p, b, &slot);

	b->e->state = TM_LOST;
	b->e->flags = 0;
	b->e->err = err;
	tm_lock_release(&b->shard->lock);

	tm_add_return(&p->lost, 1);
	tm_stats_add(lane->stats, lost, 1);
	if (forgotten)
		tm_slot_free(lane, slot);
	p->ops->fail(p->ctx, lane, b->block, err);
}

/* Put a block whose fault cannot go on at the end of its shard's queue. */
static void queue_push(struct tm_pager *p, const struct tm_ref *b,
		       u64 started_ns)
{
	struct tm_shard *shard = b->shard;
	struct tm_block *e = b->e;

	e->state = e->flags & TM_BLOCK_COPY ? TM_REMOTE : TM_ABSENT;
	e->flags |= TM_BLOCK_WAITING;
	e->flags &= (u16) ~(TM_BLOCK_WANTED | TM_BLOCK_PRINT);
	e->since_ns = started_ns;
	e->next = TM_NO_BLOCK;
	if (shard->queue_tail == TM_NO_BLOCK)
		shard->queue_head = (u32)b->block;
	else
		tm_blockmap_find(&p->map, shard->queue_tail)->next =
			(u32)b->block;
	shard->queue_tail = (u32)b->block;
	tm_store_relaxed(&shard->queue_nr, shard->queue_nr + 1);
	tm_add_return(&p->waiting, 1);
}

/* The shard is locked, its queue not empty. */
static struct tm_ref queue_pop(struct tm_pager *p, struct tm_shard *shard)
{
	struct tm_ref b = tm_ref_find(p, shard->queue_head);

	shard->queue_head = b.e->next;
	if (shard->queue_head == TM_NO_BLOCK)
		shard->queue_tail = TM_NO_BLOCK;
	tm_store_relaxed(&shard->queue_nr, shard->queue_nr - 1);
	tm_add_return(&p->waiting, -1);
	b.e->flags &= (u16)~TM_BLOCK_WAITING;
	return b;
}

bool tm_queue_serve(struct tm_lane *lane, u32 frame)
{
	struct tm_pager *p = lane->pager;
	u32 i, first = lane->served++;

	for (i = 0; i < p->nr_shards; i++) {
		struct tm_shard *shard =
			&p->shard[(first + i) & (p->nr_shards - 1)];
		struct tm_ref b;

		if (!tm_load_relaxed(&shard->queue_nr))
			continue;
		tm_lock_acquire(&shard->lock);
		if (!shard->queue_nr) {
			tm_lock_release(&shard->lock);
			continue;
		}
		b = queue_pop(p, shard);
		tm_frame_claim(p, &b, frame, TM_FRAME_FAULT, b.e->since_ns);
		b.e->flags |= TM_BLOCK_WANTED;
		tm_block_settle(lane, &b, TM_HELD_NOTHING, 0);
		return true;
	}
	return false;
}

void tm_queue_lose(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr;

	for (i = 0; i < p->nr_shards; i++) {
		struct tm_shard *shard = &p->shard[i];
		struct tm_ref b;

		tm_lock_acquire(&shard->lock);
		/* once round; others may take some while it is not locked */
		for (nr = shard->queue_nr; nr && shard->queue_nr; nr--) {
			b = queue_pop(p, shard);
			if (!(b.e->flags & TM_BLOCK_COPY) ||
			    tm_block_copied(p, b.e, b.e->flags)) {
				queue_push(p, &b, b.e->since_ns);
				continue;
			}
			tm_block_lose(lane, &b, -EIO);
			tm_lock_acquire(&shard->lock);
		}
		tm_lock_release(&shard->lock);
	}
}

void tm_queue_expire(struct tm_lane *lane, u64 ns)
{
	struct tm_pager *p = lane->pager;
	u32 i;

	for (i = 0; i < p->nr_shards; i++) {
		struct tm_shard *shard = &p->shard[i];
		struct tm_ref b;

		for (;;) {
			tm_lock_acquire(&shard->lock);
			if (!shard->queue_nr)
				break;
			b = tm_ref_find(p, shard->queue_head);
			if (b.e->since_ns > ns)
				break;
			b = queue_pop(p, shard);
			tm_block_lose(lane, &b, -ENOMEM);
		}
		tm_lock_release(&shard->lock);
	}
}

/*
 * Map the block; shard locked, and again on return. In case of an error nothing
 * is mapped.
 */
static int block_map(struct tm_lane *lane, const struct tm_ref *b,
		     unsigned int flags)
{
	struct tm_pager *p = lane->pager;
	struct tm_frame *frame = tm_ref_frame(p, b);
	u64 now;
	int err;

	if (b->e->flags & TM_BLOCK_WRITE)
		flags |= TM_MAP_WRITE;
	b->e->state = TM_MAPPING;
	b->e->flags &= (u16) ~(TM_BLOCK_WANTED | TM_BLOCK_WRITE);
	tm_lock_release(&b->shard->lock);
	err = p->ops->map(p->ctx, lane, b->block, b->e->frame, flags);
	now = p->ops->now(p->ctx);
	tm_lock_acquire(&b->shard->lock);
	frame->mapped_ns = frame->flags & TM_FRAME_FAULT ? now : 0;
	return err;
}

/* The block's bytes are not needed here; shard locked, and again on return. */
static void block_drop(struct tm_lane *lane, const struct tm_ref *b,
		       bool mapped)
{
	struct tm_pager *p = lane->pager;
	u32 frame = b->e->frame;
	bool probe = p->frames.at[frame].flags & TM_FRAME_PROBE &&
		     !(b->e->flags & TM_BLOCK_DISCARD);

	b->e->state = TM_UNMAPPING;
	tm_lock_release(&b->shard->lock);
	if (probe)
		tm_probe_ended(p, b->block, false);
	/* pinned or not: the program freed it, and drop takes it away */
	if (mapped)
		p->ops->unmap(p->ctx, lane, b->block, frame);
	p->ops->drop(p->ctx, lane, b->block, frame);
	tm_lock_acquire(&b->shard->lock);
	if (p->frames.at[frame].flags & TM_FRAME_AHEAD)
		tm_stats_add(lane->stats, prefetch_dropped, 1);
	p->frames.at[frame].flags &= TM_FRAME_FAULT;
}

static enum tm_fault_result rest_mapped(struct tm_lane *lane,
					const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	struct tm_frame *frame = tm_ref_frame(p, b);
	bool again = b->e->flags & TM_BLOCK_WANTED;
	u64 waited_ns = frame->mapped_ns - frame->started_ns;
	u8 was = frame->flags;

	tm_block_rest(p, b, TM_RESIDENT);
	tm_lock_release(&b->shard->lock);

	if (again)
		p->ops->wake(p->ctx, lane, b->block);
	if (was & TM_FRAME_AHEAD)
		tm_stats_add(lane->stats, prefetch_used, 1);
	if (was & TM_FRAME_PROBE)
		tm_probe_ended(p, b->block, true);
	if (was & TM_FRAME_FAULT)
		tm_hist_record(&lane->stats->fault_ns, waited_ns);
	return TM_FAULT_DONE;
}

static enum tm_fault_result rest_cached(struct tm_lane *lane,
					const struct tm_ref *b)
{
	tm_block_rest(lane->pager, b, TM_CACHED);
	tm_lock_release(&b->shard->lock);
	return TM_FAULT_DONE;
}

/* Without a frame: what had been in it is elsewhere, or nowhere. */
static enum tm_fault_result rest_empty(struct tm_lane *lane,
				       const struct tm_ref *b)
{
	u32 frame = b->e->frame;

	tm_block_vacate(b);
	tm_lock_release(&b->shard->lock);
	tm_lane_frames_put(lane, &frame, 1);
	return TM_FAULT_DONE;
}

enum tm_fault_result tm_block_settle(struct tm_lane *lane,
				     const struct tm_ref *b, enum tm_held held,
				     int err)
{
	struct tm_pager *p = lane->pager;
	struct tm_frame *frame = tm_ref_frame(p, b);
	struct tm_block *e = b->e;
	bool cached = p->config.can_cache;
	struct tm_replica slot;
	u32 index = e->frame;
	int failed;

	if (tm_ref_is_huge(p, b))
		return tm_huge_settle(lane, b, held);
	for (;;) {
		if (e->flags & TM_BLOCK_DISCARD) {
			if (held != TM_HELD_NOTHING)
				block_drop(lane, b, held == TM_HELD_MAPPED);
			held = TM_HELD_NOTHING;
			err = 0;
			e->flags &= (u16) ~(TM_BLOCK_DISCARD | TM_BLOCK_RETRY);
			if (tm_block_forget(p, b, &slot)) {
				tm_lock_release(&b->shard->lock);
				tm_slot_free(lane, slot);
				tm_lock_acquire(&b->shard->lock);
			}
			continue;
		}

		switch (held) {
		case TM_HELD_MAPPED:
			return rest_mapped(lane, b);

		case TM_HELD_SPARE:
			if (e->flags & TM_BLOCK_WANTED) {
				held = TM_HELD_BYTES;
				break;
			}
			block_drop(lane, b, false);
			held = TM_HELD_NOTHING;
			break;

		case TM_HELD_BYTES:
			if (cached && !(e->flags & TM_BLOCK_WANTED))
				return rest_cached(lane, b);
			failed = block_map(lane, b, 0);
			if (!failed) {
				held = TM_HELD_MAPPED;
				break;
			}
			/* what nobody waits for need not be mapped */
			if (!(frame->flags & TM_FRAME_FAULT) && cached)
				return rest_cached(lane, b);
			if (!tm_block_copied(p, e, e->flags) ||
			    (frame->flags & (TM_FRAME_FAULT | TM_FRAME_DIRTY |
					     TM_FRAME_UNKNOWN)))
				err = failed;
			block_drop(lane, b, false);
			held = TM_HELD_NOTHING;
			break;

		case TM_HELD_NOTHING:
			if (err || ((e->flags & TM_BLOCK_WANTED) &&
				    (e->flags & TM_BLOCK_COPY) &&
				    !tm_block_copied(p, e, e->flags))) {
				tm_block_lose(lane, b, err ? err : -EIO);
				tm_lane_frames_put(lane, &index, 1);
				return TM_FAULT_DONE;
			}
			if (!(e->flags & TM_BLOCK_WANTED))
				return rest_empty(lane, b);
			if (!(e->flags & TM_BLOCK_COPY)) {
				failed = block_map(lane, b, TM_MAP_ZERO);
				if (!failed) {
					frame->flags |= TM_FRAME_ZERO;
					held = TM_HELD_MAPPED;
					break;
				}
				block_drop(lane, b, false);
				if (frame->flags & TM_FRAME_FAULT)
					err = failed;
				break;
			}
			if (!tm_lane_room(lane, false)) {
				queue_push(p, b, frame->started_ns);
				tm_lock_release(&b->shard->lock);
				tm_lane_frames_put(lane, &index, 1);
				return TM_FAULT_PENDING;
			}
			if (e->flags & TM_BLOCK_RETRY)
				tm_stats_add(lane->stats, refetched, 1);
			e->state = TM_FETCHING;
			tm_fetch_add(lane, b);
			tm_lock_release(&b->shard->lock);
			tm_lane_flush_full(lane);
			return TM_FAULT_PENDING;
		}
	}
}

/* A fault on a block with no frame; shard locked. */
static enum tm_fault_result
fault_frameless(struct tm_lane *lane, const struct tm_ref *b, u64 started_ns)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = b->e;
	u32 frame = TM_NO_FRAME;

	if (e->state == TM_REMOTE && !tm_block_copied(p, e, e->flags)) {
		tm_block_lose(lane, b, -EIO);
		return TM_FAULT_DONE;
	}
	/* those who wait come first */
	if (!tm_load_relaxed(&p->waiting))
		frame = tm_frame_get(&p->frames, 0);
	if (frame == TM_NO_FRAME) {
		queue_push(p, b, started_ns);
		tm_lock_release(&b->shard->lock);
		return TM_FAULT_PENDING;
	}
	tm_frame_claim(p, b, frame, TM_FRAME_FAULT, started_ns);
	e->flags |= TM_BLOCK_WANTED;
	return tm_block_settle(lane, b, TM_HELD_NOTHING, 0);
}

/* A fault on a block that is busy: remember it; shard locked. */
static enum tm_fault_result fault_busy(struct tm_lane *lane,
				       const struct tm_ref *b, u64 started_ns)
{
	struct tm_frame *frame = tm_ref_frame(lane->pager, b);

	b->e->flags |= TM_BLOCK_WANTED;
	if (!(frame->flags & TM_FRAME_FAULT)) {
		frame->flags |= TM_FRAME_FAULT;
		frame->started_ns = started_ns;
	}
	tm_lock_release(&b->shard->lock);
	return TM_FAULT_PENDING;
}

static enum tm_fault_result fault_leafless(struct tm_lane *lane, u64 block,
					   bool write, u64 started_ns)
{
	struct tm_pager *p = lane->pager;

	if (lane->nr_leafless == TM_LEAFLESS_MAX) {
		/* no place even to remember it: let it come again */
		p->ops->wake(p->ctx, lane, block);
		return TM_FAULT_DONE;
	}
	lane->leafless[lane->nr_leafless++] = (struct tm_leafless){
		.block = block,
		.started_ns = started_ns,
		.write = write,
	};
	return TM_FAULT_PENDING;
}

enum tm_fault_result tm_fault_block(struct tm_lane *lane, u64 block, bool write,
				    u64 started_ns)
{
	struct tm_pager *p = lane->pager;
	enum tm_fault_result result;
	struct tm_block *e, *part;
	enum tm_found found = TM_FOUND_AHEAD;
	struct tm_ref b;
	int err;

	e = tm_blockmap_get(&p->map, block, &lane->leaves);
	if (tm_unlikely(!e))
		return fault_leafless(lane, block, write, started_ns);
	if (p->config.huge_blocks && tm_huge_fault(lane, block, started_ns)) {
		tm_stats_add(lane->stats, faults_zero, 1);
		tm_read_ahead(lane, block, TM_FOUND_NEW);
		return TM_FAULT_DONE;
	}
	b = tm_ref(p, block, e);

	tm_lock_acquire(&b.shard->lock);
	/* a huge block has one state, that of its first part */
	part = e;
	if (e->state == TM_TAIL) {
		b = tm_huge_head(p, &b);
		e = b.e;
	}
	if (write)
		e->flags |= TM_BLOCK_WRITE;
	switch (e->state) {
	case TM_ABSENT:
	case TM_REMOTE:
		if (e->state == TM_ABSENT) {
			found = TM_FOUND_NEW;
			tm_stats_add(lane->stats, faults_zero, 1);
		} else {
			found = TM_FOUND_REMOTE;
			tm_stats_add(lane->stats, faults_remote, 1);
		}
		if (e->flags & TM_BLOCK_WAITING) {
			tm_lock_release(&b.shard->lock);
			result = TM_FAULT_PENDING;
		} else {
			result = fault_frameless(lane, &b, started_ns);
		}
		break;
	case TM_CACHED:
		if (!(tm_ref_frame(p, &b)->flags & TM_FRAME_AHEAD))
			found = TM_FOUND_AGAIN;
		tm_stats_add(lane->stats, faults_cached, 1);
		p->config.replace->remove(&b.shard->replace, e->frame);
		e->flags |= TM_BLOCK_WANTED;
		part->flags |= TM_BLOCK_WANTED;
		tm_ref_frame(p, &b)->flags |= TM_FRAME_FAULT;
		tm_ref_frame(p, &b)->started_ns = started_ns;
		result = tm_block_settle(lane, &b, TM_HELD_BYTES, 0);
		break;
	case TM_RESIDENT:
		e->flags &= (u16)~TM_BLOCK_WRITE;
		tm_lock_release(&b.shard->lock);
		tm_stats_add(lane->stats, faults_spurious, 1);
		p->ops->wake(p->ctx, lane, block);
		return TM_FAULT_DONE;
	case TM_LOST:
		e->flags = 0;
		err = e->err;
		tm_lock_release(&b.shard->lock);
		p->ops->fail(p->ctx, lane, block, err);
		return TM_FAULT_DONE;
	case TM_FETCHING:
		tm_stats_add(lane->stats, faults_remote, 1);
		part->flags |= TM_BLOCK_WANTED;
		result = fault_busy(lane, &b, started_ns);
		break;
	default:
		tm_stats_add(lane->stats, faults_cached, 1);
		part->flags |= TM_BLOCK_WANTED;
		result = fault_busy(lane, &b, started_ns);
		break;
	}
	if (!tm_load_relaxed(&p->waiting))
		tm_read_ahead(lane, block, found);
	return result;
}

enum tm_fault_result tm_pager_fault(struct tm_lane *lane, u64 block, bool write,
				    u64 started_ns)
{
	struct tm_pager *p = lane->pager;
	enum tm_fault_result result = TM_FAULT_DONE;

	tm_stats_add(lane->stats, faults, 1);
	if (tm_unlikely(block >= p->config.nr_blocks))
		p->ops->fail(p->ctx, lane, block, -EFAULT);
	else
		result = tm_fault_block(lane, block, write, started_ns);
	tm_lane_finish(lane);
	if (lane->scarce) {
		/* the lane may have no idle moment for it soon */
		lane->scarce = false;
		tm_reclaim(lane);
		tm_lane_finish(lane);
	}
	return result;
}
