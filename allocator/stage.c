// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The staging area is registered with userfaultfd like the region, so that a
 * stray access to an absent page of it hangs loudly and is never filled with
 * zeros; it is never inherited by fork, or its pages would be shared and refuse
 * to move.
 *
 * Small blocks and huge ones share what memory there is: what one kind keeps
 * without use is freed when the other needs more.
 */
#include "allocator/stage.h"

#include <sys/mman.h>

#include "allocator/uffd.h"

/*
 * A slot's pages. SPARE: there, and not in use. USED: there, or about to be.
 */
enum slot { SLOT_EMPTY, SLOT_SPARE, SLOT_USED };

#define SLOTS_PER_FRAME 2

#define HUGE_PAGE_BYTES (2u << 20)

/* New memory is mapped with one call up to so many bytes. */
#define ZERO_BYTES (1u << 20)

/* Small blocks get so much memory at one time, where huge ones share it. */
#define POPULATE_BYTES (512u << 10)

static struct tm_stage_huge *huge_of(struct tm_stage *s, u32 slot)
{
	return &s->huge[(slot - s->first_huge) / s->cfg.huge_blocks];
}

void tm_stage_free_table(const struct tm_stage *s, char *addr)
{
	madvise(addr, tm_stage_huge_bytes(s), MADV_DONTNEED);
}

/* The slots are of one huge slot, or none is. */
void tm_stage_put_moved(struct tm_stage *s, u32 first, u32 nr)
{
	struct tm_stage_huge *huge;
	u32 in_huge;

	if (first < s->nr_slots) {
		while (nr--)
			tm_store_release(&s->slot[first + nr], SLOT_EMPTY);
		return;
	}
	huge = huge_of(s, first);
	if (__atomic_sub_fetch(&huge->live, nr, __ATOMIC_ACQ_REL))
		return;
	if (nr < s->cfg.huge_blocks) {
		in_huge = (first - s->first_huge) % s->cfg.huge_blocks;
		tm_stage_free_table(s, tm_stage_addr(s, first - in_huge));
	}
	tm_store_release(&huge->state, SLOT_EMPTY);
}

/* The next slot in this state, which becomes USED; nr_slots if there is none */
static u32 take(struct tm_stage *s, u32 *cursor, enum slot state)
{
	u32 at = *cursor, round;

	for (round = 0; round < 2; round++, at = 0) {
		for (; at < s->nr_slots; at++) {
			if (tm_load_relaxed(&s->slot[at]) == state &&
			    tm_cas(&s->slot[at], (u8)state, (u8)SLOT_USED)) {
				*cursor = at + 1;
				return at;
			}
		}
	}
	return s->nr_slots;
}

/* Those that follow one that was taken: up to @nr with that one, in a row. */
static u32 take_more(struct tm_stage *s, u32 *cursor, u32 nr, enum slot state)
{
	u32 taken = 1;

	while (taken < nr && *cursor < s->nr_slots &&
	       tm_cas(&s->slot[*cursor], (u8)state, (u8)SLOT_USED)) {
		(*cursor)++;
		taken++;
	}
	return taken;
}

u32 tm_stage_take_empty(struct tm_stage *s, unsigned int lane, u32 nr,
			u32 *first)
{
	u32 *cursor = &s->cursor[lane].empty;

	*first = take(s, cursor, SLOT_EMPTY);
	TM_BUG_ON(*first == s->nr_slots);
	return take_more(s, cursor, nr, SLOT_EMPTY);
}

bool tm_stage_take_spare(struct tm_stage *s, unsigned int lane, u32 *slot)
{
	if (!tm_load_relaxed(&s->nr_spare))
		return false;
	*slot = take(s, &s->cursor[lane].spare, SLOT_SPARE);
	if (*slot == s->nr_slots)
		return false;
	__atomic_sub_fetch(&s->nr_spare, 1, __ATOMIC_RELAXED);
	return true;
}

/* Up to @nr spare slots in a row; returns how many, which may be none. */
static u32 take_spares(struct tm_stage *s, unsigned int lane, u32 nr,
		       u32 *first)
{
	u32 taken;

	if (!tm_stage_take_spare(s, lane, first))
		return 0;
	taken = take_more(s, &s->cursor[lane].spare, nr, SLOT_SPARE);
	__atomic_sub_fetch(&s->nr_spare, taken - 1, __ATOMIC_RELAXED);
	return taken;
}

/* The first of a huge slot in this state; 0 if there is none. */
static u32 take_huge(struct tm_stage *s, u32 *cursor, enum slot state)
{
	u32 i, at;

	for (i = 0; i < s->nr_huge; i++) {
		at = (*cursor + i) % s->nr_huge;
		if (tm_load_relaxed(&s->huge[at].state) != state ||
		    !tm_cas(&s->huge[at].state, (u8)state, (u8)SLOT_USED))
			continue;
		s->huge[at].live = (u16)s->cfg.huge_blocks;
		*cursor = at + 1;
		return s->first_huge + at * s->cfg.huge_blocks;
	}
	return 0;
}

u32 tm_stage_take_huge_empty(struct tm_stage *s, unsigned int lane)
{
	u32 slot = take_huge(s, &s->cursor[lane].huge_empty, SLOT_EMPTY);

	TM_BUG_ON(!slot);
	return slot;
}

static u32 take_huge_spare(struct tm_stage *s, unsigned int lane)
{
	u32 slot;

	if (!tm_load_relaxed(&s->nr_huge_spare))
		return 0;
	slot = take_huge(s, &s->cursor[lane].huge_spare, SLOT_SPARE);
	if (slot)
		__atomic_sub_fetch(&s->nr_huge_spare, 1, __ATOMIC_RELAXED);
	return slot;
}

static void put_spare(struct tm_stage *s, u32 slot)
{
	__atomic_add_fetch(&s->nr_spare, 1, __ATOMIC_RELAXED);
	tm_store_release(&s->slot[slot], SLOT_SPARE);
}

static void put_huge_spare(struct tm_stage *s, u32 slot)
{
	__atomic_add_fetch(&s->nr_huge_spare, 1, __ATOMIC_RELAXED);
	tm_store_release(&huge_of(s, slot)->state, SLOT_SPARE);
}

/* Free the pages of slots in use, and put them back. */
static void put_freed(struct tm_stage *s, u32 first, u32 nr)
{
	madvise(tm_stage_addr(s, first), (size_t)nr << s->cfg.block_shift,
		MADV_DONTNEED);
	tm_stage_populated(s, -(int)nr);
	tm_stage_put_moved(s, first, nr);
}

/* What is left of a huge slot that was split is for none again. */
void tm_stage_put(struct tm_stage *s, u32 slot, bool huge)
{
	if (tm_load_relaxed(&s->populated) > tm_load_relaxed(&s->keep) ||
	    (!huge && slot >= s->first_huge))
		put_freed(s, slot, huge ? s->cfg.huge_blocks : 1);
	else if (huge)
		put_huge_spare(s, slot);
	else
		put_spare(s, slot);
}

/* Blocks that have pages, or would with @nr more, beyond what is kept. */
static u32 excess(const struct tm_stage *s, u32 nr)
{
	u32 populated = tm_load_relaxed(&s->populated) + nr;
	u32 keep = tm_load_relaxed(&s->keep);

	return populated > keep ? populated - keep : 0;
}

/*
 * Fresh zeros in huge pages. UFFDIO_COPY knows small ones only, so fault them
 * in as usual while this is not registered.
 */
static int populate_huge(struct tm_stage *s, char *addr, size_t bytes)
{
	int err = tm_uffd_unregister(s->cfg.uffd, addr, bytes);

	if (!err && madvise(addr, bytes, MADV_POPULATE_WRITE))
		err = -errno;
	if (!err)
		err = tm_uffd_register(s->cfg.uffd, addr, bytes,
				       UFFDIO_REGISTER_MODE_MISSING);
	return err;
}

/* Fresh zeros for empty slots. */
static int populate(struct tm_stage *s, u32 slot, u32 nr)
{
	char *addr = tm_stage_addr(s, slot);
	size_t bytes = (size_t)nr << s->cfg.block_shift, done;
	int err;

	if (s->is_huge || slot >= s->first_huge) {
		err = populate_huge(s, addr, bytes);
	} else {
		err = tm_uffd_copy(s->cfg.uffd, addr, s->zeros, bytes, &done);
		if (err && done)
			madvise(addr, done, MADV_DONTNEED);
	}
	if (err)
		tm_stage_put_moved(s, slot, nr);
	else
		tm_stage_populated(s, (int)nr);
	return err;
}

int tm_stage_take_huge(struct tm_stage *s, unsigned int lane, u32 *slot,
		       bool *new)
{
	u32 over, first, nr;

	*slot = take_huge_spare(s, lane);
	*new = !*slot;
	if (*slot)
		return 0;
	while ((over = excess(s, s->cfg.huge_blocks)) &&
	       (nr = take_spares(s, lane, over, &first)))
		put_freed(s, first, nr);
	*slot = tm_stage_take_huge_empty(s, lane);
	return populate(s, *slot, s->cfg.huge_blocks);
}

int tm_stage_take(struct tm_stage *s, unsigned int lane, u32 *slot, bool *new)
{
	u32 i, huge, nr;
	int err;

	*new = !tm_stage_take_spare(s, lane, slot);
	if (!*new)
		return 0;
	while (excess(s, 1) && (huge = take_huge_spare(s, lane)))
		put_freed(s, huge, s->cfg.huge_blocks);
	/* what gave way to a huge block comes back by more than one */
	nr = s->cfg.huge_blocks ? POPULATE_BYTES >> s->cfg.block_shift : 1;
	while (nr > 1 && excess(s, nr))
		nr /= 2;
	nr = tm_stage_take_empty(s, lane, nr, slot);
	err = populate(s, *slot, nr);
	for (i = 1; !err && i < nr; i++)
		put_spare(s, *slot + i);
	return err;
}

void tm_stage_trim(struct tm_stage *s, u32 keep)
{
	u32 slot;

	tm_store_relaxed(&s->keep, keep);
	while (excess(s, 0) && (slot = take_huge_spare(s, 0)))
		put_freed(s, slot, s->cfg.huge_blocks);
	while (excess(s, 0) && tm_stage_take_spare(s, 0, &slot))
		put_freed(s, slot, 1);
}

/* Huge slots follow the others. Returns the bytes of all. */
static size_t number_slots(struct tm_stage *s)
{
	u32 nr = s->cfg.huge_blocks;

	/* one more for each lane, which may just have found none spare */
	s->nr_slots = s->cfg.nr_frames * SLOTS_PER_FRAME + s->cfg.nr_lanes;
	s->first_huge = s->nr_slots;
	if (nr) {
		s->first_huge = (s->nr_slots + nr - 1) / nr * nr;
		s->nr_huge = s->cfg.nr_frames / nr * SLOTS_PER_FRAME +
			     s->cfg.nr_lanes;
	}
	return ((size_t)s->first_huge + (size_t)s->nr_huge * nr)
	       << s->cfg.block_shift;
}

static int map_zeros(struct tm_stage *s)
{
	size_t block = (size_t)1 << s->cfg.block_shift;
	void *zeros;

	s->zero_bytes = block > ZERO_BYTES ? block : ZERO_BYTES;
	zeros = mmap(NULL, s->zero_bytes, PROT_READ,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (zeros == MAP_FAILED)
		return -ENOMEM;
	madvise(zeros, s->zero_bytes, MADV_NOHUGEPAGE);
	madvise(zeros, s->zero_bytes, MADV_POPULATE_READ);
	s->zeros = zeros;
	return 0;
}

static int map_area(struct tm_stage *s, size_t bytes)
{
	const size_t align = HUGE_PAGE_BYTES;
	char *area = mmap(NULL, bytes + align, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (area == MAP_FAILED)
		return -ENOMEM;
	madvise(area, bytes + align, MADV_DONTFORK);
	madvise(area, bytes + align, MADV_DONTDUMP);
	madvise(area, bytes + align,
		s->is_huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	s->area = (char *)(((uintptr_t)area + align - 1) & ~(align - 1));
	if (s->nr_huge)
		madvise(tm_stage_addr(s, s->first_huge),
			s->nr_huge * tm_stage_huge_bytes(s), MADV_HUGEPAGE);
	return tm_uffd_register(s->cfg.uffd, s->area, bytes,
				UFFDIO_REGISTER_MODE_MISSING);
}

int tm_stage_init(struct tm_stage *s, const struct tm_stage_config *cfg)
{
	size_t bytes;

	s->cfg = *cfg;
	s->is_huge = 1u << cfg->block_shift == HUGE_PAGE_BYTES;
	s->keep = cfg->nr_frames;
	bytes = number_slots(s);
	s->slot = tm_alloc(s->nr_slots);
	if (s->nr_huge)
		s->huge = tm_alloc(s->nr_huge * sizeof(*s->huge));
	if (!s->slot || (s->nr_huge && !s->huge) || map_zeros(s))
		return -ENOMEM;
	for (u32 i = 0; i < cfg->nr_lanes; i++)
		s->cursor[i].spare = s->cursor[i].empty =
			i * (s->nr_slots / cfg->nr_lanes);
	return map_area(s, bytes);
}
