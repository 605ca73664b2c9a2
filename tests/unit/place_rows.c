// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Placement of rows: slots side by side, for a huge block.
 */
#include "tests/unit/place.h"

#define ROW 4

static int get_row(struct tm_place *p, u32 nr, struct tm_replica *r)
{
	return tm_place_get_row(p, 0, nr, r);
}

static void rows_are_aligned(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 1);
	unsigned int extents[1] = {2};
	u64 next[1] = {0};
	struct tm_replica r;

	grant(p, extents, next);
	assert_int_equal(get(p, &r), 0);
	assert_int_equal(r.slot, 0);
	assert_int_equal(get_row(p, ROW, &r), 0);
	assert_int_equal(r.slot, ROW);
	/* single ones go on behind it */
	assert_int_equal(get(p, &r), 0);
	assert_int_equal(r.slot, 2 * ROW);
	assert_int_equal(get_row(p, ROW, &r), 0);
	assert_int_equal(r.slot, 3 * ROW);
	/* not across the end of an extent */
	assert_int_equal(get_row(p, SLOTS, &r), 0);
	assert_int_equal(r.slot, SLOTS);
	assert_int_equal(get_row(p, 2 * SLOTS, &r), -ENOSPC);
	tm_place_destroy(p);
}

static void row_waits_for_an_extent(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 1);
	unsigned int s, n = 0;
	struct tm_replica r;

	assert_int_equal(get_row(p, ROW, &r), -ENOSPC);
	while (tm_place_wants(p, &s))
		n++;
	assert_true(n > 0);
	assert_int_equal(get_row(p, ROW, &r), -EAGAIN);
	tm_place_extent_refused(p, 0);
	assert_int_equal(get_row(p, ROW, &r), n > 1 ? -EAGAIN : -ENOSPC);
	while (--n)
		tm_place_extent_refused(p, 0);
	assert_int_equal(get_row(p, ROW, &r), -ENOSPC);
	tm_place_destroy(p);
}

/* Enough slots are free, but no two side by side. */
static void no_row_in_fragments(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 1);
	unsigned int extents[1] = {1}, i, s;
	u64 next[1] = {0};
	struct tm_replica r;

	grant(p, extents, next);
	for (i = 0; i < SLOTS; i++)
		assert_int_equal(get(p, &r), 0);
	for (r.slot = 0; r.slot < SLOTS; r.slot += 2)
		tm_place_put(p, r);
	grant(p, extents, next);
	assert_int_equal(get_row(p, ROW, &r), -ENOSPC);
	assert_int_equal(get_row(p, 2, &r), -ENOSPC);
	assert_int_equal(get(p, &r), 0);
	tm_place_put(p, r);
	/* it is worth waiting for more */
	tm_place_server_room(p, 0);
	assert_true(tm_place_wants(p, &s));
	assert_int_equal(get_row(p, ROW, &r), -EAGAIN);
	tm_place_extent_refused(p, 0);
	/* until there is one, and not across a boundary */
	for (r.slot = 3; r.slot < 6; r.slot += 2)
		tm_place_put(p, r);
	assert_int_equal(get_row(p, ROW, &r), -ENOSPC);
	r.slot = 7;
	tm_place_put(p, r);
	assert_int_equal(get_row(p, ROW, &r), 0);
	assert_int_equal(r.slot, ROW);
	tm_place_destroy(p);
}

#define MIXED_SLOTS (16 * SLOTS)

static void take(bool *taken, u64 slot, u32 nr)
{
	u64 i;

	assert_int_equal(slot % nr, 0);
	assert_int_equal(slot / SLOTS, (slot + nr - 1) / SLOTS);
	for (i = slot; i < slot + nr; i++) {
		assert_true(i < MIXED_SLOTS);
		assert_false(taken[i]);
		taken[i] = true;
	}
}

/* Rows of any size and single slots, taken and put back in no order. */
static void rows_among_single_slots(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 1);
	unsigned int extents[1] = {16}, i, rows = 0;
	bool taken[MIXED_SLOTS] = {false};
	u64 next[1] = {0};
	struct tm_replica r;
	u32 nr;

	srandom(5);
	for (i = 0; i < 20000; i++) {
		grant(p, extents, next);
		nr = 1u << random() % 4;
		r.server = 0;
		r.slot = (u64)random() % MIXED_SLOTS;
		if (taken[r.slot] && random() % 8) {
			tm_place_put(p, r);
			taken[r.slot] = false;
		} else if (nr == 1 && !get(p, &r)) {
			take(taken, r.slot, 1);
		} else if (nr > 1 && !get_row(p, nr, &r)) {
			take(taken, r.slot, nr);
			rows++;
		}
	}
	assert_true(rows > 1000);
	/* and all is to be had in the end */
	for (r.slot = 0; r.slot < MIXED_SLOTS; r.slot++)
		if (taken[r.slot])
			tm_place_put(p, r);
	memset(taken, 0, sizeof(taken));
	for (i = 0; i < next[0] / EXTENT; i++) {
		assert_int_equal(get_row(p, SLOTS, &r), 0);
		take(taken, r.slot, SLOTS);
	}
	assert_int_equal(get(p, &r), -ENOSPC);
	tm_place_destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_are_aligned),
		cmocka_unit_test(row_waits_for_an_extent),
		cmocka_unit_test(no_row_in_fragments),
		cmocka_unit_test(rows_among_single_slots),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
