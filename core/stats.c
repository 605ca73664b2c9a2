// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Counters and histograms; see stats.h for who may read and write. Formatting
 * them is for the surfaces that show them.
 */
#include "core/stats.h"

/*
 * Values below TM_HIST_STEPS have a bucket each; then every octave
 * [2^n, 2^(n+1)) is cut into TM_HIST_STEPS equal ones.
 */
#define STEPS_LOG2 3

_Static_assert(TM_HIST_STEPS == 1 << STEPS_LOG2, "an octave's steps");

static unsigned int bucket_of(u64 value)
{
	unsigned int octave, index;

	if (value < TM_HIST_STEPS)
		return (unsigned int)value;
	octave = 63 - (unsigned int)__builtin_clzll(value) - STEPS_LOG2;
	index = (octave + 1) * TM_HIST_STEPS +
		((value >> octave) & (TM_HIST_STEPS - 1));
	return index < TM_HIST_BUCKETS ? index : TM_HIST_BUCKETS - 1;
}

static u64 bucket_middle(unsigned int index)
{
	unsigned int octave = index / TM_HIST_STEPS;
	u64 step = index % TM_HIST_STEPS;

	if (octave <= 1)
		return index;
	octave--;
	return ((TM_HIST_STEPS + step) << octave) + (1ull << octave) / 2;
}

void tm_hist_record(struct tm_hist *h, u64 value)
{
	u64 *bucket = &h->bucket[bucket_of(value)];

	tm_store_relaxed(bucket, *bucket + 1);
	tm_store_relaxed(&h->count, h->count + 1);
	tm_store_relaxed(&h->sum, h->sum + value);
	if (value > h->max)
		tm_store_relaxed(&h->max, value);
}

u64 tm_hist_percentile(const struct tm_hist *h, unsigned int permille)
{
	u64 total = 0, seen = 0, rank, middle, max;
	unsigned int i;

	/* Not h->count: the writer may be between the two. */
	for (i = 0; i < TM_HIST_BUCKETS; i++)
		total += tm_load_relaxed(&h->bucket[i]);
	if (!total)
		return 0;

	rank = (total * permille + 999) / 1000;
	for (i = 0; i < TM_HIST_BUCKETS - 1; i++) {
		seen += tm_load_relaxed(&h->bucket[i]);
		if (seen >= rank)
			break;
	}
	middle = bucket_middle(i);
	max = tm_load_relaxed(&h->max);
	return middle < max ? middle : max;
}

static void hist_merge(struct tm_hist *into, const struct tm_hist *from)
{
	u64 max = tm_load_relaxed(&from->max);
	unsigned int i;

	into->count += tm_load_relaxed(&from->count);
	into->sum += tm_load_relaxed(&from->sum);
	if (max > into->max)
		into->max = max;
	for (i = 0; i < TM_HIST_BUCKETS; i++)
		into->bucket[i] += tm_load_relaxed(&from->bucket[i]);
}

void tm_stats_merge(struct tm_stats *into, const struct tm_stats *from)
{
#define X(name, help) into->name += tm_load_relaxed(&from->name);
	TM_STATS_COUNTERS(X)
#undef X
	hist_merge(&into->fault_ns, &from->fault_ns);
	hist_merge(&into->fetch_ns, &from->fetch_ns);
	hist_merge(&into->store_ns, &from->store_ns);
	hist_merge(&into->fetch_bytes, &from->fetch_bytes);
	hist_merge(&into->store_bytes, &from->store_bytes);
}
