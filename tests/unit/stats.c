// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Counters and histograms: percentiles against sorted values.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/stats.h"

static int compare(const void *a, const void *b)
{
	const u64 *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

static void empty(void **state)
{
	struct tm_hist h = {0};

	assert_int_equal(tm_hist_percentile(&h, 500), 0);
}

static void small_values_are_exact(void **state)
{
	struct tm_hist h = {0};
	u64 v;

	for (v = 0; v < 16; v++)
		tm_hist_record(&h, v);
	assert_int_equal(h.count, 16);
	assert_int_equal(h.sum, 120);
	assert_int_equal(h.max, 15);
	for (v = 0; v < 16; v++)
		assert_int_equal(tm_hist_percentile(&h, 62 * (v + 1)), v);
	assert_int_equal(tm_hist_percentile(&h, 1), 0);
	assert_int_equal(tm_hist_percentile(&h, 1000), 15);
}

static void one_value(void **state)
{
	unsigned int shift;

	for (shift = 0; shift < 64; shift++) {
		struct tm_hist h = {0};

		tm_hist_record(&h, 1ull << shift);
		assert_in_range(tm_hist_percentile(&h, 500), 0, 1ull << shift);
		if (shift < 42)
			assert_int_equal(tm_hist_percentile(&h, 500),
					 1ull << shift);
	}
}

static void percentiles_are_close(void **state)
{
	static u64 values[20000];
	static const unsigned int permille[] = {1, 100, 500, 900, 990, 999};
	const size_t nr = sizeof(values) / sizeof(values[0]);
	struct tm_hist h = {0};
	u64 seed = 42;
	size_t i;

	for (i = 0; i < nr; i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		/* Spread over the octaves as latencies are. */
		values[i] = (seed >> 33) >> (seed >> 20) % 30;
		tm_hist_record(&h, values[i]);
	}
	qsort(values, nr, sizeof(values[0]), compare);
	for (i = 0; i < sizeof(permille) / sizeof(permille[0]); i++) {
		u64 right = values[(nr * permille[i] + 999) / 1000 - 1];
		u64 got = tm_hist_percentile(&h, permille[i]);

		assert_in_range(got, right - right / 8, right + right / 8);
	}
}

static void huge_values_stay_inside(void **state)
{
	struct tm_hist h = {0};

	tm_hist_record(&h, ~0ull);
	tm_hist_record(&h, 1ull << 50);
	assert_int_equal(h.bucket[TM_HIST_BUCKETS - 1], 2);
	assert_true(tm_hist_percentile(&h, 500) <= ~0ull);
}

static void merge_adds_all(void **state)
{
	struct tm_stats *a = calloc(2, sizeof(*a)), *b = a + 1;
	const u64 *word;

	assert_non_null(a);
	tm_stats_add(a, faults, 3);
	tm_stats_add(b, faults, 4);
	tm_stats_add(b, reconnects, 1);
	tm_hist_record(&a->fault_ns, 100);
	tm_hist_record(&b->fault_ns, 1000);
	tm_hist_record(&b->store_ns, 5);
	tm_hist_record(&b->fetch_bytes, 6);
	tm_hist_record(&b->store_bytes, 7);
	tm_stats_merge(a, b);
	assert_int_equal(a->faults, 7);
	assert_int_equal(a->reconnects, 1);
	assert_int_equal(a->fault_ns.count, 2);
	assert_int_equal(a->fault_ns.sum, 1100);
	assert_int_equal(a->fault_ns.max, 1000);
	assert_int_equal(a->store_ns.count, 1);
	assert_int_equal(a->fetch_bytes.sum, 6);
	assert_int_equal(a->store_bytes.sum, 7);
	assert_int_equal(a->fetch_ns.count, 0);

	/* No field is forgotten: each word of ones becomes two. */
	for (word = (u64 *)b; word < (u64 *)(b + 1); word++)
		*(u64 *)word = 1;
	memset(a, 0, sizeof(*a));
	tm_stats_merge(a, b);
	tm_stats_merge(a, b);
	a->fault_ns.max++, a->fetch_ns.max++, a->store_ns.max++;
	a->fetch_bytes.max++, a->store_bytes.max++;
	for (word = (u64 *)a; word < (u64 *)(a + 1); word++)
		assert_int_equal(*word, 2);
	free(a);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(empty),
		cmocka_unit_test(small_values_are_exact),
		cmocka_unit_test(one_value),
		cmocka_unit_test(percentiles_are_close),
		cmocka_unit_test(huge_values_stay_inside),
		cmocka_unit_test(merge_adds_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
