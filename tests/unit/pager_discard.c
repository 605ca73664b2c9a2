// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager, one lane: blocks that the program frees, at rest and busy.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/program.h"

static void discard_at_rest(void **state)
{
	struct world *w = w_create(w_defaults());
	u64 i;

	fill(w, 0, 40);
	assert_true(tm_pager_discard(w_lane(w, 0), 0, 40));
	assert_int_equal(STAT(discarded), 40);
	assert_int_equal(usage(w).used_frames, 0);
	assert_int_equal(usage(w).remote_blocks, 0);
	w_drain(w, 0);
	assert_true(w->discards >= 40 - 16);
	for (i = 0; i < 40; i++)
		assert_false(w->view[i].readable);
	for (i = 0; i < 40; i++)
		assert_int_equal(get(w, i), 0);
	/* what was never touched is skipped quickly, also to the very end */
	assert_true(tm_pager_discard(w_lane(w, 0), 50, ~0ull));
	w_destroy(w);
}

/* Stores under way whose bytes are being discarded. */
static unsigned int stores_discarded(const struct world *w)
{
	const struct w_request *d, *s, *end = w->request[0] + w->nr_requests[0];
	unsigned int nr = 0;

	for (d = w->request[0]; d < end; d++)
		for (s = w->request[0]; d->kind == W_DISCARD && s < end; s++)
			nr += s->kind == W_STORE && s->io->addr >= d->addr &&
			      s->io->addr < d->addr + d->bytes;
	return nr;
}

/* Write a hundred blocks, without answering discards; how many were stored. */
static u64 store_many(struct world *w, u64 first)
{
	u64 i, before = STAT(stored_blocks);

	for (i = first; i < first + 100; i++) {
		fault(w, i, true);
		w_access(w, i, true, &i);
		w->now += 1000000;
		assert_int_equal(stores_discarded(w), 0);
		w_end_kind(w, 0, W_STORE, 0);
		w_access(w, i, true, &i);
	}
	return STAT(stored_blocks) - before;
}

/* Slots are used again at once if the server is not told, else once it was. */
static void discard_then_store(void **state)
{
	struct world *w;
	u64 k, stored;

	for (k = 0; k < 2; k++) {
		w = w_create(w_defaults());
		w->server[0].bytes = W_EXTENT;
		w->server[1].bytes = 0;
		fill(w, 0, 64);
		w->no_discards = k;
		tm_pager_discard(w_lane(w, 0), 0, 64);
		assert_int_equal(w_pending(w, 0, W_DISCARD) > 0, !k);
		stored = store_many(w, 1000);
		assert_int_equal(stored == 64, k);
		w_end_kind(w, 0, W_DISCARD, 0);
		stored += store_many(w, 2000);
		assert_int_equal(stored, 64);
		w_destroy(w);
	}
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(discard_at_rest),
		cmocka_unit_test(discard_then_store),
		cmocka_unit_test(discard_while_fetching),
		cmocka_unit_test(discard_while_storing),
		cmocka_unit_test(discard_of_a_waiting_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
