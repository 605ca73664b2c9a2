// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mechanism "move" (Linux 6.8): a staging area holds one slot per frame, and
 * UFFDIO_MOVE carries its pages into the region and out again. Pages are
 * recycled: in the steady state nothing is allocated, zeroed or copied, and a
 * block disappears from the program atomically. Pages that someone has pinned
 * (direct I/O under way) refuse to be moved.
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
 * A slot's pages. AWAY: in the region. SPARE: here, and the frame is not in
 * use. Only SPARE is left by compare-and-swap, since tm_mech_ops.trim() looks
 * at frames that it does not own.
 */
enum slot { SLOT_EMPTY, SLOT_SPARE, SLOT_FULL, SLOT_AWAY, SLOT_TRIMMING };

struct tm_mech_state {
	char *stage;
	size_t stage_bytes;
	u8 *slot;
	size_t slot_bytes;
	const char *zeros; /* one block, all of it the kernel's zero page */
	bool huge;
	u32 populated; /* slots that are not EMPTY */
	u32 keep;      /* as many may stay so */
};

static char *slot_addr(struct tm_uffd_engine *e, u32 frame)
{
	return e->mech_state->stage + ((size_t)frame << e->block_shift);
}

static void slot_empty(struct tm_uffd_engine *e, u32 frame)
{
	madvise(slot_addr(e, frame), e->engine.block, MADV_DONTNEED);
	__atomic_sub_fetch(&e->mech_state->populated, 1, __ATOMIC_RELAXED);
	tm_store_release(&e->mech_state->slot[frame], SLOT_EMPTY);
}

/* The frame comes into use: SPARE becomes FULL; returns EMPTY or FULL. */
static enum slot slot_take(struct tm_uffd_engine *e, u32 frame)
{
	u8 *slot = &e->mech_state->slot[frame];

	for (;;) {
		switch (tm_load_acquire(slot)) {
		case SLOT_SPARE:
			if (tm_cas(slot, SLOT_SPARE, SLOT_FULL))
				return SLOT_FULL;
			break;
		case SLOT_TRIMMING:
			sched_yield();
			break;
		default:
			return tm_load_acquire(slot);
		}
	}
}

/* Fresh zero pages for an empty slot. */
static int slot_populate(struct tm_uffd_engine *e, u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	char *addr = slot_addr(e, frame);
	size_t done;
	int err;

	if (s->huge) {
		/*
		 * UFFDIO_COPY knows small pages only, so fault them in as usual
		 * while the slot is not registered.
		 */
		err = tm_uffd_unregister(e->uffd.fd, addr, e->engine.block);
		if (!err && madvise(addr, e->engine.block, MADV_POPULATE_WRITE))
			err = -errno;
		if (!err)
			err = tm_uffd_register(e->uffd.fd, addr,
					       e->engine.block,
					       UFFDIO_REGISTER_MODE_MISSING);
	} else {
		err = tm_uffd_copy(e->uffd.fd, addr, s->zeros, e->engine.block,
				   &done);
	}
	if (err)
		return err;
	__atomic_add_fetch(&s->populated, 1, __ATOMIC_RELAXED);
	tm_store_release(&s->slot[frame], SLOT_FULL);
	return 0;
}

static void *move_fill(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		       u32 frame)
{
	if (slot_take(e, frame) == SLOT_EMPTY && slot_populate(e, frame))
		return NULL;
	return slot_addr(e, frame);
}

static void *move_bytes(struct tm_uffd_engine *e, u64 block, u32 frame)
{
	return slot_addr(e, frame);
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
 * The slot's first @len bytes into the region, where none may be: moved, or
 * page by page copied where pages cannot move. In case of an error all is as
 * before.
 */
static int give(struct tm_uffd_engine *e, u64 block, u32 frame, size_t len)
{
	char *app = tm_engine_addr(e, block), *slot = slot_addr(e, frame);
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

static int move_map(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		    u32 frame, unsigned int flags)
{
	struct tm_mech_state *s = e->mech_state;
	size_t done;
	int err;

	if (slot_take(e, frame) == SLOT_EMPTY) {
		TM_BUG_ON(!(flags & TM_MAP_ZERO));
		if (!s->huge) {
			err = tm_uffd_copy(e->uffd.fd, tm_engine_addr(e, block),
					   s->zeros, e->engine.block, &done);
			if (err)
				return err;
			__atomic_add_fetch(&s->populated, 1, __ATOMIC_RELAXED);
			goto away;
		}
		err = slot_populate(e, frame);
		if (err)
			return err;
	} else if (flags & TM_MAP_ZERO) {
		memset(slot_addr(e, frame), 0, e->engine.block);
	}
	err = give(e, block, frame, e->engine.block);
	if (err)
		return err;
away:
	tm_store_release(&s->slot[frame], SLOT_AWAY);
	return 0;
}

static int move_unmap(struct tm_uffd_engine *e, u64 block, u32 frame)
{
	char *app = tm_engine_addr(e, block), *slot = slot_addr(e, frame);
	size_t done;
	int err;

	err = tm_uffd_move(e->uffd.fd, slot, app, e->engine.block, &done);
	if (!err) {
		tm_store_release(&e->mech_state->slot[frame], SLOT_FULL);
		return TM_UNMAP_UNKNOWN;
	}
	/* The block stays where it is, whole. */
	if (done)
		TM_BUG_ON(give(e, block, frame, done));
	/*
	 * EBUSY: pinned. EINVAL: locked or protected. ENOENT: the program made
	 * a hole itself, and hears of it when it gets there.
	 */
	if (err != -EBUSY && err != -EINVAL && err != -ENOENT)
		tm_lane_log(TM_LOG_ERROR,
			    "unmap block %llu, page %zu: %s; it stays",
			    (unsigned long long)block, done / TM_PAGE,
			    strerror(-err));
	return -EBUSY;
}

static void move_drop(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		      u32 frame)
{
	struct tm_mech_state *s = e->mech_state;

	if (s->slot[frame] == SLOT_AWAY && move_unmap(e, block, frame) < 0) {
		/* Whoever has the pages pinned may keep them. */
		madvise(tm_engine_addr(e, block), e->engine.block,
			MADV_DONTNEED);
		slot_empty(e, frame);
	}
	if (s->slot[frame] == SLOT_EMPTY)
		return;
	if (tm_load_relaxed(&s->populated) > tm_load_relaxed(&s->keep))
		slot_empty(e, frame);
	else
		tm_store_release(&s->slot[frame], SLOT_SPARE);
}

static void move_trim(struct tm_uffd_engine *e, u32 frames)
{
	struct tm_mech_state *s = e->mech_state;

	tm_store_relaxed(&s->keep, frames);
	for (u32 i = 0; i < e->nr_frames; i++) {
		if (tm_load_relaxed(&s->populated) <= frames)
			return;
		if (tm_load_relaxed(&s->slot[i]) == SLOT_SPARE &&
		    tm_cas(&s->slot[i], SLOT_SPARE, SLOT_TRIMMING))
			slot_empty(e, i);
	}
}

static int move_start(struct tm_uffd_engine *e)
{
	const size_t align = 2u << 20;
	struct tm_mech_state *s;
	char *area;
	int err;

	s = tm_alloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->huge = e->engine.block == align;
	s->keep = e->nr_frames;
	s->slot_bytes = e->nr_frames;
	s->slot = tm_alloc(s->slot_bytes);
	s->zeros = mmap(NULL, e->engine.block, PROT_READ,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	s->stage_bytes = ((size_t)e->nr_frames << e->block_shift) + align;
	area = mmap(NULL, s->stage_bytes, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (!s->slot || s->zeros == MAP_FAILED || area == MAP_FAILED)
		return -ENOMEM;
	madvise((void *)s->zeros, e->engine.block, MADV_NOHUGEPAGE);
	madvise((void *)s->zeros, e->engine.block, MADV_POPULATE_READ);
	madvise(area, s->stage_bytes, MADV_DONTFORK);
	madvise(area, s->stage_bytes, MADV_DONTDUMP);
	madvise(area, s->stage_bytes,
		s->huge ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	s->stage = (char *)(((uintptr_t)area + align - 1) & ~(align - 1));
	err = tm_uffd_register(e->uffd.fd, s->stage, s->stage_bytes - align,
			       UFFDIO_REGISTER_MODE_MISSING);
	e->mech_state = s;
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
	.unmap = move_unmap,
	.drop = move_drop,
	.trim = move_trim,
};
