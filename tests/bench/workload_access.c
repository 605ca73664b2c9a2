// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Patterns that are nothing but accesses: in order, by strides, here and there.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/workload.h"

static void fill(uint64_t *data, uint64_t words, uint64_t round)
{
	uint64_t n;

	for (n = 0; n < words; n++)
		data[n] = word_at(n, round);
}

static bool holds(const uint64_t *data, uint64_t from, uint64_t words,
		  uint64_t round)
{
	uint64_t bad = 0, n;

	for (n = from; n < from + words; n++)
		bad |= data[n] ^ word_at(n, round);
	return !bad;
}

static uint64_t *filled(const struct work *w)
{
	uint64_t *data = memory(w, w->bytes);

	fill(data, w->bytes / sizeof(*data), 0);
	return data;
}

/* Whole passes only: each begins with nothing of it in local memory. */
static void run_read(struct work *w)
{
	const uint64_t words = w->bytes / sizeof(uint64_t);
	uint64_t *data = filled(w), page;
	uint64_t begin;

	while (w->ns < w->ms * 1000000) {
		evict(w, data);
		begin = now_ns();
		for (page = 0; page < words; page += PAGE_WORDS)
			verify(holds(data, page, PAGE_WORDS, 0), "read");
		w->ns += now_ns() - begin;
		w->moved += w->bytes;
		w->count++;
	}
}

static void run_write(struct work *w)
{
	const uint64_t words = w->bytes / sizeof(uint64_t);
	uint64_t *data = filled(w), begin;

	evict(w, data);
	begin = now_ns();
	while (w->ns < w->ms * 1000000) {
		fill(data, words, ++w->count);
		w->ns = now_ns() - begin;
		w->moved += w->bytes;
	}
	verify(holds(data, 0, words, w->count), "write");
}

/* One word each @step, all evicted before each sweep. */
static void run_stride(struct work *w)
{
	const uint64_t words = w->bytes / sizeof(uint64_t);
	const uint64_t step = w->step / sizeof(uint64_t);
	uint64_t *data = filled(w), begin, end, n, bad = 0;

	end = now_ns() + w->ms * 1000000;
	do {
		evict(w, data);
		begin = now_ns();
		for (n = 0; n < words; n += step)
			bad |= data[n] ^ word_at(n, 0);
		w->ns += now_ns() - begin;
		w->count += words / step;
		verify(!bad, "stride");
	} while (now_ns() < end);
	w->moved = w->count * sizeof(uint64_t);
}

/* A permutation of 0..n-1, a power of two, without strides to be foreseen */
static uint64_t scatter(uint64_t i, uint64_t n)
{
	const unsigned int bits = (unsigned int)__builtin_ctzll(n);
	int round;

	for (round = 0; round < 3; round++) {
		i = i * 0x9e3779b97f4a7c15ull & (n - 1);
		i ^= i >> (bits + 1) / 2;
	}
	return i;
}

static void need_power_of_two(uint64_t n, const char *what)
{
	if (!(n & (n - 1)))
		return;
	errno = EINVAL;
	die(what);
}

/* Steps in no order, and the pages of each in none either. */
static void run_cluster(struct work *w)
{
	const uint64_t steps = w->bytes / w->step;
	const uint64_t pages = w->step / PAGE_BYTES;
	uint64_t *data = filled(w), begin, i, k, n, bad = 0;

	need_power_of_two(steps, "bytes / step");
	need_power_of_two(pages, "step");
	while (w->ns < w->ms * 1000000) {
		evict(w, data);
		begin = now_ns();
		for (i = 0; i < steps; i++) {
			for (k = 0; k < pages; k++) {
				n = scatter(i, steps) * pages;
				n = (n + scatter(k, pages)) * PAGE_WORDS;
				bad |= data[n] ^ word_at(n, 0);
			}
		}
		w->ns += now_ns() - begin;
		w->count += steps * pages;
		verify(!bad, "cluster");
	}
	w->moved = w->count * sizeof(uint64_t);
}

struct prober {
	pthread_t thread;
	const struct work *w;
	pthread_barrier_t *start;
	const uint64_t *data;
	uint64_t first; /* of the steps; then each w->threads'th */
	uint64_t *sample_ns;
	uint64_t samples;
	uint64_t bad;
	uint64_t begin;
	uint64_t end;
};

static void *probe(void *arg)
{
	struct prober *p = arg;
	const struct work *w = p->w;
	const uint64_t steps = w->bytes / w->step;
	const uint64_t step = w->step / sizeof(uint64_t);
	uint64_t i, n, begin;

	pthread_barrier_wait(p->start);
	p->begin = p->end = now_ns();
	for (i = p->first; i < steps; i += w->threads) {
		n = scatter(i, steps) * step;
		begin = now_ns();
		p->bad |=
			((const volatile uint64_t *)p->data)[n] ^ word_at(n, 0);
		p->end = now_ns();
		p->sample_ns[p->samples++] = p->end - begin;
		if (p->end - p->begin > w->ms * 1000000)
			break;
	}
	return NULL;
}

/* One word of each step, in no order and none twice. */
static void run_latency(struct work *w)
{
	static struct prober probers[THREADS_MAX];
	const uint64_t steps = w->bytes / w->step;
	const uint64_t share = (steps + w->threads - 1) / w->threads;
	uint64_t *data = filled(w), begin = UINT64_MAX, end = 0, i;
	pthread_barrier_t start;

	need_power_of_two(steps, "bytes / step");
	w->sample_ns = local_memory(share * w->threads * sizeof(uint64_t));
	pthread_barrier_init(&start, NULL, (unsigned int)w->threads);
	evict(w, data);
	for (i = 0; i < w->threads; i++) {
		probers[i] = (struct prober){
			.w = w,
			.start = &start,
			.data = data,
			.first = i,
			.sample_ns = w->sample_ns + i * share,
		};
		errno = pthread_create(&probers[i].thread, NULL, probe,
				       &probers[i]);
		if (errno)
			die("thread");
	}
	for (i = 0; i < w->threads; i++) {
		struct prober *p = &probers[i];

		pthread_join(p->thread, NULL);
		verify(!p->bad, "latency");
		if (p->begin < begin)
			begin = p->begin;
		if (p->end > end)
			end = p->end;
		memmove(w->sample_ns + w->samples, p->sample_ns,
			p->samples * sizeof(uint64_t));
		w->samples += p->samples;
	}
	w->ns = end - begin;
	w->count = w->samples;
	w->moved = w->samples * sizeof(uint64_t);
}

/* Little of much: one word in each step, and nothing between them. */
static void run_touch(struct work *w)
{
	const uint64_t words = w->bytes / sizeof(uint64_t);
	const uint64_t step = w->step / sizeof(uint64_t);
	uint64_t *data, begin = now_ns(), n;

	data = memory(w, w->bytes);
	for (n = 0; n < words; n += step)
		data[n] = word_at(n, 0);
	for (n = 0; n < words; n += step)
		verify(data[n] == word_at(n, 0) && !data[n + 1], "touch");
	w->ns = now_ns() - begin;
	w->count = 2 * (words / step);
	w->moved = w->count * sizeof(uint64_t);
}

const struct pattern access_patterns[] = {
	{"read", run_read},
	{"write", run_write},
	{"stride", run_stride},
	{"cluster", run_cluster},
	{"latency", run_latency},
	{"touch", run_touch},
	{NULL, NULL},
};
