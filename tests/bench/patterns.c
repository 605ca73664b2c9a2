// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One access pattern over remote memory, a fixed amount of it, so that runs
 * with different settings are compared by their counters and not only by their
 * time. Run by tests/bench/auto under `teramem run`.
 *
 *	bench-patterns PATTERN BYTES PASSES
 *
 *	read, write, triad	in order
 *	stride:N		a word every N bytes, in order
 *	random, gups		a word of any page; read, or changed
 *	cluster:N		the pages of any N bytes, not in their order
 *
 * The memory is filled once, then the pattern goes over it: PASSES times for
 * the sequential ones, 4096 accesses PASSES times for the random ones.
 * Prints one line of JSON: what the pattern alone cost.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <dirent.h>

#include "common/log.h"
#include "include/teramem/teramalloc.h"

#define WORDS(bytes) ((bytes) / sizeof(uint64_t))

static uint64_t *data;
static uint64_t words, passes, stride, sum;

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Processor time of the paging engine's threads. */
static uint64_t lane_ns(void)
{
	uint64_t total = 0, ns;
	struct dirent *entry;
	char path[300], name[32];
	DIR *tasks = opendir("/proc/self/task");
	FILE *f;

	while (tasks && (entry = readdir(tasks))) {
		snprintf(path, sizeof(path), "/proc/self/task/%s/comm",
			 entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (!fgets(name, sizeof(name), f))
			*name = '\0';
		fclose(f);
		if (strncmp(name, "teramem/", 8))
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat",
			 entry->d_name);
		f = fopen(path, "r");
		if (f && fscanf(f, "%" SCNu64, &ns) == 1)
			total += ns;
		if (f)
			fclose(f);
	}
	if (tasks)
		closedir(tasks);
	return total;
}

static uint64_t random_next(void)
{
	static uint64_t state = 1;

	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static void do_read(void)
{
	for (uint64_t i = 0; i < words; i++)
		sum += data[i];
}

static void do_write(void)
{
	for (uint64_t i = 0; i < words; i++)
		data[i] = i + sum++;
}

static void do_stride(void)
{
	for (uint64_t at = 0; at < words; at += WORDS(stride))
		sum += data[at];
}

static void do_random(void)
{
	for (int i = 0; i < 4096; i++)
		sum += data[random_next() % (words / 512) * 512];
}

static void do_gups(void)
{
	for (int i = 0; i < 4096; i++)
		data[random_next() % words] ^= sum++;
}

static void do_cluster(void)
{
	uint64_t pages = stride / 4096, page;

	for (uint64_t i = 0; i < 4096 / pages; i++) {
		page = random_next() % (words / WORDS(stride)) * pages;
		for (uint64_t k = 0; k < pages; k++)
			sum += data[(page + (k * 5 + 3) % pages) * 512];
	}
}

static void do_triad(void)
{
	uint64_t n = words / 3, *a = data, *b = a + n, *c = b + n;

	for (uint64_t i = 0; i < n; i++)
		a[i] = b[i] + 3 * c[i];
}

static const struct {
	const char *name;
	void (*run)(void);
} modes[] = {
	{"read", do_read},	 {"write", do_write}, {"stride", do_stride},
	{"random", do_random},	 {"gups", do_gups},   {"triad", do_triad},
	{"cluster", do_cluster},
};

int main(int argc, char **argv)
{
	struct teramalloc_stats before, after;
	uint64_t begin, cpu, bytes;
	void (*run)(void) = NULL;
	char *colon;

	for (size_t i = 0; argc == 4 && i < sizeof(modes) / sizeof(*modes); i++)
		if (!strncmp(argv[1], modes[i].name, strlen(modes[i].name)))
			run = modes[i].run;
	if (!run) {
		tm_err("usage: bench-patterns PATTERN BYTES PASSES");
		return 2;
	}
	colon = strchr(argv[1], ':');
	stride = colon ? strtoull(colon + 1, NULL, 10) : 4096;
	bytes = strtoull(argv[2], NULL, 10);
	passes = strtoull(argv[3], NULL, 10);
	words = WORDS(bytes);
	data = teramalloc(bytes);
	if (!data) {
		tm_err("allocate %" PRIu64 " bytes: out of memory", bytes);
		return 1;
	}
	for (uint64_t i = 0; i < words; i++)
		data[i] = i * 0x9e3779b97f4a7c15ULL;
	teramalloc_stats_get(&before, sizeof(before));
	cpu = lane_ns();
	begin = now_ns();
	for (uint64_t i = 0; i < passes; i++)
		run();
	begin = now_ns() - begin;
	cpu = lane_ns() - cpu;
	teramalloc_stats_get(&after, sizeof(after));
	printf("{\"pattern\":\"%s\",\"ns\":%" PRIu64 ",\"lane_ns\":%" PRIu64
	       ",\"faults\":%" PRIu64 ",\"bytes_in\":%" PRIu64
	       ",\"bytes_out\":%" PRIu64 ",\"fault_ns_p50\":%" PRIu64
	       ",\"sum\":%" PRIu64 "}\n",
	       argv[1], begin, cpu, after.faults - before.faults,
	       after.bytes_in - before.bytes_in,
	       after.bytes_out - before.bytes_out, after.fault_ns_p50, sum);
	return 0;
}
