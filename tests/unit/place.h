/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the tests of placement share: small servers that give extents.
 */
#ifndef TM_TESTS_PLACE_H
#define TM_TESTS_PLACE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/place.h"

#define SHIFT 18
#define EXTENT (4u << 20)
#define SLOTS (EXTENT >> SHIFT)

static inline struct tm_place *create(const struct tm_place_ops *ops,
				      unsigned int n)
{
	struct tm_place *p;

	assert_int_equal(tm_place_create(ops, n, SHIFT, &p), 0);
	return p;
}

/* For any block, another one each time. */
static inline int get(struct tm_place *p, struct tm_replica *replica)
{
	static u64 block;

	return tm_place_get(p, block++, replica);
}

/* Answer all that placement wants; each server has @extents[server] to give. */
static inline void grant(struct tm_place *p, unsigned int *extents, u64 *next)
{
	unsigned int s;

	while (tm_place_wants(p, &s)) {
		if (!extents[s]) {
			tm_place_extent_refused(p, s);
			continue;
		}
		extents[s]--;
		assert_int_equal(tm_place_extent_add(p, s, next[s], EXTENT), 0);
		next[s] += EXTENT;
	}
}

#endif
