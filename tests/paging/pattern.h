/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the paging tests write into remote memory and check: every word of a
 * page follows from the page's number and its version, so that a page that is
 * zero, stale, or someone else's is told apart.
 */
#ifndef TM_TESTS_PATTERN_H
#define TM_TESTS_PATTERN_H

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define PAGE 4096ul
#define WORDS (PAGE / sizeof(uint64_t))

static inline uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15ull;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
	return x ^ (x >> 31);
}

/* Version 0 is memory that was never written. */
static inline void page_write(void *page, uint64_t nr, uint32_t version)
{
	uint64_t *word = page, seed = mix(nr << 32 | version);

	for (uint64_t i = 0; i < WORDS; i++)
		word[i] = seed + i * 0x9e3779b97f4a7c15ull;
}

static inline bool page_check(const void *page, uint64_t nr, uint32_t version)
{
	const uint64_t *word = page;
	uint64_t seed = mix(nr << 32 | version), want;

	for (uint64_t i = 0; i < WORDS; i++) {
		want = version ? seed + i * 0x9e3779b97f4a7c15ull : 0;
		if (word[i] == want)
			continue;
		printf("# page %" PRIu64 " version %" PRIu32 " word %" PRIu64
		       ": %#" PRIx64 ", not %#" PRIx64 "\n",
		       nr, version, i, word[i], want);
		return false;
	}
	return true;
}

#endif /* TM_TESTS_PATTERN_H */
