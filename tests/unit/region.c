/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The region's books and the pages' against a plain model: no two ranges
 * overlap, what is free merges again, capacity is neither lost nor made.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "allocator/pages.h"
#include "allocator/region.h"
#include "tests/unit/engine_local.h"
#include "tm_port.h"

#define BLOCK ((size_t)64 << 10)
#define NR_BLOCKS 1024

struct fixture {
	struct tm_engine *engine;
	struct tm_region *region;
	char *base;
};

static int setup(void **state)
{
	static struct fixture f;

	setenv("TERAMEM_JOB_MAP", "test", 1);
	test_engine_block = BLOCK;
	test_engine_size = NR_BLOCKS * BLOCK;
	test_engine_capacity = NR_BLOCKS * BLOCK;
	assert_int_equal(tm_engine_start(&f.engine), 0);
	assert_int_equal(tm_region_create(f.engine, &f.region), 0);
	f.base = tm_engine_base(f.engine);
	*state = &f;
	return 0;
}

static void sequence_ascends(void **state)
{
	struct fixture *f = *state;
	char *p[8];

	for (int i = 0; i < 8; i++) {
		p[i] = tm_region_alloc(f->region, BLOCK + 1, 1, TM_RANGE_LARGE);
		assert_ptr_equal(p[i], f->base + (size_t)i * 2 * BLOCK);
	}
	assert_int_equal(tm_region_used(f->region), 16 * BLOCK);
	assert_int_equal(test_engine_committed, 16 * BLOCK);
	/* The smallest hole that fits is taken, and it is zero again. */
	p[3][7] = 1;
	assert_int_equal(tm_region_free(f->region, p[3], TM_RANGE_LARGE), 0);
	assert_ptr_equal(
		tm_region_alloc(f->region, 2 * BLOCK, 1, TM_RANGE_LARGE), p[3]);
	assert_int_equal(p[3][7], 0);
}

static void wrong_addresses_are_refused(void **state)
{
	struct fixture *f = *state;
	char *p = tm_region_alloc(f->region, 4 * BLOCK, 1, TM_RANGE_LARGE);

	assert_int_equal(tm_region_free(f->region, p + 1, TM_RANGE_LARGE),
			 -EINVAL);
	assert_int_equal(tm_region_free(f->region, p + BLOCK, TM_RANGE_LARGE),
			 -EINVAL);
	assert_int_equal(tm_region_free(f->region, p, TM_RANGE_MAPPING),
			 -EINVAL);
	assert_int_equal(tm_region_cut(f->region, (uintptr_t)p, BLOCK),
			 -EINVAL);
	assert_int_equal(tm_region_find(f->region, p + 3 * BLOCK).bytes,
			 4 * BLOCK);
	assert_int_equal(tm_region_free(f->region, p, TM_RANGE_LARGE), 0);
	assert_int_equal(tm_region_free(f->region, p, TM_RANGE_LARGE), -EINVAL);
	assert_null(tm_region_alloc(f->region, SIZE_MAX, 1, TM_RANGE_LARGE));
	assert_null(tm_region_alloc(f->region, SIZE_MAX - BLOCK, BLOCK * 4,
				    TM_RANGE_LARGE));
	assert_null(tm_region_alloc(f->region, BLOCK, (size_t)1 << 62,
				    TM_RANGE_LARGE));
	assert_int_equal(tm_region_used(f->region), 0);
}

static void grows_and_shrinks_in_place(void **state)
{
	struct fixture *f = *state;
	char *a = tm_region_alloc(f->region, 2 * BLOCK, 1, TM_RANGE_LARGE);
	char *b = tm_region_alloc(f->region, BLOCK, 1, TM_RANGE_LARGE);

	assert_int_equal(
		tm_region_resize(f->region, a, 3 * BLOCK, TM_RANGE_LARGE),
		-ENOMEM);
	assert_int_equal(tm_region_free(f->region, b, TM_RANGE_LARGE), 0);
	assert_int_equal(tm_region_resize(f->region, a, NR_BLOCKS * BLOCK,
					  TM_RANGE_LARGE),
			 0);
	assert_null(tm_region_alloc(f->region, 1, 1, TM_RANGE_LARGE));
	assert_int_equal(tm_region_resize(f->region, a, 1, TM_RANGE_LARGE), 0);
	assert_int_equal(test_engine_committed, BLOCK);
}

static void capacity_is_a_limit(void **state)
{
	struct fixture *f = *state;
	void *p;

	test_engine_capacity = 10 * BLOCK;
	p = tm_region_alloc(f->region, 8 * BLOCK, 1, TM_RANGE_LARGE);
	assert_non_null(p);
	assert_null(tm_region_alloc(f->region, 3 * BLOCK, 1, TM_RANGE_LARGE));
	assert_int_equal(
		tm_region_resize(f->region, p, 11 * BLOCK, TM_RANGE_LARGE),
		-ENOMEM);
	assert_int_equal(
		tm_region_resize(f->region, p, 10 * BLOCK, TM_RANGE_LARGE), 0);
	assert_false(tm_region_close(f->region));
	assert_int_equal(tm_region_free(f->region, p, TM_RANGE_LARGE), 0);
	assert_true(tm_region_close(f->region));
	assert_null(tm_region_alloc(f->region, 1, 1, TM_RANGE_LARGE));
}

static void mappings_are_cut(void **state)
{
	struct fixture *f = *state;
	char *a = tm_region_alloc(f->region, 4 * BLOCK, 1, TM_RANGE_MAPPING);
	char *b = tm_region_alloc(f->region, 4 * BLOCK, 1, TM_RANGE_MAPPING);
	uintptr_t mid = (uintptr_t)a + 2 * BLOCK;

	assert_ptr_equal(b, a + 4 * BLOCK);
	assert_int_equal(tm_region_cut(f->region, mid, 4 * BLOCK), 0);
	assert_int_equal(tm_region_cut(f->region, mid, 4 * BLOCK), 0);
	assert_int_equal(tm_region_find(f->region, a).bytes, 2 * BLOCK);
	assert_int_equal(tm_region_find(f->region, a + 2 * BLOCK).kind,
			 TM_RANGE_FREE);
	assert_int_equal(tm_region_find(f->region, b + 3 * BLOCK).bytes,
			 2 * BLOCK);
	assert_int_equal(tm_region_survey(f->region, (uintptr_t)a, 3 * BLOCK),
			 -ENOMEM);
	tm_region_note(f->region, (uintptr_t)a, BLOCK, TM_RANGE_LOCKED);
	assert_int_equal(tm_region_survey(f->region, (uintptr_t)a, 2 * BLOCK),
			 TM_RANGE_LOCKED);
	assert_int_equal(tm_region_cut(f->region, (uintptr_t)a, 8 * BLOCK), 0);
	assert_int_equal(tm_region_used(f->region), 0);
	assert_int_equal(tm_region_find(f->region, a).bytes, NR_BLOCKS * BLOCK);
}

/* Who owns each block, by the model: 0 nobody, else the slot + 1. */
static unsigned short model[NR_BLOCKS];

static void model_set(struct fixture *f, char *addr, size_t bytes,
		      unsigned short from, unsigned short to)
{
	size_t first = (size_t)(addr - f->base) / BLOCK;

	assert_int_equal((size_t)(addr - f->base) % BLOCK, 0);
	for (size_t i = first; i < first + bytes / BLOCK; i++) {
		assert_int_equal(model[i], from);
		model[i] = to;
	}
}

static void random_against_model(void **state)
{
	struct fixture *f = *state;
	struct {
		char *p;
		size_t bytes;
	} slots[64] = {0};
	unsigned int seed = 20261122, i;
	size_t used = 0, bytes, align;

	memset(model, 0, sizeof(model));
	for (int step = 0; step < 200000; step++) {
		i = (unsigned int)rand_r(&seed) % 64;
		bytes = (1 + (size_t)rand_r(&seed) % 40) * BLOCK;
		if (!slots[i].p) {
			align = BLOCK << (rand_r(&seed) % 4);
			slots[i].p = tm_region_alloc(f->region, bytes, align,
						     TM_RANGE_LARGE);
			if (!slots[i].p)
				continue;
			assert_int_equal((uintptr_t)slots[i].p % align, 0);
			slots[i].bytes = bytes;
			model_set(f, slots[i].p, bytes, 0,
				  (unsigned short)(i + 1));
			used += bytes;
		} else if (rand_r(&seed) % 3) {
			assert_int_equal(tm_region_free(f->region, slots[i].p,
							TM_RANGE_LARGE),
					 0);
			model_set(f, slots[i].p, slots[i].bytes,
				  (unsigned short)(i + 1), 0);
			used -= slots[i].bytes;
			slots[i].p = NULL;
		} else if (!tm_region_resize(f->region, slots[i].p, bytes,
					     TM_RANGE_LARGE)) {
			model_set(f, slots[i].p, slots[i].bytes,
				  (unsigned short)(i + 1), 0);
			model_set(f, slots[i].p, bytes, 0,
				  (unsigned short)(i + 1));
			used += bytes - slots[i].bytes;
			slots[i].bytes = bytes;
		}
		assert_int_equal(tm_region_used(f->region), used);
		assert_int_equal(test_engine_committed, used);
	}
	for (i = 0; i < 64; i++)
		if (slots[i].p)
			tm_region_free(f->region, slots[i].p, TM_RANGE_LARGE);
	assert_int_equal(tm_region_find(f->region, f->base).bytes,
			 NR_BLOCKS * BLOCK);
}

static void pages_against_pattern(void **state)
{
	struct fixture *f = *state;
	struct {
		unsigned char *p;
		size_t bytes;
	} slots[256] = {0};
	struct tm_pages *pages;
	unsigned int seed = 7, i;
	size_t align;
	bool zero;

	assert_int_equal(tm_pages_create(f->engine, f->region, &pages), 0);
	assert_int_equal(tm_pages_chunk(pages), 256 << 10);
	assert_null(tm_pages_alloc(pages, 257 << 10, 4096, &zero));
	for (int step = 0; step < 100000; step++) {
		i = (unsigned int)rand_r(&seed) % 256;
		if (!slots[i].p) {
			slots[i].bytes = (1 + (size_t)rand_r(&seed) % 20)
					 << (rand_r(&seed) % 2 ? 12 : 13);
			align = (size_t)4096 << (rand_r(&seed) % 4);
			slots[i].p = tm_pages_alloc(pages, slots[i].bytes,
						    align, &zero);
			assert_non_null(slots[i].p);
			assert_int_equal((uintptr_t)slots[i].p % align, 0);
			assert_true(tm_pages_has(pages, slots[i].p));
			if (zero)
				assert_int_equal(slots[i].p[slots[i].bytes - 1],
						 0);
			slots[i].p[0] = (unsigned char)i;
			slots[i].p[slots[i].bytes - 1] = (unsigned char)i;
			continue;
		}
		assert_int_equal(slots[i].p[0], (unsigned char)i);
		assert_int_equal(slots[i].p[slots[i].bytes - 1],
				 (unsigned char)i);
		tm_pages_free(pages, slots[i].p, slots[i].bytes);
		slots[i].p = NULL;
	}
	for (i = 0; i < 256; i++)
		if (slots[i].p)
			tm_pages_free(pages, slots[i].p, slots[i].bytes);
	/* Nothing sticks to freed pages. */
	assert_int_equal(tm_region_used(f->region), 0);
	assert_false(tm_pages_has(pages, f->base));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, setup)
	const struct CMUnitTest tests[] = {
		TEST(sequence_ascends),
		TEST(wrong_addresses_are_refused),
		TEST(grows_and_shrinks_in_place),
		TEST(capacity_is_a_limit),
		TEST(mappings_are_cut),
		TEST(random_against_model),
		TEST(pages_against_pattern),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
