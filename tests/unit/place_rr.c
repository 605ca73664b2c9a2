// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Round Robin: turns, how long they are, and who loses one.
 */
#include "tests/unit/place.h"

/* Blocks of a turn, which is of 2 MiB. */
#define TURN ((2u << 20) >> SHIFT)

static void rr_takes_turns(void **state)
{
	struct tm_place *p = create(&tm_place_rr, 3);
	unsigned int extents[3] = {1, 2, 1};
	u64 next[3] = {0};
	struct tm_replica r;
	unsigned int i;

	for (i = 0; i < 3 * SLOTS; i++) {
		grant(p, extents, next);
		assert_int_equal(tm_place_get(p, i, &r), 0);
		assert_int_equal(r.server, i / TURN % 3);
		assert_int_equal(r.slot, i / (3 * TURN) * TURN + i % TURN);
	}
	/* The others are full. */
	for (i = 0; i < SLOTS; i++) {
		grant(p, extents, next);
		assert_int_equal(tm_place_get(p, i, &r), 0);
		assert_int_equal(r.server, 1);
	}
	assert_int_equal(tm_place_get(p, 0, &r), -ENOSPC);
	tm_place_destroy(p);
}

/* So many blocks from @block on go to that server. */
static void rr_expect(struct tm_place *p, u64 block, unsigned int server,
		      unsigned int nr)
{
	struct tm_replica r;
	unsigned int i;

	for (i = 0; i < nr; i++) {
		assert_int_equal(tm_place_get(p, block + i, &r), 0);
		assert_int_equal(r.server, server);
	}
}

static void rr_turn_is_one_block_or_more(void **state)
{
	struct tm_place *p;
	unsigned int i;

	assert_int_equal(tm_place_create(&tm_place_rr, 2, 21, &p), 0);
	for (i = 0; i < 2; i++)
		assert_int_equal(tm_place_extent_add(p, i, 0, 4 << 21), 0);
	for (i = 0; i < 8; i++)
		rr_expect(p, i, i % 2, 1);
	tm_place_destroy(p);
}

/* What lies together in memory does so on a server, wherever it begins. */
static void rr_turns_fall_in_with_blocks(void **state)
{
	struct tm_place *p = create(&tm_place_rr, 2);
	unsigned int extents[2] = {9, 9}, i;
	u64 next[2] = {0};

	grant(p, extents, next);
	rr_expect(p, 1, 0, 2 * TURN - 1);
	rr_expect(p, 2 * TURN, 1, TURN);
	rr_expect(p, 3 * TURN, 0, TURN);
	/* blocks from all over, as several lanes bring them, take plain turns
	 */
	for (i = 0; i < 4 * TURN; i++)
		rr_expect(p, 100 + i % 2 * 16 * TURN, (i / TURN + 1) % 2, 1);
	tm_place_destroy(p);
}

/* Who cannot take all of its turn loses the rest, and has a whole one next. */
static void rr_turn_ends_without_room(void **state)
{
	struct tm_place *p = create(&tm_place_rr, 3);
	unsigned int extents[3] = {9, 9, 9};
	u64 next[3] = {0};

	grant(p, extents, next);
	rr_expect(p, 0, 0, TURN);
	rr_expect(p, TURN, 1, 1);
	tm_place_store_refused(p, 1);
	rr_expect(p, 4 * TURN, 2, TURN);
	rr_expect(p, 5 * TURN, 0, TURN);
	tm_place_server_room(p, 1);
	rr_expect(p, 6 * TURN, 1, TURN);
	rr_expect(p, 7 * TURN, 2, TURN);
	tm_place_destroy(p);
}

/* A row is part of a turn, or more than one. */
static void rr_rows_take_turns(void **state)
{
	struct tm_place *p = create(&tm_place_rr, 2);
	unsigned int extents[2] = {9, 9}, i;
	u64 next[2] = {0};
	struct tm_replica r;

	grant(p, extents, next);
	for (i = 0; i < 8; i++) {
		assert_int_equal(
			tm_place_get_row(p, i * TURN / 2, TURN / 2, &r), 0);
		assert_int_equal(r.server, i / 2 % 2);
		assert_int_equal(r.slot % (TURN / 2), 0);
	}
	for (i = 0; i < 4; i++) {
		assert_int_equal(
			tm_place_get_row(p, (4 + i) * 2 * TURN, 2 * TURN, &r),
			0);
		assert_int_equal(r.server, i % 2);
		grant(p, extents, next);
	}
	tm_place_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rr_takes_turns),
		cmocka_unit_test(rr_turn_is_one_block_or_more),
		cmocka_unit_test(rr_turns_fall_in_with_blocks),
		cmocka_unit_test(rr_turn_ends_without_room),
		cmocka_unit_test(rr_rows_take_turns),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
