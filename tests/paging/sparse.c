// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A region far beyond any machine's memory, used here and there: each touched
 * place keeps what was written, the places between are zero, and what is not
 * touched costs nothing.
 *
 *	sparse BYTES STEP
 *
 * Prints one line of JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "include/teramem/teramalloc.h"

static uint64_t mark(size_t at)
{
	return (at + 1) * 0x9e3779b97f4a7c15ULL;
}

int main(int argc, char **argv)
{
	size_t bytes = argc == 3 ? strtoull(argv[1], NULL, 0) : 0;
	size_t step = argc == 3 ? strtoull(argv[2], NULL, 0) : 0, at;
	struct teramalloc_stats stats;
	struct rusage usage;
	unsigned int wrong = 0;
	char *region;

	if (!bytes || step < 8192) {
		fprintf(stderr, "usage: sparse BYTES STEP\n");
		return 2;
	}
	region = teramalloc(bytes);
	if (!region) {
		perror("sparse: teramalloc");
		return 1;
	}
	for (at = 0; at < bytes; at += step)
		*(uint64_t *)(region + at) = mark(at);
	for (at = 0; at < bytes; at += step) {
		wrong += *(uint64_t *)(region + at) != mark(at);
		wrong += *(uint64_t *)(region + at + 4096) != 0;
	}
	if (teramalloc_stats_get(&stats, sizeof(stats))) {
		perror("sparse: teramalloc_stats_get");
		return 1;
	}
	getrusage(RUSAGE_SELF, &usage);
	printf("{\"touched\":%zu,\"wrong\":%u,\"resident_peak_kib\":%ld,"
	       "\"bytes_in\":%" PRIu64 "}\n",
	       bytes / step, wrong, usage.ru_maxrss, stats.bytes_in);
	terafree(region);
	return wrong != 0;
}
