// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mechanism "move" (Linux 6.8): UFFDIO_MOVE carries a block's pages between the
 * region and a slot of the staging area, where its bytes are received, looked
 * at and sent. Pages are recycled: in the steady state nothing is allocated,
 * zeroed or copied, and a block disappears from the program atomically. Pages
 * that someone has pinned (direct I/O under way) refuse to be moved.
 *
 * A frame has a slot only while its block is not mapped. Slots are taken in
 * ascending order, like the pages of a log, and there are twice as many as
 * frames: so blocks that come or go together lie together, whatever frames they
 * have, and one call moves all of them.
 *
 * The staging area is registered like the region, so that a stray access to an
 * absent page of it hangs loudly and is never filled with zeros; it is never
 * inherited by fork, or its pages would be shared and refuse to move.
 *
 * Where the program changed the region itself (mlock, mprotect), pages cannot
 * move: on the way in they are copied, and on the way out they stay, as
 * pinned ones do.
 */
#include "allocator/mech.h"

#include <sys/mman.h>

#include "allocator/engine_internal.h"

/*
 * A slot's pages. SPARE: there, and not in use. USED: there, or about to be.
 * What is not USED may be taken by any lane, by compare-and-swap.
 */
enum slot { SLOT_EMPTY, SLOT_SPARE, SLOT_USED };

#define SLOTS_PER_FRAME 2

/* New memory is mapped with one call up to so many bytes. */
#define ZERO_BYTES (1u << 20)

/* Small blocks get so much memory at one time, where huge ones share it. */
#define POPULATE_BYTES (512u << 10)

/* Instead of a frame's slot. */
#define FRAME_UNUSED (~0u)
#define FRAME_AWAY (~0u - 1) /* its pages are in the region */

/* Where a lane looks for slots next: for pages, and for room for some. */
struct cursor {
	u32 spare;
	u32 empty;
	u32 huge_spare;
	u32 huge_empty;
} __attribute__((aligned(64)));

/* A slot for a huge block, and how many of its parts are in use. */
struct huge_slot {
	u8 state;
	u16 live;
};

struct tm_mech_state {
	char *stage;
	size_t stage_bytes;
	u8 *slot;
	u32 nr_slots;
	struct huge_slot *huge_slot; /* behind those, in the staging area */
	u32 first_huge;		     /* as a slot number */
	u32 nr_huge_slots;
	u32 huge_blocks;
	u32 nr_huge_spare;
	u32 *slot_of;	   /* a frame's */
	const char *zeros; /* of the kernel's zero page, for a block or more */
	size_t zero_bytes;
	bool huge;     /* each block is */
	u32 populated; /* slots and frames that have pages, in blocks */
	u32 keep;      /* as many may stay so */
	u32 nr_spare;  /* so that nobody looks for them in vain */
	struct cursor cursor[TM_LANES_MAX];
};

static char *slot_addr(struct tm_uffd_engine *e, u32 slot)
{
	return e->mech_state->stage + ((size_t)slot << e->block_shift);
}

static bool frame_is_huge(const struct tm_uffd_engine *e, u32 frame)
{
	return frame >= e->nr_frames;
}

/* Bytes of a frame. */
static size_t frame_bytes(const struct tm_uffd_engine *e, u32 frame)
{
	return frame_is_huge(e, frame)
		       ? (size_t)e->mech_state->huge_blocks << e->block_shift
		       : e->engine.block;
}

static struct huge_slot *huge_slot_of(struct tm_mech_state *s, u32 slot)
{
	return &s->huge_slot[(slot - s->first_huge) / s->huge_blocks];
}

/*
 * A huge page can be moved to where no page table is; Linux 6.14 takes an empty
 * one away when told that all of what it maps is not needed.
 */
static void free_page_table(const struct tm_uffd_engine *e, char *addr)
{
	madvise(addr, (size_t)e->mech_state->huge_blocks << e->block_shift,
		MADV_DONTNEED);
}

/* Slots in a row have no pages any more; those of one huge slot, or none. */
static void slots_put_empty(struct tm_uffd_engine *e, u32 first, u32 nr)
{
	struct tm_mech_state *s = e->mech_state;
	struct huge_slot *huge;

	if (first >= s->nr_slots) {
		huge = huge_slot_of(s, first);
		if (__atomic_sub_fetch(&huge->live, nr, __ATOMIC_ACQ_REL))
			return;
		if (nr < s->huge_blocks)
			free_page_table(e,
					slot_addr(e, first / s->huge_blocks *
							     s->huge_blocks));
		tm_store_release(&huge->state, SLOT_EMPTY);
		return;
	}
	while (nr--)
		tm_store_release(&s->slot[first + nr], SLOT_EMPTY);
}

/* Pages of slots in use are not needed. */
static void slots_empty(struct tm_uffd_engine *e, u32 first, u32 nr)
{
	madvise(slot_addr(e, first), (size_t)nr << e->block_shift,
		MADV_DONTNEED);
	__atomic_sub_fetch(&e->mech_state->populated, nr, __ATOMIC_RELAXED);
	slots_put_empty(e, first, nr);
}

/* The next slot in this state, which becomes USED; nr_slots if there is none */
static u32 slot_take(struct tm_mech_state *s, u32 *cursor, enum slot state)
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

/* Up to @nr empty slots in a row, which become USED; returns how many. */
static u32 slots_take_empty(struct tm_mech_state *s, unsigned int lane, u32 nr,
			    u32 *first)
{
	u32 *cursor = &s->cursor[lane].empty, taken = 1;

	*first = slot_take(s, cursor, SLOT_EMPTY);
	TM_BUG_ON(*first == s->nr_slots);
	while (taken < nr && *cursor < s->nr_slots &&
	       tm_cas(&s->slot[*cursor], (u8)SLOT_EMPTY, (u8)SLOT_USED)) {
		(*cursor)++;
		taken++;
	}
	return taken;
}

/*
 * The first of an empty, or spare, huge slot, which becomes USED; 0 if there is
 * none.
 */
static u32 huge_take(struct tm_mech_state *s, u32 *cursor, enum slot state)
{
	u32 i, at;

	for (i = 0; i < s->nr_huge_slots; i++) {
		at = (*cursor + i) % s->nr_huge_slots;
		if (tm_load_relaxed(&s->huge_slot[at].state) != state ||
		    !tm_cas(&s->huge_slot[at].state, (u8)state, (u8)SLOT_USED))
			continue;
		s->huge_slot[at].live = (u16)s->huge_blocks;
		*cursor = at + 1;
		return s->first_huge + at * s->huge_blocks;
	}
	return 0;
}

static u32 huge_take_empty(struct tm_mech_state *s, unsigned int lane)
{
	u32 slot = huge_take(s, &s->cursor[lane].huge_empty, SLOT_EMPTY);

	TM_BUG_ON(!slot);
	return slot;
}

static u32 huge_take_spare(struct tm_mech_state *s, unsigned int lane)
{
	u32 slot;

	if (!tm_load_relaxed(&s->nr_huge_spare))
		return 0;
	slot = huge_take(s, &s->cursor[lane].huge_spare, SLOT_SPARE);
	if (slot)
		__atomic_sub_fetch(&s->nr_huge_spare, 1, __ATOMIC_RELAXED);
	return slot;
}

/*
 * Fresh zeros in huge pages. UFFDIO_COPY knows small ones only, so fault them
 * in as usual while this is not registered.
 */
static int populate_huge(struct tm_uffd_engine *e, char *addr, size_t bytes)
{
	int err = tm_uffd_unregister(e->uffd.fd, addr, bytes);

	if (!err && madvise(addr, bytes, MADV_POPULATE_WRITE))
		err = -errno;
	if (!err)
		err = tm_uffd_register(e->uffd.fd, addr, bytes,
				       UFFDIO_REGISTER_MODE_MISSING);
	return err;
}

/* Fresh zero pages for empty slots. */
static int slots_populate(struct tm_uffd_engine *e, u32 slot, u32 nr)
{
	struct tm_mech_state *s = e->mech_state;
	char *addr = slot_addr(e, slot);
	size_t done;
	int err;

	if (s->huge) {
		err = populate_huge(e, addr, e->engine.block);
	} else {
		err = tm_uffd_copy(e->uffd.fd, addr, s->zeros,
				   (size_t)nr << e->block_shift, &done);
		if (err && done)
			madvise(addr, done, MADV_DONTNEED);
	}
	if (!err)
		__atomic_add_fetch(&s->populated, nr, __ATOMIC_RELAXED);
	return err;
}

static bool slot_take_spare(struct tm_mech_state *s, unsigned int lane,
			    u32 *slot)
{
	if (!tm_load_relaxed(&s->nr_spare))
		return false;
	*slot = slot_take(s, &s->cursor[lane].spare, SLOT_SPARE);
	if (*slot == s->nr_slots)
		return false;
	__atomic_sub_fetch(&s->nr_spare, 1, __ATOMIC_RELAXED);
	return true;
}

static void huge_put_spare(struct tm_mech_state *s, u32 slot)
{
	__atomic_add_fetch(&s->nr_huge_spare, 1, __ATOMIC_RELAXED);
	tm_store_release(&huge_slot_of(s, slot)->state, SLOT_SPARE);
}

static void slot_put_spare(struct tm_mech_state *s, u32 slot)
{
	__atomic_add_fetch(&s->nr_spare, 1, __ATOMIC_RELAXED);
	tm_store_release(&s->slot[slot], SLOT_SPARE);
}

/* Blocks that are populated, or would be with @nr more, beyond what is kept. */
static u32 excess(const struct tm_mech_state *s, u32 nr)
{
	u32 populated = tm_load_relaxed(&s->populated) + nr;
	u32 keep = tm_load_relaxed(&s->keep);

	return populated > keep ? populated - keep : 0;
}

/* Up to @nr spare slots in a row, which become USED; returns how many. */
static u32 slots_take_spare(struct tm_mech_state *s, unsigned int lane, u32 nr,
			    u32 *first)
{
	u32 *cursor = &s->cursor[lane].spare, taken = 1;

	if (!slot_take_spare(s, lane, first))
		return 0;
	while (taken < nr && *cursor < s->nr_slots &&
	       tm_cas(&s->slot[*cursor], (u8)SLOT_SPARE, (u8)SLOT_USED)) {
		(*cursor)++;
		taken++;
	}
	__atomic_sub_fetch(&s->nr_spare, taken - 1, __ATOMIC_RELAXED);
	return taken;
}

/* Memory that is kept for small blocks is needed for a huge one. */
static void spares_free(struct tm_uffd_engine *e, unsigned int lane, u32 nr)
{
	u32 first, taken, over;

	while ((over = excess(e->mech_state, nr))) {
		taken = slots_take_spare(e->mech_state, lane, over, &first);
		if (!taken)
			return;
		slots_empty(e, first, taken);
	}
}

/* And the other way round. */
static void huge_spares_free(struct tm_uffd_engine *e, unsigned int lane)
{
	struct tm_mech_state *s = e->mech_state;
	u32 slot;

	while (excess(s, 1) && (slot = huge_take_spare(s, lane)))
		slots_empty(e, slot, s->huge_blocks);
}

/* A huge slot with pages; 0 or -errno. @zero: they are new. */
static int huge_populate(struct tm_uffd_engine *e, unsigned int lane, u32 *slot,
			 bool *zero)
{
	struct tm_mech_state *s = e->mech_state;
	int err;

	*zero = false;
	*slot = huge_take_spare(s, lane);
	if (*slot)
		return 0;
	spares_free(e, lane, s->huge_blocks);
	*slot = huge_take_empty(s, lane);
	err = populate_huge(e, slot_addr(e, *slot),
			    (size_t)s->huge_blocks << e->block_shift);
	if (err) {
		slots_put_empty(e, *slot, s->huge_blocks);
		return err;
	}
	__atomic_add_fetch(&s->populated, s->huge_blocks, __ATOMIC_RELAXED);
	*zero = true;
	return 0;
}

static int slot_populate_empty(struct tm_uffd_engine *e, unsigned int lane,
			       u32 *slot)
{
	struct tm_mech_state *s = e->mech_state;
	u32 i, nr = s->huge_blocks ? POPULATE_BYTES >> e->block_shift : 1;
	int err;

	huge_spares_free(e, lane);
	/* what gave way to a huge block comes back by more than one */
	while (nr > 1 && excess(s, nr))
		nr /= 2;
	nr = slots_take_empty(s, lane, nr, slot);
	err = slots_populate(e, *slot, nr);
	if (err) {
		slots_put_empty(e, *slot, nr);
		return err;
	}
	for (i = 1; i < nr; i++)
		slot_put_spare(s, *slot + i);
	return 0;
}

/* A slot with pages for a frame that has none; 0 or -errno. */
static int frame_populate(struct tm_uffd_engine *e, unsigned int lane,
			  u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	bool zero;
	u32 slot;
	int err = 0;

	if (frame_is_huge(e, frame))
		err = huge_populate(e, lane, &slot, &zero);
	else if (!slot_take_spare(s, lane, &slot))
		err = slot_populate_empty(e, lane, &slot);
	if (!err)
		s->slot_of[frame] = slot;
	return err;
}

static void *move_bytes(struct tm_uffd_engine *e, u64 block, u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	u32 part =
		frame_is_huge(e, frame) ? (u32)block & (s->huge_blocks - 1) : 0;

	return slot_addr(e, s->slot_of[frame] + part);
}

static void *move_fill(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		       u32 frame)
{
	struct tm_mech_state *s = e->mech_state;

	if (s->slot_of[frame] == FRAME_UNUSED && frame_populate(e, lane, frame))
		return NULL;
	return move_bytes(e, block, frame);
}

/*
 * Undo what give() did for the first @len bytes. Where it moved, the slot has
 * no page; where it copied, the region's is one too many.
 */
static void take_back(struct tm_uffd_engine *e, char *app, char *slot,
		      size_t len)
{
	size_t done;

	for (size_t at = 0; at < len; at += TM_PAGE) {
		if (tm_uffd_page_there(slot + at))
			madvise(app + at, TM_PAGE, MADV_DONTNEED_LOCKED);
		else
			/* Else bytes would be in neither place as a whole. */
			TM_BUG_ON(tm_uffd_move(e->uffd.fd, slot + at, app + at,
					       TM_PAGE, &done));
	}
}

/*
 * @len bytes from slot @first on into the region, where none may be: moved, or
 * page by page copied where pages cannot move. In case of an error all is as
 * before.
 */
static int give(struct tm_uffd_engine *e, u64 block, u32 first, size_t len)
{
	char *app = tm_engine_addr(e, block), *slot = slot_addr(e, first);
	size_t at = 0, done;
	bool copied = false;
	int err;

	while (at < len) {
		err = tm_uffd_move(e->uffd.fd, app + at, slot + at, len - at,
				   &done);
		at += done;
		if (!err)
			break;
		if (err == -EINVAL || err == -EBUSY) {
			err = tm_uffd_copy(e->uffd.fd, app + at, slot + at,
					   TM_PAGE, &done);
			at += done;
			copied = true;
		}
		if (!err)
			continue;
		tm_lane_log(TM_LOG_ERROR,
			    "map block %llu, page %zu: %s; the program changed "
			    "this memory's mapping",
			    (unsigned long long)block, at / TM_PAGE,
			    strerror(-err));
		take_back(e, app, slot, at);
		return err;
	}
	if (copied)
		madvise(slot, len, MADV_DONTNEED);
	return 0;
}

/*
 * Zeros for up to @nr frames without pages, which need not go by way of slots.
 * Returns for how many; @err is why there are no more.
 */
static u32 map_zeros(struct tm_uffd_engine *e, u64 block, const u32 *frame,
		     u32 nr, int *err)
{
	struct tm_mech_state *s = e->mech_state;
	u32 i, most = (u32)(s->zero_bytes >> e->block_shift);
	size_t done;

	if (most > nr)
		most = nr;
	for (i = 0; i < most && s->slot_of[frame[i]] == FRAME_UNUSED;)
		i++;
	*err = tm_uffd_copy(e->uffd.fd, tm_engine_addr(e, block), s->zeros,
			    (size_t)i << e->block_shift, &done);
	nr = (u32)(done >> e->block_shift);
	__atomic_add_fetch(&s->populated, nr, __ATOMIC_RELAXED);
	for (i = 0; i < nr; i++)
		s->slot_of[frame[i]] = FRAME_AWAY;
	return nr;
}

static int huge_map(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		    u32 frame, unsigned int flags)
{
	struct tm_mech_state *s = e->mech_state;
	size_t bytes = frame_bytes(e, frame);
	u32 slot = s->slot_of[frame];
	bool zero = true;
	int err;

	if (slot == FRAME_UNUSED) {
		TM_BUG_ON(!(flags & TM_MAP_ZERO));
		err = huge_populate(e, lane, &slot, &zero);
		if (err)
			return err;
		s->slot_of[frame] = slot;
	}
	if (!zero)
		memset(slot_addr(e, slot), 0, bytes);
	free_page_table(e, tm_engine_addr(e, block));
	err = give(e, block, slot, bytes);
	if (err)
		return err;
	s->slot_of[frame] = FRAME_AWAY;
	slots_put_empty(e, slot, s->huge_blocks);
	return 0;
}

static int move_map(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		    u32 frame, unsigned int flags)
{
	struct tm_mech_state *s = e->mech_state;
	u32 slot = s->slot_of[frame];
	bool zero = flags & TM_MAP_ZERO;
	int err;

	if (frame_is_huge(e, frame))
		return huge_map(e, lane, block, frame, flags);

	if (slot == FRAME_UNUSED) {
		TM_BUG_ON(!zero);
		if (!slot_take_spare(s, lane, &slot)) {
			if (!s->huge) {
				map_zeros(e, block, &frame, 1, &err);
				return err;
			}
			err = slot_populate_empty(e, lane, &slot);
			if (err)
				return err;
			zero = false; /* it is */
		}
		s->slot_of[frame] = slot;
	}
	if (zero)
		memset(slot_addr(e, slot), 0, e->engine.block);
	err = give(e, block, slot, e->engine.block);
	if (err)
		return err;
	s->slot_of[frame] = FRAME_AWAY;
	slots_put_empty(e, slot, 1);
	return 0;
}

/* Zeros for the first of these frames, as far as there are spare slots. */
static u32 frames_zero(struct tm_uffd_engine *e, unsigned int lane,
		       const u32 *frame, u32 nr)
{
	struct tm_mech_state *s = e->mech_state;
	u32 i, slot;

	for (i = 0; i < nr; i++) {
		slot = s->slot_of[frame[i]];
		if (slot == FRAME_UNUSED && !slot_take_spare(s, lane, &slot))
			break;
		s->slot_of[frame[i]] = slot;
		memset(slot_addr(e, slot), 0, e->engine.block);
	}
	return i;
}

/* As many from the first on as can be given; their bytes are in slots. */
static u32 give_run(struct tm_uffd_engine *e, u64 block, const u32 *frame,
		    u32 nr)
{
	struct tm_mech_state *s = e->mech_state;
	u32 at, n, i, first;

	for (at = 0; at < nr; at += n) {
		first = s->slot_of[frame[at]];
		n = 1;
		while (at + n < nr && s->slot_of[frame[at + n]] == first + n)
			n++;
		if (give(e, block + at, first, (size_t)n << e->block_shift))
			break;
		for (i = 0; i < n; i++)
			s->slot_of[frame[at + i]] = FRAME_AWAY;
		slots_put_empty(e, first, n);
	}
	return at;
}

static u32 move_map_run(struct tm_uffd_engine *e, unsigned int lane, u64 block,
			const u32 *frame, u32 nr, unsigned int flags)
{
	bool zero = flags & TM_MAP_ZERO;
	u32 ready = zero ? frames_zero(e, lane, frame, nr) : nr;
	u32 at = give_run(e, block, frame, ready);
	int err;

	/* no pages were to be had for the others */
	if (at == ready && at < nr && !e->mech_state->huge)
		at += map_zeros(e, block + at, frame + at, nr - at, &err);
	return at;
}

/*
 * EBUSY: pinned. EINVAL: locked or protected. ENOENT: the program made a hole
 * itself, and hears of it when it gets there.
 */
static void unmap_failed(u64 block, size_t page, int err)
{
	if (err == -EBUSY || err == -EINVAL || err == -ENOENT)
		return;
	tm_lane_log(TM_LOG_ERROR, "unmap block %llu, page %zu: %s; it stays",
		    (unsigned long long)block, page, strerror(-err));
}

/* All of it, or nothing. */
static bool huge_unmap(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		       u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	u32 slot = huge_take_empty(s, lane);
	size_t done;
	int err;

	err = tm_uffd_move(e->uffd.fd, slot_addr(e, slot),
			   tm_engine_addr(e, block), frame_bytes(e, frame),
			   &done);
	if (!err) {
		s->slot_of[frame] = slot;
		return true;
	}
	if (done)
		TM_BUG_ON(give(e, block, slot, done));
	slots_put_empty(e, slot, s->huge_blocks);
	unmap_failed(block, done / TM_PAGE, err);
	return false;
}

static u32 move_unmap_run(struct tm_uffd_engine *e, unsigned int lane,
			  u64 block, const u32 *frame, u32 nr)
{
	struct tm_mech_state *s = e->mech_state;
	u32 at, n, i, whole, first;
	size_t done;
	int err;

	if (nr && frame_is_huge(e, *frame))
		return huge_unmap(e, lane, block, *frame);

	for (at = 0; at < nr; at += n) {
		n = slots_take_empty(s, lane, nr - at, &first);
		err = tm_uffd_move(e->uffd.fd, slot_addr(e, first),
				   tm_engine_addr(e, block + at),
				   (size_t)n << e->block_shift, &done);
		whole = err ? (u32)(done >> e->block_shift) : n;
		for (i = 0; i < whole; i++)
			s->slot_of[frame[at + i]] = first + i;
		if (!err)
			continue;
		/* The block stays where it is, whole. */
		done -= (size_t)whole << e->block_shift;
		if (done)
			TM_BUG_ON(give(e, block + at + whole, first + whole,
				       done));
		slots_put_empty(e, first + whole, n - whole);
		unmap_failed(block + at + whole, done / TM_PAGE, err);
		return at + whole;
	}
	return at;
}

static int move_unmap(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		      u32 frame)
{
	return move_unmap_run(e, lane, block, &frame, 1) ? TM_UNMAP_UNKNOWN
							 : -EBUSY;
}

static void move_drop(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		      u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	bool huge = frame_is_huge(e, frame);
	u32 slot = s->slot_of[frame], nr = huge ? s->huge_blocks : 1;

	s->slot_of[frame] = FRAME_UNUSED;
	if (slot == FRAME_UNUSED)
		return;
	if (slot == FRAME_AWAY) {
		/* Whoever has the pages pinned may keep them. */
		madvise(tm_engine_addr(e, block), frame_bytes(e, frame),
			MADV_DONTNEED);
		__atomic_sub_fetch(&s->populated, nr, __ATOMIC_RELAXED);
		return;
	}
	/* what is left of a huge slot that was split is for none again */
	if (tm_load_relaxed(&s->populated) > tm_load_relaxed(&s->keep) ||
	    (!huge && slot >= s->first_huge))
		slots_empty(e, slot, nr);
	else if (huge)
		huge_put_spare(s, slot);
	else
		slot_put_spare(s, slot);
}

/* Its pages stay where they are. */
static void move_split(struct tm_uffd_engine *e, u64 block, u32 frame,
		       const u32 *small)
{
	struct tm_mech_state *s = e->mech_state;
	u32 i, slot = s->slot_of[frame];
	bool there = slot != FRAME_UNUSED && slot != FRAME_AWAY;

	for (i = 0; i < s->huge_blocks; i++)
		s->slot_of[small[i]] = there ? slot + i : slot;
	s->slot_of[frame] = FRAME_UNUSED;
}

static void move_trim(struct tm_uffd_engine *e, u32 frames)
{
	struct tm_mech_state *s = e->mech_state;
	u32 slot;

	tm_store_relaxed(&s->keep, frames);
	while (tm_load_relaxed(&s->populated) > frames) {
		slot = huge_take_spare(s, 0);
		if (!slot)
			break;
		slots_empty(e, slot, s->huge_blocks);
	}
	for (u32 i = 0; i < s->nr_slots; i++) {
		if (tm_load_relaxed(&s->populated) <= frames)
			return;
		if (tm_load_relaxed(&s->slot[i]) == SLOT_SPARE &&
		    tm_cas(&s->slot[i], (u8)SLOT_SPARE, (u8)SLOT_USED)) {
			__atomic_sub_fetch(&s->nr_spare, 1, __ATOMIC_RELAXED);
			slots_empty(e, i, 1);
		}
	}
}

/* Returns the slots' bytes. */
static size_t huge_slots_init(struct tm_uffd_engine *e)
{
	struct tm_mech_state *s = e->mech_state;
	u32 nr = e->huge_blocks;

	s->first_huge = s->nr_slots;
	if (!nr)
		return (size_t)s->nr_slots << e->block_shift;
	s->huge_blocks = nr;
	s->first_huge = (s->nr_slots + nr - 1) / nr * nr;
	s->nr_huge_slots = e->nr_frames / nr * SLOTS_PER_FRAME + e->nr_lanes;
	s->huge_slot = tm_alloc(s->nr_huge_slots * sizeof(*s->huge_slot));
	return ((size_t)s->first_huge + (size_t)s->nr_huge_slots * nr)
	       << e->block_shift;
}

static int move_start(struct tm_uffd_engine *e)
{
	const size_t align = 2u << 20;
	struct tm_mech_state *s;
	u32 nr_frames;
	char *area;
	int err;

	s = tm_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	e->mech_state = s;
	s->huge = e->engine.block == align;
	s->keep = e->nr_frames;
	/* one more for each lane, which may just have found none spare */
	s->nr_slots = e->nr_frames * SLOTS_PER_FRAME + e->nr_lanes;
	s->slot = tm_alloc(s->nr_slots);
	nr_frames = e->nr_frames +
		    (e->huge_blocks ? e->nr_frames / e->huge_blocks : 0);
	s->slot_of = tm_alloc(nr_frames * sizeof(*s->slot_of));
	s->zero_bytes =
		e->engine.block > ZERO_BYTES ? e->engine.block : ZERO_BYTES;
	s->zeros = mmap(NULL, s->zero_bytes, PROT_READ,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->stage_bytes = huge_slots_init(e) + align;
	area = mmap(NULL, s->stage_bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!s->slot || !s->slot_of || (s->huge_blocks && !s->huge_slot) ||
	    s->zeros == MAP_FAILED || area == MAP_FAILED)
		return -ENOMEM;
	memset(s->slot_of, 0xff, nr_frames * sizeof(*s->slot_of));
	for (u32 i = 0; i < e->nr_lanes; i++)
		s->cursor[i].spare = s->cursor[i].empty =
			i * (s->nr_slots / e->nr_lanes);
	madvise((void *)s->zeros, s->zero_bytes, MADV_NOHUGEPAGE);
	madvise((void *)s->zeros, s->zero_bytes, MADV_POPULATE_READ);
	madvise(area, s->stage_bytes, MADV_DONTFORK);
	madvise(area, s->stage_bytes, MADV_DONTDUMP);
	madvise(area, s->stage_bytes,
		s->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	s->stage = (char *)(((uintptr_t)area + align - 1) & ~(align - 1));
	if (s->huge_blocks)
		madvise(slot_addr(e, s->first_huge),
			(size_t)s->nr_huge_slots * s->huge_blocks
				<< e->block_shift,
			MADV_HUGEPAGE);
	err = tm_uffd_register(e->uffd.fd, s->stage, s->stage_bytes - align,
			       UFFDIO_REGISTER_MODE_MISSING);
	return err;
}

const struct tm_mech_ops tm_mech_move = {
	.name = "move",
	.can_cache = true,
	.uffd_features = UFFD_FEATURE_MOVE,
	.register_mode = UFFDIO_REGISTER_MODE_MISSING,
	.start = move_start,
	.fill = move_fill,
	.bytes = move_bytes,
	.map = move_map,
	.map_run = move_map_run,
	.unmap = move_unmap,
	.unmap_run = move_unmap_run,
	.drop = move_drop,
	.split = move_split,
	.trim = move_trim,
};
