/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The staging area of mechanism "move": memory of the engine's own, in slots,
 * where blocks' pages are while the program cannot see them.
 *
 * A slot is as large as a block; a huge one as a huge block, a row of slots of
 * which each may be put back by itself. Slots are taken in ascending order,
 * like the pages of a log, and there are twice as many as frames: so blocks
 * that come or go together lie together, whatever frames they have, and one
 * call moves all of them.
 *
 * Any lane takes any slot, by compare-and-swap; nothing blocks. A slot that is
 * in use belongs to whoever took it.
 */
#ifndef TM_ALLOCATOR_STAGE_H
#define TM_ALLOCATOR_STAGE_H

#include "core/pager.h"

/**
 * struct tm_stage_config - what a stage is for
 * @uffd: the userfaultfd it is registered with
 * @block_shift: log2 of a block's bytes
 * @nr_frames: blocks that may have memory at one time
 * @huge_blocks: blocks in a huge one; 0 where there are none
 * @nr_lanes: threads that take slots
 */
struct tm_stage_config {
	int uffd;
	unsigned int block_shift;
	u32 nr_frames;
	u32 huge_blocks;
	u32 nr_lanes;
};

/* Where a lane looks for slots next: for pages, and for room for some. */
struct tm_stage_cursor {
	u32 spare;
	u32 empty;
	u32 huge_spare;
	u32 huge_empty;
} __attribute__((aligned(64)));

/* A huge slot, and how many of its parts are in use. */
struct tm_stage_huge {
	u8 state;
	u16 live;
};

/**
 * struct tm_stage - the area and its slots
 * @is_huge: each block is of 2 MiB, and moves as one huge page
 * @zeros: of the kernel's zero page
 * @zero_bytes: of them: a block or more
 * @populated: blocks that have pages, here or in the region
 * @keep: as many may stay so
 * @nr_spare, @nr_huge_spare: so that nobody looks for them in vain
 * @huge: the huge slots, which lie behind the others; @first_huge is the number
 *	of the first as a slot
 */
struct tm_stage {
	struct tm_stage_config cfg;
	char *area;
	bool is_huge;
	const char *zeros;
	size_t zero_bytes;
	u32 populated;
	u32 keep;
	u8 *slot;
	u32 nr_slots;
	u32 nr_spare;
	struct tm_stage_huge *huge;
	u32 first_huge;
	u32 nr_huge;
	u32 nr_huge_spare;
	struct tm_stage_cursor cursor[TM_LANES_MAX];
};

/** tm_stage_init() - into zeroed memory; 0 or -errno. It lasts as the process
 */
int tm_stage_init(struct tm_stage *s, const struct tm_stage_config *cfg);

static inline char *tm_stage_addr(const struct tm_stage *s, u32 slot)
{
	return s->area + ((size_t)slot << s->cfg.block_shift);
}

static inline size_t tm_stage_huge_bytes(const struct tm_stage *s)
{
	return (size_t)s->cfg.huge_blocks << s->cfg.block_shift;
}

/**
 * tm_stage_take() - a slot with pages, of unknown content; 0 or -errno
 * @new: they were made now, and are zeros
 */
int tm_stage_take(struct tm_stage *s, unsigned int lane, u32 *slot, bool *new);

/** tm_stage_take_spare() - such a slot that is there already */
bool tm_stage_take_spare(struct tm_stage *s, unsigned int lane, u32 *slot);

/** tm_stage_take_huge() - as tm_stage_take(), a huge one; its first slot */
int tm_stage_take_huge(struct tm_stage *s, unsigned int lane, u32 *slot,
		       bool *new);

/**
 * tm_stage_take_empty() - up to @nr slots without pages, in a row
 * Returns how many, one at least.
 */
u32 tm_stage_take_empty(struct tm_stage *s, unsigned int lane, u32 nr,
			u32 *first);

/** tm_stage_take_huge_empty() - a huge one; its first slot */
u32 tm_stage_take_huge_empty(struct tm_stage *s, unsigned int lane);

/** tm_stage_put_moved() - slots in a row whose pages are in the region now */
void tm_stage_put_moved(struct tm_stage *s, u32 first, u32 nr);

/**
 * tm_stage_put() - a slot, or all of a huge one, whose bytes nobody needs: its
 * pages are kept for others, or freed
 */
void tm_stage_put(struct tm_stage *s, u32 slot, bool huge);

/** tm_stage_populated() - blocks in the region have pages: new or, < 0, freed
 */
static inline void tm_stage_populated(struct tm_stage *s, int nr)
{
	__atomic_add_fetch(&s->populated, (u32)nr, __ATOMIC_RELAXED);
}

/**
 * tm_stage_free_table() - take away the page table of a huge block's range
 *
 * A huge page can be moved to where no page table is; Linux 6.14 takes an empty
 * one away when told that all of what it maps is not needed.
 */
void tm_stage_free_table(const struct tm_stage *s, char *addr);

/** tm_stage_trim() - free pages until no more than @keep blocks have any */
void tm_stage_trim(struct tm_stage *s, u32 keep);

#endif /* TM_ALLOCATOR_STAGE_H */
