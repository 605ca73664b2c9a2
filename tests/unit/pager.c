// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager, one lane, while all goes well: each transition of a block's life,
 * one by one, and what comes between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/program.h"

static void impossible_configurations(void **state)
{
	struct tm_pager *p;
	struct tm_pager_ops ops = {0};
	struct tm_pager_config c;

#define BAD(field, value)                                                      \
	c = w_defaults();                                                      \
	c.field = value;                                                       \
	assert_int_equal(tm_pager_create(&c, &ops, NULL, &p), -EINVAL)
	BAD(nr_blocks, 0);
	BAD(nr_blocks, 1ull << 32);
	BAD(nr_frames, 3);
	BAD(block_shift, 11);
	BAD(block_shift, 22);
	BAD(nr_lanes, 0);
	BAD(nr_lanes, TM_LANES_MAX + 1);
	BAD(nr_servers, 0);
	BAD(nr_servers, TM_SERVERS_MAX + 1);
	BAD(io_depth, 0);
	BAD(replace, NULL);
	BAD(place, NULL);
}

static void first_touch_is_zero(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 value;

	assert_int_equal(fault(w, 7, false), TM_FAULT_DONE);
	assert_true(w_access(w, 7, false, &value));
	assert_int_equal(value, 0);
	assert_int_equal(STAT(faults), 1);
	assert_int_equal(STAT(faults_zero), 1);
	assert_int_equal(STAT(fault_ns.count), 1);
	assert_int_equal(usage(w).used_frames, 1);
	/* a fault whose event is read late */
	assert_int_equal(fault(w, 7, false), TM_FAULT_DONE);
	assert_int_equal(STAT(faults_spurious), 1);
	assert_int_equal(w->view[7].wakes, 1);
	/* and one outside */
	assert_int_equal(fault(w, 1 << 20, false), TM_FAULT_DONE);
	assert_int_equal(w->last_error, -EFAULT);
	w_destroy(w);
}

static void out_and_back(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	fill(w, 0, 100);
	for (i = 0; i < 100; i++)
		assert_int_equal(get(w, i), i + 1000);
	assert_true(STAT(evicted) >= 100 - 16);
	assert_true(STAT(fetched_blocks) >= 100 - 16);
	assert_int_equal(STAT(checksum_errors), 0);
	/* unchanged since they came back: no second transfer */
	assert_true(STAT(dropped_clean) > 0);
	assert_int_equal(STAT(stored_blocks) + STAT(dropped_clean),
			 STAT(evicted));
	assert_true(usage(w).used_frames <= 16);
	assert_int_equal(usage(w).remote_blocks, STAT(stored_blocks));
	w_destroy(w);
}

static void versions_go_up(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 round;

	for (round = 1; round < 6; round++) {
		put(w, 3, round);
		push_out(w, 3);
		assert_int_equal(get(w, 3), round);
	}
	w_destroy(w);
}

static void clean_by_fingerprint_and_by_answer(void **state)
{
	struct world *w;
	u64 stored;
	int exact;

	for (exact = 0; exact < 2; exact++) {
		w = w_create(w_defaults());
		w->exact_unmap = exact;
		put(w, 3, 33);
		push_out(w, 3);
		assert_int_equal(get(w, 3), 33);
		stored = STAT(stored_blocks);
		push_out(w, 3);
		/* others were stored, but not this one again */
		assert_true(STAT(dropped_clean) >= 1);
		assert_true(STAT(stored_blocks) > stored);
		assert_int_equal(get(w, 3), 33);
		w_destroy(w);
	}
}

static void untouched_zeros_are_not_sent(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	w->exact_unmap = true;
	for (i = 0; i < 100; i++)
		assert_int_equal(get(w, i), 0);
	assert_int_equal(STAT(stored_blocks), 0);
	assert_true(STAT(dropped_clean) > 0);
	assert_int_equal(get(w, 0), 0);
	w_destroy(w);
}

static void neighbours_leave_in_one_request(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_frames = 64;
	c.io_depth = 32;
	w = w_create(c);
	fill(w, 0, 200);
	assert_true(STAT(store_requests) * 3 < STAT(stored_blocks));
	w_destroy(w);
}

static void back_as_they_left(struct tm_pager_config c, u64 nr)
{
	struct world *w = w_create(c);
	u64 i;

	fill(w, 0, nr);
	for (i = 0; i < nr; i++)
		assert_int_equal(get(w, i), i + 1000);
	w_destroy(w);
}

static const struct tm_replace_ops *const policy[] = {
	&tm_replace_fifo,
	&tm_replace_lru,
};

static void tiny(void **state)
{
	struct tm_pager_config c = w_defaults();
	int k;

	c.nr_frames = 4;
	c.prefetch_blocks = 8;
	for (k = 0; k < 4; k++) {
		c.io_depth = k & 1 ? 1 : 64;
		c.replace = policy[k / 2];
		back_as_they_left(c, 60);
	}
}

static void no_cache(void **state)
{
	struct tm_pager_config c = w_defaults();
	int k;

	c.can_cache = false;
	c.prefetch_blocks = 4;
	for (k = 0; k < 2; k++) {
		c.replace = policy[k];
		back_as_they_left(c, 100);
	}
}

static void fault_waits_for_a_frame(void **state)
{
	struct world *w = evicting(w_defaults());

	w_end_kind(w, 0, W_STORE, 0);
	assert_true(mapped(w, 100));
	assert_int_equal(usage(w).waiting_faults, 0);
	w_drain(w, 0);
	assert_int_equal(get(w, 0), 1000);
	assert_true(usage(w).idle);
	w_destroy(w);
}

static void two_faults_on_a_waiting_block(void **state)
{
	struct world *w = evicting(w_defaults());

	assert_int_equal(fault(w, 100, true), TM_FAULT_PENDING);
	assert_int_equal(usage(w).waiting_faults, 1);
	w_end_kind(w, 0, W_STORE, 0);
	assert_int_equal(w->view[100].maps, 1);
	w_destroy(w);
}

static void rescued_while_stored(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 fetched, value = 5;
	int k;

	for (k = 0; k < 2; k++) {
		c.can_cache = k;
		w = evicting(c);
		fetched = STAT(fetched_blocks);
		assert_int_equal(fault(w, 0, true), TM_FAULT_PENDING);
		w_end_kind(w, 0, W_STORE, 0);
		assert_true(mapped(w, 0));
		assert_int_equal(STAT(evict_rescued), 1);
		assert_int_equal(STAT(fetched_blocks), fetched);
		/* it counts as clean now; a change must not be missed */
		assert_true(w_access(w, 0, true, &value));
		w_drain(w, 0);
		push_out(w, 0);
		assert_int_equal(get(w, 0), 5);
		w_destroy(w);
	}
}

/* A copy of other bytes than those that were last looked at. */
static void no_fingerprint_of_the_copy(void **state)
{
	struct world *w = evicting(w_defaults());
	u64 i, value = 1000;

	w_drain(w, 0);
	/* stored with a fingerprint; now the answer says that it changed */
	assert_int_equal(get(w, 0), 1000);
	w->exact_unmap = true;
	put(w, 0, 5);
	for (i = 200; mapped(w, 0); i++) {
		w_end_kind(w, 0, W_STORE, 0);
		w->now += 1000000;
		fault(w, i, false);
	}
	assert_int_equal(fault(w, 0, true), TM_FAULT_PENDING);
	w_end_kind(w, 0, W_STORE, 0);
	assert_true(mapped(w, 0));
	w->exact_unmap = false;
	assert_true(w_access(w, 0, true, &value));
	w_drain(w, 0);
	push_out(w, 0);
	assert_int_equal(get(w, 0), 1000);
	w_destroy(w);
}

static void lru_second_chance_without_io(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, fetched;

	c.nr_frames = 64;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	put(w, 0, 77);
	fetched = STAT(fetched_blocks);
	/* a long scan; block 0 is used at every fourth step */
	for (i = 100; i < 600; i++) {
		put(w, i, i);
		if (i % 4 == 0)
			assert_int_equal(get(w, 0), 77);
	}
	assert_true(STAT(faults_cached) > 0);
	assert_true(STAT(fetched_blocks) - fetched < 3);
	w_destroy(w);
}

static void lru_with_accessed_bits(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_frames = 64;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	w->knows_accessed = true;
	w->exact_unmap = true;
	put(w, 0, 77);
	for (i = 100; i < 600; i++) {
		put(w, i, i);
		assert_int_equal(get(w, 0), 77);
	}
	/*
	 * It hardly ever left: only when all bits were set, and one batch of
	 * evictions cleared them and came round again.
	 */
	assert_true(w->view[0].maps < 20);
	assert_int_equal(STAT(faults_cached), 0);
	w_destroy(w);
}

static void fifo_is_in_order(void **state)
{
	struct world *w = evicting(w_defaults());
	u64 i, value, out = 0;

	for (i = 0; i < 16; i++)
		out += !mapped(w, i);
	for (i = 0; i < out; i++)
		assert_false(mapped(w, i));
	value = 0;
	assert_false(w_access(w, 0, false, &value));
	w_destroy(w);
}

static void background_keeps_frames_free(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_frames = 256;
	w = w_create(c);
	fill(w, 0, 1000);
	assert_int_equal(STAT(evict_direct), 0);
	assert_true(usage(w).used_frames < 256);
	assert_true(usage(w).used_frames >= 192);
	/* nothing to do: nothing is done */
	i = STAT(evicted);
	assert_false(tm_pager_balance(w_lane(w, 0)));
	assert_false(tm_pager_balance(w_lane(w, 0)));
	assert_int_equal(STAT(evicted), i);
	assert_true(usage(w).idle);
	/* a lower limit is come down to */
	tm_pager_limit_set(w->pager, 40);
	w_drain(w, 0);
	assert_true(usage(w).used_frames <= 40);
	assert_int_equal(usage(w).limit_frames, 40);
	tm_pager_limit_set(w->pager, 1000);
	assert_int_equal(usage(w).limit_frames, 256);
	for (i = 0; i < 1000; i++)
		assert_int_equal(get(w, i), i + 1000);
	w_destroy(w);
}

static void prefetch_streams(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, faults, remote;
	int k;

	for (k = 0; k < 2; k++) {
		c.nr_frames = 256;
		c.io_depth = 32;
		c.prefetch_blocks = 8;
		c.can_cache = k;
		w = w_create(c);
		fill(w, 0, 1000);
		/* first touches are mapped ahead */
		assert_true(STAT(faults) < 1000 / 4);
		faults = STAT(faults);
		remote = STAT(faults_remote);
		for (i = 0; i < 1000; i++)
			assert_int_equal(get(w, i), i + 1000);
		assert_true(STAT(faults) - faults < 1000 / 4);
		if (c.can_cache)
			/* the marker runs ahead of the program */
			assert_true(STAT(faults_remote) - remote < 20);
		assert_true(STAT(prefetched) > 700);
		assert_true(STAT(prefetch_used) > STAT(prefetched) - 40);
		assert_true(STAT(fetch_requests) * 4 < STAT(fetched_blocks));
		assert_int_equal(STAT(evict_direct), 0);
		w_destroy(w);
	}
}

/* Three want 192 frames and more; 64 are kept free at most. */
static void streams_share_scarce_frames(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, misses = 0;

	c.nr_frames = 256;
	c.io_depth = 64;
	c.prefetch_blocks = 64;
	w = w_create(c);
	fill(w, 0, 3000);
	for (i = 0; i < 900; i++) {
		if (i == 200)
			misses = STAT(faults_remote);
		get(w, i);
		get(w, 1000 + i);
		get(w, 2000 + i);
	}
	assert_in_range(STAT(faults_remote) - misses, 0, 10);
	w_destroy(w);
}

static void few_new_blocks_at_once(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, before, most = 0;

	c.nr_frames = 2048;
	c.prefetch_blocks = 1024;
	w = w_create(c);
	for (i = 0; i < 1000; i++) {
		before = usage(w).used_frames;
		put(w, i, i);
		if (usage(w).used_frames - before > most)
			most = usage(w).used_frames - before;
	}
	assert_in_range(most, 32, 257);
	assert_true(STAT(faults) < 1000 / 8);
	w_destroy(w);
}

/* However many could be under way, faults need but a few for themselves. */
static void reading_ahead_leaves_few_frames(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_frames = 1024;
	c.io_depth = 256;
	c.prefetch_blocks = 64;
	w = w_create(c);
	tm_pager_balance(w_lane(w, 0));
	for (i = 0; i < 1000; i++)
		while (!w_access(w, i, true, &i))
			assert_int_equal(fault(w, i, true), TM_FAULT_DONE);
	assert_true(STAT(faults) < 1000 / 12);
	w_destroy(w);
}

static void leaves_run_out(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, pending = 0;

	c.nr_blocks = 1 << 20;
	c.nr_frames = 512;
	w = w_create(c);
	/* no balance: each fault needs a leaf of its own, the first a node too
	 */
	for (i = 0; i < 150; i++)
		pending += fault(w, i * 128, true) == TM_FAULT_PENDING;
	assert_int_equal(pending, 150 - (2 * 63 - 1));
	for (; i < 200; i++)
		fault(w, i * 128, true);
	/* the last were sent back to come again */
	assert_int_equal(w->view[199 * 128].wakes, 1);
	w_drain(w, 0);
	for (i = 0; i < 2 * 63 - 1 + 32; i++)
		assert_true(mapped(w, i * 128));
	assert_true(usage(w).metadata_bytes < 200 * 4096 + 512 * 64);
	w_destroy(w);
}

static void extents_come_and_go(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_blocks = 1 << 16;
	w = w_create(c);
	fill(w, 0, 12000);
	assert_true(w->server[0].given >= 11900ull * W_BLOCK);
	tm_pager_discard(w_lane(w, 0), 0, 12000);
	w_drain(w, 0);
	for (int i = 0; i < 100; i++)
		tm_pager_balance(w_lane(w, 0));
	assert_true(w->released > 0);
	w_destroy(w);
}

static void stats_elsewhere(void **state)
{
	struct tm_stats stats = {0};
	struct world *w = w_create(w_defaults());

	tm_lane_stats_set(w_lane(w, 0), &stats);
	put(w, 0, 1);
	assert_int_equal(stats.faults, 1);
	assert_ptr_equal(tm_lane_stats(w_lane(w, 0)), &stats);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(impossible_configurations),
		cmocka_unit_test(first_touch_is_zero),
		cmocka_unit_test(out_and_back),
		cmocka_unit_test(versions_go_up),
		cmocka_unit_test(clean_by_fingerprint_and_by_answer),
		cmocka_unit_test(untouched_zeros_are_not_sent),
		cmocka_unit_test(neighbours_leave_in_one_request),
		cmocka_unit_test(tiny),
		cmocka_unit_test(no_cache),
		cmocka_unit_test(fault_waits_for_a_frame),
		cmocka_unit_test(two_faults_on_a_waiting_block),
		cmocka_unit_test(rescued_while_stored),
		cmocka_unit_test(no_fingerprint_of_the_copy),
		cmocka_unit_test(lru_second_chance_without_io),
		cmocka_unit_test(lru_with_accessed_bits),
		cmocka_unit_test(fifo_is_in_order),
		cmocka_unit_test(background_keeps_frames_free),
		cmocka_unit_test(prefetch_streams),
		cmocka_unit_test(streams_share_scarce_frames),
		cmocka_unit_test(few_new_blocks_at_once),
		cmocka_unit_test(reading_ahead_leaves_few_frames),
		cmocka_unit_test(leaves_run_out),
		cmocka_unit_test(extents_come_and_go),
		cmocka_unit_test(stats_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
