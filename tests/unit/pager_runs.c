// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager's runs: neighbours that are mapped, and unmapped, with one call,
 * and what may come in between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/program.h"

/* Operations of another lane within a run. */
static struct world *nested;
static void (*nested_what)(void);

static void nested_now(void)
{
	void (*what)(void) = nested_what;

	nested_what = NULL;
	if (what)
		what();
}

static u32 nested_map_run(void *ctx, struct tm_lane *lane, u64 block,
			  const u32 *frame, u32 nr, unsigned int flags)
{
	nr = w_map_run(ctx, lane, block, frame, nr, flags);
	nested_now();
	return nr;
}

static u32 nested_unmap_run(void *ctx, struct tm_lane *lane, u64 block,
			    const u32 *frame, u32 nr, int *answer)
{
	nr = w_unmap_run(ctx, lane, block, frame, nr, answer);
	nested_now();
	return nr;
}

static u64 nested_block;

/* Faults of the other lane that wait, and what their blocks had seen before. */
static struct {
	u64 block;
	u32 seen;
} waiting[8];
static u32 nr_waiting;

static u32 seen(u64 block)
{
	return nested->view[block].maps + nested->view[block].wakes;
}

static void nested_fault(u64 block, bool write)
{
	u32 before = seen(block);

	if (tm_pager_fault(w_lane(nested, 1), block, write, nested->now) ==
	    TM_FAULT_DONE)
		return;
	assert_true(nr_waiting < 8);
	waiting[nr_waiting].block = block;
	waiting[nr_waiting++].seen = before;
}

/* Each is mapped or woken in the end: the program does not ask again. */
static void all_come_through(struct world *w)
{
	u32 i;

	w_drain(w, 0);
	w_drain(w, 1);
	w_drain(w, 0);
	for (i = 0; i < nr_waiting; i++)
		assert_true(seen(waiting[i].block) > waiting[i].seen);
	nr_waiting = 0;
}

static void nested_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	w_drop(ctx, lane, block, frame);
	nested_block = block;
	nested_now();
}

/* 256 blocks far out, and a stream about to come back in windows of 16. */
static struct world *streaming(const struct tm_replace_ops *replace)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_blocks = 16384;
	c.nr_frames = 128;
	c.nr_lanes = 2;
	c.io_depth = 64;
	c.io_bytes = 64 * W_BLOCK;
	c.prefetch_blocks = 16;
	c.replace = replace;
	nr_waiting = 0;
	nested = w = w_create(c);
	w->ops.map_run = nested_map_run;
	w->ops.unmap_run = nested_unmap_run;
	nested_what = NULL;
	fill(w, 0, 256);
	fill(w, 1024, 256);
	return w;
}

/* As get(), where the other lane may have to fetch it. */
static u64 get_by_both(struct world *w, u64 block)
{
	u64 value;

	while (!w_access(w, block, false, &value)) {
		assert_false(w_failed(w, block));
		fault(w, block, false);
		w_drain(w, 0);
		w_drain(w, 1);
	}
	return value;
}

static void check(struct world *w)
{
	u64 i;

	for (i = 0; i < 256; i++)
		assert_int_equal(get_by_both(w, i), i + 1000);
	assert_int_equal(STAT(lost), 0);
	assert_true(usage(w).used_frames <= 128);
	w_destroy(w);
}

static void streams_go_in_runs(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i, maps;

	assert_true(w->unmap_runs > 0);
	assert_true(STAT(evicted) > 4 * w->unmap_runs);
	w->map_runs = 0;
	for (i = 0, maps = 0; i < 256; i++)
		maps -= w->view[i].maps;
	for (i = 0; i < 256; i++)
		assert_int_equal(get(w, i), i + 1000);
	for (i = 0; i < 256; i++)
		maps += w->view[i].maps;
	assert_true(w->map_runs > 0);
	assert_true(maps > 4 * w->map_runs);
	check(w);
}

/*
 * What is written in order lies in order, also if the lane has no idle moment:
 * before the slots run out there are more, so that nobody is sent back for want
 * of one.
 */
static void lies_in_order(void **state)
{
	struct world *w = streaming(&tm_replace_fifo);
	u64 i, slot, value, last = 0;
	int tries;

	for (i = 2048; i < 14048; i++) {
		tries = 100;
		for (value = i; !w_access(w, i, true, &value); value = i) {
			assert_true(tries--);
			fault(w, i, true);
			while (w->nr_requests[0])
				w_end(w, 0, 0, 0);
			tm_add_return(&w->now, 1000000);
		}
	}
	for (slot = 512; slot < 12000; slot++, last = value) {
		value = *(u64 *)(w->server[0].mem + slot * W_BLOCK);
		assert_true(value >= last);
	}
	check(w);
}

/*
 * So it does where local memory has shards, whose victims take turns: a stretch
 * of 1024 blocks leaves as a whole.
 */
static void stretches_lie_together(void **state)
{
	struct tm_pager_config c = w_defaults();
	u64 slot, value, last = 0, slots = 6144, breaks = 0;
	struct world *w;

	c.nr_blocks = 65536;
	c.nr_frames = 32768;
	c.io_depth = 1024;
	c.io_bytes = 256 * W_BLOCK;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	fill(w, 0, c.nr_frames + slots + c.io_depth);
	for (slot = 0; slot < slots; slot++, last = value) {
		value = *(u64 *)(w->server[0].mem + slot * W_BLOCK);
		assert_true(value);
		breaks += value != last + 1;
	}
	assert_in_range(breaks, slots / 1024, slots / 1024 + 1);
	w_destroy(w);
}

/* What was read ahead is used, or is dropped: markers, where a stream ends. */
static void read_ahead_is_accounted_for(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i;

	for (i = 0; i < 256; i += 64) {
		get(w, i);
		get(w, i + 1);
		get(w, i + 2);
	}
	fill(w, 2048, 256);
	for (i = 0; i < 256; i++)
		assert_false(mapped(w, i));
	assert_true(STAT(prefetch_used) > 0);
	assert_true(STAT(prefetch_dropped) > 0);
	assert_int_equal(STAT(prefetch_used) + STAT(prefetch_dropped),
			 STAT(prefetched));
	check(w);
}

/* Of a run only what a fault waits for is kept until it was accessed. */
static void only_the_fault_is_fresh(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	int i;

	c.nr_frames = 64;
	c.around_blocks = 4;
	w = w_create(c);
	fill(w, 0, 100);
	w->now += 1000000;
	/* the first fault has no probe */
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	w_end_kind(w, 0, W_FETCH, 0);
	for (i = 0; i < 4; i++)
		assert_true(mapped(w, i));
	tm_pager_limit_set(w->pager, 4);
	for (i = 0; i < 20; i++) {
		tm_pager_balance(w_lane(w, 0));
		w_end_kind(w, 0, W_STORE, 0);
	}
	assert_true(usage(w).used_frames < 4);
	assert_true(mapped(w, 0));
	assert_false(mapped(w, 1));
	w_destroy(w);
}

/*
 * What the program used in between does not keep neighbours apart, neither on
 * their way out nor on the server.
 */
static void interleaved_streams_leave_apart(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i, k, requests, blocks;

	w->unmap_runs = 0;
	blocks = STAT(evicted);
	for (i = 0; i < 256; i++)
		for (k = 0; k < 3; k++)
			put(w, 512 + k * 1024 + i, i + k);
	assert_true(STAT(evicted) - blocks > 4 * w->unmap_runs);
	requests = STAT(fetch_requests);
	blocks = STAT(fetched_blocks);
	for (i = 0; i < 256; i++)
		assert_int_equal(get(w, 1536 + i), i + 1);
	requests = STAT(fetch_requests) - requests;
	blocks = STAT(fetched_blocks) - blocks;
	assert_true(blocks > 4 * requests);
	check(w);
}

/* A lane that has no idle moment still empties frames for what is ahead. */
static void busy_lane_reads_ahead(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i, value, requests = STAT(fetch_requests);
	u64 blocks = STAT(fetched_blocks);

	for (i = 0; i < 256; i++) {
		while (!w_access(w, i, false, &value)) {
			fault(w, i, false);
			while (w->nr_requests[0])
				w_end(w, 0, 0, 0);
			w->now += 100000;
		}
		assert_int_equal(value, i + 1000);
	}
	requests = STAT(fetch_requests) - requests;
	blocks = STAT(fetched_blocks) - blocks;
	assert_int_equal(STAT(evict_direct), 0);
	assert_true(blocks > 4 * requests);
	check(w);
}

static void fault_both(void)
{
	nested_fault(40, true);
	nested_fault(41, false);
}

static void faults_within_runs(void **state)
{
	struct world *w = streaming(&tm_replace_fifo);
	u64 i;

	for (i = 0; i < 40; i++) {
		get_by_both(w, i);
		all_come_through(w);
		nested_what = fault_both;
	}
	check(w);
	w = streaming(&tm_replace_lru);
	for (i = 0; i < 256; i++) {
		nested_what = fault_both;
		get_by_both(w, i);
		all_come_through(w);
	}
	check(w);
}

/* That which was just dropped, one before it, and one that is about to be. */
static void fault_dropped(void)
{
	u64 block = nested_block;

	nested_fault(block, false);
	nested_fault(block + 1, true);
	if (block)
		nested_fault(block - 1, false);
}

/* A run that leaves, clean or stored, loses those that are wanted again. */
static void faults_while_dropped(void **state)
{
	const struct tm_replace_ops *const policies[] = {&tm_replace_fifo,
							 &tm_replace_lru};
	struct world *w;
	u64 i;
	int k;

	for (k = 0; k < 2; k++) {
		w = streaming(policies[k]);
		w->ops.drop = nested_drop;
		for (i = 0; i < 256; i++) {
			nested_what = fault_dropped;
			assert_int_equal(get_by_both(w, i), i + 1000);
			all_come_through(w);
			nested_what = i % 2 ? fault_dropped : NULL;
			put(w, 1024 + i, i + 1000);
			all_come_through(w);
		}
		nested_what = NULL;
		w_drain(w, 1);
		check(w);
	}
}

static void discard_some(void)
{
	tm_pager_discard(w_lane(nested, 1), 1024, 512);
	tm_pager_discard(w_lane(nested, 1), 2048, 512);
}

/* Of other blocks: who frees those of a run waits until it has ended. */
static void discards_within_runs(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i;

	w->ops.unmap_run = w_unmap_run;
	for (i = 0; i < 256; i++) {
		nested_what = i % 16 ? NULL : discard_some;
		get_by_both(w, i);
		if (i % 8 == 0)
			put(w, 2048 + i, i);
	}
	nested_what = NULL;
	check(w);
}

/* The first fetch under way of so many blocks, or NULL. */
static const struct tm_io *fetch_of(struct world *w, u32 nr)
{
	u32 i;

	for (i = 0; i < w->nr_requests[0]; i++)
		if (w->request[0][i].kind == W_FETCH &&
		    w->request[0][i].io->nr >= nr)
			return w->request[0][i].io;
	return NULL;
}

/* It leaves the run that it is part of, and is never mapped. */
static void discarded_while_fetched(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 block, i;
	u32 maps;

	for (i = 0; !fetch_of(w, 4); i++) {
		assert_true(i < 200);
		get(w, i);
		fault(w, i + 1, false);
	}
	block = fetch_of(w, 4)->seg[2].block;
	maps = w->view[block].maps;
	tm_pager_discard(w_lane(w, 0), block, 1);
	w_drain(w, 0);
	assert_int_equal(w->view[block].maps, maps);
	assert_false(mapped(w, block));
	assert_int_equal(get(w, block), 0);
	for (i = 0; i < 256; i++)
		assert_int_equal(get(w, i), i == block ? 0 : i + 1000);
	w_destroy(w);
}

static void pinned_within_a_run(void **state)
{
	struct world *w = streaming(&tm_replace_fifo);
	u64 i;

	for (i = 0; i < 64; i++)
		get(w, i);
	for (i = 5; i < 64; i += 9)
		w->view[i].pinned = mapped(w, i);
	fill(w, 2048, 256);
	for (i = 0; i < 64; i++)
		assert_int_equal(mapped(w, i), w->view[i].pinned);
	assert_true(STAT(evict_pinned) > 0);
	for (i = 0; i < 64; i++)
		w->view[i].pinned = false;
	check(w);
}

static void map_error_within_a_run(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i;

	/* read ahead, nobody waits for it: it is not mapped, but not lost */
	for (i = 20; i < 256; i += 24)
		w->view[i].map_error = -EFAULT;
	for (i = 0; i < 256; i++) {
		w->view[i].map_error = 0;
		assert_int_equal(get(w, i), i + 1000);
	}
	check(w);
}

/* New blocks, of which one cannot be mapped, and of which none is written. */
static void new_blocks_in_runs(void **state)
{
	struct world *w = streaming(&tm_replace_lru);
	u64 i, maps = 0, stored = STAT(stored_blocks);

	w->map_runs = 0;
	w->view[2070].map_error = -EFAULT;
	for (i = 0; i < 128; i++) {
		if (i < 22)
			assert_false(mapped(w, 2070));
		else
			w->view[2070].map_error = 0;
		assert_int_equal(get(w, 2048 + i), 0);
		maps += w->view[2048 + i].maps;
	}
	assert_true(w->map_runs > 0);
	assert_true(maps > 4 * w->map_runs);
	for (i = 0; i < 256; i++)
		get(w, i);
	for (i = 0; i < 128; i++)
		assert_false(mapped(w, 2048 + i));
	/* those that were there before */
	assert_in_range(STAT(stored_blocks) - stored, 0, 128);
	check(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(streams_go_in_runs),
		cmocka_unit_test(lies_in_order),
		cmocka_unit_test(stretches_lie_together),
		cmocka_unit_test(read_ahead_is_accounted_for),
		cmocka_unit_test(only_the_fault_is_fresh),
		cmocka_unit_test(interleaved_streams_leave_apart),
		cmocka_unit_test(busy_lane_reads_ahead),
		cmocka_unit_test(faults_within_runs),
		cmocka_unit_test(faults_while_dropped),
		cmocka_unit_test(discards_within_runs),
		cmocka_unit_test(discarded_while_fetched),
		cmocka_unit_test(pinned_within_a_run),
		cmocka_unit_test(map_error_within_a_run),
		cmocka_unit_test(new_blocks_in_runs),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
