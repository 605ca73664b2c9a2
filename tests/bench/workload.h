/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the patterns of tests/bench/workload share: their options, contents that
 * are different everywhere, and the line of JSON at the end.
 */
#ifndef TM_TESTS_BENCH_WORKLOAD_H
#define TM_TESTS_BENCH_WORKLOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PAGE_BYTES 4096
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define THREADS_MAX 64

/**
 * struct work - one run
 * @bytes: memory that the pattern takes, all arrays together
 * @step: distance between accesses, where the pattern has one
 * @evict: memory that is written and freed before measuring, so that what was
 *	written before it has left local memory
 * @ms: go on for so long
 * @threads: that access memory
 * @file: a file to map instead of memory, or NULL
 * @moved: result: bytes that the program read and wrote
 * @count: result: accesses, updates, or what else the pattern counts
 * @ns: result: time that this took
 * @sample_ns: result: how long single accesses took, or NULL
 * @samples: result: how many of these
 */
struct work {
	uint64_t bytes;
	uint64_t step;
	uint64_t evict;
	uint64_t ms;
	uint64_t threads;
	const char *file;
	uint64_t moved;
	uint64_t count;
	uint64_t ns;
	uint64_t *sample_ns;
	uint64_t samples;
};

/** struct pattern - a way to use memory; @run ends the program on errors */
struct pattern {
	const char *name;
	void (*run)(struct work *w);
};
extern const struct pattern access_patterns[], compute_patterns[];

/** now_ns() - monotonic */
uint64_t now_ns(void);

/** word_at() - what word @n holds after @round; different for each */
static inline uint64_t word_at(uint64_t n, uint64_t round)
{
	return (n + 1) * 0x9e3779b97f4a7c15ull + round;
}

/** die() - one line for errno, and the end */
void die(const char *what) __attribute__((noreturn));

/** verify() - end the program unless @right */
void verify(bool right, const char *what);

/** memory() - @bytes, aligned to 2 MiB; by malloc's family, or the file */
void *memory(const struct work *w, uint64_t bytes);

/** local_memory() - not paged: for what is noted about accesses */
void *local_memory(uint64_t bytes);

/** evict() - let all that was written to @data leave local memory */
void evict(const struct work *w, void *data);

#endif
