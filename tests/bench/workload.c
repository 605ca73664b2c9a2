// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * An ordinary program that uses memory in one of several ways, verifies what it
 * finds there, and prints a line of JSON. It gets its memory from malloc's
 * family and knows nothing of Teramem, so that the same binary runs with all
 * its memory, on swap, and under `teramem run`.
 *
 *	workload PATTERN [--bytes=N] [--step=N] [--evict=N] [--ms=N]
 *		[--threads=N] [--file=PATH]
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/size.h"
#include "tests/bench/workload.h"

#define ALIGNMENT_BYTES (2u << 20)

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000ull + (uint64_t)t.tv_nsec;
}

void die(const char *what)
{
	fprintf(stderr, "workload: %s: %s\n", what, strerror(errno));
	exit(1);
}

void verify(bool right, const char *what)
{
	if (right)
		return;
	fprintf(stderr, "workload: %s: wrong contents\n", what);
	exit(1);
}

void *memory(const struct work *w, uint64_t bytes)
{
	void *data = NULL;
	int fd;

	if (!w->file) {
		errno = posix_memalign(&data, ALIGNMENT_BYTES, bytes);
		if (errno)
			die("allocate");
		return data;
	}
	fd = open(w->file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, (off_t)bytes))
		die(w->file);
	data = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (data == MAP_FAILED)
		die(w->file);
	close(fd);
	return data;
}

void *local_memory(uint64_t bytes)
{
	void *data = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	if (data == MAP_FAILED)
		die("map");
	return data;
}

static void evict_file(const struct work *w, void *data)
{
	int fd = open(w->file, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || msync(data, w->bytes, MS_SYNC) ||
	    madvise(data, w->bytes, MADV_DONTNEED) ||
	    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED))
		die(w->file);
	close(fd);
}

void evict(const struct work *w, void *data)
{
	uint64_t *other, n;

	if (w->file) {
		evict_file(w, data);
		return;
	}
	if (!w->evict)
		return;
	other = malloc(w->evict);
	if (!other)
		die("allocate");
	for (n = 0; n < w->evict / sizeof(*other); n++)
		other[n] = word_at(n, 0);
	/* The compiler may not see that nobody reads it. */
	__asm__ volatile("" : : "r"(other) : "memory");
	free(other);
}

static const struct pattern *find(const struct pattern *patterns,
				  const char *name)
{
	for (; patterns->name; patterns++)
		if (!strcmp(patterns->name, name))
			return patterns;
	return NULL;
}

static void parse(int argc, char **argv, struct work *w)
{
	static const struct option options[] = {
		{"bytes", required_argument, NULL, 'b'},
		{"step", required_argument, NULL, 's'},
		{"evict", required_argument, NULL, 'e'},
		{"ms", required_argument, NULL, 'm'},
		{"threads", required_argument, NULL, 't'},
		{"file", required_argument, NULL, 'f'},
		{NULL, 0, NULL, 0},
	};
	uint64_t *const numbers[] = {
		['b'] = &w->bytes, ['s'] = &w->step,	['e'] = &w->evict,
		['m'] = &w->ms,	   ['t'] = &w->threads,
	};
	const char *error;
	int key;

	while ((key = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (key == '?')
			exit(2);
		if (key == 'f') {
			w->file = optarg;
		} else if (tm_size_parse(optarg, numbers[key], &error)) {
			fprintf(stderr, "workload: %s: %s\n", optarg, error);
			exit(2);
		}
	}
	if (optind < argc || w->bytes < ALIGNMENT_BYTES ||
	    w->bytes % PAGE_BYTES || w->step < PAGE_BYTES ||
	    w->step % PAGE_BYTES || w->step > w->bytes || !w->threads ||
	    w->threads > THREADS_MAX) {
		fprintf(stderr, "workload: options out of range\n");
		exit(2);
	}
}

static int compare(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static void report_samples(const struct work *w)
{
	uint64_t *ns = w->sample_ns, n = w->samples, i;
	double sum = 0, squares = 0;

	for (i = 0; i < n; i++)
		sum += (double)ns[i];
	for (i = 0; i < n; i++)
		squares += pow((double)ns[i] - sum / (double)n, 2);
	qsort(ns, n, sizeof(*ns), compare);
	printf(", \"samples\": %" PRIu64 ", \"mean_ns\": %.0f, "
	       "\"sd_ns\": %.0f, \"min_ns\": %" PRIu64 ", \"p50_ns\": %" PRIu64
	       ", \"p99_ns\": %" PRIu64 ", \"max_ns\": %" PRIu64,
	       n, sum / (double)n, sqrt(squares / (double)n), ns[0], ns[n / 2],
	       ns[n * 99 / 100], ns[n - 1]);
}

/* A line of /proc/self/status, in KiB */
static unsigned long status_kib(const char *key)
{
	FILE *f = fopen("/proc/self/status", "re");
	unsigned long kib = 0;
	char line[128];

	if (!f)
		die("/proc/self/status");
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)))
			kib = strtoul(line + strlen(key), NULL, 10);
	fclose(f);
	return kib;
}

int main(int argc, char **argv)
{
	static struct work w = {.bytes = 64 << 20,
				.step = PAGE_BYTES,
				.ms = 1000,
				.threads = 1};
	const struct pattern *pattern = NULL;
	struct rusage usage;

	if (argc > 1)
		pattern = find(access_patterns, argv[1]);
	if (argc > 1 && !pattern)
		pattern = find(compute_patterns, argv[1]);
	if (!pattern) {
		fprintf(stderr, "workload: no such pattern\n");
		return 2;
	}
	parse(argc - 1, argv + 1, &w);
	pattern->run(&w);
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"pattern\": \"%s\", \"bytes\": %" PRIu64
	       ", \"count\": %" PRIu64 ", \"ns\": %" PRIu64
	       ", \"rss_kib\": %lu, \"page_tables_kib\": %lu"
	       ", \"major_faults\": %ld",
	       pattern->name, w.moved, w.count, w.ns, status_kib("VmRSS:"),
	       status_kib("VmPTE:"), usage.ru_majflt);
	if (w.samples)
		report_samples(&w);
	printf("}\n");
	return 0;
}
