// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A job's own program, linked with libteramalloc: fills remote memory, and
 * checks all of it again and again, from its end to its start and back, until a
 * file appears.
 *
 *	keeper MIB SEED [FILE]
 *
 * Without FILE, it checks twice. SEED tells its memory from that of others.
 * Once it holds the memory, it makes FILE.held. Prints one line of JSON.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "include/teramem/teramalloc.h"
#include "tests/paging/pattern.h"

#define PASSES_MAX 100000 /* a test that died must not leave it behind */

static uint64_t check(const char *memory, size_t nr, uint32_t seed, bool back)
{
	uint64_t wrong = 0;

	for (size_t i = 0; i < nr; i++) {
		size_t page = back ? nr - 1 - i : i;

		wrong += !page_check(memory + page * PAGE, page, seed);
	}
	return wrong;
}

static void say_held(const char *file)
{
	char name[4096];
	FILE *held;

	snprintf(name, sizeof(name), "%s.held", file);
	held = fopen(name, "we");
	if (!held || fclose(held)) {
		perror(name);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	size_t nr =
		argc > 2 ? strtoull(argv[1], NULL, 10) * (1 << 20) / PAGE : 0;
	uint32_t seed = argc > 2 ? (uint32_t)strtoul(argv[2], NULL, 10) : 0;
	const char *file = argc > 3 ? argv[3] : NULL;
	struct teramalloc_stats s;
	unsigned int passes = 0;
	uint64_t wrong = 0;
	char *memory;

	if (!nr || !seed) {
		fprintf(stderr, "usage: keeper MIB SEED [FILE]\n");
		return 2;
	}
	memory = teramalloc(nr * PAGE);
	if (!memory) {
		perror("keeper: teramalloc");
		return 1;
	}
	for (size_t i = 0; i < nr; i++)
		page_write(memory + i * PAGE, i, seed);
	if (file)
		say_held(file);
	do
		wrong += check(memory, nr, seed, passes % 2 == 0);
	while (++passes < 2 ||
	       (file && access(file, F_OK) && !wrong && passes < PASSES_MAX));
	if (teramalloc_stats_get(&s, sizeof(s))) {
		perror("keeper: teramalloc_stats_get");
		return 1;
	}
	printf("{\"seed\":%" PRIu32 ",\"wrong\":%" PRIu64
	       ",\"allocated_bytes\":%" PRIu64 ",\"resident_bytes\":%" PRIu64
	       ",\"bytes_in\":%" PRIu64 ",\"bytes_out\":%" PRIu64 "}\n",
	       seed, wrong, s.allocated_bytes, s.resident_bytes, s.bytes_in,
	       s.bytes_out);
	terafree(memory);
	return wrong != 0;
}
