// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Placement: order, accounting, keeping ahead, limits, loss, release; and a
 * random run against a plain model.
 */
#include "tests/unit/place.h"

static void policies_by_name(void **state)
{
	assert_ptr_equal(tm_place_find("simple"), &tm_place_simple);
	assert_ptr_equal(tm_place_find("rr"), &tm_place_rr);
	assert_null(tm_place_find("roundrobin"));
}

static void impossible_configurations(void **state)
{
	struct tm_place *p;

	assert_int_equal(tm_place_create(&tm_place_rr, 0, SHIFT, &p), -EINVAL);
	assert_int_equal(tm_place_create(&tm_place_rr, TM_NO_SERVER, SHIFT, &p),
			 -EINVAL);
}

static void simple_fills_in_order(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 2);
	unsigned int extents[2] = {2, 2};
	u64 next[2] = {0, 64ull << 20};
	struct tm_replica r;
	unsigned int i;

	assert_int_equal(get(p, &r), -EAGAIN);
	for (i = 0; i < 4 * SLOTS; i++) {
		grant(p, extents, next);
		assert_int_equal(get(p, &r), 0);
		assert_int_equal(r.server, i / (2 * SLOTS));
		assert_int_equal(r.slot,
				 i % (2 * SLOTS) + (i < 2 * SLOTS ? 0 : 256));
	}
	assert_int_equal(get(p, &r), -ENOSPC);
	assert_int_equal(tm_place_extents(p), 4);

	/* Room again. */
	tm_place_server_room(p, 1);
	extents[1] = 1;
	assert_int_equal(get(p, &r), -EAGAIN);
	grant(p, extents, next);
	assert_int_equal(get(p, &r), 0);
	assert_int_equal(r.server, 1);
	tm_place_destroy(p);
}

/* Ask as placement wants, and count whom. */
static void ask(struct tm_place *p, unsigned int *asked)
{
	unsigned int s;

	while (tm_place_wants(p, &s))
		asked[s]++;
}

/* Full ones may have room again, and answer late that they have not. */
static void full_servers_hold_up_nobody(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 3);
	unsigned int asked[3] = {0}, s, i;

	ask(p, asked);
	assert_int_equal(asked[0], 1);
	tm_place_extent_refused(p, 0);
	ask(p, asked);
	assert_int_equal(asked[1], 1);
	tm_place_extent_refused(p, 1);
	tm_place_server_room(p, 0);
	tm_place_server_room(p, 1);

	/* with what is left within the limit, they wait */
	tm_place_limit_set(p, 4);
	ask(p, asked);
	assert_int_equal(asked[0], 1);
	assert_int_equal(asked[1], 1);
	assert_int_equal(asked[2], 1);
	/* else one is asked for */
	tm_place_limit_set(p, 100);
	ask(p, asked);
	assert_int_equal(asked[0], 2);
	assert_int_equal(asked[1], 2);
	assert_int_equal(asked[2], 1);

	/* one that has given is as good as any */
	assert_int_equal(tm_place_extent_add(p, 1, 0, EXTENT), 0);
	ask(p, asked);
	assert_int_equal(asked[1], 5);

	/* and the doubtful ones are not forgotten where all are */
	for (i = 0; i < 3; i++)
		tm_place_extent_refused(p, 1);
	tm_place_extent_refused(p, 2);
	tm_place_extent_refused(p, 0);
	assert_false(tm_place_wants(p, &s));
	tm_place_server_room(p, 2);
	ask(p, asked);
	assert_int_equal(asked[0], 2);
	assert_int_equal(asked[2], 2);
	tm_place_destroy(p);
}

/* Nothing is free, and the server in use has not answered: it may be full. */
static void silent_server_holds_up_nobody(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 2);
	unsigned int asked[2] = {0}, i;
	struct tm_replica r;

	ask(p, asked);
	assert_int_equal(tm_place_extent_add(p, 0, 0, EXTENT), 0);
	for (i = 0; i < SLOTS; i++) {
		ask(p, asked);
		assert_int_equal(asked[1], 0);
		assert_int_equal(get(p, &r), 0);
	}
	ask(p, asked);
	assert_int_equal(asked[1], 1);
	tm_place_destroy(p);
}

/* No slot and no extent of it is used, and none is kept, for the time being. */
static void refused_stores(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 2);
	unsigned int extents[2] = {2, 2}, server;
	u64 next[2] = {0, 64ull << 20}, addr, bytes;
	struct tm_replica a, b;

	grant(p, extents, next);
	assert_int_equal(get(p, &a), 0);
	assert_int_equal(a.server, 0);
	tm_place_store_refused(p, 0);
	assert_false(tm_place_server_takes(p, 0));
	assert_true(tm_place_server_alive(p, 0));
	grant(p, extents, next);
	assert_int_equal(get(p, &b), 0);
	assert_int_equal(b.server, 1);
	tm_place_put(p, a);
	assert_true(tm_place_extent_idle(p, &server, &addr, &bytes));
	assert_int_equal(server, 0);
	tm_place_store_refused(p, 1);
	assert_int_equal(get(p, &b), -ENOSPC);
	assert_false(tm_place_wants(p, &server));

	tm_place_server_room(p, 0);
	assert_true(tm_place_server_takes(p, 0));
	grant(p, extents, next);
	assert_int_equal(get(p, &b), 0);
	assert_int_equal(b.server, 0);
	tm_place_destroy(p);
}

/* With one ask outstanding and slots left, eviction goes on. */
static void keeps_ahead(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 2);
	struct tm_replica r;
	unsigned int s, i, asked;

	assert_true(tm_place_wants(p, &s));
	assert_int_equal(s, 0);
	/* Its size is unknown, so one is asked for and no more. */
	assert_false(tm_place_wants(p, &s));
	assert_int_equal(get(p, &r), -EAGAIN);
	assert_int_equal(tm_place_extent_add(p, 0, 0, EXTENT), 0);
	for (asked = 0; tm_place_wants(p, &s); asked++)
		assert_int_equal(s, 0);
	assert_in_range(asked, 1, 16);
	for (i = 0; i < asked; i++)
		assert_int_equal(
			tm_place_extent_add(p, 0, (i + 1) * EXTENT, EXTENT), 0);
	assert_false(tm_place_wants(p, &s));
	assert_int_equal(get(p, &r), 0);
	assert_true(tm_place_wants(p, &s));

	/* When the first is known to be full, the second is made ready early */
	tm_place_extent_refused(p, 0);
	assert_true(tm_place_wants(p, &s));
	assert_int_equal(s, 1);
	assert_int_equal(get(p, &r), 0);
	assert_int_equal(r.server, 0);
	tm_place_destroy(p);
}

static void limit_holds(void **state)
{
	struct tm_place *p = create(&tm_place_rr, 2);
	unsigned int extents[2] = {100, 100};
	u64 next[2] = {0};
	struct tm_replica r, one = {0};
	unsigned int i, s, released = 0;
	u64 addr, bytes;

	tm_place_limit_set(p, 3);
	for (i = 0; i < 3 * SLOTS; i++) {
		grant(p, extents, next);
		assert_true(tm_place_extents(p) <= 3);
		assert_int_equal(get(p, &r), 0);
		if (i == 5)
			one = r;
	}
	assert_int_equal(get(p, &r), -ENOSPC);
	tm_place_limit_set(p, 4);
	assert_int_equal(get(p, &r), -EAGAIN);
	grant(p, extents, next);
	assert_int_equal(tm_place_extents(p), 4);

	/* Below what is held, the idle one goes even though it is in hand. */
	tm_place_limit_set(p, 2);
	while (tm_place_extent_idle(p, &s, &addr, &bytes))
		released++;
	assert_int_equal(released, 1);
	assert_int_equal(get(p, &r), -ENOSPC);
	tm_place_put(p, one);
	assert_int_equal(get(p, &r), 0);
	assert_memory_equal(&r, &one, sizeof(r));
	tm_place_destroy(p);
}

static void freed_slots_ascend(void **state)
{
	struct tm_place *p = create(&tm_place_simple, 1);
	unsigned int extents[1] = {2};
	u64 next[1] = {0};
	struct tm_replica r;
	unsigned int i;
	u64 last;

	for (i = 0; i < 2 * SLOTS; i++) {
		grant(p, extents, next);
		assert_int_equal(get(p, &r), 0);
	}
	/* Free every third slot, in descending order. */
	for (i = 2 * SLOTS; i-- > 0;) {
		r = (struct tm_replica){.server = 0, .slot = i};
		if (i % 3 == 0)
			tm_place_put(p, r);
	}
	/* The second extent was the first to have room. */
	for (i = 0, last = 0; i < SLOTS / 3; i++, last = r.slot) {
		assert_int_equal(get(p, &r), 0);
		assert_in_range(r.slot, SLOTS, 2 * SLOTS - 1);
		assert_true(r.slot > last);
	}
	for (i = 0, last = 0; i < SLOTS / 3 + 1; i++, last = r.slot) {
		assert_int_equal(get(p, &r), 0);
		assert_in_range(r.slot, 0, SLOTS - 1);
		assert_true(!i || r.slot > last);
	}
	assert_int_equal(get(p, &r), -ENOSPC);
	tm_place_destroy(p);
}

static void lost_server(void **state)
{
	struct tm_place *p = create(&tm_place_rr, 2);
	unsigned int extents[2] = {4, 4}, s;
	u64 next[2] = {0}, addr, bytes;
	struct tm_replica r[4], x;
	unsigned int i;

	grant(p, extents, next);
	for (i = 0; i < 4; i++)
		assert_int_equal(get(p, &r[i]), 0);
	assert_true(tm_place_server_alive(p, 1));
	tm_place_server_lost(p, 1);
	tm_place_server_lost(p, 1);
	assert_false(tm_place_server_alive(p, 1));
	assert_int_equal(tm_place_extents(p), 4);
	for (i = 0; i < 4; i++)
		tm_place_put(p, r[i]); /* the lost ones are ignored */
	for (i = 0; i < 4 * SLOTS; i++) {
		assert_int_equal(get(p, &x), 0);
		assert_int_equal(x.server, 0);
	}
	/* What comes late from there changes nothing. */
	assert_int_equal(tm_place_extent_add(p, 1, next[1], EXTENT), -EIO);
	tm_place_server_room(p, 1);
	while (tm_place_wants(p, &s)) {
		assert_int_equal(s, 0);
		tm_place_extent_refused(p, 0);
	}
	assert_int_equal(get(p, &x), -ENOSPC);
	assert_false(tm_place_extent_idle(p, &s, &addr, &bytes));
	tm_place_destroy(p);
}

static void hostile_extents(void **state)
{
	static const struct {
		u64 addr, bytes;
	} bad[] = {
		{0, 0},
		{0, 4096},
		{4096, EXTENT},
		{EXTENT, EXTENT + 4096},
		{~0ull, EXTENT},
		{1ull << 62, EXTENT},
		{0, 1ull << 63},
		{EXTENT, 2 * EXTENT},
		{0, EXTENT} /* again */,
	};
	struct tm_place *p = create(&tm_place_simple, 1);
	struct tm_replica r;
	unsigned int i, s;

	assert_true(tm_place_wants(p, &s));
	assert_int_equal(tm_place_extent_add(p, 0, 0, EXTENT), 0);
	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(
			tm_place_extent_add(p, 0, bad[i].addr, bad[i].bytes),
			-EINVAL);
		assert_int_equal(tm_place_extents(p), 1);
	}
	/* A server that talks nonsense is not asked again. */
	assert_false(tm_place_wants(p, &s));
	assert_int_equal(get(p, &r), 0);
	tm_place_destroy(p);
}

static void idle_extents_go(void **state)
{
	enum { EXTENTS = 40 };
	struct tm_place *p = create(&tm_place_simple, 1);
	unsigned int extents[1] = {EXTENTS}, s, i;
	static bool held[EXTENTS];
	u64 next[1] = {0}, addr, bytes;
	struct tm_replica r;
	u64 kept;

	for (i = 0; i < EXTENTS * SLOTS; i++) {
		grant(p, extents, next);
		assert_int_equal(get(p, &r), 0);
		held[r.slot / SLOTS] = true;
	}
	assert_false(tm_place_extent_idle(p, &s, &addr, &bytes));
	for (i = 0; i < EXTENTS * SLOTS; i++)
		tm_place_put(p, (struct tm_replica){.server = 0, .slot = i});
	while (tm_place_extent_idle(p, &s, &addr, &bytes)) {
		assert_int_equal(s, 0);
		assert_int_equal(bytes, EXTENT);
		assert_true(held[addr / EXTENT]);
		held[addr / EXTENT] = false;
	}
	/* Some stay in hand, and none is asked for right after. */
	kept = tm_place_extents(p);
	assert_in_range(kept, 2, EXTENTS / 2);
	assert_false(tm_place_wants(p, &s));
	for (i = 0; i < kept * SLOTS; i++) {
		assert_int_equal(get(p, &r), 0);
		assert_true(held[r.slot / SLOTS]);
	}
	/* One that was given back may come again. */
	for (i = 0; held[i]; i++)
		;
	assert_int_equal(tm_place_extent_add(p, 0, (u64)i * EXTENT, EXTENT), 0);
	assert_int_equal(get(p, &r), 0);
	assert_int_equal(r.slot, i * SLOTS);
	tm_place_destroy(p);
}

/* One slot each, sparse numbers: the tables' corners. */
static void one_slot_extents(void **state)
{
	struct tm_place *p;
	struct tm_replica r;
	unsigned int i;
	u64 addr;

	assert_int_equal(tm_place_create(&tm_place_simple, 1, 21, &p), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(
			tm_place_extent_add(p, 0, (u64)i * 509 << 21, 1 << 21),
			0);
	for (i = 0; i < 64; i++) {
		assert_int_equal(get(p, &r), 0);
		assert_int_equal(r.slot, i * 509);
	}
	for (i = 0; i < 64; i++) {
		addr = (u64)(63 - i) * 509;
		tm_place_put(p, (struct tm_replica){.slot = addr});
	}
	for (i = 0; i < 64; i++) {
		assert_int_equal(get(p, &r), 0);
		assert_int_equal(r.slot, (u64)(63 - i) * 509);
	}
	tm_place_destroy(p);
}

static void random_run_against_model(void **state)
{
	enum { SERVERS = 4, EXTENTS = 32, ALL = SERVERS * EXTENTS * SLOTS };
	static struct tm_replica held[ALL];
	static bool used[SERVERS][EXTENTS * SLOTS], given[SERVERS][EXTENTS];
	static const struct tm_place_ops *const policy[] = {&tm_place_simple,
							    &tm_place_rr};
	struct tm_replica r;
	unsigned int round, s, i, step;
	u64 seed = 1, addr, bytes;

	for (round = 0; round < 2; round++) {
		struct tm_place *p = create(policy[round], SERVERS);
		unsigned int nr_held = 0, nr_given = 0;
		bool grow = true;

		memset(used, 0, sizeof(used));
		memset(given, 0, sizeof(given));
		for (step = 0; step < 200000; step++) {
			u32 x;

			seed = seed * 6364136223846793005ull + 1;
			x = (u32)(seed >> 33);
			if (x % 4096 == 0)
				grow = !grow;
			if (x % 64 == 1 && tm_place_wants(p, &s)) {
				for (i = 0; i < EXTENTS && given[s][i]; i++)
					;
				if (i < EXTENTS) {
					assert_int_equal(
						tm_place_extent_add(
							p, s, (u64)i * EXTENT,
							EXTENT),
						0);
					given[s][i] = true;
					nr_given++;
				} else {
					tm_place_extent_refused(p, s);
				}
			} else if (x % 64 == 2 &&
				   tm_place_extent_idle(p, &s, &addr, &bytes)) {
				assert_true(given[s][addr / EXTENT]);
				given[s][addr / EXTENT] = false;
				nr_given--;
				for (i = 0; i < SLOTS; i++)
					assert_false(
						used[s][addr / EXTENT * SLOTS +
							i]);
				tm_place_server_room(p, s);
			} else if (x / 64 % 8 < (grow ? 5 : 3)) {
				if (get(p, &r)) {
					assert_int_equal(nr_held,
							 nr_given * SLOTS);
					continue;
				}
				assert_true(given[r.server][r.slot / SLOTS]);
				assert_false(used[r.server][r.slot]);
				used[r.server][r.slot] = true;
				held[nr_held++] = r;
			} else if (nr_held) {
				i = x / 512 % nr_held;
				r = held[i];
				held[i] = held[--nr_held];
				used[r.server][r.slot] = false;
				tm_place_put(p, r);
			}
			assert_int_equal(tm_place_extents(p), nr_given);
		}
		tm_place_destroy(p);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policies_by_name),
		cmocka_unit_test(impossible_configurations),
		cmocka_unit_test(simple_fills_in_order),
		cmocka_unit_test(full_servers_hold_up_nobody),
		cmocka_unit_test(silent_server_holds_up_nobody),
		cmocka_unit_test(refused_stores),
		cmocka_unit_test(keeps_ahead),
		cmocka_unit_test(limit_holds),
		cmocka_unit_test(freed_slots_ascend),
		cmocka_unit_test(lost_server),
		cmocka_unit_test(hostile_extents),
		cmocka_unit_test(idle_extents_go),
		cmocka_unit_test(one_slot_extents),
		cmocka_unit_test(random_run_against_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
