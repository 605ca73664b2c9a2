// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Traffic for tests of sessions; see load.h.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <time.h>

#include "tests/net/load.h"

static void on_lost(void *ctx, struct tm_session *session, const char *why)
{
	struct load_outcome *o = ctx;

	snprintf(o->why, sizeof(o->why), "%s", why);
	o->lost++;
}

static void on_renewed(void *ctx, struct tm_session *session)
{
	struct load_outcome *o = ctx;

	o->renewed++;
}

const struct tm_session_ops load_ops = {
	.lost = on_lost,
	.renewed = on_renewed,
};

static uint8_t pattern_at(uint32_t pattern, size_t i)
{
	return (pattern + i * 2654435761u) >> 13;
}

static void job_done(struct tm_request *request, int err)
{
	struct load_job *job = request->cookie;

	assert_true(job->busy);
	job->busy = false;
	job->err = err;
}

/* Cut the buffer into pieces of odd sizes, some of a single byte. */
static void scatter(struct load *load, struct load_job *job, size_t bytes)
{
	struct tm_request *r = &job->request;
	size_t done = 0;

	r->nr_iov = 0;
	r->bytes = bytes;
	while (done < bytes) {
		size_t piece = 1 + rand_r(&load->seed) % 9001;

		if (rand_r(&load->seed) % 4 == 0)
			piece = 1 + rand_r(&load->seed) % 3;
		if (piece > bytes - done || r->nr_iov == TM_REQUEST_IOV_MAX - 1)
			piece = bytes - done;
		r->iov[r->nr_iov].iov_base = job->buf + done;
		r->iov[r->nr_iov++].iov_len = piece;
		done += piece;
	}
}

static void submit(struct tm_channel *channel, struct load_job *job)
{
	job->request.done = job_done;
	job->request.cookie = job;
	job->request.addr = job->addr;
	job->busy = true;
	assert_int_equal(tm_channel_submit(channel, &job->request), 0);
}

static void submit_write(struct load *load, struct tm_channel *channel,
			 struct load_job *job)
{
	size_t bytes = 1 + rand_r(&load->seed) % LOAD_AREA_BYTES, i;

	if (rand_r(&load->seed) % 2)
		bytes = 1 + rand_r(&load->seed) % 5000;
	job->pattern = rand_r(&load->seed);
	for (i = 0; i < bytes; i++)
		job->buf[i] = pattern_at(job->pattern, i);
	job->request.type = TM_WIRE_WRITE;
	scatter(load, job, bytes);
	submit(channel, job);
}

void load_read(struct load *load, struct tm_channel *channel,
	       struct load_job *job)
{
	memset(job->buf, 0xee, job->request.bytes);
	job->request.type = TM_WIRE_READ;
	scatter(load, job, job->request.bytes);
	submit(channel, job);
}

static void check_done(const struct load *load, const struct load_job *job)
{
	if (job->err)
		fail_msg("%s: %s", strerrordesc_np(-job->err),
			 load->outcome->why);
}

static void check_read(struct load *load, struct load_job *job)
{
	size_t i;

	if (job->err == -EFAULT) {
		load->refused++;
		return;
	}
	check_done(load, job);
	for (i = 0; i < job->request.bytes; i++)
		if (job->buf[i] != pattern_at(job->pattern, i))
			fail_msg("wrong byte %zu of %zu", i,
				 (size_t)job->request.bytes);
}

/* Write and read back with 64 requests under way, `target` times. */
void load_run(struct load *load, struct tm_channel *channel,
	      unsigned int target)
{
	unsigned int i;

	for (i = 0; i < LOAD_DEPTH; i++)
		submit_write(load, channel, &load->jobs[i]);
	assert_int_equal(tm_channel_submit(channel, &load->jobs[0].request),
			 -EAGAIN);
	while (load->completed < target) {
		assert_true(tm_channel_wait(channel) > 0);
		for (i = 0; i < LOAD_DEPTH; i++) {
			struct load_job *job = &load->jobs[i];

			if (job->busy)
				continue;
			load->completed++;
			if (job->request.type == TM_WIRE_WRITE) {
				check_done(load, job);
				load_read(load, channel, job);
			} else {
				check_read(load, job);
				submit_write(load, channel, job);
			}
		}
	}
	while (tm_channel_wait(channel) > 0)
		;
	assert_int_equal(tm_channel_under_way(channel), 0);
}

struct load *load_create(uint64_t base, const struct load_outcome *outcome)
{
	struct load *load = calloc(1, sizeof(*load));
	unsigned int i;

	assert_non_null(load);
	load->seed = 1;
	load->outcome = outcome;
	for (i = 0; i < LOAD_DEPTH; i++)
		load->jobs[i].addr = base + i * LOAD_AREA_BYTES;
	return load;
}

void load_destroy(struct load *load)
{
	free(load);
}

uint64_t load_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}
