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

/* And for nothing else: it does not make growing any nearer. */
static void a_yes_makes_up_for_a_no(void **state)
{
	struct tm_around a;
	u32 i;

	tm_around_init(&a, 2);
	for (i = 0; i < 3; i++)
		tm_around_judge(&a, false);
	for (i = 0; i < 6; i++)
		tm_around_judge(&a, true);
	for (i = 0; i < 3; i++)
		tm_around_judge(&a, false);
	assert_int_equal(a.shift, 2);
	tm_around_judge(&a, false);
	assert_int_equal(a.shift, 1);
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

/* More blocks than frames: some went out, and many are spared. */
static struct world *sparing(u32 prefetch_blocks, u32 around_blocks)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_frames = 1024;
	c.prefetch_blocks = prefetch_blocks;
	c.around_blocks = around_blocks;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	fill(w, 0, 1280);
	return w;
}

/*
 * Use what is here of units: all of them is mapped again but for the probes,
 * of which there is one in four times, unless it is what faulted. Returns them.
 */
static u64 probes_of_spared(struct world *w, bool use)
{
	u64 block, k, units = 0, probes = 0;

	for (block = 0; block < 1280; block += 4) {
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
			if (use)
				assert_int_equal(fault(w, block + k, false),
						 TM_FAULT_DONE);
			assert_int_equal(mapped(w, block + k), use);
		}
	}
	assert_in_range(probes, 1, units / 2);
	assert_int_equal(STAT(fetched_blocks), 0);
	return probes;
}

static void spared_units_have_probes(void **state)
{
	struct world *w;
	u64 ahead;
	int use;

	for (use = 0; use < 2; use++) {
		w = sparing(0, 4);
		/* so many that go unused halve the unit */
		assert_true(probes_of_spared(w, use) >= 8);
		fill(w, 2048, 1024);
		ahead = STAT(prefetched);
		assert_int_equal(fault(w, 64, false), TM_FAULT_PENDING);
		ahead = STAT(prefetched) - ahead;
		assert_in_range(ahead, use ? 3 : 0, use ? 3 : 1);
		w_drain(w, 0);
		w_destroy(w);
	}
}

/* The one block of four that came, but not to be mapped; 4 if there is none. */
static u64 probe_among(struct world *w, u64 first)
{
	u64 i;

	for (i = 0; i < 4 && mapped(w, first + i); i++)
		;
	return i;
}

/* Of every three probes two are used, and the unit stays as large. */
static void used_probes_keep_units(void **state)
{
	struct world *w = paged(4, true);
	u64 i, unit, k, ahead, probes = 0;

	for (i = 0; i < 256; i++) {
		/* none has its buddy among them */
		unit = i % 64 * 8;
		ahead = STAT(prefetched);
		get(w, unit);
		assert_int_equal(STAT(prefetched) - ahead, 3);
		k = probe_among(w, unit);
		if (k < 4 && probes++ % 3)
			get(w, unit + k);
	}
	assert_true(probes > 3 * 8);
	w_destroy(w);
}

/* A window that comes by is no use of them. */
static void windows_leave_probes(void **state)
{
	static const u64 unit[] = {8, 32, 48, 88, 120, 160, 216, 240};
	struct world *w = sparing(8, 4);
	u64 i, k;

	for (i = 0, k = 4; k > 2; i++) {
		assert_true(i < sizeof(unit) / sizeof(unit[0]));
		get(w, unit[i]);
		k = probe_among(w, unit[i]);
	}
	i = unit[i - 1];
	/* new ones, downwards: the window begins at the unit's last */
	tm_pager_discard(w_lane(w, 0), i + 4, 2);
	get(w, i + 5);
	get(w, i + 4);
	assert_true(mapped(w, i - 1));
	assert_false(mapped(w, i + k));
	w_destroy(w);
}

/* From 64 KiB on it has a request of its own. */
static void the_demanded_block_goes_alone(void **state)
{
	struct world *w = paged(16, true);
	u64 i, k, ahead;

	for (i = 0; i < 64; i++)
		for (k = 0; k < 16; k++)
			get(w, scattered(i) % 32 * 16 + k * 5 % 16);
	fill(w, 2048, 128);
	ahead = STAT(prefetched);
	assert_int_equal(fault(w, 37, false), TM_FAULT_PENDING);
	assert_true(STAT(prefetched) - ahead >= 8);
	assert_int_equal(w->request[0][0].kind, W_FETCH);
	assert_int_equal(w->request[0][0].io->nr, 1);
	assert_int_equal(w->request[0][0].io->seg[0].block, 37);
	assert_true(w_pending(w, 0, W_FETCH) > 1);
	w_drain(w, 0);
	w_destroy(w);
}

/* What is here of a window is mapped again, but for the marker. */
static void markers_stay_unmapped(void **state)
{
	struct world *w = sparing(8, 0);
	u64 block = 0;

	while (spared(w, block, 10) < 10)
		assert_true(++block < 1280);
	fault(w, block, false);
	assert_int_equal(spared(w, block, 10), 9);
	fault(w, block + 1, false);
	assert_true(is_spared(w, block + 2));
	assert_int_equal(spared(w, block, 10), 1);
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
		cmocka_unit_test(a_yes_makes_up_for_a_no),
		cmocka_unit_test(probes_are_spread),
		cmocka_unit_test(few_probes_in_small_units),
		cmocka_unit_test(begins_as_told),
		cmocka_unit_test(groups_come_together),
		cmocka_unit_test(single_blocks_stay_single),
		cmocka_unit_test(used_again_together),
		cmocka_unit_test(spared_units_have_probes),
		cmocka_unit_test(used_probes_keep_units),
		cmocka_unit_test(windows_leave_probes),
		cmocka_unit_test(the_demanded_block_goes_alone),
		cmocka_unit_test(markers_stay_unmapped),
		cmocka_unit_test(without_a_cache_nothing_comes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
