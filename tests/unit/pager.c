// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager, one lane: each transition of a block's life, one by one, and what
 * comes between.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/world.h"

#define STAT(name) (tm_lane_stats(w_lane(w, 0))->name)

static enum tm_fault_result fault(struct world *w, u64 block, bool write)
{
	return tm_pager_fault(w_lane(w, 0), block, write, w->now);
}

static bool mapped(struct world *w, u64 block)
{
	return w->view[block].writable;
}

/* Access the block as a program does, letting all I/O end well. */
static u64 touch(struct world *w, u64 block, bool write, u64 value)
{
	int tries = 100;

	while (!w_access(w, block, write, &value)) {
		assert_true(tries--);
		assert_false(w_failed(w, block));
		fault(w, block, write);
		w_drain(w, 0);
	}
	return value;
}

static void put(struct world *w, u64 block, u64 value)
{
	touch(w, block, true, value);
}

static u64 get(struct world *w, u64 block)
{
	return touch(w, block, false, 0);
}

static struct tm_pager_usage usage(struct world *w)
{
	struct tm_pager_usage u;

	tm_pager_usage(w->pager, &u);
	return u;
}

/* Write @nr blocks from @first on, each its own number. */
static void fill(struct world *w, u64 first, u64 nr)
{
	u64 i;

	for (i = first; i < first + nr; i++)
		put(w, i, i + 1000);
}

/* Push what is in memory out by touching others. */
static void push_out(struct world *w, u64 block)
{
	u64 other = 2048;

	while (mapped(w, block) || w->view[block].readable)
		put(w, other++, 1);
	w_drain(w, 0);
}

static void impossible_configurations(void **state)
{
	struct tm_pager *p;
	struct tm_pager_ops ops = {0};
	struct tm_pager_config c;

#define BAD(field, value)                                                      \
	c = w_defaults();                                                      \
	c.field = value;                                                       \
	assert_int_equal(tm_pager_create(&c, &ops, NULL, &p), -EINVAL)
	BAD(nr_blocks, 0);
	BAD(nr_blocks, 1ull << 32);
	BAD(nr_frames, 3);
	BAD(block_shift, 11);
	BAD(block_shift, 22);
	BAD(nr_lanes, 0);
	BAD(nr_lanes, TM_LANES_MAX + 1);
	BAD(nr_servers, 0);
	BAD(nr_servers, TM_SERVERS_MAX + 1);
	BAD(io_depth, 0);
	BAD(replace, NULL);
	BAD(place, NULL);
}

static void first_touch_is_zero(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 value;

	assert_int_equal(fault(w, 7, false), TM_FAULT_DONE);
	assert_true(w_access(w, 7, false, &value));
	assert_int_equal(value, 0);
	assert_int_equal(STAT(faults), 1);
	assert_int_equal(STAT(faults_zero), 1);
	assert_int_equal(STAT(fault_ns.count), 1);
	assert_int_equal(usage(w).used_frames, 1);
	/* a fault whose event is read late */
	assert_int_equal(fault(w, 7, false), TM_FAULT_DONE);
	assert_int_equal(STAT(faults_spurious), 1);
	assert_int_equal(w->view[7].wakes, 1);
	/* and one outside */
	assert_int_equal(fault(w, 1 << 20, false), TM_FAULT_DONE);
	assert_int_equal(w->last_error, -EFAULT);
	w_destroy(w);
}

static void out_and_back(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	fill(w, 0, 100);
	for (i = 0; i < 100; i++)
		assert_int_equal(get(w, i), i + 1000);
	assert_true(STAT(evicted) >= 100 - 16);
	assert_true(STAT(fetched_blocks) >= 100 - 16);
	assert_int_equal(STAT(checksum_errors), 0);
	/* unchanged since they came back: no second transfer */
	assert_true(STAT(dropped_clean) > 0);
	assert_int_equal(STAT(stored_blocks) + STAT(dropped_clean),
			 STAT(evicted));
	assert_true(usage(w).used_frames <= 16);
	assert_int_equal(usage(w).remote_blocks, STAT(stored_blocks));
	w_destroy(w);
}

static void versions_go_up(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 round;

	for (round = 1; round < 6; round++) {
		put(w, 3, round);
		push_out(w, 3);
		assert_int_equal(get(w, 3), round);
	}
	w_destroy(w);
}

static void clean_by_fingerprint_and_by_answer(void **state)
{
	struct world *w;
	u64 stored;
	int exact;

	for (exact = 0; exact < 2; exact++) {
		w = w_create(w_defaults());
		w->exact_unmap = exact;
		put(w, 3, 33);
		push_out(w, 3);
		assert_int_equal(get(w, 3), 33);
		stored = STAT(stored_blocks);
		push_out(w, 3);
		/* others were stored, but not this one again */
		assert_true(STAT(dropped_clean) >= 1);
		assert_true(STAT(stored_blocks) > stored);
		assert_int_equal(get(w, 3), 33);
		w_destroy(w);
	}
}

static void untouched_zeros_are_not_sent(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	w->exact_unmap = true;
	for (i = 0; i < 100; i++)
		assert_int_equal(get(w, i), 0);
	assert_int_equal(STAT(stored_blocks), 0);
	assert_true(STAT(dropped_clean) > 0);
	assert_int_equal(get(w, 0), 0);
	w_destroy(w);
}

static void neighbours_leave_in_one_request(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_frames = 64;
	c.io_depth = 32;
	w = w_create(c);
	fill(w, 0, 200);
	assert_true(STAT(store_requests) * 3 < STAT(stored_blocks));
	w_destroy(w);
}

static void tiny(void **state)
{
	struct tm_pager_config c = w_defaults();
	const struct tm_replace_ops *policy[] = {&tm_replace_fifo,
						 &tm_replace_lru};
	struct world *w;
	u64 i;
	int k;

	for (k = 0; k < 4; k++) {
		c.nr_frames = 4;
		c.io_depth = k & 1 ? 1 : 64;
		c.prefetch_blocks = 8;
		c.replace = policy[k / 2];
		w = w_create(c);
		fill(w, 0, 60);
		for (i = 0; i < 60; i++)
			assert_int_equal(get(w, i), i + 1000);
		w_destroy(w);
	}
}

static void no_cache(void **state)
{
	struct tm_pager_config c = w_defaults();
	const struct tm_replace_ops *policy[] = {&tm_replace_fifo,
						 &tm_replace_lru};
	struct world *w;
	u64 i;
	int k;

	for (k = 0; k < 2; k++) {
		c.can_cache = false;
		c.prefetch_blocks = 4;
		c.replace = policy[k];
		w = w_create(c);
		fill(w, 0, 100);
		for (i = 0; i < 100; i++)
			assert_int_equal(get(w, i), i + 1000);
		w_destroy(w);
	}
}

/* Fill all frames with blocks 0..15 and start an eviction by a fault on 100. */
static struct world *evicting(struct tm_pager_config c)
{
	struct world *w = w_create(c);

	/* no balance in between, so that all stay */
	tm_pager_balance(w_lane(w, 0));
	w_end_kind(w, 0, W_RESERVE, 0);
	for (u64 i = 0; i < 16; i++) {
		u64 value = i + 1000;

		assert_int_equal(fault(w, i, true), TM_FAULT_DONE);
		assert_true(w_access(w, i, true, &value));
	}
	w->now += 1000000;
	assert_int_equal(fault(w, 100, true), TM_FAULT_PENDING);
	assert_true(w_pending(w, 0, W_STORE) > 0);
	assert_true(STAT(evict_direct) > 0);
	assert_int_equal(usage(w).waiting_faults, 1);
	assert_false(mapped(w, 0));
	return w;
}

static void fault_waits_for_a_frame(void **state)
{
	struct world *w = evicting(w_defaults());

	w_end_kind(w, 0, W_STORE, 0);
	assert_true(mapped(w, 100));
	assert_int_equal(usage(w).waiting_faults, 0);
	w_drain(w, 0);
	assert_int_equal(get(w, 0), 1000);
	assert_true(usage(w).idle);
	w_destroy(w);
}

static void two_faults_on_a_waiting_block(void **state)
{
	struct world *w = evicting(w_defaults());

	assert_int_equal(fault(w, 100, true), TM_FAULT_PENDING);
	assert_int_equal(usage(w).waiting_faults, 1);
	w_end_kind(w, 0, W_STORE, 0);
	assert_int_equal(w->view[100].maps, 1);
	w_destroy(w);
}

static void rescued_while_stored(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 fetched, value = 5;
	int k;

	for (k = 0; k < 2; k++) {
		c.can_cache = k;
		w = evicting(c);
		fetched = STAT(fetched_blocks);
		assert_int_equal(fault(w, 0, true), TM_FAULT_PENDING);
		w_end_kind(w, 0, W_STORE, 0);
		assert_true(mapped(w, 0));
		assert_int_equal(STAT(evict_rescued), 1);
		assert_int_equal(STAT(fetched_blocks), fetched);
		/* it counts as clean now; a change must not be missed */
		assert_true(w_access(w, 0, true, &value));
		w_drain(w, 0);
		push_out(w, 0);
		assert_int_equal(get(w, 0), 5);
		w_destroy(w);
	}
}

static void store_fails_then_another(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	int k;

	for (k = 0; k < 2; k++) {
		c.can_cache = k;
		w = evicting(c);
		w_end_kind(w, 0, W_STORE, -EIO);
		assert_false(mapped(w, 100));
		assert_true(w_pending(w, 0, W_STORE) > 0);
		w_drain(w, 0);
		assert_true(mapped(w, 100));
		for (u64 i = 0; i < 16; i++)
			assert_int_equal(get(w, i), i + 1000);
		w_destroy(w);
	}
}

static void stores_that_always_fail_stall(void **state)
{
	struct world *w = evicting(w_defaults());
	int i;

	for (i = 0; i < 30; i++) {
		if (i < 25)
			assert_false(w_failed(w, 100));
		w->now += 4 * 1000000;
		w_end_kind(w, 0, W_STORE, -EIO);
		tm_pager_balance(w_lane(w, 0));
	}
	assert_true(w_failed(w, 100));
	for (i = 0; i < 16; i++)
		assert_int_equal(get(w, (u64)i), i + 1000);
	w_destroy(w);
}

static void lose_server(struct world *w, unsigned int server)
{
	w->server[server].lost = true;
	tm_pager_server_lost(w_lane(w, 0), server);
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

static void damaged_once_and_twice(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	fill(w, 0, 40);
	/* all of the server's memory changes under way */
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	for (i = 0; i < w->server[0].given; i += 512)
		w->server[0].mem[i] ^= 1;
	w_end(w, 0, 0, 0);
	assert_int_equal(STAT(checksum_errors), 1);
	assert_int_equal(STAT(refetched), 1);
	assert_false(mapped(w, 0));
	for (i = 0; i < w->server[0].given; i += 512)
		w->server[0].mem[i] ^= 1;
	w_drain(w, 0);
	assert_true(mapped(w, 0));
	assert_int_equal(get(w, 0), 1000);

	for (i = 0; i < w->server[0].given; i += 512)
		w->server[0].mem[i] ^= 1;
	assert_int_equal(fault(w, 1, false), TM_FAULT_PENDING);
	w_drain(w, 0);
	assert_true(w_failed(w, 1));
	assert_int_equal(STAT(checksum_errors), 3);
	assert_int_equal(STAT(lost), 1);
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

	c.nr_frames = 1024;
	w = w_create(c);
	/* 64 neighbours are always in one shard; nearly all of memory is so */
	for (i = 0; i < 1000; i++) {
		fault(w, i, true);
		w->view[i].pinned = i >= 60;
	}
	fill(w, 1000, 200);
	for (i = 0; i < 60; i++)
		assert_int_equal(get(w, i), 0);
	assert_int_equal(STAT(lost), 0);
	w_destroy(w);
}

static void discard_at_rest(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	fill(w, 0, 40);
	assert_true(tm_pager_discard(w_lane(w, 0), 0, 40));
	assert_int_equal(STAT(discarded), 40);
	assert_int_equal(usage(w).used_frames, 0);
	assert_int_equal(usage(w).remote_blocks, 0);
	assert_true(w->discards >= 40 - 16);
	for (i = 0; i < 40; i++)
		assert_false(w->view[i].readable);
	for (i = 0; i < 40; i++)
		assert_int_equal(get(w, i), 0);
	/* what was never touched is skipped quickly, also to the very end */
	assert_true(tm_pager_discard(w_lane(w, 0), 50, ~0ull));
	w_destroy(w);
}

static void discard_while_fetching(void **state)
{
	struct world *w = w_create(w_defaults());

	fill(w, 0, 40);
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	assert_true(tm_pager_discard(w_lane(w, 0), 0, 1));
	w_drain(w, 0);
	/* whoever waited finds zeros */
	assert_true(mapped(w, 0));
	assert_int_equal(get(w, 0), 0);

	/* and if the fetch fails, too */
	assert_int_equal(fault(w, 1, false), TM_FAULT_PENDING);
	assert_true(tm_pager_discard(w_lane(w, 0), 1, 1));
	w_end_kind(w, 0, W_FETCH, -EIO);
	assert_int_equal(get(w, 1), 0);
	assert_int_equal(STAT(lost), 0);
	w_destroy(w);
}

static void discard_while_storing(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	int k, fails, again;

	for (k = 0; k < 8; k++) {
		c.can_cache = k & 1;
		fails = k & 2;
		again = k & 4;
		w = evicting(c);
		assert_int_equal(tm_pager_discard(w_lane(w, 0), 0, 1),
				 c.can_cache);
		assert_int_equal(w->view[0].readable, !c.can_cache);
		if (again)
			assert_int_equal(fault(w, 0, true), TM_FAULT_PENDING);
		if (fails)
			w_end_kind(w, 0, W_STORE, -EIO);
		w_drain(w, 0);
		assert_true(tm_pager_discard(w_lane(w, 0), 300, 1));
		assert_int_equal(STAT(discarded), 1);
		assert_int_equal(mapped(w, 0), again != 0);
		assert_int_equal(get(w, 0), 0);
		assert_int_equal(get(w, 1), 1001);
		w_destroy(w);
	}
}

static void discard_of_a_waiting_one(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	put(w, 0, 5);
	push_out(w, 0);
	for (i = 20; usage(w).used_frames < 16; i++)
		fault(w, i, true);
	assert_int_equal(fault(w, 0, false), TM_FAULT_PENDING);
	assert_int_equal(usage(w).waiting_faults, 1);
	assert_true(tm_pager_discard(w_lane(w, 0), 0, 1));
	w_drain(w, 0);
	assert_true(mapped(w, 0));
	assert_int_equal(get(w, 0), 0);
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

static void lru_second_chance_without_io(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, fetched;

	c.nr_frames = 64;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	put(w, 0, 77);
	fetched = STAT(fetched_blocks);
	/* a long scan; block 0 is used at every fourth step */
	for (i = 100; i < 600; i++) {
		put(w, i, i);
		if (i % 4 == 0)
			assert_int_equal(get(w, 0), 77);
	}
	assert_true(STAT(faults_cached) > 0);
	assert_true(STAT(fetched_blocks) - fetched < 3);
	w_destroy(w);
}

static void lru_with_accessed_bits(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_frames = 64;
	c.replace = &tm_replace_lru;
	w = w_create(c);
	w->knows_accessed = true;
	w->exact_unmap = true;
	put(w, 0, 77);
	for (i = 100; i < 600; i++) {
		put(w, i, i);
		assert_int_equal(get(w, 0), 77);
	}
	/*
	 * It hardly ever left: only when all bits were set, and one batch of
	 * evictions cleared them and came round again.
	 */
	assert_true(w->view[0].maps < 20);
	assert_int_equal(STAT(faults_cached), 0);
	w_destroy(w);
}

static void fifo_is_in_order(void **state)
{
	struct world *w = evicting(w_defaults());
	u64 i, value, out = 0;

	for (i = 0; i < 16; i++)
		out += !mapped(w, i);
	for (i = 0; i < out; i++)
		assert_false(mapped(w, i));
	value = 0;
	assert_false(w_access(w, 0, false, &value));
	w_destroy(w);
}

static void background_keeps_frames_free(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i;

	c.nr_frames = 256;
	w = w_create(c);
	fill(w, 0, 1000);
	assert_int_equal(STAT(evict_direct), 0);
	assert_true(usage(w).used_frames < 256);
	assert_true(usage(w).used_frames >= 192);
	/* nothing to do: nothing is done */
	i = STAT(evicted);
	assert_false(tm_pager_balance(w_lane(w, 0)));
	assert_false(tm_pager_balance(w_lane(w, 0)));
	assert_int_equal(STAT(evicted), i);
	assert_true(usage(w).idle);
	/* a lower limit is come down to */
	tm_pager_limit_set(w->pager, 40);
	w_drain(w, 0);
	assert_true(usage(w).used_frames <= 40);
	assert_int_equal(usage(w).limit_frames, 40);
	tm_pager_limit_set(w->pager, 1000);
	assert_int_equal(usage(w).limit_frames, 256);
	for (i = 0; i < 1000; i++)
		assert_int_equal(get(w, i), i + 1000);
	w_destroy(w);
}

static void prefetch_streams(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, faults, remote;
	int k;

	for (k = 0; k < 2; k++) {
		c.nr_frames = 256;
		c.io_depth = 32;
		c.prefetch_blocks = 8;
		c.can_cache = k;
		w = w_create(c);
		fill(w, 0, 1000);
		/* first touches are mapped ahead */
		assert_true(STAT(faults) < 1000 / 4);
		faults = STAT(faults);
		remote = STAT(faults_remote);
		for (i = 0; i < 1000; i++)
			assert_int_equal(get(w, i), i + 1000);
		assert_true(STAT(faults) - faults < 1000 / 4);
		if (c.can_cache)
			/* the marker runs ahead of the program */
			assert_true(STAT(faults_remote) - remote < 20);
		assert_true(STAT(prefetched) > 700);
		assert_true(STAT(prefetch_used) > STAT(prefetched) - 40);
		assert_true(STAT(fetch_requests) * 4 < STAT(fetched_blocks));
		assert_int_equal(STAT(evict_direct), 0);
		w_destroy(w);
	}
}

static void few_new_blocks_at_once(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, before, most = 0;

	c.nr_frames = 2048;
	c.prefetch_blocks = 1024;
	w = w_create(c);
	for (i = 0; i < 1000; i++) {
		before = usage(w).used_frames;
		put(w, i, i);
		if (usage(w).used_frames - before > most)
			most = usage(w).used_frames - before;
	}
	assert_in_range(most, 8, 17);
	assert_true(STAT(faults) < 1000 / 8);
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

static void leaves_run_out(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;
	u64 i, pending = 0;

	c.nr_blocks = 1 << 20;
	c.nr_frames = 512;
	w = w_create(c);
	/* no balance: each fault needs a leaf of its own */
	for (i = 0; i < 150; i++)
		pending += fault(w, i * 128, true) == TM_FAULT_PENDING;
	assert_int_equal(pending, 150 - 2 * 63);
	for (; i < 200; i++)
		fault(w, i * 128, true);
	/* the last were sent back to come again */
	assert_int_equal(w->view[199 * 128].wakes, 1);
	w_drain(w, 0);
	for (i = 0; i < 2 * 63 + 32; i++)
		assert_true(mapped(w, i * 128));
	assert_true(usage(w).metadata_bytes < 200 * 4096 + 512 * 64);
	w_destroy(w);
}

static void extents_come_and_go(void **state)
{
	struct tm_pager_config c = w_defaults();
	struct world *w;

	c.nr_blocks = 1 << 16;
	w = w_create(c);
	fill(w, 0, 3500);
	assert_true(w->server[0].given >= 3400ull * W_BLOCK);
	tm_pager_discard(w_lane(w, 0), 0, 3500);
	w_drain(w, 0);
	for (int i = 0; i < 100; i++)
		tm_pager_balance(w_lane(w, 0));
	assert_true(w->released > 0);
	w_destroy(w);
}

static void stats_elsewhere(void **state)
{
	struct tm_stats stats = {0};
	struct world *w = w_create(w_defaults());

	tm_lane_stats_set(w_lane(w, 0), &stats);
	put(w, 0, 1);
	assert_int_equal(stats.faults, 1);
	assert_ptr_equal(tm_lane_stats(w_lane(w, 0)), &stats);
	w_destroy(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(impossible_configurations),
		cmocka_unit_test(first_touch_is_zero),
		cmocka_unit_test(out_and_back),
		cmocka_unit_test(versions_go_up),
		cmocka_unit_test(clean_by_fingerprint_and_by_answer),
		cmocka_unit_test(untouched_zeros_are_not_sent),
		cmocka_unit_test(neighbours_leave_in_one_request),
		cmocka_unit_test(tiny),
		cmocka_unit_test(no_cache),
		cmocka_unit_test(fault_waits_for_a_frame),
		cmocka_unit_test(two_faults_on_a_waiting_block),
		cmocka_unit_test(rescued_while_stored),
		cmocka_unit_test(store_fails_then_another),
		cmocka_unit_test(stores_that_always_fail_stall),
		cmocka_unit_test(server_lost_while_storing),
		cmocka_unit_test(server_lost_with_only_copies),
		cmocka_unit_test(server_lost_while_fetching),
		cmocka_unit_test(everything_lost_stalls_then_fails),
		cmocka_unit_test(full_servers_still_take_their_own),
		cmocka_unit_test(full_servers_and_zeros),
		cmocka_unit_test(damaged_once_and_twice),
		cmocka_unit_test(stale_and_misdirected),
		cmocka_unit_test(pinned_stays),
		cmocka_unit_test(all_pinned_stalls),
		cmocka_unit_test(pinned_neighbours),
		cmocka_unit_test(discard_at_rest),
		cmocka_unit_test(discard_while_fetching),
		cmocka_unit_test(discard_while_storing),
		cmocka_unit_test(discard_of_a_waiting_one),
		cmocka_unit_test(fault_within_map_and_unmap),
		cmocka_unit_test(map_fails),
		cmocka_unit_test(lru_second_chance_without_io),
		cmocka_unit_test(lru_with_accessed_bits),
		cmocka_unit_test(fifo_is_in_order),
		cmocka_unit_test(background_keeps_frames_free),
		cmocka_unit_test(prefetch_streams),
		cmocka_unit_test(few_new_blocks_at_once),
		cmocka_unit_test(prefetch_of_a_lost_server),
		cmocka_unit_test(leaves_run_out),
		cmocka_unit_test(extents_come_and_go),
		cmocka_unit_test(stats_elsewhere),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
