// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reads, writes and checks every word of remote memory in a pattern of access,
 * from several threads, and fails unless that really was paged.
 *
 *	pagetest [OPTION]...
 *	  --size=BYTES --pattern=seq|random|stride|hot --threads=N --passes=N
 *	  --seconds=N (goes on for so long) --writes=PERCENT --seed=N
 *	  --discard (now and then a part is freed and must then read as zeros)
 *	  --latency (times each access to a page, reading one word of it)
 */
#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/paging/pattern.h"
#include "tests/paging/remote.h"

static struct {
	size_t size;
	const char *pattern;
	unsigned int threads, passes, seconds, writes;
	uint64_t seed;
	bool discard, latency;
} opt = {
	.size = 64u << 20,
	.pattern = "seq",
	.threads = 1,
	.passes = 2,
	.writes = 50,
	.seed = 1,
};

static char *memory;
static size_t nr_pages;
static uint32_t *version;
static uint64_t accesses, failures;
static pthread_barrier_t barrier;
static bool stop; /* changes between barriers only */

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The thread's @i-th of @n accesses: which of its own @n pages. */
static size_t choose(size_t i, size_t n, uint64_t *random)
{
	if (!strcmp(opt.pattern, "seq"))
		return i;
	if (!strcmp(opt.pattern, "stride"))
		return (i * 129) % n;
	*random = mix(*random);
	if (!strcmp(opt.pattern, "hot") && *random % 10)
		return (*random >> 8) % (n / 20 + 1);
	return (*random >> 8) % n;
}

/* Threads own every opt.threads-th page, so that they share blocks. */
static void *worker(void *arg)
{
	size_t me = (size_t)arg, n = nr_pages / opt.threads, page, done = 0;
	uint64_t random = mix(opt.seed * 1000 + me), bad = 0;
	double end = now() + opt.seconds;
	char *at;

	for (unsigned int pass = 0; !stop; pass++) {
		for (size_t i = 0; i < n; i++) {
			if (opt.seconds && i % 256 == 0 && now() >= end)
				break;
			page = choose(i, n, &random) * opt.threads + me;
			at = memory + page * PAGE;
			if (!page_check(at, page, version[page]) && bad++ > 10)
				_exit(1);
			done++;
			random = mix(random);
			if (random % 100 >= opt.writes)
				continue;
			page_write(at, page, ++version[page]);
		}
		pthread_barrier_wait(&barrier);
		if (!me)
			stop = opt.seconds ? now() >= end
					   : pass + 1 >= opt.passes;
		/* A part goes, and must come back as zeros. */
		if (!me && opt.discard) {
			size_t block = remote_block(), blocks, first;

			blocks = opt.size / block;
			first = mix(opt.seed + pass) % blocks;
			blocks = (blocks - first + 1) / 2;
			if (blocks) {
				remote_discard(memory + first * block,
					       blocks * block);
				memset(version + first * block / PAGE, 0,
				       blocks * block / PAGE *
					       sizeof(*version));
			}
		}
		pthread_barrier_wait(&barrier);
	}
	__atomic_add_fetch(&accesses, done, __ATOMIC_RELAXED);
	__atomic_add_fetch(&failures, bad, __ATOMIC_RELAXED);
	return NULL;
}

static int by_value(const void *a, const void *b)
{
	const double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static void latency(void)
{
	const size_t n = 20000;
	double *took = malloc(n * sizeof(*took)), t;
	uint64_t random = opt.seed;

	for (size_t i = 0; i < n; i++) {
		random = mix(random);
		t = now();
		(void)*(volatile uint64_t *)(memory + random % nr_pages * PAGE);
		took[i] = now() - t;
	}
	qsort(took, n, sizeof(*took), by_value);
	printf("# access: p50 %.1f us, p90 %.1f us, p99 %.1f us\n",
	       took[n / 2] * 1e6, took[n * 9 / 10] * 1e6,
	       took[n * 99 / 100] * 1e6);
	free(took);
}

static void options(int argc, char **argv)
{
	static const struct option longs[] = {
		{"size", 1, NULL, 's'},	   {"pattern", 1, NULL, 'p'},
		{"threads", 1, NULL, 't'}, {"passes", 1, NULL, 'n'},
		{"seconds", 1, NULL, 'S'}, {"writes", 1, NULL, 'w'},
		{"seed", 1, NULL, 'r'},	   {"discard", 0, NULL, 'd'},
		{"latency", 0, NULL, 'l'}, {NULL, 0, NULL, 0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's':
			opt.size = strtoull(optarg, NULL, 0);
			break;
		case 'p':
			opt.pattern = optarg;
			break;
		case 't':
			opt.threads = (unsigned int)atoi(optarg);
			break;
		case 'n':
			opt.passes = (unsigned int)atoi(optarg);
			break;
		case 'S':
			opt.seconds = (unsigned int)atoi(optarg);
			break;
		case 'w':
			opt.writes = (unsigned int)atoi(optarg);
			break;
		case 'r':
			opt.seed = strtoull(optarg, NULL, 0);
			break;
		case 'd':
			opt.discard = true;
			break;
		case 'l':
			opt.latency = true;
			break;
		default:
			exit(2);
		}
	}
}

int main(int argc, char **argv)
{
	struct teramalloc_stats s;
	pthread_t *thread;
	double t;

	setvbuf(stdout, NULL, _IOLBF, 0);
	options(argc, argv);
	memory = remote_alloc(opt.size);
	if (!memory) {
		printf("not ok - allocate %zu bytes: %s\n", opt.size,
		       strerror(errno));
		return 1;
	}
	nr_pages = opt.size / PAGE;
	version = calloc(nr_pages, sizeof(*version));
	thread = calloc(opt.threads, sizeof(*thread));
	pthread_barrier_init(&barrier, NULL, opt.threads);
	/* All of it is written once, in order. */
	t = now();
	for (size_t i = 0; i < nr_pages; i++)
		page_write(memory + i * PAGE, i, ++version[i]);
	t = now() - t;
	printf("# fill %.2f GB/s\n", (double)opt.size / t / 1e9);

	t = now();
	for (size_t i = 0; i < opt.threads; i++)
		pthread_create(&thread[i], NULL, worker, (void *)i);
	for (size_t i = 0; i < opt.threads; i++)
		pthread_join(thread[i], NULL);
	t = now() - t;
	printf("# %s: %" PRIu64 " pages, %.2f s, %.3f GB/s\n", opt.pattern,
	       accesses, t, (double)accesses * PAGE / t / 1e9);
	if (opt.latency)
		latency();
	for (size_t i = 0; i < nr_pages && failures < 10; i++)
		failures += !page_check(memory + i * PAGE, i, version[i]);

	if (remote_stats(&s)) {
		printf("not ok - no statistics\n");
		return 1;
	}
	printf("# faults %" PRIu64 " in %" PRIu64 " out %" PRIu64
	       " clean %" PRIu64 " limit %" PRIu64 " resident %" PRIu64
	       " p50 %.1f us p99 %.1f us\n",
	       s.faults, s.bytes_in, s.bytes_out, s.dropped_clean,
	       s.limit_bytes, s.resident_bytes, (double)s.fault_ns_p50 / 1e3,
	       (double)s.fault_ns_p99 / 1e3);
	if (!s.bytes_in || !s.bytes_out) {
		printf("not ok - nothing was paged\n");
		return 1;
	}
	printf("%sok - %s, %u threads: %" PRIu64 " wrong pages\n",
	       failures ? "not " : "", opt.pattern, opt.threads, failures);
	free(version);
	free(thread);
	return failures != 0;
}
