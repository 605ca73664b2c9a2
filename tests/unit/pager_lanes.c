// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager with several lanes at the same time, each on a thread of its own:
 * accesses, discards and requests that end in any order, on blocks that all
 * share. Most of its worth is under ThreadSanitizer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/world.h"

/* Few, that all lanes meet on; or as many as make several shards. */
#define BLOCKS 512
#define STEPS 8000
#define BLOCKS_MANY 18432
#define STEPS_MANY 40000

/* What its owner (block modulo lanes) wrote last. */
static u64 model[BLOCKS_MANY];

struct runner {
	pthread_t thread;
	struct world *w;
	unsigned int lane;
	u64 seed;
	u64 discarding; /* a block not gone yet, or nr_blocks */
};

static u64 roll(struct runner *r, u64 n)
{
	r->seed ^= r->seed << 13;
	r->seed ^= r->seed >> 7;
	r->seed ^= r->seed << 17;
	return r->seed % n;
}

static u64 blocks_of(const struct runner *r)
{
	return r->w->config.nr_blocks;
}

static u64 own_block(struct runner *r)
{
	u64 lanes = r->w->config.nr_lanes;

	return roll(r, blocks_of(r) / lanes) * lanes + r->lane;
}

/* Its own blocks it writes and checks; at those of others it looks. */
static void access_one(struct runner *r)
{
	struct world *w = r->w;
	bool own = roll(r, 4), write = own && roll(r, 2);
	u64 block = own ? own_block(r) : roll(r, blocks_of(r));
	u64 value = r->seed;

	if (block == r->discarding)
		return;
	if (!w_access(w, block, write, &value)) {
		W_CHECK(!w_failed(w, block));
		tm_pager_fault(w_lane(w, r->lane), block, write, w->ops.now(w));
		return;
	}
	if (write)
		model[block] = value;
	else if (own)
		W_CHECK(value == model[block]);
}

static void discard_own(struct runner *r)
{
	u64 block = r->discarding;

	if (block == blocks_of(r))
		block = own_block(r);
	r->discarding = block;
	if (!tm_pager_discard(w_lane(r->w, r->lane), block, 1))
		return;
	W_CHECK(!w_access(r->w, block, false, &model[block]) || !model[block]);
	model[block] = 0;
	r->discarding = blocks_of(r);
}

static void end_one(struct runner *r, u32 i)
{
	struct world *w = r->w;
	bool store = w->request[r->lane][i].kind == W_STORE;

	/* what is not stored has to find another place, or time */
	w_end(w, r->lane, i, store && !roll(r, 50) ? -EIO : 0);
}

static void *run(void *arg)
{
	struct runner *r = arg;
	struct world *w = r->w;
	u32 i, nr, steps = blocks_of(r) == BLOCKS ? STEPS : STEPS_MANY;

	for (i = 0; i < steps; i++) {
		if (!roll(r, 100))
			tm_pager_server_room(w->pager, 0);
		tm_add_return(&w->now, 10000);
		nr = w->nr_requests[r->lane];
		switch (roll(r, 8)) {
		case 0:
			tm_pager_balance(w_lane(w, r->lane));
			break;
		case 1:
			if (!roll(r, 4) || r->discarding != blocks_of(r))
				discard_own(r);
			break;
		case 2:
		case 3:
		case 4:
			if (nr)
				end_one(r, (u32)roll(r, nr));
			break;
		default:
			access_one(r);
		}
	}
	return NULL;
}

static void settle(struct world *w)
{
	struct tm_pager_usage u;
	unsigned int i;

	do {
		tm_pager_server_room(w->pager, 0);
		for (i = 0; i < w->config.nr_lanes; i++)
			w_drain(w, i);
		tm_pager_usage(w->pager, &u);
	} while (!u.idle || u.waiting_faults);
}

static void run_lanes(struct tm_pager_config config, u64 seed)
{
	struct runner r[TM_LANES_MAX] = {0};
	struct world *w;
	u64 block, value;
	unsigned int i;

	config.stall_ms = 1000000;
	w = w_create(config);
	memset(model, 0, sizeof(model));
	for (i = 0; i < config.nr_lanes; i++) {
		r[i].w = w;
		r[i].lane = i;
		r[i].seed = seed * 1000003 + i + 1;
		r[i].discarding = config.nr_blocks;
		W_CHECK(!pthread_create(&r[i].thread, NULL, run, &r[i]));
	}
	for (i = 0; i < config.nr_lanes; i++)
		pthread_join(r[i].thread, NULL);

	settle(w);
	for (i = 0; i < config.nr_lanes; i++)
		while (r[i].discarding != config.nr_blocks)
			discard_own(&r[i]);
	for (block = 0; block < config.nr_blocks; block++) {
		while (!w_access(w, block, false, &value)) {
			tm_pager_fault(w_lane(w, 0), block, false, w->now);
			while (w->nr_requests[0])
				w_end(w, 0, 0, 0);
			/* settling may evict it again: look before that */
			if (!w_access(w, block, false, &value))
				settle(w);
		}
		assert_true(value == model[block]);
	}
	w_destroy(w);
}

static void fifo(void **state)
{
	struct tm_pager_config c = w_defaults();

	c.nr_blocks = BLOCKS;
	c.nr_lanes = 4;
	c.nr_frames = 64;
	c.prefetch_blocks = 4;
	run_lanes(c, 1);
}

static void lru_many_shards(void **state)
{
	struct tm_pager_config c = w_defaults();

	c.nr_blocks = BLOCKS_MANY;
	c.nr_lanes = 3;
	c.nr_frames = 16384;
	c.prefetch_blocks = 8;
	c.around_blocks = 16;
	c.replace = &tm_replace_lru;
	c.place = &tm_place_rr;
	run_lanes(c, 2);
}

static void no_cache(void **state)
{
	struct tm_pager_config c = w_defaults();

	c.nr_blocks = BLOCKS;
	c.nr_lanes = 4;
	c.nr_frames = 48;
	c.can_cache = false;
	c.replace = &tm_replace_lru;
	run_lanes(c, 3);
}

static void tiny(void **state)
{
	struct tm_pager_config c = w_defaults();

	c.nr_blocks = BLOCKS;
	c.nr_lanes = 4;
	c.nr_frames = 4;
	c.io_depth = 2;
	run_lanes(c, 4);
}

/* Lanes take turns at a program's faults: its stream is one all the same. */
static void stream_across_lanes(void **state)
{
	struct tm_pager_config c = w_defaults();
	u64 remote[2] = {0, 0}, value, i;
	unsigned int turn = 0, pass;
	struct world *w;

	c.nr_lanes = 2;
	c.nr_frames = 256;
	c.io_depth = 32;
	c.prefetch_blocks = 8;
	w = w_create(c);
	for (pass = 0; pass < 2; pass++) {
		for (i = 0; i < 1000; i++) {
			value = i;
			while (!w_access(w, i, !pass, &value)) {
				tm_pager_fault(w_lane(w, turn++ & 1), i, !pass,
					       w->now);
				w_drain(w, 0);
				w_drain(w, 1);
			}
			assert_int_equal(value, i);
		}
		for (i = 0; i < 2; i++)
			remote[pass] += tm_lane_stats(w_lane(w, (unsigned)i))
						->faults_remote;
	}
	assert_true(remote[1] - remote[0] < 20);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fifo),
		cmocka_unit_test(lru_many_shards),
		cmocka_unit_test(no_cache),
		cmocka_unit_test(tiny),
		cmocka_unit_test(stream_across_lanes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
