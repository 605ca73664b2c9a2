/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Counters and latency histograms: one struct for every surface (the summary
 * of `teramem run`, its JSON, teramalloc_stats_get(), later sysfs).
 *
 * One writer per struct (a lane), any number of readers; each field is a
 * naturally aligned u64 written with a relaxed store, so that readers in
 * other threads or other processes (the struct may lie in shared memory) see
 * whole values. Lock order: none.
 */
#ifndef TM_CORE_STATS_H
#define TM_CORE_STATS_H

#include "tm_port.h"

/*
 * A log-linear histogram: 8 linear steps in every power of two, so that a
 * percentile is off by 12.5 % at most. 40 octaves reach over an hour in ns.
 */
#define TM_HIST_STEPS 8
#define TM_HIST_OCTAVES 40
#define TM_HIST_BUCKETS (TM_HIST_OCTAVES * TM_HIST_STEPS)

struct tm_hist {
	u64 count;
	u64 sum;
	u64 max;
	u64 bucket[TM_HIST_BUCKETS];
};

/*
 * X(name, help) for each counter; help is the text that man pages, JSON and
 * OpenMetrics show.
 */
#define TM_STATS_COUNTERS(X)                                                   \
	X(faults, "accesses that had to wait for the engine")                  \
	X(faults_zero, "of them: first touch, nothing to fetch")               \
	X(faults_remote, "of them: waited for a transfer")                     \
	X(faults_cached, "of them: the block was still in local memory")       \
	X(faults_spurious, "of them: the block was already mapped")            \
	X(fetched_blocks, "blocks read from a server")                         \
	X(stored_blocks, "blocks written to a server")                         \
	X(bytes_in, "payload read from servers")                               \
	X(bytes_out, "payload written to servers")                             \
	X(fetch_requests, "READ requests sent")                                \
	X(store_requests, "WRITE requests sent")                               \
	X(prefetched, "blocks fetched ahead of a fault")                       \
	X(prefetch_used, "of them: mapped or faulted on")                      \
	X(prefetch_dropped, "of them: evicted unused")                         \
	X(evicted, "blocks that left local memory")                            \
	X(dropped_clean, "of them: clean with a remote copy, no transfer")     \
	X(evict_rescued, "evictions undone by a fault")                        \
	X(evict_direct, "evictions that a fault had to wait for")              \
	X(evict_pinned, "evictions refused because the pages were pinned")     \
	X(huge_blocks, "huge blocks made of neighbours")                       \
	X(huge_split, "of them: split before they left")                       \
	X(discarded, "blocks freed by the program")                            \
	X(checksum_errors, "blocks that came back damaged")                    \
	X(refetched, "blocks fetched again after damage")                      \
	X(lost, "blocks given up: access ends in SIGBUS")                      \
	X(reconnects, "connections renewed within the grace time")

struct tm_stats {
#define X(name, help) u64 name;
	TM_STATS_COUNTERS(X)
#undef X
	struct tm_hist fault_ns;    /* every fault */
	struct tm_hist fetch_ns;    /* request sent to data verified */
	struct tm_hist store_ns;    /* request sent to acknowledged */
	struct tm_hist fetch_bytes; /* of each request */
	struct tm_hist store_bytes;
};

/** tm_stats_add() - add @n to one counter; only the owning lane may */
#define tm_stats_add(stats, name, n)                                           \
	tm_store_relaxed(&(stats)->name, (stats)->name + (n))

/** tm_hist_record() - count @value; only the owning lane may */
void tm_hist_record(struct tm_hist *h, u64 value);

/**
 * tm_hist_percentile() - the value below which @permille of all lie
 * @permille: 1..1000; 500 is the median, 990 is p99
 *
 * Returns the middle of the bucket, never more than the maximum; 0 when
 * nothing was recorded.
 */
u64 tm_hist_percentile(const struct tm_hist *h, unsigned int permille);

/** tm_stats_merge() - add everything in @from to @into */
void tm_stats_merge(struct tm_stats *into, const struct tm_stats *from);

#endif /* TM_CORE_STATS_H */
