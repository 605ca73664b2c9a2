// SPDX-License-Identifier: GPL-2.0-or-later
/* The block map: sparse, no allocation in get, entries stay where they are. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/blockmap.h"

#define TIB_BLOCKS (1ull << 28) /* 1 TiB of 4 KiB blocks */

static void entry_size(void **state)
{
	assert_int_equal(sizeof(struct tm_block), 32);
}

static void limits(void **state)
{
	struct tm_blockmap map;

	assert_int_equal(tm_blockmap_init(&map, 0), -EINVAL);
	assert_int_equal(tm_blockmap_init(&map, TM_BLOCKS_MAX), -EINVAL);
}

static void untouched_is_not_there(void **state)
{
	struct tm_leaf_reserve reserve = {0};
	struct tm_blockmap map;
	struct tm_block *e;

	assert_int_equal(tm_blockmap_init(&map, TIB_BLOCKS), 0);
	assert_int_equal(tm_leaf_reserve_fill(&reserve), 0);
	assert_null(tm_blockmap_find(&map, 0));
	assert_int_equal(tm_blockmap_skip(&map, 0), TIB_BLOCKS);

	e = tm_blockmap_get(&map, TIB_BLOCKS - 1, &reserve);
	assert_non_null(e);
	assert_int_equal(e->state, TM_ABSENT);
	assert_int_equal(e->flags, 0);
	assert_ptr_equal(tm_blockmap_find(&map, TIB_BLOCKS - 1), e);
	assert_ptr_equal(tm_blockmap_get(&map, TIB_BLOCKS - 1, &reserve), e);
	/* a leaf and its node */
	assert_int_equal(reserve.taken, 2);
	assert_int_equal(tm_blockmap_skip(&map, 5),
			 TIB_BLOCKS - TM_LEAF_BLOCKS);
	assert_int_equal(tm_blockmap_skip(&map, TIB_BLOCKS - 3),
			 TIB_BLOCKS - 3);

	tm_leaf_reserve_fini(&reserve);
	tm_blockmap_fini(&map);
}

static void get_never_allocates(void **state)
{
	struct tm_leaf_reserve reserve = {0};
	struct tm_blockmap map;
	struct tm_block *first;
	u64 leaf = 0, nodes, round;

	assert_int_equal(tm_blockmap_init(&map, TIB_BLOCKS), 0);
	assert_null(tm_blockmap_get(&map, 0, &reserve));
	for (round = 0; round < 5; round++) {
		u64 got = 0;

		assert_int_equal(tm_leaf_reserve_fill(&reserve), 0);
		while (tm_blockmap_get(&map, leaf << TM_LEAF_SHIFT, &reserve)) {
			leaf++;
			got++;
		}
		/* one may have gone into a node */
		assert_true(got >= TM_LEAF_RESERVE - 1);
		assert_true(got <= 2 * TM_LEAF_RESERVE);
	}
	/* an empty reserve does not matter for what exists */
	first = tm_blockmap_find(&map, 1);
	assert_ptr_equal(tm_blockmap_get(&map, 1, &reserve), first);
	nodes = (leaf + TM_NODE_LEAVES - 1) / TM_NODE_LEAVES;
	assert_int_equal(reserve.taken, leaf + nodes);

	tm_leaf_reserve_fini(&reserve);
	tm_blockmap_fini(&map);
}

static void neighbours_are_apart(void **state)
{
	struct tm_leaf_reserve reserve = {0};
	struct tm_blockmap map;
	const u64 at[] = {0, TM_NODE_BLOCKS - 1, TM_NODE_BLOCKS,
			  5 * (u64)TM_NODE_BLOCKS + 3 * TM_LEAF_BLOCKS + 7};
	struct tm_block *e;

	assert_int_equal(tm_blockmap_init(&map, TIB_BLOCKS), 0);
	assert_int_equal(tm_leaf_reserve_fill(&reserve), 0);
	for (u32 i = 0; i < 4; i++) {
		e = tm_blockmap_get(&map, at[i], &reserve);
		assert_non_null(e);
		assert_int_equal(e->version, 0);
		e->version = i + 1;
	}
	for (u32 i = 0; i < 4; i++)
		assert_int_equal(tm_blockmap_find(&map, at[i])->version, i + 1);
	/* over the rest of a leaf, of a node, and over whole nodes */
	assert_int_equal(tm_blockmap_skip(&map, TM_LEAF_BLOCKS),
			 TM_NODE_BLOCKS - TM_LEAF_BLOCKS);
	assert_int_equal(
		tm_blockmap_skip(&map, TM_NODE_BLOCKS + TM_LEAF_BLOCKS),
		at[3] - 7);
	assert_int_equal(tm_blockmap_skip(&map, at[3] + TM_LEAF_BLOCKS),
			 TIB_BLOCKS);
	tm_leaf_reserve_fini(&reserve);
	tm_blockmap_fini(&map);
}

static void odd_end(void **state)
{
	struct tm_leaf_reserve reserve = {0};
	struct tm_blockmap map;

	assert_int_equal(tm_blockmap_init(&map, 129), 0);
	assert_int_equal(tm_leaf_reserve_fill(&reserve), 0);
	assert_non_null(tm_blockmap_get(&map, 128, &reserve));
	assert_int_equal(tm_blockmap_skip(&map, 0), 128);
	tm_leaf_reserve_fini(&reserve);
	tm_blockmap_fini(&map);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(entry_size),
		cmocka_unit_test(limits),
		cmocka_unit_test(untouched_is_not_there),
		cmocka_unit_test(get_never_allocates),
		cmocka_unit_test(neighbours_are_apart),
		cmocka_unit_test(odd_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
