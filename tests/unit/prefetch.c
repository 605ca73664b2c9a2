// SPDX-License-Identifier: GPL-2.0-or-later
/* Prefetch: what is a stream and what is not, and how windows follow it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "core/prefetch.h"

/* A program reading a stream, with everything fetched ahead arriving. */
struct reader {
	u64 at;
	s64 stride;
	u64 ready[64]; /* mapped ahead */
	u32 nr_ready;
	u32 faults;
};

static bool is_ready(struct reader *r, u64 block)
{
	u32 i;

	for (i = 0; i < r->nr_ready; i++)
		if (r->ready[i] == block) {
			r->ready[i] = r->ready[--r->nr_ready];
			return true;
		}
	return false;
}

/* Read one block; the marker of each window faults. */
static void step(struct tm_prefetch *p, struct reader *r)
{
	struct tm_window w;
	u32 i;

	if (!is_ready(r, r->at)) {
		r->faults++;
		if (tm_prefetch_fault(p, r->at, 0, false, &w)) {
			assert_int_equal(w.stride, r->stride);
			assert_true(w.nr <= p->max);
			for (i = 1; i < w.nr; i++)
				r->ready[r->nr_ready++] =
					w.first + (u64)(i * w.stride);
		}
	}
	r->at += (u64)r->stride;
}

static void run(u64 from, s64 stride, u32 max, u32 faults_most)
{
	struct reader r = {.at = from, .stride = stride};
	struct tm_prefetch p;
	u32 i;

	tm_prefetch_init(&p, 2, max, 0);
	for (i = 0; i < 400; i++)
		step(&p, &r);
	assert_in_range(r.faults, 400 / max, faults_most);
}

static void sequential_up(void **state)
{
	run(1000, 1, 8, 400 / 8 + 6);
	run(0, 1, 2, 400 / 2 + 4);
}

static void sequential_down(void **state)
{
	run(5000, -1, 8, 400 / 8 + 6);
}

static void strided(void **state)
{
	run(10, 7, 8, 400 / 8 + 7);
	run(100000, -33, 4, 400 / 4 + 7);
}

static void window_grows_and_follows(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u64 next;

	tm_prefetch_init(&p, 2, 16, 0);
	assert_false(tm_prefetch_fault(&p, 100, 0, false, &w));
	assert_true(tm_prefetch_fault(&p, 101, 0, false, &w));
	assert_int_equal(w.first, 102);
	assert_int_equal(w.nr, 2);
	assert_int_equal(w.stride, 1);
	/* its marker asks for the next, twice as large, right behind it */
	assert_true(tm_prefetch_fault(&p, 102, 0, false, &w));
	assert_int_equal(w.first, 104);
	assert_int_equal(w.nr, 4);
	/* a late fault in the window before asks for nothing */
	assert_false(tm_prefetch_fault(&p, 103, 0, false, &w));
	assert_true(tm_prefetch_fault(&p, 104, 0, false, &w));
	assert_int_equal(w.first, 108);
	assert_int_equal(w.nr, 8);
	assert_true(tm_prefetch_fault(&p, 108, 0, false, &w));
	assert_int_equal(w.nr, 16);
	next = w.first;
	assert_true(tm_prefetch_fault(&p, next, 0, false, &w));
	assert_int_equal(w.first, next + 16);
	assert_int_equal(w.nr, 16);
	/* had none of it: the fault behind what there was goes on as it was */
	tm_prefetch_trim(&w, 0);
	next = w.first;
	assert_true(tm_prefetch_fault(&p, next, 0, true, &w));
	assert_int_equal(w.first, next + 1);
	assert_int_equal(w.nr, 16);
	tm_prefetch_trim(&w, 3);
	next = w.first + 3;
	assert_true(tm_prefetch_fault(&p, next, 0, true, &w));
	assert_int_equal(w.first, next + 1);
	assert_int_equal(w.nr, 16);
}

/* What was read ahead has been evicted again before it was used. */
static void missed_in_the_window(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u64 next;

	tm_prefetch_init(&p, 2, 16, 0);
	tm_prefetch_fault(&p, 100, 0, true, &w);
	for (next = 101; tm_prefetch_fault(&p, next, 0, true, &w) && w.nr < 16;)
		next = w.first;
	/* on its way, or ready */
	next = w.first - 5;
	assert_false(tm_prefetch_fault(&p, next, 0, false, &w));
	assert_non_null(w.stream);
	assert_true(tm_prefetch_fault(&p, next, 0, true, &w));
	assert_int_equal(w.first, next + 1);
	assert_int_equal(w.nr, 2);
	assert_true(tm_prefetch_fault(&p, w.first, 0, false, &w));
	assert_int_equal(w.first, next + 3);
	assert_int_equal(w.nr, 4);
}

/* Four aligned blocks come with a fault: strides have to be larger. */
static void strides_beyond_a_unit(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u64 i;

	tm_prefetch_init(&p, 2, 16, 0);
	for (i = 101; i < 120; i += 4)
		assert_false(tm_prefetch_fault(&p, i, 2, true, &w));
	assert_null(w.stream);
	assert_false(tm_prefetch_fault(&p, 1000, 2, true, &w));
	assert_false(tm_prefetch_fault(&p, 1005, 2, true, &w));
	assert_true(tm_prefetch_fault(&p, 1010, 2, true, &w));
	assert_int_equal(w.stride, 5);
	assert_false(tm_prefetch_fault(&p, 5000, 2, true, &w));
	assert_true(tm_prefetch_fault(&p, 5001, 2, true, &w));
	assert_int_equal(w.stride, 1);
}

/* A pass in order faults on the first of each unit, and perhaps on a probe. */
static void units_in_order(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;

	tm_prefetch_init(&p, 2, 16, 0);
	assert_false(tm_prefetch_fault(&p, 1000, 3, true, &w));
	assert_false(tm_prefetch_fault(&p, 1005, 3, false, &w));
	assert_true(tm_prefetch_fault(&p, 1008, 3, true, &w));
	assert_int_equal(w.stride, 1);
	assert_int_equal(w.first, 1009);
	/* and down */
	assert_false(tm_prefetch_fault(&p, 5007, 3, true, &w));
	assert_false(tm_prefetch_fault(&p, 5002, 3, false, &w));
	assert_true(tm_prefetch_fault(&p, 4999, 3, true, &w));
	assert_int_equal(w.stride, -1);
	assert_int_equal(w.first, 4998);
	/* without a probe */
	assert_false(tm_prefetch_fault(&p, 8000, 3, true, &w));
	assert_true(tm_prefetch_fault(&p, 8008, 3, true, &w));
	assert_int_equal(w.stride, 1);
	assert_int_equal(w.first, 8009);
}

/* The stream went down; now the same memory is gone through upwards. */
static void turns_round(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u64 i, windows = 0;

	tm_prefetch_init(&p, 2, 16, 0);
	for (i = 100; i > 60; i--)
		tm_prefetch_fault(&p, i, 0, true, &w);
	for (i = 62; i < 72; i++)
		windows +=
			tm_prefetch_fault(&p, i, 0, true, &w) && w.stride == 1;
	assert_in_range(windows, 5, 10);
}

static void random_is_no_stream(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u32 i, windows = 0;

	tm_prefetch_init(&p, 2, 8, 0);
	srandom(7);
	for (i = 0; i < 100000; i++)
		windows += tm_prefetch_fault(&p, (u64)random() % 10000000, 0,
					     false, &w);
	/* now and then two are neighbours by chance */
	assert_true(windows < 20);
}

static void same_block_again(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u32 i;

	tm_prefetch_init(&p, 2, 8, 0);
	for (i = 0; i < 10; i++)
		assert_false(tm_prefetch_fault(&p, 42, 0, false, &w));
}

static void interleaved(void **state)
{
	struct reader r[4] = {
		{.at = 1000, .stride = 1},
		{.at = 90000, .stride = -1},
		{.at = 500000, .stride = 1},
		{.at = 700000, .stride = 12},
	};
	struct tm_prefetch p;
	u32 i, k;

	tm_prefetch_init(&p, 2, 8, 0);
	for (i = 0; i < 400; i++)
		for (k = 0; k < 4; k++)
			step(&p, &r[k]);
	for (k = 0; k < 4; k++)
		assert_in_range(r[k].faults, 400 / 8, 400 / 8 + 8);
}

static void stream_survives_noise(void **state)
{
	struct reader r = {.at = 1000, .stride = 1};
	struct tm_prefetch p;
	struct tm_window w;
	u32 i;

	tm_prefetch_init(&p, 2, 8, 0);
	srandom(11);
	for (i = 0; i < 400; i++) {
		step(&p, &r);
		/* each step's other access is far away */
		if (i % 4 == 3)
			tm_prefetch_fault(&p, 1000000 + (u64)random(), 0, false,
					  &w);
	}
	assert_in_range(r.faults, 400 / 8, 400 / 8 + 8);
}

static void off(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u64 i;

	tm_prefetch_init(&p, 2, 0, 0);
	for (i = 0; i < 10; i++)
		assert_false(tm_prefetch_fault(&p, i, 0, false, &w));
}

static void wraps_below_zero(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;

	tm_prefetch_init(&p, 2, 8, 0);
	assert_false(tm_prefetch_fault(&p, 1, 0, false, &w));
	assert_true(tm_prefetch_fault(&p, 0, 0, false, &w));
	assert_true(w.first == ~0ull);
}

/*
 * A stream as the pager follows it, from marker to marker: each window begins
 * where the last one ended, and a large one ends with a unit.
 */
static void windows_end_with_units(u64 from, s64 stride, u32 max)
{
	const u32 unit = 8;
	struct tm_prefetch p;
	struct tm_window w;
	u64 next, end;
	u32 i, large = 0;

	tm_prefetch_init(&p, 2, max, unit);
	assert_false(tm_prefetch_fault(&p, from, 0, false, &w));
	next = from + (u64)stride;
	assert_true(tm_prefetch_fault(&p, next, 0, false, &w));
	for (i = 0; i < 20; i++) {
		next += i ? 0 : (u64)stride;
		assert_true(w.first == next);
		assert_in_range(w.nr, 1, max);
		next = w.first + (u64)((s64)w.nr * stride);
		if (w.nr >= unit) {
			end = stride > 0 ? next : next + 1;
			assert_int_equal(end % unit, 0);
			large++;
		}
		assert_true(tm_prefetch_fault(&p, w.first, 0, false, &w));
	}
	assert_true(large > 10);
	/* it is as large as it may be, but for what was cut off */
	assert_in_range(w.nr, max - unit + 1, max);
}

static void units_up_and_down(void **state)
{
	u64 from;

	for (from = 1000; from < 1008; from++) {
		windows_end_with_units(from, 1, 32);
		windows_end_with_units(from, -1, 32);
		windows_end_with_units(from, 1, 21);
		windows_end_with_units(from, -1, 21);
	}
}

/* Windows of a stream that are not cut: powers of two. */
static void not_cut(s64 stride, u32 max, u32 unit)
{
	struct tm_prefetch p;
	struct tm_window w;
	u32 i;

	tm_prefetch_init(&p, 2, max, unit);
	for (i = 0; i < 3; i++)
		tm_prefetch_fault(&p, 1001 + (u64)(i * stride), 0, false, &w);
	for (i = 0; i < 10; i++) {
		assert_true(w.nr && !(w.nr & (w.nr - 1)));
		assert_true(tm_prefetch_fault(&p, w.first, 0, false, &w));
	}
	assert_int_equal(w.nr, max);
}

static void units_are_of_neighbours(void **state)
{
	not_cut(3, 32, 8);
	not_cut(1, 32, 0);
	/* smaller than a unit */
	not_cut(1, 8, 16);
}

static void stream_goes_on(void **state)
{
	struct tm_prefetch p, was;
	struct tm_window w;

	tm_prefetch_init(&p, 2, 16, 0);
	assert_false(tm_prefetch_goes_on(&p, 0, 1));
	tm_prefetch_fault(&p, 100, 0, false, &w);
	/* one fault is no stream */
	assert_false(tm_prefetch_goes_on(&p, 100, 1));
	assert_false(tm_prefetch_goes_on(&p, 101, 1));
	assert_true(tm_prefetch_fault(&p, 101, 0, false, &w));
	assert_int_equal(w.nr, 2);
	was = p;
	assert_true(tm_prefetch_goes_on(&p, 102, 4));
	assert_true(tm_prefetch_goes_on(&p, 104, 4));
	assert_false(tm_prefetch_goes_on(&p, 102, 5));
	assert_false(tm_prefetch_goes_on(&p, 105, 4));
	/* behind it */
	assert_false(tm_prefetch_goes_on(&p, 101, 1));
	assert_memory_equal(&p, &was, sizeof(p));
	assert_true(tm_prefetch_fault(&p, 102, 0, false, &w));
	assert_true(tm_prefetch_goes_on(&p, w.first, 8));
	assert_false(tm_prefetch_goes_on(&p, w.first, 9));
	tm_prefetch_fault(&p, w.first, 0, false, &w);
	tm_prefetch_fault(&p, w.first, 0, false, &w);
	assert_true(tm_prefetch_goes_on(&p, w.first, 16));
	assert_false(tm_prefetch_goes_on(&p, w.first, 17));
}

static void strides_go_on_as_such(void **state)
{
	struct tm_prefetch p;
	struct tm_window w;
	u32 i;

	tm_prefetch_init(&p, 2, 16, 0);
	for (i = 0; i < 3; i++)
		tm_prefetch_fault(&p, 100 + i * 7, 0, false, &w);
	assert_int_equal(w.stride, 7);
	assert_false(tm_prefetch_goes_on(&p, w.first, 1));
	tm_prefetch_fault(&p, 5000, 0, false, &w);
	assert_true(tm_prefetch_fault(&p, 4999, 0, false, &w));
	assert_true(tm_prefetch_goes_on(&p, 4998, 2));
	assert_false(tm_prefetch_goes_on(&p, 5001, 2));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(sequential_up),
		cmocka_unit_test(sequential_down),
		cmocka_unit_test(strided),
		cmocka_unit_test(window_grows_and_follows),
		cmocka_unit_test(missed_in_the_window),
		cmocka_unit_test(strides_beyond_a_unit),
		cmocka_unit_test(units_in_order),
		cmocka_unit_test(turns_round),
		cmocka_unit_test(random_is_no_stream),
		cmocka_unit_test(same_block_again),
		cmocka_unit_test(interleaved),
		cmocka_unit_test(stream_survives_noise),
		cmocka_unit_test(off),
		cmocka_unit_test(wraps_below_zero),
		cmocka_unit_test(units_up_and_down),
		cmocka_unit_test(units_are_of_neighbours),
		cmocka_unit_test(stream_goes_on),
		cmocka_unit_test(strides_go_on_as_such),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
