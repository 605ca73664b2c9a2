/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocks that stay in local memory, because the program protects or locks
 * pages of them: a lane could neither read nor move those.
 *
 * A program's thread sets the block's bit, waits until no lane is in an unmap
 * that may have missed it, and brings the block in. From then on it is mapped,
 * and no lane unmaps it. Lock order: none.
 */
#include <sched.h>
#include <sys/mman.h>

#include "allocator/engine_internal.h"

/* No more of the local memory than this part: the rest must be able to page. */
#define PINNED_PART 4

static bool is_pinned(const struct tm_uffd_engine *e, u64 block)
{
	return __atomic_load_n(&e->pinned[block / 64], __ATOMIC_SEQ_CST) >>
		       block % 64 &
	       1;
}

static bool any_pinned(const struct tm_uffd_engine *e, u64 block, u32 frame)
{
	u32 nr = frame < e->nr_frames ? 1 : e->huge_blocks;

	while (nr--)
		if (is_pinned(e, block + nr))
			return true;
	return false;
}

int tm_pin_unmap(struct tm_engine_lane *lane, u64 block, u32 frame)
{
	struct tm_uffd_engine *e = lane->engine;
	int ret = -EBUSY;

	/* Ordered before the look at the bit, as in wait_for_lanes(). */
	__atomic_add_fetch(&lane->unmapping, 1, __ATOMIC_SEQ_CST);
	if (!any_pinned(e, block, frame))
		ret = e->mech->unmap(e, lane->index, block, frame);
	__atomic_add_fetch(&lane->unmapping, 1, __ATOMIC_RELEASE);
	return ret;
}

u32 tm_pin_unmap_run(struct tm_engine_lane *lane, u64 block, const u32 *frame,
		     u32 nr)
{
	struct tm_uffd_engine *e = lane->engine;
	u32 free = 0;

	if (!e->mech->unmap_run)
		return 0;
	__atomic_add_fetch(&lane->unmapping, 1, __ATOMIC_SEQ_CST);
	while (free < nr && !is_pinned(e, block + free))
		free++;
	free = e->mech->unmap_run(e, lane->index, block, frame, free);
	__atomic_add_fetch(&lane->unmapping, 1, __ATOMIC_RELEASE);
	return free;
}

/* Whoever looked at a bit before it was set is done with that block. */
static void wait_for_lanes(struct tm_uffd_engine *e)
{
	u32 *unmapping, seen;

	for (unsigned int i = 0; i < e->nr_lanes; i++) {
		unmapping = &e->lane[i].unmapping;
		seen = __atomic_load_n(unmapping, __ATOMIC_SEQ_CST);
		while (seen % 2 && tm_load_acquire(unmapping) == seen)
			sched_yield();
	}
}

static u64 first_block(const struct tm_uffd_engine *e, const void *addr)
{
	return (u64)((const char *)addr - e->engine.base) >> e->block_shift;
}

/* Change the bit; true when it was not so before. */
static bool set_pinned(struct tm_uffd_engine *e, u64 block, bool pinned)
{
	u64 *word = &e->pinned[block / 64], bit = 1ull << block % 64, old;

	old = pinned ? __atomic_fetch_or(word, bit, __ATOMIC_SEQ_CST)
		     : __atomic_fetch_and(word, ~bit, __ATOMIC_SEQ_CST);
	return !(old & bit) == pinned;
}

/*
 * By a call, which fails for a block that is lost, where a touch would raise a
 * signal, whose handler might leave by longjmp(3) with the caller's lock held.
 */
static void bring_in(const struct tm_uffd_engine *e, u64 block)
{
	char *addr = tm_engine_addr(e, block);

	if (!madvise(addr, TM_PAGE, MADV_POPULATE_READ) || tm_lost(e, block))
		return;
	/* Linux before 5.14, or a userfaultfd that serves no system calls */
	(void)*(volatile char *)addr;
}

int tm_pin_add(struct tm_engine *engine, void *addr, size_t bytes)
{
	struct tm_uffd_engine *e = tm_uffd_engine_of(engine);
	u64 first = first_block(e, addr), end = first;
	u32 nr = 0;

	end += bytes >> e->block_shift;
	for (u64 block = first; block < end; block++)
		nr += !is_pinned(e, block);
	if (tm_add_return(&e->nr_pinned, nr) > e->nr_frames / PINNED_PART) {
		tm_add_return(&e->nr_pinned, -nr);
		return -ENOMEM;
	}
	/* Of what was pinned before, the program may have closed pages. */
	for (u64 block = first; block < end; block++) {
		if (!set_pinned(e, block, true))
			continue;
		wait_for_lanes(e);
		bring_in(e, block);
	}
	return 0;
}

bool tm_pin_any(const struct tm_engine *engine, const void *addr, size_t bytes)
{
	const struct tm_uffd_engine *e = tm_uffd_engine_of(engine);
	u64 block = first_block(e, addr), end = block;

	if (!tm_load_relaxed(&e->nr_pinned))
		return false;
	for (end += bytes >> e->block_shift; block < end; block++)
		if (is_pinned(e, block))
			return true;
	return false;
}

void tm_pin_remove(struct tm_engine *engine, void *addr, size_t bytes)
{
	struct tm_uffd_engine *e = tm_uffd_engine_of(engine);
	u64 first = first_block(e, addr), end = first;
	u32 nr = 0;

	end += bytes >> e->block_shift;
	for (u64 block = first; block < end; block++)
		nr += set_pinned(e, block, false);
	tm_add_return(&e->nr_pinned, -nr);
}
