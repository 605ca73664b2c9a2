// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager, one lane, in trouble: stores that fail, servers lost or full,
 * damaged and pinned blocks, maps that fail.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/program.h"

static void store_fails_then_another(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	int k;

	for (k = 0; k < 2; k++) {
		c.can_cache = k;
		w = evicting(c);
		w_end_kind(w, 0, W_STORE, -EREMOTEIO);
		assert_false(mapped(w, 100));
		/* not to the same server, but a slot at the other is needed */
		assert_int_equal(w_pending(w, 0, W_STORE), 0);
		w_drain(w, 0);
		assert_true(mapped(w, 100));
		assert_true(w->server[1].given > 0);
		for (u64 i = 0; i < 16; i++)
			assert_int_equal(get(w, i), i + 1000);
		w_destroy(w);
	}
}

/* A server that refuses gets nothing more until it is said to have room. */
static void refuse_stores(struct world *w)
{
	int i;

	w_end_kind(w, 0, W_STORE, -EREMOTEIO);
	for (i = 0; i < 10; i++)
		tm_pager_balance(w_lane(w, 0));
	assert_int_equal(w_pending(w, 0, W_STORE), 0);
	tm_pager_server_room(w->pager, 0);
	w_drain(w, 0);
}

static void refused_stores_pause(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_servers = 1;
	w = evicting(c);
	refuse_stores(w);
	assert_true(mapped(w, 100));
	/* away and back: now they have slots there */
	fill(w, 300, 40);
	for (i = 0; i < 16; i++)
		put(w, i, i + 2000);
	for (i = 200; !w_pending(w, 0, W_STORE); i++) {
		w->now += 1000000;
		fault(w, i, true);
	}
	refuse_stores(w);
	for (i = 0; i < 16; i++)
		assert_int_equal(get(w, i), i + 2000);
	assert_int_equal(STAT(lost), 0);
	w_destroy(w);
}

static void stores_that_always_fail_stall(void **state)
{
	struct world *w = evicting(w_defaults());
	int i;

	for (i = 0; i < 30; i++) {
		if (i < 25)
			assert_false(w_failed(w, 100));
		w->now += 4 * 1000000;
		w_end_kind(w, 0, W_RESERVE, 0);
		w_end_kind(w, 0, W_STORE, -EREMOTEIO);
		tm_pager_balance(w_lane(w, 0));
		tm_pager_server_room(w->pager, i % 2);
	}
	assert_true(w_failed(w, 100));
	assert_int_equal(w->last_error, -ENOMEM);
	for (i = 0; i < 16; i++)
		assert_int_equal(get(w, (u64)i), i + 1000);
	w_destroy(w);
}

static void server_lost_while_storing(void **state)
{
	struct world *w = evicting(w_defaults());

	lose_server(w, 0);
	w_drain(w, 0);
	for (u64 i = 0; i < 16; i++)
		assert_int_equal(get(w, i), i + 1000);
	assert_int_equal(STAT(lost), 0);
	w_destroy(w);
}

static void server_lost_with_only_copies(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i, value, lost = 0, kept = 0;

	fill(w, 0, 40);
	lose_server(w, 0);
	assert_int_equal(usage(w).remote_blocks, 0);
	for (i = 0; i < 40; i++) {
		if (!w_access(w, i, false, &value)) {
			assert_int_equal(fault(w, i, false), TM_FAULT_DONE);
			lost += w_failed(w, i);
			/* unless it was still cached */
			if (!w_failed(w, i))
				assert_true(w_access(w, i, false, &value));
		}
		if (!w_failed(w, i)) {
			assert_int_equal(value, i + 1000);
			kept++;
		}
	}
	assert_true(lost >= 40 - 16 && kept > 0);
	assert_int_equal(STAT(lost), lost);
	assert_int_equal(usage(w).lost_blocks, lost);
	assert_int_equal(w->last_error, -EIO);
	/* local ones find the other server, although they were clean */
	fill(w, 200, 40);
	for (i = 0; i < 40; i++)
		if (!w_failed(w, i))
			assert_int_equal(get(w, i), i + 1000);
	/* a lost one fails again, until it is freed */
	assert_int_equal(fault(w, 0, false), TM_FAULT_DONE);
	assert_true(w_failed(w, 0));
	assert_true(tm_pager_discard(w_lane(w, 0), 0, 40));
	assert_int_equal(usage(w).lost_blocks, 0);
	w->view[0].failed = false;
	assert_int_equal(get(w, 0), 0);
	w_destroy(w);
}

static void server_lost_while_fetching(void **state)
{
	struct world *w = w_create(w_defaults());

	fill(w, 0, 40);
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	lose_server(w, 0);
	w_end_kind(w, 0, W_FETCH, 0);
	assert_true(w_failed(w, 0));
	assert_int_equal(w->last_error, -EIO);
	assert_int_equal(usage(w).lost_blocks, 1);
	w_destroy(w);
}

static void everything_lost_stalls_then_fails(void **state)
{
	struct world *w = evicting(w_defaults());

	lose_server(w, 0);
	lose_server(w, 1);
	w_drain(w, 0);
	assert_false(w_failed(w, 100));
	assert_int_equal(usage(w).waiting_faults, 1);
	/* a lane that read the clock before another noted the time */
	w->now -= 50000;
	tm_pager_balance(w_lane(w, 0));
	assert_false(w_failed(w, 100));
	w->now += 99 * 1000000;
	w_drain(w, 0);
	assert_false(w_failed(w, 100));
	w->now += 102 * 1000000;
	w_drain(w, 0);
	assert_true(w_failed(w, 100));
	assert_int_equal(w->last_error, -ENOMEM);
	assert_int_equal(usage(w).waiting_faults, 0);
	/* what is local is still right */
	for (u64 i = 0; i < 16; i++)
		assert_int_equal(get(w, i), i + 1000);
	w_destroy(w);
}

/* Not after the stall time, though no frame will ever be free. */
static void waits_for_lost_bytes_end(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i, k, value = 1;

	fill(w, 0, 40);
	for (i = 300; !usage(w).waiting_faults; i++)
		if (fault(w, i, true) == TM_FAULT_DONE)
			w_access(w, i, true, &value);
	/* the first that is not cached */
	for (k = 0; fault(w, k, false) == TM_FAULT_DONE; k++)
		;
	assert_int_equal(usage(w).waiting_faults, 2);
	lose_server(w, 0);
	lose_server(w, 1);
	w_drain(w, 0);
	assert_true(w_failed(w, k));
	assert_int_equal(w->last_error, -EIO);
	assert_false(w_failed(w, i - 1));
	assert_int_equal(usage(w).waiting_faults, 1);
	w_destroy(w);
}

static void full_servers_still_take_their_own(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i, round;

	w->server[1].refuses = true;
	/* room for 64 blocks, and the program has just as many */
	tm_pager_balance(w_lane(w, 0));
	w_end_kind(w, 0, W_RESERVE, 0);
	w->server[0].refuses = true;
	for (round = 1; round < 5; round++)
		for (i = 0; i < 64; i++)
			put(w, i, i + round);
	for (i = 0; i < 64; i++)
		assert_int_equal(get(w, i), i + 4);
	w_destroy(w);
}

/* What was only read ahead of must not hold the frames when servers are full.
 */
static void full_servers_and_zeros(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	w->server[1].refuses = true;
	tm_pager_balance(w_lane(w, 0));
	w_end_kind(w, 0, W_RESERVE, 0);
	w->server[0].refuses = true;
	for (i = 0; i < 64; i++)
		put(w, i, i + 4);
	for (i = 100; i < 200; i++)
		assert_int_equal(get(w, i), 0);
	for (i = 0; i < 64; i++)
		assert_int_equal(get(w, i), i + 4);
	w_destroy(w);
}

/* All of the server's memory changes; the second time it is as before. */
static void damage(struct world *w)
{
	u64 i;

	for (i = 0; i < w->server[0].given; i += 512)
		w->server[0].mem[i] ^= 1;
}

static void damaged_once_and_twice(void **state)
{
	struct world *w = w_create(w_defaults());

	fill(w, 0, 40);
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	damage(w);
	w_end(w, 0, 0, 0);
	assert_int_equal(STAT(checksum_errors), 1);
	assert_int_equal(STAT(refetched), 1);
	assert_false(mapped(w, 0));
	damage(w);
	w_drain(w, 0);
	assert_true(mapped(w, 0));
	assert_int_equal(get(w, 0), 1000);

	damage(w);
	assert_int_equal(fault(w, 1, false), TM_FAULT_PENDING);
	w_drain(w, 0);
	assert_true(w_failed(w, 1));
	assert_int_equal(w->last_error, -EBADMSG);
	assert_int_equal(STAT(checksum_errors), 3);
	assert_int_equal(STAT(lost), 1);
	/* touched again, it still says why, although its server is lost now */
	lose_server(w, 0);
	w->last_error = 0;
	assert_int_equal(fault(w, 1, false), TM_FAULT_DONE);
	assert_int_equal(w->last_error, -EBADMSG);
	w_destroy(w);
}

/* What came damaged counts for nothing, and its copy is not like that. */
static void damaged_is_not_looked_at(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i, fetched, stored;

	/* stored without a fingerprint: the fetch makes it */
	w->exact_unmap = true;
	fill(w, 0, 40);
	for (i = 200; i < 240; i++)
		get(w, i);
	w->exact_unmap = false;
	fetched = STAT(fetched_blocks);
	stored = STAT(stored_blocks);
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	damage(w);
	w_end_kind(w, 0, W_FETCH, 0);
	assert_int_equal(STAT(checksum_errors), 1);
	assert_int_equal(STAT(fetched_blocks), fetched);
	damage(w);
	w_end_kind(w, 0, W_FETCH, 0);
	assert_int_equal(STAT(fetched_blocks), fetched + 1);
	assert_int_equal(get(w, 0), 1000);
	/* it did not change: it leaves without being sent */
	for (i = 240; i < 280; i++)
		get(w, i);
	assert_false(mapped(w, 0));
	assert_int_equal(STAT(stored_blocks), stored);
	assert_int_equal(get(w, 0), 1000);
	w_destroy(w);
}

static void refused_once_and_twice(void **state)
{
	struct world *w = w_create(w_defaults());

	fill(w, 0, 40);
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	w_end_kind(w, 0, W_FETCH, -EREMOTEIO);
	assert_false(w_failed(w, 0));
	w_drain(w, 0);
	assert_int_equal(get(w, 0), 1000);

	assert_int_equal(fault(w, 1, false), TM_FAULT_PENDING);
	w_end_kind(w, 0, W_FETCH, -EREMOTEIO);
	w_end_kind(w, 0, W_FETCH, -EREMOTEIO);
	assert_true(w_failed(w, 1));
	assert_int_equal(w->last_error, -EREMOTEIO);
	w_destroy(w);
}

static void stale_and_misdirected(void **state)
{
	struct world *w = w_create(w_defaults());
	u8 *mem = w->server[0].mem;
	u8 old[4 * W_BLOCK];

	put(w, 0, 7);
	push_out(w, 0);
	/* the first slot holds it; keep that version */
	memcpy(old, mem, sizeof(old));
	put(w, 0, 8);
	push_out(w, 0);
	memcpy(mem, old, W_BLOCK);
	fault(w, 0, false);
	w_drain(w, 0);
	assert_true(w_failed(w, 0));

	put(w, 1, 1);
	put(w, 2, 1);
	push_out(w, 2);
	/* equal bytes at another's address are no less wrong */
	assert_int_equal(STAT(lost), 1);
	w_destroy(w);
}

static void pinned_stays(void **state)
{
	struct world *w = w_create(w_defaults());

	put(w, 0, 1);
	w->view[0].pinned = true;
	fill(w, 10, 60);
	assert_true(mapped(w, 0));
	assert_int_equal(w->view[0].maps, 1);
	assert_true(STAT(evict_pinned) > 0);
	/* freed all the same */
	assert_true(tm_pager_discard(w_lane(w, 0), 0, 1));
	assert_false(mapped(w, 0));
	w->view[0].pinned = false;
	assert_int_equal(get(w, 0), 0);
	w_destroy(w);
}

static void all_pinned_stalls(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	for (i = 0; i < 16; i++) {
		fault(w, i, true);
		w->view[i].pinned = true;
	}
	assert_int_equal(fault(w, 50, true), TM_FAULT_PENDING);
	w_drain(w, 0);
	w->now += 50 * 1000000;
	w_drain(w, 0);
	assert_false(w_failed(w, 50));
	/* let go in time */
	w->view[4].pinned = false;
	w->view[50].pinned = true;
	w_drain(w, 0);
	assert_true(mapped(w, 50));

	assert_int_equal(fault(w, 51, true), TM_FAULT_PENDING);
	w_drain(w, 0);
	w->now += 201 * 1000000;
	w_drain(w, 0);
	assert_true(w_failed(w, 51));
	w_destroy(w);
}

/* Whoever has most frames may not be able to give any. */
static void pinned_neighbours(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_blocks = 16384;
	c.nr_frames = 8192;
	w = w_create(c);
	/* 64 neighbours are always in one shard; nearly all of memory is so */
	for (i = 0; i < 8100; i++) {
		fault(w, i, true);
		w->view[i].pinned = i >= 60;
	}
	fill(w, 8100, 200);
	for (i = 0; i < 60; i++)
		assert_int_equal(get(w, i), 0);
	assert_int_equal(STAT(lost), 0);
	w_destroy(w);
}

/* Operations of another lane within this one's map and unmap. */
static struct world *nested;
static int nested_what;

static int nested_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		      unsigned int flags)
{
	int err = w_map(ctx, lane, block, frame, flags);

	if (nested_what == 1 && block == 0) {
		nested_what = 0;
		assert_int_equal(tm_pager_fault(w_lane(nested, 1), 0, false, 1),
				 TM_FAULT_PENDING);
	}
	return err;
}

static int nested_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	int result = w_unmap(ctx, lane, block, frame);

	if (nested_what == 2 && block == 0) {
		nested_what = 0;
		assert_int_equal(tm_pager_fault(w_lane(nested, 1), 0, false, 1),
				 TM_FAULT_PENDING);
	}
	return result;
}

static void fault_within_map_and_unmap(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_lanes = 2;
	nested = w = w_create(c);
	w->ops.map = nested_map;
	w->ops.unmap = nested_unmap;
	w->ops.unmap_run = NULL;
	nested_what = 1;
	fault(w, 0, true);
	assert_int_equal(nested_what, 0);
	assert_true(mapped(w, 0));
	assert_int_equal(w->view[0].wakes, 1);

	put(w, 0, 9);
	nested_what = 2;
	for (i = 1; nested_what; i++)
		fault(w, i, true), w_drain(w, 0);
	assert_true(mapped(w, 0));
	assert_int_equal(w->view[0].maps, 2);
	assert_int_equal(STAT(evict_rescued), 1);
	assert_int_equal(get(w, 0), 9);
	w_destroy(w);
}

static void map_fails(void **state)
{
	struct world *w = w_create(w_defaults());

	w->view[0].map_error = -EFAULT;
	assert_int_equal(fault(w, 0, true), TM_FAULT_DONE);
	assert_true(w_failed(w, 0));
	assert_int_equal(w->last_error, -EFAULT);
	assert_int_equal(usage(w).used_frames, 0);

	put(w, 1, 1);
	push_out(w, 1);
	w->view[1].map_error = -EFAULT;
	fault(w, 1, true);
	w_drain(w, 0);
	assert_true(w_failed(w, 1));
	assert_int_equal(usage(w).lost_blocks, 2);
	w_destroy(w);
}

static void prefetch_of_a_lost_server(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, value;

	c.nr_frames = 64;
	c.prefetch_blocks = 8;
	w = w_create(c);
	fill(w, 0, 200);
	get(w, 0);
	fault(w, 1, false);
	lose_server(w, 0);
	w_drain(w, 0);
	/* only what was touched has failed */
	assert_true(STAT(lost) <= 1);
	for (i = 2; i < 20; i++)
		if (!w_access(w, i, false, &value))
			fault(w, i, false);
	w_drain(w, 0);
	assert_true(STAT(lost) > 10);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(store_fails_then_another),
		cmocka_unit_test(refused_stores_pause),
		cmocka_unit_test(stores_that_always_fail_stall),
		cmocka_unit_test(server_lost_while_storing),
		cmocka_unit_test(server_lost_with_only_copies),
		cmocka_unit_test(server_lost_while_fetching),
		cmocka_unit_test(everything_lost_stalls_then_fails),
		cmocka_unit_test(waits_for_lost_bytes_end),
		cmocka_unit_test(full_servers_still_take_their_own),
		cmocka_unit_test(full_servers_and_zeros),
		cmocka_unit_test(damaged_once_and_twice),
		cmocka_unit_test(damaged_is_not_looked_at),
		cmocka_unit_test(refused_once_and_twice),
		cmocka_unit_test(stale_and_misdirected),
		cmocka_unit_test(pinned_stays),
		cmocka_unit_test(all_pinned_stalls),
		cmocka_unit_test(pinned_neighbours),
		cmocka_unit_test(fault_within_map_and_unmap),
		cmocka_unit_test(map_fails),
		cmocka_unit_test(prefetch_of_a_lost_server),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
