// SPDX-License-Identifier: GPL-2.0-or-later
/* Frames and replacement: the free stack, FIFO order, LRU's second chance. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "core/replace.h"

#define FRAMES 16

struct fixture {
	struct tm_frames frames;
	struct tm_replace r;
};

static int setup(void **state)
{
	static struct fixture f;

	if (tm_frames_init(&f.frames, FRAMES, 0))
		return -1;
	tm_replace_init(&f.r, f.frames.at);
	*state = &f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	tm_frames_fini(&f->frames);
	return 0;
}

static void by_name(void **state)
{
	assert_ptr_equal(tm_replace_find("fifo"), &tm_replace_fifo);
	assert_ptr_equal(tm_replace_find("lru"), &tm_replace_lru);
	assert_null(tm_replace_find("mru"));
}

static void free_frames_within_limit(void **state)
{
	struct fixture *f = *state;
	bool seen[FRAMES] = {false};
	u32 i, frame, some[3];

	f->frames.limit = 10;
	for (i = 0; i < 8; i++) {
		frame = tm_frame_get(&f->frames, 0);
		assert_true(frame < FRAMES);
		assert_false(seen[frame]);
		seen[frame] = true;
	}
	assert_int_equal(tm_frame_get(&f->frames, 2), TM_NO_FRAME);
	assert_int_not_equal(tm_frame_get(&f->frames, 1), TM_NO_FRAME);
	assert_int_not_equal(tm_frame_get(&f->frames, 0), TM_NO_FRAME);
	assert_int_equal(tm_frame_get(&f->frames, 0), TM_NO_FRAME);
	tm_frames_put(&f->frames, &frame, 1);
	assert_int_equal(f->frames.used, 9);
	assert_int_equal(tm_frame_get(&f->frames, 0), frame);
	/* several come back in the order in which they were given */
	for (i = 0; i < 3; i++)
		some[i] = frame > 3 ? frame - i : frame + i;
	tm_frames_put(&f->frames, some, 3);
	assert_int_equal(f->frames.used, 7);
	for (i = 0; i < 3; i++)
		assert_int_equal(tm_frame_get(&f->frames, 0), some[i]);
	assert_int_equal(tm_frame_get(&f->frames, 0), TM_NO_FRAME);
}

static void fifo_is_strict(void **state)
{
	struct fixture *f = *state;
	const struct tm_replace_ops *ops = &tm_replace_fifo;
	u32 i;

	assert_int_equal(ops->victim(&f->r), TM_NO_FRAME);
	for (i = 0; i < 6; i++)
		ops->insert(&f->r, i, i & 1);
	assert_int_equal(tm_replace_nr(&f->r), 6);
	ops->remove(&f->r, 3);
	ops->remove(&f->r, 0);
	ops->remove(&f->r, 5);
	ops->insert(&f->r, 0, false);
	assert_int_equal(ops->victim(&f->r), 1);
	assert_int_equal(ops->victim(&f->r), 2);
	assert_int_equal(ops->victim(&f->r), 4);
	assert_int_equal(ops->victim(&f->r), 0);
	assert_int_equal(ops->victim(&f->r), TM_NO_FRAME);
	assert_int_equal(tm_replace_nr(&f->r), 0);
}

/*
 * As the pager uses it without accessed bits: a mapped victim becomes cached,
 * and comes back to the front if it is used before it is a victim again.
 */
static u32 lru_evict(struct fixture *f, bool *cached)
{
	for (;;) {
		u32 frame = tm_replace_lru.victim(&f->r);

		if (frame == TM_NO_FRAME || cached[frame])
			return frame;
		cached[frame] = true;
		tm_replace_lru.insert(&f->r, frame, true);
	}
}

static void lru_second_chance(void **state)
{
	struct fixture *f = *state;
	bool cached[FRAMES] = {false};
	bool evicted[FRAMES] = {false};
	u32 i, round;

	for (i = 0; i < FRAMES; i++)
		tm_replace_lru.insert(&f->r, i, false);
	/* 0 and 1, the oldest, are used all the time; the others never */
	for (round = 0; round < 8; round++) {
		u32 frame = lru_evict(f, cached);

		assert_int_not_equal(frame, TM_NO_FRAME);
		evicted[frame] = true;
		for (i = 0; i < 2; i++) {
			if (!cached[i] || evicted[i])
				continue;
			cached[i] = false;
			tm_replace_lru.remove(&f->r, i);
			tm_replace_lru.insert(&f->r, i, false);
		}
	}
	/* the very first is chosen before there are any cached ones */
	assert_false(evicted[1]);
	for (i = 2, round = 0; i < FRAMES; i++)
		round += evicted[i];
	assert_true(round >= 7);
}

static void lru_clock(void **state)
{
	struct fixture *f = *state;
	u32 i;

	/* with accessed bits: whoever was used goes to the front */
	for (i = 0; i < 4; i++)
		tm_replace_lru.insert(&f->r, i, false);
	i = tm_replace_lru.victim(&f->r);
	assert_int_equal(i, 0);
	tm_replace_lru.insert(&f->r, i, false);
	for (i = 1; i < 4; i++)
		assert_int_equal(tm_replace_lru.victim(&f->r), i);
	assert_int_equal(tm_replace_lru.victim(&f->r), 0);
	assert_int_equal(tm_replace_lru.victim(&f->r), TM_NO_FRAME);
}

static void lru_unused_readahead_goes_first(void **state)
{
	struct fixture *f = *state;
	u32 i;

	for (i = 0; i < 4; i++)
		tm_replace_lru.insert(&f->r, i, false);
	for (i = 4; i < 8; i++)
		tm_replace_lru.insert(&f->r, i, true);
	for (i = 4; i < 7; i++)
		assert_int_equal(tm_replace_lru.victim(&f->r), i);
}

static void as_old_joins(void **state)
{
	struct fixture *f = *state;
	u32 i, victim;

	for (i = 0; i < 8; i++)
		tm_replace_lru.insert(&f->r, i, false);
	victim = tm_replace_lru.victim(&f->r);
	assert_int_equal(victim, 0);
	assert_true(tm_replace_joins(&f->r, victim, 1));
	assert_true(tm_replace_joins(&f->r, victim, 4));
	/* not half as long there */
	assert_false(tm_replace_joins(&f->r, victim, 5));
	assert_false(tm_replace_joins(&f->r, victim, 7));
	/* used since */
	tm_replace_lru.remove(&f->r, 1);
	tm_replace_lru.insert(&f->r, 1, false);
	assert_false(tm_replace_joins(&f->r, victim, 1));
	/* on the other list */
	tm_replace_lru.remove(&f->r, 2);
	tm_replace_lru.insert(&f->r, 2, true);
	for (i = 8; i < FRAMES; i++)
		tm_replace_lru.insert(&f->r, i, false);
	assert_false(tm_replace_joins(&f->r, victim, 2));
}

#define HUGE 4

/* Huge ones and small ones share the limit, in blocks. */
static void huge_frames_count_as_their_blocks(void **state)
{
	struct tm_frames frames;
	u32 i, huge[4], small;

	assert_int_equal(tm_frames_init(&frames, FRAMES, HUGE), 0);
	frames.limit = 14;
	for (i = 0; i < 3; i++) {
		huge[i] = tm_frame_get_huge(&frames, 0);
		assert_in_range(huge[i], FRAMES, FRAMES + FRAMES / HUGE - 1);
		assert_true(tm_frame_is_huge(&frames, huge[i]));
		assert_int_equal(frames.at[huge[i]].blocks, HUGE);
		assert_int_equal(frames.used, (i + 1) * HUGE);
	}
	assert_true(huge[0] != huge[1] && huge[1] != huge[2] &&
		    huge[0] != huge[2]);
	assert_int_equal(tm_frame_get_huge(&frames, 0), TM_NO_FRAME);
	small = tm_frame_get(&frames, 1);
	assert_in_range(small, 0, FRAMES - 1);
	assert_int_equal(tm_frame_get(&frames, 1), TM_NO_FRAME);
	tm_frames_put(&frames, &huge[1], 1);
	assert_int_equal(frames.used, 2 * HUGE + 1);
	/* 5 are left: one huge one, and one more */
	assert_int_equal(tm_frame_get_huge(&frames, 2), TM_NO_FRAME);
	assert_int_equal(tm_frame_get_huge(&frames, 1), huge[1]);
	tm_frames_fini(&frames);
}

static void split_takes_no_more(void **state)
{
	struct tm_frames frames;
	u32 i, k, huge[FRAMES / HUGE], small[FRAMES];

	assert_int_equal(tm_frames_init(&frames, FRAMES, HUGE), 0);
	for (i = 0; i < FRAMES / HUGE; i++)
		huge[i] = tm_frame_get_huge(&frames, 0);
	assert_int_equal(tm_frame_get(&frames, 0), TM_NO_FRAME);
	for (i = 0; i < FRAMES / HUGE; i++) {
		tm_frame_split(&frames, small + i * HUGE);
		tm_frame_split_end(&frames, huge[i]);
		assert_int_equal(frames.used, FRAMES);
	}
	for (i = 0; i < FRAMES; i++) {
		assert_in_range(small[i], 0, FRAMES - 1);
		for (k = 0; k < i; k++)
			assert_int_not_equal(small[i], small[k]);
	}
	assert_int_equal(tm_frame_get_huge(&frames, 0), TM_NO_FRAME);
	tm_frames_put(&frames, small, HUGE);
	assert_int_equal(frames.used, FRAMES - HUGE);
	assert_int_equal(tm_frame_get_huge(&frames, 0),
			 huge[FRAMES / HUGE - 1]);
	tm_frames_fini(&frames);
}

static void lists_count_blocks(void **state)
{
	struct tm_frames frames;
	struct tm_replace r;
	const struct tm_replace_ops *ops = &tm_replace_fifo;

	assert_int_equal(tm_frames_init(&frames, FRAMES, HUGE), 0);
	tm_replace_init(&r, frames.at);
	ops->insert(&r, 1, false);
	ops->insert(&r, FRAMES, false);
	ops->insert(&r, FRAMES + 1, false);
	assert_int_equal(tm_replace_nr(&r), 1 + 2 * HUGE);
	assert_int_equal(tm_replace_peers(&r, FRAMES), 1 + 2 * HUGE);
	ops->remove(&r, FRAMES);
	assert_int_equal(tm_replace_nr(&r), 1 + HUGE);
	assert_int_equal(ops->victim(&r), 1);
	assert_int_equal(ops->victim(&r), FRAMES + 1);
	assert_int_equal(tm_replace_nr(&r), 0);
	/* age is counted in blocks, too */
	ops->insert(&r, 2, false);
	ops->insert(&r, FRAMES, false);
	ops->insert(&r, 3, false);
	assert_false(tm_replace_joins(&r, 2, 3));
	assert_true(tm_replace_joins(&r, 2, FRAMES));
	tm_frames_fini(&frames);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(by_name),
#define T(t) cmocka_unit_test_setup_teardown(t, setup, teardown)
		T(free_frames_within_limit),
		T(fifo_is_strict),
		T(lru_second_chance),
		T(lru_clock),
		T(lru_unused_readahead_goes_first),
		T(as_old_joins),
		cmocka_unit_test(huge_frames_count_as_their_blocks),
		cmocka_unit_test(split_takes_no_more),
		cmocka_unit_test(lists_count_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
