/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The world's state, and what the pager asks of it: struct tm_pager_ops.
 */
#ifndef TM_TESTS_WORLD_OPS_H
#define TM_TESTS_WORLD_OPS_H

#include <pthread.h>
#include <stdio.h>

#include "core/crc32c.h"
#include "core/pager.h"
#include "core/place.h"
#include "core/replace.h"

#define W_SHIFT 12
#define W_BLOCK (1u << W_SHIFT)
#define W_EXTENT (64 * W_BLOCK)

#define W_CHECK(cond)                                                          \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__,     \
				#cond);                                        \
			abort();                                               \
		}                                                              \
	} while (0)

/* The program's side of a block. */
struct w_view {
	pthread_mutex_t lock;
	bool readable;
	bool writable;
	bool failed;
	bool pinned;
	bool accessed;
	bool dirty;
	int map_error;
	u32 frame;
	u32 maps, wakes;
};

enum w_kind { W_FETCH, W_STORE, W_RESERVE, W_DISCARD };

struct w_request {
	enum w_kind kind;
	struct tm_io *io;
	unsigned int server;
	u64 addr, bytes; /* to discard */
};

struct w_server {
	pthread_mutex_t lock;
	u8 *mem;
	u64 bytes;
	u64 given; /* extents end here */
	bool refuses;
	bool lost;
};

#define W_REQUESTS 4096

struct world {
	struct tm_pager *pager;
	struct tm_pager_config config;
	struct w_view *view;
	u8 *frames;
	u32 *owner; /* block + 1 of each frame in use, or part of a huge one */
	struct w_server server[4];
	struct w_request request[TM_LANES_MAX][W_REQUESTS];
	u32 nr_requests[TM_LANES_MAX];
	u64 now;
	bool exact_unmap; /* CLEAN and DIRTY, no fingerprint */
	bool knows_accessed;
	bool no_discards; /* too much is under way */
	u64 released, discards;
	u64 map_runs, unmap_runs;
	u64 huge_maps, huge_unmaps, splits;
	int last_error;
	struct tm_pager_ops ops;
};

static inline u64 w_now(void *ctx)
{
	struct world *w = ctx;

	return tm_load_relaxed(&w->now);
}

static inline bool w_is_huge(const struct world *w, u32 frame)
{
	return frame >= w->config.nr_frames;
}

/* Frames, and behind them parts of huge ones. */
static inline u32 w_places(const struct world *w)
{
	u32 nr = w->config.nr_frames, huge = w->config.huge_blocks;

	return huge ? nr + nr / huge * huge : nr;
}

/* Where the block is in a frame that holds it, perhaps with others. */
static inline u32 w_place(const struct world *w, u64 block, u32 frame)
{
	u32 nr = w->config.nr_frames, huge = w->config.huge_blocks, place;

	if (!w_is_huge(w, frame))
		return frame;
	place = nr + (frame - nr) * huge + (u32)(block & (huge - 1));
	W_CHECK(huge && place < w_places(w));
	return place;
}

static inline u8 *w_bytes(const struct world *w, u64 block, u32 frame)
{
	return w->frames + (size_t)w_place(w, block, frame) * W_BLOCK;
}

static inline u32 *w_owner(const struct world *w, u64 block, u32 frame)
{
	return &w->owner[w_place(w, block, frame)];
}

/* How many blocks a call is about that names this one and this frame. */
static inline u32 w_blocks(const struct world *w, u64 block, u32 frame)
{
	u32 nr = w->config.huge_blocks;

	if (!w_is_huge(w, frame))
		return 1;
	W_CHECK(block % nr == 0 && block + nr <= w->config.nr_blocks);
	return nr;
}

/* Of a request: what its @i-th block is, and the frame that it is in. */
static inline u64 w_io_block(const struct tm_io *io, u32 i)
{
	return io->nr_segs == 1 ? io->seg[0].block + i : io->seg[i].block;
}

static inline u32 w_io_frame(const struct tm_io *io, u32 i)
{
	return io->seg[io->nr_segs == 1 ? 0 : i].frame;
}

static inline void w_add(struct world *w, struct tm_lane *lane,
			 struct w_request r)
{
	unsigned int i = tm_lane_index(lane);

	W_CHECK(w->nr_requests[i] < W_REQUESTS);
	w->request[i][w->nr_requests[i]++] = r;
}

/* What is under way on a lane, of which the last may be huge. */
static inline void w_check_depth(const struct world *w, unsigned int lane)
{
	const struct w_request *r = w->request[lane];
	u32 i, nr = 0, blocks = 0, huge = w->config.huge_blocks;

	for (i = 0; i < w->nr_requests[lane]; i++) {
		if (!r[i].io)
			continue;
		nr++;
		blocks += r[i].io->nr;
	}
	W_CHECK(nr <= w->config.io_depth);
	W_CHECK(blocks < w->config.io_depth + (huge ? huge : 1));
}

static inline void w_io(struct world *w, struct tm_io *io, enum w_kind kind)
{
	u64 given;
	u32 i;

	pthread_mutex_lock(&w->server[io->server].lock);
	given = w->server[io->server].given;
	pthread_mutex_unlock(&w->server[io->server].lock);
	W_CHECK(io->nr >= 1 && io->nr <= TM_IO_BLOCKS);
	W_CHECK((u64)io->nr << W_SHIFT <= w->config.io_bytes || io->nr == 1 ||
		w_is_huge(w, io->seg[0].frame));
	W_CHECK(io->nr_segs == (w_is_huge(w, io->seg[0].frame) ? 1 : io->nr));
	W_CHECK(io->addr + ((u64)io->nr << W_SHIFT) <= given);
	for (i = 0; i < io->nr; i++)
		w_bytes(w, w_io_block(io, i), w_io_frame(io, i));
	w_add(w, io->lane,
	      (struct w_request){.kind = kind, .io = io, .server = io->server});
	w_check_depth(w, tm_lane_index(io->lane));
}

static inline void w_fetch(void *ctx, struct tm_io *io)
{
	w_io(ctx, io, W_FETCH);
}

static inline void w_store(void *ctx, struct tm_io *io)
{
	w_io(ctx, io, W_STORE);
}

static inline bool w_discard(void *ctx, struct tm_lane *lane,
			     unsigned int server, u64 addr, u64 bytes)
{
	struct world *w = ctx;

	if (w->no_discards)
		return false;
	w_add(w, lane,
	      (struct w_request){.kind = W_DISCARD,
				 .server = server,
				 .addr = addr,
				 .bytes = bytes});
	return true;
}

static inline void w_reserve(void *ctx, struct tm_lane *lane,
			     unsigned int server)
{
	w_add(ctx, lane,
	      (struct w_request){.kind = W_RESERVE, .server = server});
}

static inline bool w_release(void *ctx, struct tm_lane *lane,
			     unsigned int server, u64 addr, u64 bytes)
{
	struct world *w = ctx;

	tm_add_return(&w->released, 1);
	return true;
}

static inline void w_map_one(struct world *w, u64 block, u32 frame,
			     unsigned int flags)
{
	struct w_view *v = &w->view[block];
	u32 owner = (u32)block + 1;

	pthread_mutex_lock(&v->lock);
	W_CHECK(!v->writable);
	W_CHECK(!v->readable || v->frame == frame);
	if (flags & TM_MAP_ZERO) {
		W_CHECK(tm_cas(w_owner(w, block, frame), 0, owner));
		memset(w_bytes(w, block, frame), 0, W_BLOCK);
		v->dirty = false;
	}
	W_CHECK(tm_load_relaxed(w_owner(w, block, frame)) == owner);
	v->readable = true;
	v->writable = true;
	v->failed = false;
	v->frame = frame;
	v->maps++;
	pthread_mutex_unlock(&v->lock);
}

static inline int w_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
			unsigned int flags)
{
	struct world *w = ctx;
	u32 i, nr = w_blocks(w, block, frame);
	int err;

	for (i = 0; i < nr; i++) {
		err = tm_load_relaxed(&w->view[block + i].map_error);
		if (err)
			return err;
	}
	for (i = 0; i < nr; i++)
		w_map_one(w, block + i, frame, flags);
	if (w_is_huge(w, frame))
		tm_add_return(&w->huge_maps, 1);
	return 0;
}

static inline bool w_unmap_one(struct world *w, u64 block, u32 frame)
{
	struct w_view *v = &w->view[block];
	bool dirty;

	pthread_mutex_lock(&v->lock);
	W_CHECK(v->writable && v->frame == frame);
	v->writable = false;
	v->readable = !w->config.can_cache;
	dirty = v->dirty;
	v->dirty = false;
	pthread_mutex_unlock(&v->lock);
	return dirty;
}

static inline int w_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	struct world *w = ctx;
	u32 i, nr = w_blocks(w, block, frame);
	bool dirty = false;

	for (i = 0; i < nr; i++)
		if (tm_load_relaxed(&w->view[block + i].pinned))
			return -EBUSY;
	for (i = 0; i < nr; i++)
		dirty |= w_unmap_one(w, block + i, frame);
	if (w_is_huge(w, frame))
		tm_add_return(&w->huge_unmaps, 1);
	if (!w->exact_unmap)
		return TM_UNMAP_UNKNOWN;
	return dirty ? TM_UNMAP_DIRTY : TM_UNMAP_CLEAN;
}

/* Up to the first that cannot, as if one by one. */
static inline u32 w_map_run(void *ctx, struct tm_lane *lane, u64 block,
			    const u32 *frame, u32 nr, unsigned int flags)
{
	struct world *w = ctx;
	u32 i;

	tm_add_return(&w->map_runs, 1);
	for (i = 0; i < nr; i++)
		if (w_map(ctx, lane, block + i, frame[i], flags))
			break;
	return i;
}

static inline u32 w_unmap_run(void *ctx, struct tm_lane *lane, u64 block,
			      const u32 *frame, u32 nr, int *answer)
{
	struct world *w = ctx;
	u32 i;

	tm_add_return(&w->unmap_runs, 1);
	for (i = 0; i < nr; i++)
		answer[i] = w_unmap(ctx, lane, block + i, frame[i]);
	return nr;
}

static inline void w_drop_one(struct world *w, u64 block, u32 frame,
			      bool pinned)
{
	struct w_view *v = &w->view[block];
	u32 owner = tm_load_relaxed(w_owner(w, block, frame));

	pthread_mutex_lock(&v->lock);
	W_CHECK(!v->writable || pinned);
	v->readable = false;
	v->writable = false;
	memset(w_bytes(w, block, frame), 0xee, W_BLOCK);
	W_CHECK(!owner || owner == block + 1);
	tm_store_relaxed(w_owner(w, block, frame), 0);
	pthread_mutex_unlock(&v->lock);
}

static inline void w_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	struct world *w = ctx;
	u32 i, nr = w_blocks(w, block, frame);
	bool pinned = false;

	for (i = 0; i < nr; i++)
		pinned |= tm_load_relaxed(&w->view[block + i].pinned);
	for (i = 0; i < nr; i++)
		w_drop_one(w, block + i, frame, pinned);
}

static inline void w_split(void *ctx, struct tm_lane *lane, u64 block,
			   u32 frame, const u32 *small)
{
	struct world *w = ctx;
	u32 i, nr = w_blocks(w, block, frame), owner;

	W_CHECK(w_is_huge(w, frame));
	for (i = 0; i < nr; i++) {
		struct w_view *v = &w->view[block + i];

		pthread_mutex_lock(&v->lock);
		owner = tm_load_relaxed(w_owner(w, block + i, frame));
		W_CHECK(!owner || owner == block + i + 1);
		W_CHECK(!w_is_huge(w, small[i]));
		W_CHECK(tm_cas(&w->owner[small[i]], 0, owner));
		memcpy(w_bytes(w, block + i, small[i]),
		       w_bytes(w, block + i, frame), W_BLOCK);
		memset(w_bytes(w, block + i, frame), 0xee, W_BLOCK);
		tm_store_relaxed(w_owner(w, block + i, frame), 0);
		if (v->readable)
			v->frame = small[i];
		pthread_mutex_unlock(&v->lock);
	}
	tm_add_return(&w->splits, 1);
}

static inline bool w_take_accessed(struct w_view *v)
{
	bool accessed;

	pthread_mutex_lock(&v->lock);
	accessed = v->accessed;
	v->accessed = false;
	pthread_mutex_unlock(&v->lock);
	return accessed;
}

static inline void w_accessed(void *ctx, struct tm_lane *lane, u64 block,
			      const u32 *frame, u32 nr, int *answer)
{
	struct world *w = ctx;
	bool accessed;
	u32 i, k;

	for (i = 0; i < nr; i++) {
		accessed = false;
		for (k = 0; k < w_blocks(w, block + i, frame[i]); k++)
			accessed |= w_take_accessed(&w->view[block + i + k]);
		answer[i] = w->knows_accessed ? accessed : -EOPNOTSUPP;
	}
}

static inline void w_wake(void *ctx, struct tm_lane *lane, u64 block)
{
	struct world *w = ctx;

	pthread_mutex_lock(&w->view[block].lock);
	w->view[block].wakes++;
	pthread_mutex_unlock(&w->view[block].lock);
}

static inline void w_fail(void *ctx, struct tm_lane *lane, u64 block, int err)
{
	struct world *w = ctx;

	W_CHECK(err < 0);
	tm_store_relaxed(&w->last_error, err);
	if (block >= w->config.nr_blocks)
		return;
	pthread_mutex_lock(&w->view[block].lock);
	w->view[block].failed = true;
	pthread_mutex_unlock(&w->view[block].lock);
}

static inline u32 w_checksum(void *ctx, u64 block, u32 frame, u32 seed)
{
	return tm_crc32c(seed, w_bytes(ctx, block, frame), W_BLOCK);
}

static inline u64 w_fingerprint(void *ctx, u64 block, u32 frame)
{
	const u64 *word = (const u64 *)(const void *)w_bytes(ctx, block, frame);
	u64 hash = 1469598103934665603ULL, any = 0;
	u32 i;

	for (i = 0; i < W_BLOCK / sizeof(*word); i++) {
		any |= word[i];
		hash = (hash ^ word[i]) * 0x9e3779b97f4a7c15ULL ^ hash >> 29;
	}
	return any ? hash | 1 : 0;
}

#endif /* TM_TESTS_WORLD_OPS_H */
