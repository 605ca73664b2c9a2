// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Raw speed of a channel; see rawbench.h. Keeps `depth` requests under way,
 * each with a buffer of its own, from the calling thread. No locks.
 */
#include <time.h>

#include "common/rawbench.h"

/* Small blocks are not filled one by one, which takes a round trip each. */
#define FILL_BYTES (256u << 10)

struct bench;

struct lane {
	struct tm_request request;
	struct bench *bench;
	u64 started_ns;
};

struct bench {
	struct tm_channel *channel;
	const struct tm_rawbench *params;
	struct tm_rawbench_result *result;
	u64 extent_bytes, nr_extents, nr_blocks, next_block;
	u64 *extents;
	struct lane *lanes;
	u8 *buffers;
	u64 seed;
	u64 deadline_ns;
	int err;
};

static u64 clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u64 block_addr(const struct bench *b, u64 block)
{
	u64 per_extent = b->extent_bytes / b->params->block_bytes;

	return b->extents[block / per_extent] +
	       block % per_extent * b->params->block_bytes;
}

static u64 pick_block(struct bench *b)
{
	if (!b->params->random)
		return b->next_block++ % b->nr_blocks;
	b->seed ^= b->seed << 13;
	b->seed ^= b->seed >> 7;
	b->seed ^= b->seed << 17;
	return b->seed % b->nr_blocks;
}

static void start(struct lane *lane)
{
	struct bench *b = lane->bench;
	int err;

	lane->request.addr = block_addr(b, pick_block(b));
	lane->started_ns = clock_ns(CLOCK_MONOTONIC);
	err = tm_channel_submit(b->channel, &lane->request);
	if (err)
		b->err = err;
}

static void done(struct tm_request *request, int err)
{
	struct lane *lane = request->cookie;
	struct bench *b = lane->bench;
	u64 now = clock_ns(CLOCK_MONOTONIC);

	if (err) {
		b->err = err;
		return;
	}
	tm_hist_record(&b->result->latency_ns, now - lane->started_ns);
	b->result->requests++;
	b->result->bytes += request->bytes;
	if (now < b->deadline_ns && !b->err)
		start(lane);
}

static int measure(struct bench *b)
{
	const struct tm_rawbench *params = b->params;
	unsigned int i;
	u64 started, cpu_started;

	memset(b->result, 0, sizeof(*b->result));
	cpu_started = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	started = clock_ns(CLOCK_MONOTONIC);
	b->deadline_ns = started + params->duration_ms * 1000000ull;
	for (i = 0; i < params->depth; i++) {
		struct lane *lane = &b->lanes[i];

		lane->bench = b;
		lane->request.type = params->type;
		lane->request.bytes = params->block_bytes;
		lane->request.nr_iov = 1;
		lane->request.iov[0].iov_base =
			b->buffers + (size_t)i * params->block_bytes;
		lane->request.iov[0].iov_len = params->block_bytes;
		lane->request.done = done;
		lane->request.cookie = lane;
		start(lane);
	}
	while (tm_channel_wait(b->channel) > 0)
		;
	b->result->elapsed_ns = clock_ns(CLOCK_MONOTONIC) - started;
	b->result->cpu_ns = clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu_started;
	return b->err;
}

/* All that was reserved; @bytes at a time, which an extent is a multiple of. */
static int fill(struct bench *b, u32 bytes)
{
	struct tm_request request = {
		.type = TM_WIRE_WRITE,
		.bytes = bytes,
		.nr_iov = 1,
		.iov[0] = {b->buffers, bytes},
	};
	u64 extent, at;
	int err = 0;

	memset(b->buffers, 0xa5, bytes);
	for (extent = 0; extent < b->nr_extents; extent++)
		for (at = 0; at < b->extent_bytes && !err; at += bytes) {
			request.addr = b->extents[extent] + at;
			err = tm_channel_call(b->channel, &request);
		}
	return err;
}

static int reserve(struct bench *b, u64 wanted)
{
	struct tm_request request = {.type = TM_WIRE_RESERVE};
	int err = 0;

	while (b->nr_extents < wanted) {
		err = tm_channel_call(b->channel, &request);
		if (err)
			return err;
		b->extents[b->nr_extents++] = request.addr;
	}
	return 0;
}

static void release(struct bench *b)
{
	struct tm_request request = {
		.type = TM_WIRE_RELEASE,
		.bytes = b->extent_bytes,
	};

	while (b->nr_extents > 0) {
		request.addr = b->extents[--b->nr_extents];
		if (tm_channel_call(b->channel, &request))
			return;
	}
}

int tm_rawbench_run(struct tm_session *session, struct tm_channel *channel,
		    const struct tm_rawbench *params,
		    struct tm_rawbench_result *result)
{
	const struct tm_wire_welcome *welcome = tm_session_welcome(session);
	struct bench b = {
		.channel = channel,
		.params = params,
		.result = result,
		.extent_bytes = tm_le64_to_cpu(welcome->extent_bytes),
		.seed = 88172645463325252ull,
	};
	u32 io_max = tm_le32_to_cpu(welcome->io_max_bytes);
	u32 bytes = params->block_bytes, fill_bytes = bytes;
	size_t buffer_bytes;
	u64 wanted;
	int err;

	if (!bytes || bytes > b.extent_bytes || b.extent_bytes % bytes ||
	    bytes > io_max || !params->depth || params->span_bytes < bytes)
		return -EINVAL;
	while (fill_bytes < FILL_BYTES && 2 * fill_bytes <= io_max &&
	       b.extent_bytes % (2 * fill_bytes) == 0)
		fill_bytes *= 2;
	buffer_bytes = (size_t)params->depth * bytes;
	if (buffer_bytes < fill_bytes)
		buffer_bytes = fill_bytes;
	wanted = (params->span_bytes + b.extent_bytes - 1) / b.extent_bytes;
	b.nr_blocks = params->span_bytes / bytes;
	b.extents = calloc(wanted, sizeof(*b.extents));
	b.lanes = calloc(params->depth, sizeof(*b.lanes));
	b.buffers = tm_alloc(buffer_bytes);
	err = b.extents && b.lanes && b.buffers ? reserve(&b, wanted) : -ENOMEM;
	if (!err)
		err = fill(&b, fill_bytes);
	if (!err)
		err = measure(&b);
	release(&b);
	tm_free(b.buffers, buffer_bytes);
	free(b.lanes);
	free(b.extents);
	return err;
}

double tm_rawbench_rate(const struct tm_rawbench_result *result)
{
	return result->elapsed_ns
		       ? result->bytes * 1e9 / (double)result->elapsed_ns
		       : 0;
}
