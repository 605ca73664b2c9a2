/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One lane's program in the world of world.h: its faults and accesses. Include
 * it after cmocka.h.
 */
#ifndef TM_TESTS_PROGRAM_H
#define TM_TESTS_PROGRAM_H

#include "tests/unit/world.h"

#define STAT(name) (tm_lane_stats(w_lane(w, 0))->name)

static inline enum tm_fault_result fault(struct world *w, u64 block, bool write)
{
	return tm_pager_fault(w_lane(w, 0), block, write, w->now);
}

static inline bool mapped(struct world *w, u64 block)
{
	return w->view[block].writable;
}

/* Access the block as a program does, letting all I/O end well. */
static inline u64 touch(struct world *w, u64 block, bool write, u64 value)
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

static inline void put(struct world *w, u64 block, u64 value)
{
	touch(w, block, true, value);
}

static inline u64 get(struct world *w, u64 block)
{
	return touch(w, block, false, 0);
}

static inline struct tm_pager_usage usage(struct world *w)
{
	struct tm_pager_usage u;

	tm_pager_usage(w->pager, &u);
	return u;
}

/* Write @nr blocks from @first on, each its own number. */
static inline void fill(struct world *w, u64 first, u64 nr)
{
	u64 i;

	for (i = first; i < first + nr; i++)
		put(w, i, i + 1000);
}

/* Push what is in memory out by touching others. */
static inline void push_out(struct world *w, u64 block)
{
	u64 other = 2048;

	while (mapped(w, block) || w->view[block].readable)
		put(w, other++, 1);
	w_drain(w, 0);
}

/* Fill all frames with blocks 0..15 and start an eviction by a fault on 100. */
static inline struct world *evicting(struct tm_pager_config c)
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

static inline void lose_server(struct world *w, unsigned int server)
{
	w->server[server].lost = true;
	tm_pager_server_lost(w_lane(w, 0), server);
}

#endif /* TM_TESTS_PROGRAM_H */
