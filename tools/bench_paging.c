// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The paging half of `teramem bench`: a program whose memory is remote, and
 * that goes through it in one of three ways. Configured by the environment, as
 * every program with libteramalloc; tests/bench/ runs it too.
 *
 *	bench-paging read|random|write BYTES MILLISECONDS
 *
 * Prints one line of JSON. "random" touches every page once before it touches
 * one again, so that with little local memory each access is a fault.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/log.h"
#include "core/stats.h"
#include "include/teramem/teramalloc.h"

#define PAGE_WORDS (4096 / sizeof(uint64_t))

struct work {
	uint64_t *data;
	uint64_t pages; /* a power of two */
	uint64_t until_ns;
	uint64_t done_pages;
	uint64_t wrong;
	struct tm_hist ns; /* of each access, where each is a fault */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Different for each word of each page, so that nothing can be confused. */
static uint64_t pattern(uint64_t page, uint64_t word, uint64_t round)
{
	return (page * PAGE_WORDS + word + 1) * 0x9e3779b97f4a7c15ULL + round;
}

static void fill_page(struct work *w, uint64_t page, uint64_t round)
{
	uint64_t *p = w->data + page * PAGE_WORDS;
	uint64_t i;

	for (i = 0; i < PAGE_WORDS; i++)
		p[i] = pattern(page, i, round);
}

static void work_read(struct work *w)
{
	uint64_t page, i;

	while (now_ns() < w->until_ns) {
		for (page = 0; page < w->pages; page++) {
			const uint64_t *p = w->data + page * PAGE_WORDS;
			uint64_t bad = 0;

			for (i = 0; i < PAGE_WORDS; i++)
				bad |= p[i] ^ pattern(page, i, 0);
			w->wrong += bad != 0;
			w->done_pages++;
			if (page % 1024 == 0 && now_ns() >= w->until_ns)
				return;
		}
	}
}

static void work_write(struct work *w)
{
	uint64_t page, round;

	for (round = 1;; round++) {
		for (page = 0; page < w->pages; page++) {
			if (page % 1024 == 0 && now_ns() >= w->until_ns)
				return;
			fill_page(w, page, round);
			w->done_pages++;
		}
	}
}

/* A permutation of 0..pages-1 without strides that could be foreseen. */
static uint64_t scatter(uint64_t n, uint64_t pages)
{
	unsigned int bits = (unsigned int)__builtin_ctzll(pages);
	int i;

	for (i = 0; i < 3; i++) {
		n = n * 0x9e3779b97f4a7c15ULL & (pages - 1);
		n ^= n >> (bits + 1) / 2;
	}
	return n;
}

static void work_random(struct work *w)
{
	uint64_t n, page, begin, end;
	volatile uint64_t *p;

	for (n = 0, end = now_ns(); end < w->until_ns; n++) {
		page = scatter(n & (w->pages - 1), w->pages);
		p = w->data + page * PAGE_WORDS;
		begin = now_ns();
		w->wrong += *p != pattern(page, 0, 0);
		end = now_ns();
		tm_hist_record(&w->ns, end - begin);
		w->done_pages++;
	}
}

static const struct mode {
	const char *name;
	void (*work)(struct work *w);
} modes[] = {
	{"read", work_read},
	{"random", work_random},
	{"write", work_write},
};

static const struct mode *find_mode(const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(modes) / sizeof(*modes); i++)
		if (!strcmp(modes[i].name, name))
			return &modes[i];
	return NULL;
}

int main(int argc, char **argv)
{
	static struct work w;
	const struct mode *mode = argc == 4 ? find_mode(argv[1]) : NULL;
	uint64_t begin, bytes = mode ? strtoull(argv[2], NULL, 10) : 0, page;

	if (!mode || bytes < 4096) {
		tm_err("usage: bench-paging read|random|write BYTES "
		       "MILLISECONDS");
		return 2;
	}
	for (w.pages = 1; w.pages * 2 * 4096 <= bytes;)
		w.pages *= 2;
	w.data = teramalloc(w.pages * 4096);
	if (!w.data) {
		tm_err("allocate %" PRIu64 " bytes of remote memory: %s",
		       w.pages * 4096, strerror(errno));
		return 1;
	}
	for (page = 0; page < w.pages; page++)
		fill_page(&w, page, 0);
	begin = now_ns();
	w.until_ns = begin + strtoull(argv[3], NULL, 10) * 1000000;
	mode->work(&w);
	printf("{\"mode\":\"%s\",\"bytes\":%" PRIu64 ",\"ns\":%" PRIu64
	       ",\"accesses\":%" PRIu64 ",\"p50_ns\":%" PRIu64
	       ",\"p99_ns\":%" PRIu64 ",\"wrong\":%" PRIu64 "}\n",
	       mode->name, w.done_pages * 4096, now_ns() - begin, w.done_pages,
	       tm_hist_percentile(&w.ns, 500), tm_hist_percentile(&w.ns, 990),
	       w.wrong);
	return w.wrong ? 1 : 0;
}
