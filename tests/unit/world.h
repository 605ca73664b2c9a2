/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A world in memory for the pager's tests: frames, a program's view of its
 * blocks, servers, and requests that end when the test says so. Checks what a
 * glue may rely on, and aborts the test when that is broken.
 *
 * Safe for one thread per lane, except the knobs.
 */
#ifndef TM_TESTS_WORLD_H
#define TM_TESTS_WORLD_H

#include "tests/unit/world_ops.h"

/* Small and simple: what a test does not say. */
static inline struct tm_pager_config w_defaults(void)
{
	return (struct tm_pager_config){
		.nr_blocks = 4096,
		.nr_frames = 16,
		.block_shift = W_SHIFT,
		.nr_lanes = 1,
		.nr_servers = 2,
		.io_depth = 8,
		.io_bytes = 8 * W_BLOCK,
		.prefetch_blocks = 0,
		.can_cache = true,
		.stall_ms = 100,
		.replace = &tm_replace_fifo,
		.place = &tm_place_simple,
	};
}

static inline struct world *w_create(struct tm_pager_config config)
{
	struct world *w = calloc(1, sizeof(*w));
	u64 i;

	w->config = config;
	w->now = 1;
	w->view = calloc(config.nr_blocks, sizeof(*w->view));
	for (i = 0; i < config.nr_blocks; i++)
		pthread_mutex_init(&w->view[i].lock, NULL);
	w->frames = calloc(w_places(w), W_BLOCK);
	w->owner = calloc(w_places(w), sizeof(*w->owner));
	for (i = 0; i < config.nr_servers; i++) {
		struct w_server *s = &w->server[i];

		pthread_mutex_init(&s->lock, NULL);
		s->bytes = 256 * W_EXTENT;
		s->mem = calloc(1, s->bytes);
	}
	w->ops = (struct tm_pager_ops){
		.now = w_now,
		.fetch = w_fetch,
		.store = w_store,
		.discard = w_discard,
		.reserve = w_reserve,
		.release = w_release,
		.map = w_map,
		.map_run = w_map_run,
		.unmap = w_unmap,
		.unmap_run = w_unmap_run,
		.drop = w_drop,
		.split = w_split,
		.accessed = w_accessed,
		.wake = w_wake,
		.fail = w_fail,
		.checksum = w_checksum,
		.fingerprint = w_fingerprint,
	};
	W_CHECK(!tm_pager_create(&config, &w->ops, w, &w->pager));
	return w;
}

static inline void w_destroy(struct world *w)
{
	u64 i;

	tm_pager_destroy(w->pager);
	for (i = 0; i < w->config.nr_blocks; i++)
		pthread_mutex_destroy(&w->view[i].lock);
	for (i = 0; i < w->config.nr_servers; i++) {
		pthread_mutex_destroy(&w->server[i].lock);
		free(w->server[i].mem);
	}
	free(w->owner);
	free(w->frames);
	free(w->view);
	free(w);
}

static inline struct tm_lane *w_lane(struct world *w, unsigned int i)
{
	return tm_pager_lane(w->pager, i);
}

static inline void w_transfer(struct world *w, struct tm_io *io, bool store)
{
	struct w_server *s = &w->server[io->server];
	u32 i;

	pthread_mutex_lock(&s->lock);
	for (i = 0; i < io->nr; i++) {
		u8 *remote = s->mem + io->addr + ((u64)i << W_SHIFT);
		u64 block = w_io_block(io, i);
		u32 frame = w_io_frame(io, i);
		u8 *bytes = w_bytes(w, block, frame);

		if (store) {
			memcpy(remote, bytes, W_BLOCK);
		} else {
			W_CHECK(tm_cas(w_owner(w, block, frame), 0,
				       (u32)block + 1));
			memcpy(bytes, remote, W_BLOCK);
		}
	}
	pthread_mutex_unlock(&s->lock);
}

static inline void w_answer_reserve(struct world *w, unsigned int lane,
				    unsigned int server)
{
	struct w_server *s = &w->server[server];
	u64 addr = 0;
	int status = -ENOMEM;

	pthread_mutex_lock(&s->lock);
	if (s->lost) {
		status = -EIO;
	} else if (!s->refuses && s->given + W_EXTENT <= s->bytes) {
		addr = s->given;
		s->given += W_EXTENT;
		status = 0;
	}
	pthread_mutex_unlock(&s->lock);
	tm_pager_reserved(w_lane(w, lane), server, addr, W_EXTENT, status);
}

static inline void w_answer_discard(struct world *w, unsigned int lane,
				    const struct w_request *r)
{
	struct w_server *s = &w->server[r->server];

	pthread_mutex_lock(&s->lock);
	W_CHECK(r->addr + r->bytes <= s->given);
	memset(s->mem + r->addr, 0xdd, r->bytes);
	pthread_mutex_unlock(&s->lock);
	tm_add_return(&w->discards, r->bytes >> W_SHIFT);
	tm_pager_discarded(w_lane(w, lane), r->server, r->addr, r->bytes);
}

/* End the lane's request number @i. */
static inline void w_end(struct world *w, unsigned int lane, u32 i, int status)
{
	struct w_request r = w->request[lane][i];

	W_CHECK(i < w->nr_requests[lane]);
	w->nr_requests[lane]--;
	memmove(&w->request[lane][i], &w->request[lane][i + 1],
		(w->nr_requests[lane] - i) * sizeof(r));
	if (r.kind == W_RESERVE) {
		w_answer_reserve(w, lane, r.server);
		return;
	}
	if (r.kind == W_DISCARD) {
		w_answer_discard(w, lane, &r);
		return;
	}
	if (tm_load_relaxed(&w->server[r.server].lost))
		status = -EIO;
	if (!status)
		w_transfer(w, r.io, r.kind == W_STORE);
	if (r.kind == W_STORE)
		tm_pager_stored(r.io, status);
	else
		tm_pager_fetched(r.io, status);
}

static inline u32 w_pending(struct world *w, unsigned int lane,
			    enum w_kind kind)
{
	u32 i, nr = 0;

	for (i = 0; i < w->nr_requests[lane]; i++)
		nr += w->request[lane][i].kind == kind;
	return nr;
}

/* End the requests of one kind that there are now, in order. */
static inline void w_end_kind(struct world *w, unsigned int lane,
			      enum w_kind kind, int status)
{
	u32 nr = w_pending(w, lane, kind), i;

	while (nr--) {
		for (i = 0; w->request[lane][i].kind != kind;)
			i++;
		w_end(w, lane, i, status);
	}
}

/* Let everything end well. */
static inline void w_drain(struct world *w, unsigned int lane)
{
	do {
		while (w->nr_requests[lane])
			w_end(w, lane, 0, 0);
		tm_add_return(&w->now, 100000);
	} while (tm_pager_balance(w_lane(w, lane)) || w->nr_requests[lane]);
}

/* An access by the program; false if the block is not mapped for it. */
static inline bool w_access(struct world *w, u64 block, bool write, u64 *value)
{
	struct w_view *v = &w->view[block];
	u64 *word;
	bool ok;

	pthread_mutex_lock(&v->lock);
	ok = write ? v->writable : v->readable;
	if (ok) {
		word = (u64 *)(void *)w_bytes(w, block, v->frame);
		if (write) {
			word[0] = *value;
			word[W_BLOCK / 8 - 1] = *value;
			v->dirty = true;
		}
		W_CHECK(word[0] == word[W_BLOCK / 8 - 1]);
		*value = word[0];
		v->accessed = true;
	}
	pthread_mutex_unlock(&v->lock);
	return ok;
}

static inline bool w_failed(struct world *w, u64 block)
{
	bool failed;

	pthread_mutex_lock(&w->view[block].lock);
	failed = w->view[block].failed;
	pthread_mutex_unlock(&w->view[block].lock);
	return failed;
}

#endif /* TM_TESTS_WORLD_H */
