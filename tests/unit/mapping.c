/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmap(2) on the remote heap: partial unmapping is accounted page by page,
 * cleared memory is zero, resizing keeps contents; against a model of pages.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <cmocka.h>

#include "allocator/mapping.h"
#include "tests/unit/engine_local.h"
#include "tm_port.h"

#define PAGE ((size_t)4096)
#define BLOCK ((size_t)64 << 10)
#define AT(p) ((uintptr_t)(p))

static struct tm_heap *heap;

static int setup(void **state)
{
	setenv("TERAMEM_JOB_MAP", "test", 1);
	test_engine_block = BLOCK;
	heap = tm_heap_get();
	return heap ? 0 : -1;
}

static size_t used(void)
{
	return tm_region_used(heap->region);
}

static void partial_unmaps_are_accounted(void **state)
{
	char *p = tm_mapping_create(heap, 3 * BLOCK + PAGE);

	assert_int_equal(used(), 4 * BLOCK);
	assert_int_equal(tm_mapping_unmap(heap, AT(p) + 1, PAGE), -EINVAL);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 0), -EINVAL);
	/* The last block has one page in use. */
	assert_int_equal(tm_mapping_unmap(heap, AT(p) + 3 * BLOCK, 1), 0);
	assert_int_equal(used(), 3 * BLOCK);
	/* The middle of a block, its start, twice, then its end. */
	assert_int_equal(tm_mapping_unmap(heap, AT(p) + PAGE, PAGE), 0);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 3 * PAGE), 0);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 3 * PAGE), 0);
	assert_int_equal(used(), 3 * BLOCK);
	assert_int_equal(
		tm_mapping_unmap(heap, AT(p) + 3 * PAGE, BLOCK - 3 * PAGE), 0);
	assert_int_equal(used(), 2 * BLOCK);
	/* From the middle of one to the end of all, and once more. */
	assert_int_equal(
		tm_mapping_unmap(heap, AT(p) + BLOCK + PAGE, 2 * BLOCK), 0);
	assert_int_equal(used(), BLOCK);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 4 * BLOCK), 0);
	assert_int_equal(used(), 0);
	assert_int_equal(test_engine_committed, 0);
}

static void malloc_is_not_unmapped(void **state)
{
	char *p = tm_heap_alloc(4 * BLOCK + (256 << 10), 1, false);

	memset(p, 5, 4 * BLOCK);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 4 * BLOCK), -EINVAL);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), PAGE), -EINVAL);
	assert_int_equal(p[4 * BLOCK - 1], 5);
	/* But it may be cleared. */
	assert_int_equal(tm_mapping_clear(heap, AT(p) + PAGE, 3 * BLOCK), 0);
	assert_int_equal(p[PAGE - 1], 5);
	for (size_t at = PAGE; at < PAGE + 3 * BLOCK; at++)
		assert_int_equal(p[at], 0);
	assert_int_equal(p[PAGE + 3 * BLOCK], 5);
	tm_heap_free(p);
	assert_int_equal(tm_mapping_clear(heap, AT(p), PAGE), -ENOMEM);
	assert_int_equal(used(), 0);
}

static void replaced_pages_are_zero(void **state)
{
	char *p = tm_mapping_create(heap, 3 * BLOCK);

	memset(p, 6, 3 * BLOCK);
	assert_int_equal(tm_mapping_unmap(heap, AT(p) + PAGE, PAGE), 0);
	assert_int_equal(tm_mapping_replace(heap, AT(p) + PAGE, 2 * BLOCK,
					    PROT_READ | PROT_WRITE),
			 0);
	assert_int_equal(p[0], 6);
	for (size_t at = PAGE; at < PAGE + 2 * BLOCK; at++)
		assert_int_equal(p[at], 0);
	assert_int_equal(p[PAGE + 2 * BLOCK], 6);
	/* Closed off, then opened again, as allocators do. */
	assert_int_equal(
		tm_mapping_replace(heap, AT(p), BLOCK + PAGE, PROT_NONE), 0);
	assert_int_equal(tm_mapping_clear(heap, AT(p), PAGE), -EINVAL);
	assert_int_equal(tm_mapping_replace(heap, AT(p), BLOCK + PAGE,
					    PROT_READ | PROT_WRITE),
			 0);
	memset(p, 7, 3 * BLOCK);
	assert_int_equal(tm_mapping_replace(heap, AT(p) + 2 * BLOCK, 2 * BLOCK,
					    PROT_READ),
			 -ENOMEM);
	/* Nobody else finds it closed. */
	assert_int_equal(tm_mapping_protect(heap, AT(p), 3 * BLOCK, PROT_NONE),
			 0);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 3 * BLOCK), 0);
	p = tm_mapping_create(heap, 3 * BLOCK);
	for (size_t at = 0; at < 3 * BLOCK; at++)
		assert_int_equal(p[at]++, 0);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 3 * BLOCK), 0);
}

static void resizes_in_place(void **state)
{
	char *p = tm_mapping_create(heap, BLOCK + PAGE), *next;

	memset(p, 8, BLOCK + PAGE);
	assert_int_equal(
		tm_mapping_resize(heap, AT(p), BLOCK + PAGE, BLOCK + 3 * PAGE),
		0);
	assert_int_equal(used(), 2 * BLOCK);
	memset(p + BLOCK + PAGE, 9, 2 * PAGE);
	/* What is cut off and comes back is zero. */
	assert_int_equal(tm_mapping_resize(heap, AT(p), BLOCK + 3 * PAGE,
					   BLOCK + 2 * PAGE),
			 0);
	assert_int_equal(tm_mapping_resize(heap, AT(p), BLOCK + 2 * PAGE,
					   4 * BLOCK + PAGE),
			 0);
	assert_int_equal(used(), 5 * BLOCK);
	assert_int_equal(p[BLOCK + 2 * PAGE - 1], 9);
	for (size_t at = BLOCK + 2 * PAGE; at < 4 * BLOCK + PAGE; at++)
		assert_int_equal(p[at], 0);
	next = tm_mapping_create(heap, BLOCK);
	assert_ptr_equal(next, p + 5 * BLOCK);
	assert_int_equal(
		tm_mapping_resize(heap, AT(p), 4 * BLOCK + PAGE, 6 * BLOCK),
		-ENOMEM);
	assert_int_equal(tm_mapping_resize(heap, AT(p), BLOCK, BLOCK + PAGE),
			 -ENOMEM);
	assert_int_equal(
		tm_mapping_resize(heap, AT(p), 4 * BLOCK + PAGE, 5 * BLOCK), 0);
	assert_int_equal(tm_mapping_unmap(heap, AT(p), 6 * BLOCK), 0);
	assert_int_equal(tm_mapping_resize(heap, AT(p), PAGE, 2 * PAGE),
			 -EFAULT);
	assert_int_equal(used(), 0);
}

/* What the model knows of a page: 0 not mapped, else the byte it holds. */
#define NR_PAGES 4096
static unsigned char model[NR_PAGES];

static void random_against_model(void **state)
{
	char *base = (char *)heap->base, *p;
	unsigned int seed = 42;
	size_t page, nr, blocks = 0;
	unsigned char value;

	for (int step = 1; step < 30000; step++) {
		page = (size_t)rand_r(&seed) % (NR_PAGES - 64);
		nr = 1 + (size_t)rand_r(&seed) % 60;
		value = (unsigned char)(step % 255 + 1);
		if (rand_r(&seed) % 3 == 0) {
			p = tm_mapping_create(heap, nr * PAGE);
			page = (size_t)(p - base) / PAGE;
			if (page + nr > NR_PAGES) {
				tm_mapping_unmap(heap, AT(p), nr * PAGE);
				continue;
			}
			for (size_t i = page; i < page + nr; i++) {
				assert_int_equal(model[i], 0);
				assert_int_equal(base[i * PAGE], 0);
				base[i * PAGE] = (char)value;
				model[i] = value;
			}
			continue;
		}
		for (size_t i = page; i < page + nr; i++) {
			if (model[i])
				assert_int_equal((unsigned char)base[i * PAGE],
						 model[i]);
			model[i] = 0;
		}
		assert_int_equal(tm_mapping_unmap(heap, AT(base) + page * PAGE,
						  nr * PAGE),
				 0);
	}
	/* Exactly the blocks with a mapped page are kept. */
	for (size_t block = 0; block < NR_PAGES; block += BLOCK / PAGE) {
		for (page = 0; page < BLOCK / PAGE; page++)
			if (model[block + page])
				break;
		blocks += page < BLOCK / PAGE;
	}
	assert_int_equal(used(), blocks * BLOCK);
	assert_int_equal(tm_mapping_unmap(heap, AT(base), NR_PAGES * PAGE), 0);
	assert_int_equal(used(), 0);
	assert_int_equal(test_engine_committed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(partial_unmaps_are_accounted),
		cmocka_unit_test(malloc_is_not_unmapped),
		cmocka_unit_test(replaced_pages_are_zero),
		cmocka_unit_test(resizes_in_place),
		cmocka_unit_test(random_against_model),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
