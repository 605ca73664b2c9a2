// SPDX-License-Identifier: GPL-2.0-or-later
/* How much comes around a fault: grows, shrinks, and stays at nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/around.h"
#include "tests/unit/program.h"

#define MAX 6

static u64 scattered(u64 i)
{
	return i * 0x9e3779b97f4a7c15ULL >> 40;
}

/* Blocks of a dense area in an order that is no stream, by units that came. */
static u32 dense(struct tm_around *a, u64 first)
{
	u32 shift = a->shift, i;

	for (i = 0; i < 64; i++)
		shift = tm_around_fault(
			a, first + (i << shift | (i * 5 & ((1u << shift) - 1))),
			MAX);
	return shift;
}

static void scattered_faults_come_alone(void **state)
{
	struct tm_around a;
	u64 i;

	tm_around_init(&a, 0);
	for (i = 0; i < 100000; i++)
		assert_int_equal(tm_around_fault(&a, scattered(i), MAX), 0);
}

static void neighbours_double_it(void **state)
{
	struct tm_around a;
	u32 shift = 0, next, i;

	tm_around_init(&a, 0);
	for (i = 0; i < 4 * MAX; i++) {
		next = dense(&a, (u64)i << 20);
		assert_true(next >= shift);
		shift = next;
	}
	assert_int_equal(shift, MAX);
	/* no further, and less where less is asked for */
	assert_int_equal(dense(&a, 0), MAX);
	assert_int_equal(tm_around_fault(&a, 7, 2), 2);
}

static void unused_neighbours_halve_it(void **state)
{
	struct tm_around a;
	u32 i;

	tm_around_init(&a, 0);
	for (i = 0; i < 4 * MAX; i++)
		dense(&a, (u64)i << 20);
	for (i = 0; i < 100; i++)
		tm_around_judge(&a, true);
	assert_int_equal(a.shift, MAX);
	/* most of them used */
	for (i = 0; i < 1000; i++)
		tm_around_judge(&a, i % 4);
	assert_int_equal(a.shift, MAX);
	for (i = 0; i < 4 * 2; i++)
		tm_around_judge(&a, false);
	assert_int_equal(a.shift, MAX - 2);
	for (i = 0; i < 100; i++)
		tm_around_judge(&a, false);
	assert_int_equal(a.shift, 0);
}

static void probes_are_spread(void **state)
{
	struct tm_around a;
	u32 seen[64] = {0}, i;

	tm_around_init(&a, 0);
	for (i = 0; i < 1000; i++) {
		tm_around_fault(&a, scattered(i), MAX);
		assert_true(tm_around_probe(&a, 64) < 64);
		seen[tm_around_probe(&a, 64)]++;
	}
	for (i = 0; i < 64; i++)
		assert_true(seen[i] && seen[i] < 100);
}

/* A probe costs a fault: four blocks have one in four times, two in eight. */
static void few_probes_in_small_units(void **state)
{
	struct tm_around a;
	u32 probes[2] = {0}, i;

	tm_around_init(&a, 0);
	for (i = 0; i < 1024; i++) {
		tm_around_fault(&a, scattered(i), MAX);
		assert_true(tm_around_probe(&a, 4) <= 4);
		probes[0] += tm_around_probe(&a, 2) < 2;
		probes[1] += tm_around_probe(&a, 4) < 4;
	}
	assert_int_equal(probes[0], 1024 / 8);
	assert_int_equal(probes[1], 1024 / 4);
}

static void begins_as_told(void **state)
{
	struct tm_around a;

	tm_around_init(&a, 2);
	assert_int_equal(tm_around_fault(&a, 1000, MAX), 2);
	assert_int_equal(tm_around_fault(&a, 500000, 1), 1);
}

/* The whole of it: 64 frames, 512 blocks far out, visited by groups of 8. */
static struct world *paged(u32 around_blocks, bool can_cache)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_frames = 64;
	c.io_depth = 32;
	c.io_bytes = 32 * W_BLOCK;
	c.around_blocks = around_blocks;
	c.can_cache = can_cache;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	fill(w, 0, 512);
	fill(w, 2048, 128);
	return w;
}

static u64 faults_of_groups(struct world *w, u64 rounds)
{
	static const u8 order[8] = {3, 6, 1, 4, 7, 2, 5, 0};
	u64 i, k, group, faults = STAT(faults);

	for (i = 0; i < rounds; i++) {
		group = scattered(i) % 64;
		for (k = 0; k < 8; k++)
			assert_int_equal(get(w, group * 8 + order[k]),
					 group * 8 + order[k] + 1000);
	}
	return STAT(faults) - faults;
}

static void groups_come_together(void **state)
{
	struct world *alone = paged(0, true), *w = paged(8, true);
	u64 faults;

	faults = faults_of_groups(alone, 200);
	assert_true(faults > 200 * 5);
	assert_true(faults_of_groups(w, 200) < faults * 2 / 3);
	assert_true(w->map_runs > 100);
	w_destroy(alone);
	w_destroy(w);
}

static void single_blocks_stay_single(void **state)
{
	struct world *w = paged(8, true);
	u64 i, fetched;

	/* first a time in which it was of use */
	faults_of_groups(w, 200);
	for (i = 0; i < 1000; i++)
		get(w, scattered(i) % 512);
	fetched = STAT(fetched_blocks);
	for (i = 1000; i < 2000; i++)
		get(w, scattered(i) % 512);
	assert_true(STAT(fetched_blocks) - fetched < 1200);
	w_destroy(w);
}

/*
 * 40 blocks in use, and as many again gone through in between, so that the
 * former are unmapped for their second chance again and again: faults in which
 * they were still there.
 */
static u64 faults_again(u64 (*next)(u64 i))
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, faults;

	c.nr_frames = 64;
	c.io_depth = 32;
	c.io_bytes = 32 * W_BLOCK;
	c.prefetch_blocks = 16;
	c.around_blocks = 8;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	fill(w, 0, 40);
	fill(w, 2048, 512);
	for (i = 0; i < 400; i++)
		get(w, next(i));
	faults = STAT(faults_cached);
	for (i = 0; i < 4000; i++) {
		assert_int_equal(get(w, next(i)), next(i) + 1000);
		if (i % 4 == 0)
			get(w, 2048 + i / 4 % 512);
	}
	faults = STAT(faults_cached) - faults;
	w_destroy(w);
	return faults;
}

static u64 in_no_order(u64 i)
{
	return scattered(i) % 40;
}

static u64 in_order(u64 i)
{
	return i % 40;
}

static void used_again_together(void **state)
{
	/* alone, they are 632 and 907; 857 if a stream leaves them alone */
	assert_true(faults_again(in_no_order) < 570);
	assert_true(faults_again(in_order) < 800);
}

/* In its frame, but taken from the program for its second chance. */
static bool is_spared(struct world *w, u64 block)
{
	return !mapped(w, block) &&
	       w->owner[w->view[block].frame] == (u32)block + 1;
}

static u32 spared(struct world *w, u64 first, u32 nr)
{
	u32 i, n = 0;

	for (i = 0; i < nr; i++)
		n += is_spared(w, first + i);
	return n;
}

/* All of a unit is here: it is mapped again, but for the probe. */
static void probes_stay_unmapped(void **state)
{
	struct tm_pager_config c = w_defaults();
	u64 block, k, units = 0, probes = 0;
	struct world *w;

	c.nr_frames = 1024;
	c.around_blocks = 4;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	fill(w, 0, 1024);
	for (block = 0; block < 1024; block += 4) {
		if (spared(w, block, 4) < 4)
			continue;
		units++;
		assert_int_equal(fault(w, block, false), TM_FAULT_DONE);
		assert_true(mapped(w, block));
		assert_true(spared(w, block, 4) <= 1);
		for (k = 1; k < 4; k++) {
			if (!is_spared(w, block + k))
				continue;
			probes++;
			/* a fault that costs no transfer */
			assert_int_equal(fault(w, block + k, false),
					 TM_FAULT_DONE);
			assert_true(mapped(w, block + k));
		}
	}
	/* one in four times, where it was not what faulted */
	assert_in_range(probes, 1, units / 2);
	assert_int_equal(STAT(fetched_blocks), 0);
	w_destroy(w);
}

static void without_a_cache_nothing_comes(void **state)
{
	struct world *w = paged(8, false);
	u64 fetched = STAT(fetched_blocks);

	faults_of_groups(w, 100);
	assert_true(STAT(fetched_blocks) - fetched <= 800);
	assert_int_equal(STAT(prefetched), 0);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(scattered_faults_come_alone),
		cmocka_unit_test(neighbours_double_it),
		cmocka_unit_test(unused_neighbours_halve_it),
		cmocka_unit_test(probes_are_spread),
		cmocka_unit_test(few_probes_in_small_units),
		cmocka_unit_test(begins_as_told),
		cmocka_unit_test(groups_come_together),
		cmocka_unit_test(single_blocks_stay_single),
		cmocka_unit_test(used_again_together),
		cmocka_unit_test(probes_stay_unmapped),
		cmocka_unit_test(without_a_cache_nothing_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
