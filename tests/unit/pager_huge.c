// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager's huge blocks: how they come, stay and go as one, and what splits
 * them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/program.h"

#define HUGE 8
#define FRAMES 64
#define BLOCKS 256

static struct tm_pager_config config(void)
{
	struct tm_pager_config c = w_defaults();

	c.nr_frames = FRAMES;
	c.huge_blocks = HUGE;
	c.io_depth = 64;
	c.io_bytes = 64 * W_BLOCK;
	c.prefetch_blocks = 4 * HUGE;
	return c;
}

/* Nearly all leaves local memory. */
static void shrink(struct world *w)
{
	w->now += 1000000;
	tm_pager_limit_set(w->pager, 4);
	w_drain(w, 0);
	assert_true(usage(w).used_frames <= 4);
	tm_pager_limit_set(w->pager, FRAMES);
}

/* New ones, all over, that stay zeros. */
static void touch_others(struct world *w, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		assert_int_equal(get(w, 1000 + (u64)(i * 50)), 0);
}

/* The blocks' numbers are on a server, and nowhere else. */
static struct world *far_away(void)
{
	struct world *w = w_create(config());

	fill(w, 0, BLOCKS);
	touch_others(w, 4);
	shrink(w);
	return w;
}

/* The @nth request of this kind that is of a huge block, or -1. */
static int find_huge(const struct world *w, enum w_kind kind, u32 nth)
{
	const struct w_request *r = w->request[0];
	u32 i;

	for (i = 0; i < w->nr_requests[0]; i++)
		if (r[i].kind == kind && r[i].io->nr > r[i].io->nr_segs &&
		    !nth--)
			return (int)i;
	return -1;
}

/*
 * Read on until two huge blocks are on their way; the second of them is not to
 * be left unmapped. Returns its request.
 */
static int huge_on_its_way(struct world *w)
{
	u64 i, value;

	for (i = 0; i < BLOCKS; i++) {
		while (!w_access(w, i, false, &value)) {
			fault(w, i, false);
			if (find_huge(w, W_FETCH, 1) >= 0)
				return find_huge(w, W_FETCH, 1);
			w_drain(w, 0);
		}
		assert_int_equal(value, i + 1000);
	}
	fail_msg("no huge block came");
	return -1;
}

/* Let blocks leave until a store of a huge one is on its way. */
static int huge_leaves(struct world *w)
{
	int tries, r;

	w->now += 1000000;
	tm_pager_limit_set(w->pager, 4);
	for (tries = 100; tries; tries--) {
		tm_pager_balance(w_lane(w, 0));
		r = find_huge(w, W_STORE, 0);
		if (r >= 0)
			return r;
		w_end_kind(w, 0, W_RESERVE, 0);
		w_end_kind(w, 0, W_STORE, 0);
	}
	fail_msg("no huge block leaves");
	return -1;
}

static bool all_mapped(const struct world *w, u64 block)
{
	u32 i;

	for (i = 0; i < HUGE; i++)
		if (!w->view[block + i].writable)
			return false;
	return true;
}

/* A huge block that is mapped, among others; its first. */
static u64 huge_here(struct world *w)
{
	int i = huge_on_its_way(w);
	u64 block = w->request[0][i].io->seg[0].block;

	w_drain(w, 0);
	assert_true(all_mapped(w, block));
	assert_true(w_is_huge(w, w->view[block].frame));
	return block;
}

/* All have their numbers, but for @other, which has been set to @value. */
static void check_but(struct world *w, u64 other, u64 value)
{
	u64 i;

	for (i = 0; i < BLOCKS; i++)
		assert_int_equal(get(w, i), i == other ? value : i + 1000);
	assert_int_equal(STAT(lost), 0);
	assert_true(usage(w).used_frames <= FRAMES);
	assert_int_equal(STAT(huge_split), w->splits);
	w_destroy(w);
}

static void check(struct world *w)
{
	check_but(w, BLOCKS, 0);
}

static void impossible_configurations(void **state)
{
	const u32 wrong[] = {1, 3, 2 * TM_HUGE_BLOCKS_MAX};
	struct world *w = w_create(config());
	struct tm_pager_config c = config();
	struct tm_pager *p;
	u32 i;

	for (i = 0; i < 3; i++) {
		c.huge_blocks = wrong[i];
		assert_int_equal(tm_pager_create(&c, &w->ops, w, &p), -EINVAL);
	}
	c = config();
	c.can_cache = false;
	assert_int_equal(tm_pager_create(&c, &w->ops, w, &p), -EINVAL);
	w_destroy(w);
}

static void comes_as_one(void **state)
{
	struct world *w = far_away();
	int i = huge_on_its_way(w);
	const struct tm_io *io = w->request[0][i].io;
	u64 k, block = io->seg[0].block, maps = w->huge_maps;

	assert_int_equal(io->nr, HUGE);
	assert_int_equal(io->nr_segs, 1);
	assert_int_equal(block % HUGE, 0);
	assert_true(w_is_huge(w, io->seg[0].frame));
	w_end(w, 0, (u32)i, 0);
	assert_int_equal(w->huge_maps, maps + 1);
	for (k = 0; k < HUGE; k++) {
		u64 value;

		assert_true(w_access(w, block + k, false, &value));
		assert_int_equal(value, block + k + 1000);
	}
	w_drain(w, 0);
	check(w);
}

static void comes_downwards(void **state)
{
	struct world *w = far_away();
	u64 i, made = STAT(huge_blocks), fetched = STAT(fetched_blocks);

	for (i = BLOCKS; i--;)
		assert_int_equal(get(w, i), i + 1000);
	made = STAT(huge_blocks) - made;
	fetched = STAT(fetched_blocks) - fetched;
	assert_true(made * HUGE > fetched / 2);
	assert_int_equal(w->splits, 0);
	check(w);
}

/* What nobody changed is dropped as one, without a transfer. */
static void clean_one_goes(void **state)
{
	struct world *w = far_away();
	u64 stored = STAT(stored_blocks), dropped, unmaps, block, i;

	block = huge_here(w);
	dropped = STAT(dropped_clean);
	unmaps = w->huge_unmaps;
	shrink(w);
	assert_true(w->huge_unmaps > unmaps);
	assert_true(STAT(dropped_clean) >= dropped + HUGE);
	assert_int_equal(STAT(stored_blocks), stored);
	assert_int_equal(w->splits, 0);
	for (i = 0; i < HUGE; i++)
		assert_false(w->view[block + i].readable);
	check(w);
}

/* Change the first @nr blocks of a huge one, and have it leave. */
static struct world *changed_goes(u32 nr, u64 *stored, u64 *requests)
{
	struct world *w = far_away();
	u64 i, block = huge_here(w), value = 1;

	for (i = 0; i < nr; i++)
		assert_true(w_access(w, block + i, true, &value));
	*stored = STAT(stored_blocks);
	*requests = STAT(store_requests);
	shrink(w);
	*stored = STAT(stored_blocks) - *stored;
	*requests = STAT(store_requests) - *requests;
	for (i = 0; i < HUGE; i++)
		assert_int_equal(get(w, block + i),
				 i < nr ? 1 : block + i + 1000);
	return w;
}

static void few_changed_go_alone(void **state)
{
	u64 stored, requests;
	struct world *w = changed_goes(1, &stored, &requests);

	assert_int_equal(w->splits, 1);
	assert_int_equal(STAT(huge_split), 1);
	assert_int_equal(stored, 1);
	w_destroy(w);
	w = changed_goes(HUGE - HUGE / 4 - 1, &stored, &requests);
	assert_int_equal(w->splits, 1);
	assert_int_equal(stored, HUGE - HUGE / 4 - 1);
	w_destroy(w);
}

static void most_changed_go_as_one(void **state)
{
	u64 stored, requests;
	struct world *w = changed_goes(HUGE - HUGE / 4, &stored, &requests);

	assert_int_equal(w->splits, 0);
	assert_int_equal(stored, HUGE);
	assert_int_equal(requests, 1);
	w_destroy(w);
	w = changed_goes(HUGE, &stored, &requests);
	assert_int_equal(w->splits, 0);
	assert_int_equal(stored, HUGE);
	assert_int_equal(requests, 1);
	w_destroy(w);
}

static void part_is_discarded(void **state)
{
	struct world *w = far_away();
	u64 i, value, block = huge_here(w), used = usage(w).used_frames;

	assert_true(tm_pager_discard(w_lane(w, 0), block + 2, 3));
	assert_int_equal(w->splits, 1);
	assert_int_equal(usage(w).used_frames, used - 3);
	for (i = 0; i < HUGE; i++) {
		if (i >= 2 && i < 5) {
			assert_false(w->view[block + i].readable);
			continue;
		}
		assert_true(w_access(w, block + i, false, &value));
		assert_int_equal(value, block + i + 1000);
	}
	for (i = 2; i < 5; i++)
		assert_int_equal(get(w, block + i), 0);
	fill(w, block + 2, 3);
	check(w);
}

static void all_is_discarded(void **state)
{
	struct world *w = far_away();
	u64 i, block = huge_here(w), used = usage(w).used_frames;
	u64 remote = usage(w).remote_blocks, discarded = STAT(discarded);

	assert_true(tm_pager_discard(w_lane(w, 0), block, HUGE));
	assert_int_equal(w->splits, 0);
	assert_int_equal(usage(w).used_frames, used - HUGE);
	assert_int_equal(usage(w).remote_blocks, remote - HUGE);
	assert_int_equal(STAT(discarded), discarded + HUGE);
	w_drain(w, 0);
	assert_int_equal(w->discards, HUGE);
	for (i = 0; i < HUGE; i++)
		assert_false(w->view[block + i].readable);
	for (i = 0; i < HUGE; i++)
		assert_int_equal(get(w, block + i), 0);
	fill(w, block, HUGE);
	check(w);
}

/* What is freed on its way is gone when it comes. */
static void discarded_on_its_way(void **state)
{
	u64 i, value, block, part;
	struct world *w;
	int r;

	for (part = 1; part <= HUGE; part += HUGE - 1) {
		w = far_away();
		r = huge_on_its_way(w);
		block = w->request[0][r].io->seg[0].block;
		tm_pager_discard(w_lane(w, 0), block, part);
		w_end(w, 0, (u32)r, 0);
		assert_int_equal(w->splits, part < HUGE);
		for (i = 0; i < part; i++)
			assert_false(w_access(w, block + i, false, &value));
		for (i = 0; i < part; i++)
			assert_int_equal(get(w, block + i), 0);
		fill(w, block, part);
		w_drain(w, 0);
		check(w);
	}
}

static void one_comes_damaged(void **state)
{
	struct world *w = far_away();
	int r = huge_on_its_way(w);
	const struct tm_io *io = w->request[0][r].io;
	u64 i, block = io->seg[0].block, fetched;
	u8 *byte = w->server[io->server].mem + io->addr + 3 * W_BLOCK;

	*byte ^= 1;
	w_end(w, 0, (u32)r, 0);
	*byte ^= 1;
	assert_int_equal(w->splits, 1);
	assert_int_equal(STAT(checksum_errors), 1);
	for (i = 0; i < HUGE; i++)
		assert_int_equal(w->view[block + i].readable, i != 3);
	w_drain(w, 0);
	fetched = STAT(refetched);
	assert_int_equal(get(w, block + 3), block + 3 + 1000);
	assert_int_equal(STAT(refetched), fetched + 1);
	check(w);
}

static void fetch_is_refused(void **state)
{
	struct world *w = far_away();
	int r = huge_on_its_way(w);
	u64 i, block = w->request[0][r].io->seg[0].block;

	w_end(w, 0, (u32)r, -EREMOTEIO);
	assert_int_equal(w->splits, 1);
	for (i = 0; i < HUGE; i++)
		assert_false(w->view[block + i].readable);
	w_drain(w, 0);
	check(w);
}

static void store_is_refused(void **state)
{
	struct world *w = far_away();
	u64 i, block = huge_here(w), value = 5;
	int r;

	for (i = 0; i < HUGE; i++)
		assert_true(w_access(w, block + i, true, &value));
	r = huge_leaves(w);
	assert_int_equal(w->request[0][r].io->seg[0].block, block);
	w_end(w, 0, (u32)r, -EREMOTEIO);
	assert_int_equal(w->splits, 1);
	tm_pager_limit_set(w->pager, FRAMES);
	w_drain(w, 0);
	shrink(w);
	for (i = 0; i < HUGE; i++) {
		assert_int_equal(get(w, block + i), 5);
		put(w, block + i, block + i + 1000);
	}
	check(w);
}

static void pinned_part_stays_alone(void **state)
{
	struct world *w = far_away();
	u64 i, block = huge_here(w);
	u32 stay = 0;

	w->view[block + 2].pinned = true;
	shrink(w);
	assert_int_equal(w->splits, 1);
	assert_true(STAT(evict_pinned) > 0);
	for (i = 0; i < HUGE; i++)
		stay += w->view[block + i].readable;
	assert_true(stay <= 4);
	assert_true(w->view[block + 2].readable);
	w->view[block + 2].pinned = false;
	check(w);
}

/* Faults on any of its blocks wait for it, and are all told. */
static void tails_are_woken(void **state)
{
	struct world *w = far_away();
	int r = huge_on_its_way(w);
	u64 i, block = w->request[0][r].io->seg[0].block;
	u32 wakes[HUGE];

	for (i = 0; i < HUGE; i++)
		wakes[i] = w->view[block + i].wakes;
	assert_int_equal(fault(w, block + 1, false), TM_FAULT_PENDING);
	assert_int_equal(fault(w, block + 5, true), TM_FAULT_PENDING);
	assert_int_equal(fault(w, block + 7, false), TM_FAULT_PENDING);
	for (i = 0; i < HUGE; i++)
		assert_int_equal(w->view[block + i].wakes, wakes[i]);
	w_end(w, 0, (u32)r, 0);
	assert_true(all_mapped(w, block));
	assert_int_equal(w->view[block + 1].wakes, wakes[1] + 1);
	assert_int_equal(w->view[block + 5].wakes, wakes[5] + 1);
	assert_int_equal(w->view[block + 7].wakes, wakes[7] + 1);
	assert_int_equal(w->view[block + 2].wakes, wakes[2]);
	w_drain(w, 0);
	check(w);
}

/* The first of a window waits for a fault on any of its blocks. */
static void marker_is_left_unmapped(void **state)
{
	struct world *w = far_away();
	u64 i, block;
	int r;

	huge_on_its_way(w);
	r = find_huge(w, W_FETCH, 0);
	block = w->request[0][r].io->seg[0].block;
	w_end(w, 0, (u32)r, 0);
	for (i = 0; i < HUGE; i++)
		assert_false(w->view[block + i].readable);
	assert_int_equal(fault(w, block + 4, true), TM_FAULT_DONE);
	assert_true(all_mapped(w, block));
	assert_int_equal(w->splits, 0);
	w_drain(w, 0);
	check(w);
}

/* Where one of its blocks cannot be mapped, the others can. */
static void part_cannot_be_mapped(void **state)
{
	struct world *w = far_away();
	int r = huge_on_its_way(w);
	u64 i, block = w->request[0][r].io->seg[0].block;

	w->view[block + 4].map_error = -ENOMEM;
	w_end(w, 0, (u32)r, 0);
	assert_int_equal(w->splits, 1);
	w_drain(w, 0);
	for (i = 0; i < HUGE; i++)
		if (i != 4)
			assert_int_equal(get(w, block + i), block + i + 1000);
	w->view[block + 4].map_error = 0;
	check(w);
}

/* A pass that writes for the first time: they go out in rows. */
static void new_ones(void **state)
{
	struct world *w = w_create(config());
	const struct tm_io *io;
	u64 i, block, addr;
	int r;

	fill(w, 0, FRAMES / 2);
	assert_true(STAT(huge_blocks) > 0);
	assert_int_equal(w->huge_maps, STAT(huge_blocks));
	r = huge_leaves(w);
	io = w->request[0][r].io;
	assert_int_equal(io->nr, HUGE);
	block = io->seg[0].block;
	addr = io->addr;
	assert_int_equal(addr / W_BLOCK % HUGE, 0);
	w_end(w, 0, (u32)r, 0);
	for (i = 0; i < HUGE; i++)
		assert_int_equal(
			*(u64 *)(w->server[0].mem + addr + i * W_BLOCK),
			block + i + 1000);
	w_drain(w, 0);
	assert_int_equal(w->splits, 0);
	tm_pager_limit_set(w->pager, FRAMES);
	fill(w, FRAMES / 2, BLOCKS - FRAMES / 2);
	check(w);
}

/*
 * Of blocks that lie in no row each is a request, of which there are so many;
 * world.h checks that.
 */
static void parts_wait_for_requests(void **state)
{
	struct tm_pager_config c = config();
	struct world *w;
	u64 i, k, value = 9;

	c.io_depth = HUGE + 3;
	w = w_create(c);
	fill(w, 0, BLOCKS);
	touch_others(w, 4);
	shrink(w);
	for (i = 0; i < FRAMES / 2; i++)
		get(w, i);
	for (i = 0, k = 0; i < FRAMES / 2; i += HUGE) {
		if (!all_mapped(w, i) || !w_is_huge(w, w->view[i].frame))
			continue;
		for (k = 0; k < HUGE; k += 2)
			assert_true(w_access(w, i + k, true, &value));
	}
	assert_true(k > 0);
	w->now += 1000000;
	tm_pager_limit_set(w->pager, 4);
	tm_pager_balance(w_lane(w, 0));
	assert_true(w->splits > 2);
	assert_int_equal(w_pending(w, 0, W_STORE), c.io_depth);
	shrink(w);
	for (i = 0; i < FRAMES / 2; i++)
		if (get(w, i) == 9)
			put(w, i, i + 1000);
	check(w);
}

/* Small blocks next to a huge one do not leave with its first. */
static void small_neighbours_leave_apart(void **state)
{
	struct world *w = far_away();
	u64 i, block = huge_here(w), value = 3;

	fill(w, block - HUGE, HUGE);
	tm_pager_discard(w_lane(w, 0), block - 1, 1);
	put(w, block - 1, block - 1 + 1000);
	assert_false(w_is_huge(w, w->view[block - 1].frame));
	assert_true(all_mapped(w, block));
	assert_true(w_is_huge(w, w->view[block].frame));
	for (i = 0; i < HUGE; i++)
		assert_true(w_access(w, block + i, true, &value));
	/* not much younger any more */
	touch_others(w, FRAMES / 4);
	assert_true(all_mapped(w, block) && all_mapped(w, block - HUGE));
	shrink(w);
	for (i = 0; i < HUGE; i++) {
		assert_int_equal(get(w, block + i), 3);
		put(w, block + i, block + i + 1000);
	}
	check(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(impossible_configurations),
		cmocka_unit_test(comes_as_one),
		cmocka_unit_test(comes_downwards),
		cmocka_unit_test(clean_one_goes),
		cmocka_unit_test(few_changed_go_alone),
		cmocka_unit_test(most_changed_go_as_one),
		cmocka_unit_test(part_is_discarded),
		cmocka_unit_test(all_is_discarded),
		cmocka_unit_test(discarded_on_its_way),
		cmocka_unit_test(one_comes_damaged),
		cmocka_unit_test(fetch_is_refused),
		cmocka_unit_test(store_is_refused),
		cmocka_unit_test(pinned_part_stays_alone),
		cmocka_unit_test(tails_are_woken),
		cmocka_unit_test(marker_is_left_unmapped),
		cmocka_unit_test(part_cannot_be_mapped),
		cmocka_unit_test(new_ones),
		cmocka_unit_test(parts_wait_for_requests),
		cmocka_unit_test(small_neighbours_leave_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
