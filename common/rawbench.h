/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How fast a channel is by itself, without paging: what `teramem bench` sets
 * the paging's figures against.
 */
#ifndef TM_COMMON_RAWBENCH_H
#define TM_COMMON_RAWBENCH_H

#include "common/session.h"
#include "core/stats.h"

/**
 * struct tm_rawbench - what to measure
 * @type: TM_WIRE_READ or TM_WIRE_WRITE
 * @block_bytes: of one request, at most the server's extent and io_max
 * @depth: requests under way; 1 is ping-pong
 * @span_bytes: of the server's memory to go through, again and again
 * @random: blocks in random order, else one after the other
 * @duration_ms: for how long
 */
struct tm_rawbench {
	enum tm_wire_type type;
	uint32_t block_bytes;
	unsigned int depth;
	uint64_t span_bytes;
	bool random;
	unsigned int duration_ms;
};

/**
 * struct tm_rawbench_result - what was measured
 * @cpu_ns: of the calling thread
 * @latency_ns: of each request, from submission to completion; percentiles by
 *	tm_hist_percentile()
 */
struct tm_rawbench_result {
	uint64_t requests;
	uint64_t bytes;
	uint64_t elapsed_ns;
	uint64_t cpu_ns;
	struct tm_hist latency_ns;
};

/**
 * tm_rawbench_run() - measure on an idle channel
 *
 * Reserves extents for the span, writes to all of it, measures, and releases
 * them. Blocks. Returns 0 or -errno: -EINVAL for impossible parameters, or
 * what a request failed with.
 */
int tm_rawbench_run(struct tm_session *session, struct tm_channel *channel,
		    const struct tm_rawbench *params,
		    struct tm_rawbench_result *result);

/** tm_rawbench_rate() - bytes per second */
double tm_rawbench_rate(const struct tm_rawbench_result *result);

#endif /* TM_COMMON_RAWBENCH_H */
