// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's requests: batches that become runs of remote memory, their
 * completion, and slots handed back. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

u32 tm_lane_room(const struct tm_lane *lane, bool background)
{
	u32 depth = lane->pager->config.io_depth;
	u32 busy = lane->fetching + lane->storing;

	/* what runs ahead of faults leaves them a quarter */
	if (background)
		depth -= depth / 4;
	return busy < depth ? depth - busy : 0;
}

static void count(u32 *counter, int n)
{
	tm_store_relaxed(counter, *counter + (u32)n);
}

static u64 item_place(const struct tm_batch_item *item)
{
	return (u64)item->replica.server << 48 | item->replica.slot;
}

/* By insertion: they come nearly in order. */
static void batch_sort(struct tm_batch *batch)
{
	u32 i, j;

	for (i = 1; i < batch->nr; i++) {
		struct tm_batch_item item = batch->item[i];

		for (j = i;
		     j && item_place(&batch->item[j - 1]) > item_place(&item);
		     j--)
			batch->item[j] = batch->item[j - 1];
		batch->item[j] = item;
	}
}

/* Make a request of the items from @i on; returns the next item. */
static u32 io_fill(struct tm_lane *lane, const struct tm_batch *batch, u32 i,
		   struct tm_io *io)
{
	const struct tm_batch_item *item = &batch->item[i];
	u64 place = item_place(item);

	/* only what is used of the table takes memory */
	io->lane = lane;
	io->server = item->replica.server;
	io->addr = (u64)item->replica.slot << lane->pager->config.block_shift;
	io->nr = 0;
	io->nr_segs = 0;
	do {
		item = &batch->item[i];
		io->seg[io->nr].block = item->block;
		io->seg[io->nr].frame = item->frame;
		io->seg[io->nr].version = item->version;
		io->nr++;
		io->nr_segs++;
		i++;
	} while (i < batch->nr && io->nr < lane->pager->io_blocks &&
		 item_place(&batch->item[i]) == place + io->nr);
	return i;
}

/* Returns how many requests it made of the batch. */
static u32 batch_flush(struct tm_lane *lane, struct tm_batch *batch,
		       void (*start)(void *ctx, struct tm_io *io))
{
	struct tm_pager *p = lane->pager;
	u32 i, requests = 0;
	struct tm_io *io;
	u64 now;

	if (!batch->nr)
		return 0;
	now = p->ops->now(p->ctx);
	batch_sort(batch);
	for (i = 0; i < batch->nr; requests++) {
		io = lane->io_free[--lane->nr_io_free];
		i = io_fill(lane, batch, i, io);
		io->started_ns = now;
		start(p->ctx, io);
	}
	batch->nr = 0;
	return requests;
}

void tm_fetch_flush(struct tm_lane *lane)
{
	tm_stats_add(lane->stats, fetch_requests,
		     batch_flush(lane, &lane->fetch, lane->pager->ops->fetch));
}

static void store_flush(struct tm_lane *lane)
{
	tm_stats_add(lane->stats, store_requests,
		     batch_flush(lane, &lane->store, lane->pager->ops->store));
}

static void batch_add(struct tm_batch *batch, const struct tm_ref *b)
{
	batch->item[batch->nr++] = (struct tm_batch_item){
		.block = b->block,
		.replica = b->e->replica[0],
		.frame = b->e->frame,
		.version = b->e->version,
	};
}

void tm_fetch_add(struct tm_lane *lane, const struct tm_ref *b)
{
	batch_add(&lane->fetch, b);
	count(&lane->fetching, 1);
}

void tm_store_add(struct tm_lane *lane, const struct tm_ref *b)
{
	batch_add(&lane->store, b);
	count(&lane->storing, 1);
}

/* What is in a huge frame goes by requests of its own, and waits for no others.
 */
static struct tm_io *io_huge(struct tm_lane *lane, const struct tm_ref *b,
			     u32 frame, u32 nr)
{
	struct tm_pager *p = lane->pager;
	struct tm_io *io = lane->io_free[--lane->nr_io_free];
	struct tm_replica replica = b->e->replica[0];

	io->lane = lane;
	io->server = replica.server;
	io->addr = (u64)replica.slot << p->config.block_shift;
	io->nr = (u16)nr;
	io->nr_segs = 1;
	io->seg[0].block = b->block;
	io->seg[0].frame = frame;
	io->seg[0].version = b->e->version;
	io->started_ns = p->ops->now(p->ctx);
	return io;
}

void tm_fetch_huge(struct tm_lane *lane, const struct tm_ref *b, u32 frame,
		   u32 nr)
{
	count(&lane->fetching, (int)nr);
	tm_stats_add(lane->stats, fetch_requests, 1);
	lane->pager->ops->fetch(lane->pager->ctx, io_huge(lane, b, frame, nr));
}

void tm_store_huge(struct tm_lane *lane, const struct tm_ref *b)
{
	u32 nr = lane->pager->config.huge_blocks;

	count(&lane->storing, (int)nr);
	tm_stats_add(lane->stats, store_requests, 1);
	lane->pager->ops->store(lane->pager->ctx,
				io_huge(lane, b, b->e->frame, nr));
}

void tm_lane_flush_full(struct tm_lane *lane)
{
	if (lane->fetch.nr == TM_IO_BLOCKS)
		tm_fetch_flush(lane);
	if (lane->store.nr == TM_IO_BLOCKS)
		store_flush(lane);
}

void tm_slots_put(struct tm_pager *p, struct tm_replica slot, u64 nr)
{
	for (; nr; nr--, slot.slot++)
		tm_place_put(p->place, slot);
}

/*
 * Tell the server. The slots are given out again after its answer: a store by
 * another lane could get there first, and would be discarded.
 */
static void freed_flush(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u32 shift = p->config.block_shift;
	struct tm_replica slot = lane->freed;
	u64 nr = lane->nr_freed;

	if (!nr)
		return;
	lane->nr_freed = 0;
	if (!tm_place_server_alive(p->place, slot.server) ||
	    !p->ops->discard(p->ctx, lane, slot.server, (u64)slot.slot << shift,
			     nr << shift))
		tm_slots_put(p, slot, nr);
}

void tm_pager_discarded(struct tm_lane *lane, unsigned int server, u64 addr,
			u64 bytes)
{
	struct tm_pager *p = lane->pager;
	u32 shift = p->config.block_shift;
	struct tm_replica slot = {.server = server, .slot = addr >> shift};

	tm_slots_put(p, slot, bytes >> shift);
	tm_lane_finish(lane);
}

void tm_slot_free(struct tm_lane *lane, struct tm_replica slot)
{
	if (lane->nr_freed && (slot.server != lane->freed.server ||
			       slot.slot != lane->freed.slot + lane->nr_freed))
		freed_flush(lane);
	if (!lane->nr_freed)
		lane->freed = slot;
	lane->nr_freed++;
}

void tm_lane_frames_put(struct tm_lane *lane, const u32 *frame, u32 nr)
{
	struct tm_pager *p = lane->pager;

	tm_frames_put(&p->frames, frame, nr);
	lane->frames_freed = true;
	if (tm_unlikely(tm_load_relaxed(&p->stuck_ns)))
		tm_store_relaxed(&p->stuck_ns, 0);
	if (tm_unlikely(tm_load_relaxed(&p->refused)))
		tm_store_relaxed(&p->refused, 0);
}

u32 tm_total_storing(const struct tm_pager *p)
{
	u32 i, nr = 0;

	for (i = 0; i < p->config.nr_lanes; i++)
		nr += tm_load_relaxed(&p->lane[i]->storing);
	return nr;
}

bool tm_total_idle(const struct tm_pager *p, bool reserving)
{
	u32 i;

	for (i = 0; i < p->config.nr_lanes; i++)
		if (tm_load_relaxed(&p->lane[i]->fetching) ||
		    tm_load_relaxed(&p->lane[i]->storing) ||
		    (reserving && tm_load_relaxed(&p->lane[i]->reserving)))
			return false;
	return true;
}

/*
 * Who frees a frame looks for waiting faults afterwards; who waits looks for a
 * frame after having queued up. Both looks are behind a read-modify-write of
 * the counter, so one of the two sees the other.
 */
static u32 queue_waiting(struct tm_lane *lane)
{
	if (tm_likely(!lane->frames_freed))
		return tm_load_relaxed(&lane->pager->waiting);
	lane->frames_freed = false;
	return tm_add_return(&lane->pager->waiting, 0);
}

/* Serve the faults that wait, evicting for them if need be. */
static void queue_kick(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u32 waiting, used, limit, frame, want;

	while (tm_unlikely(waiting = queue_waiting(lane)) &&
	       tm_lane_room(lane, false)) {
		frame = tm_frame_get(&p->frames, 0);
		if (frame != TM_NO_FRAME) {
			if (tm_queue_serve(lane, frame))
				continue;
			tm_frames_put(&p->frames, &frame, 1);
			break;
		}
		/* what is on its way out counts; the limit may have come down
		 */
		limit = tm_load_relaxed(&p->frames.limit);
		used = tm_load_relaxed(&p->frames.used);
		want = waiting + (used > limit ? used - limit : 0);
		if (tm_total_storing(p) >= want ||
		    !tm_evict(lane, want - tm_total_storing(p), true))
			break;
	}
}

void tm_lane_finish(struct tm_lane *lane)
{
	queue_kick(lane);
	freed_flush(lane);
	tm_fetch_flush(lane);
	store_flush(lane);
}

static void io_end(struct tm_io *io)
{
	struct tm_lane *lane = io->lane;

	lane->io_free[lane->nr_io_free++] = io;
	tm_lane_finish(lane);
}

/* Whether what came back is what was sent away. */
static bool verify(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	u32 seed = tm_ledger_seed(b->block, b->e->version);

	if (p->ops->checksum(p->ctx, b->block, b->e->frame, seed) == b->e->crc)
		return true;
	tm_stats_add(lane->stats, checksum_errors, 1);
	return false;
}

/* The fingerprint's place was used while the fault waited for a frame. */
static void print_renew(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;

	b->e->fingerprint = p->ops->fingerprint(p->ctx, b->block, b->e->frame);
	tm_lock_acquire(&b->shard->lock);
	b->e->flags |= TM_BLOCK_PRINT;
	tm_lock_release(&b->shard->lock);
}

static void fetched_one(struct tm_lane *lane, const struct tm_ref *b, int err)
{
	struct tm_pager *p = lane->pager;
	bool lost, failed;

	if (err)
		p->ops->drop(p->ctx, lane, b->block, b->e->frame);
	tm_lock_acquire(&b->shard->lock);
	if (!err) {
		b->e->flags &= (u16)~TM_BLOCK_RETRY;
		if (tm_run_joins(p, b))
			b->e->flags |= TM_BLOCK_WANTED;
		tm_block_settle(lane, b, TM_HELD_BYTES, 0);
		return;
	}
	lost = !tm_block_copied(p, b->e, b->e->flags);
	failed = (tm_ref_frame(p, b)->flags & TM_FRAME_FAULT) &&
		 (lost || b->e->flags & TM_BLOCK_RETRY);
	b->e->flags |= TM_BLOCK_RETRY;
	tm_block_settle(lane, b, TM_HELD_NOTHING,
			!failed ? 0
			: lost	? -EIO
				: err);
}

static bool is_huge(const struct tm_pager *p, const struct tm_io *io)
{
	return tm_frame_is_huge(&p->frames, io->seg[0].frame);
}

/* How many of a request's blocks, from the @i-th on, are of one run. */
static u32 io_run(const struct tm_io *io, u32 i)
{
	u64 block = io->seg[i].block;
	u32 nr = 1;

	while (i + nr < io->nr && io->seg[i + nr].block == block + nr &&
	       (block + nr) % TM_RUN_BLOCKS)
		nr++;
	return nr;
}

/* Look at what came: @fine is set for each that is what was sent away. */
static void run_verify(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		       bool *fine)
{
	struct tm_pager *p = lane->pager;
	bool print[TM_RUN_BLOCKS];
	struct tm_ref b;
	u32 i;

	tm_lock_acquire(&first->shard->lock);
	for (i = 0; i < nr; i++) {
		b = tm_ref_neighbour(first, i);
		print[i] =
			p->ops->fingerprint && !(b.e->flags & TM_BLOCK_PRINT);
	}
	tm_lock_release(&first->shard->lock);
	for (i = 0; i < nr; i++) {
		b = tm_ref_neighbour(first, i);
		fine[i] = verify(lane, &b);
		if (!fine[i])
			continue;
		tm_stats_add(lane->stats, fetched_blocks, 1);
		if (print[i])
			print_renew(lane, &b);
	}
}

void tm_run_came(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		 int status)
{
	const int err = status ? status : -EBADMSG;
	bool fine[TM_RUN_BLOCKS] = {false};
	struct tm_ref b;
	u32 i, n;

	if (!status)
		run_verify(lane, first, nr, fine);
	for (i = 0; i < nr; i += n) {
		for (n = 0; i + n < nr && fine[i + n];)
			n++;
		b = tm_ref_neighbour(first, i);
		n = tm_run_fetched(lane, &b, n);
		if (n)
			continue;
		fetched_one(lane, &b, fine[i] ? 0 : err);
		n = 1;
	}
}

void tm_pager_fetched(struct tm_io *io, int status)
{
	struct tm_lane *lane = io->lane;
	struct tm_pager *p = lane->pager;
	struct tm_ref b;
	u32 i, run;

	count(&lane->fetching, -(int)io->nr);
	for (i = 0; i < io->nr_segs; i += run) {
		b = tm_ref_find(p, io->seg[i].block);
		run = 1;
		if (is_huge(p, io)) {
			tm_huge_fetched(lane, &b, io->nr, status);
		} else {
			run = io_run(io, i);
			tm_run_came(lane, &b, run, status);
		}
	}
	if (!status) {
		tm_stats_add(lane->stats, bytes_in,
			     (u64)io->nr << p->config.block_shift);
		tm_hist_record(&lane->stats->fetch_bytes,
			       (u64)io->nr << p->config.block_shift);
		tm_hist_record(&lane->stats->fetch_ns,
			       p->ops->now(p->ctx) - io->started_ns);
	}
	io_end(io);
}

/*
 * It stays in its frame until eviction comes to it again. That can go on for
 * ever: it does not count as progress.
 */
void tm_store_failed(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	struct tm_replica slot;
	bool forgotten;

	tm_store_relaxed(&p->refused, 1);
	tm_lock_acquire(&b->shard->lock);
	forgotten = tm_block_forget(p, b, &slot);
	tm_block_settle(lane, b, TM_HELD_BYTES, 0);
	if (forgotten)
		tm_place_put(p->place, slot);
}

/* Neighbours were stored by a server that lives still. */
static void run_stored(struct tm_lane *lane, const struct tm_ref *first, u32 nr)
{
	struct tm_pager *p = lane->pager;
	struct tm_ref b;
	u32 i;

	tm_lock_acquire(&first->shard->lock);
	for (i = 0; i < nr; i++) {
		b = tm_ref_neighbour(first, i);
		tm_copy_set(p, b.e);
		tm_ref_frame(p, &b)->flags &= (u8) ~(
			TM_FRAME_DIRTY | TM_FRAME_UNKNOWN | TM_FRAME_ZERO);
	}
	tm_lock_release(&first->shard->lock);
	tm_run_evict(lane, first, nr);
}

void tm_pager_stored(struct tm_io *io, int status)
{
	struct tm_lane *lane = io->lane;
	struct tm_pager *p = lane->pager;
	struct tm_ref b;
	u32 i, run;

	if (!status) {
		tm_stats_add(lane->stats, stored_blocks, io->nr);
		tm_stats_add(lane->stats, bytes_out,
			     (u64)io->nr << p->config.block_shift);
		tm_hist_record(&lane->stats->store_bytes,
			       (u64)io->nr << p->config.block_shift);
		tm_hist_record(&lane->stats->store_ns,
			       p->ops->now(p->ctx) - io->started_ns);
	} else {
		tm_place_store_refused(p->place, io->server);
	}
	if (!status && !tm_place_server_alive(p->place, io->server))
		status = -EIO;
	for (i = 0; i < io->nr_segs; i += run) {
		b = tm_ref_find(p, io->seg[i].block);
		run = 1;
		if (is_huge(p, io)) {
			count(&lane->storing, -(int)io->nr);
			tm_huge_stored(lane, &b, status);
		} else if (!status) {
			run = io_run(io, i);
			count(&lane->storing, -(int)run);
			run_stored(lane, &b, run);
		} else {
			count(&lane->storing, -1);
			tm_store_failed(lane, &b);
		}
	}
	io_end(io);
}

void tm_reserve_extents(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	unsigned int server;

	while (tm_place_wants(p->place, &server)) {
		count(&lane->reserving, 1);
		p->ops->reserve(p->ctx, lane, server);
	}
}

void tm_pager_reserved(struct tm_lane *lane, unsigned int server, u64 addr,
		       u64 bytes, int status)
{
	struct tm_pager *p = lane->pager;

	count(&lane->reserving, -1);
	if (status)
		tm_place_extent_refused(p->place, server);
	else if (tm_place_extent_add(p->place, server, addr, bytes) &&
		 tm_place_server_alive(p->place, server))
		/* it cannot be used */
		p->ops->release(p->ctx, lane, server, addr, bytes);
	tm_lane_finish(lane);
}
