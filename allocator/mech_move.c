// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mechanism "move" (Linux 6.8): UFFDIO_MOVE carries a block's pages between the
 * region and a slot of the staging area, where its bytes are received, looked
 * at and sent. Pages are recycled: in the steady state nothing is allocated,
 * zeroed or copied, and a block disappears from the program atomically. Pages
 * that someone has pinned (direct I/O under way) refuse to be moved.
 *
 * A frame has a slot (stage.h) only while its block is not mapped.
 *
 * Where the program changed the region itself (mlock, mprotect), pages cannot
 * move: on the way in they are copied, and on the way out they stay, as
 * pinned ones do.
 */
#include "allocator/mech.h"

#include <sys/mman.h>

#include "allocator/engine_internal.h"
#include "allocator/stage.h"

/* Instead of a frame's slot. */
#define FRAME_UNUSED (~0u)
#define FRAME_AWAY (~0u - 1) /* its pages are in the region */

struct tm_mech_state {
	struct tm_stage stage;
	u32 *slot_of; /* a frame's */
};

static bool frame_is_huge(const struct tm_uffd_engine *e, u32 frame)
{
	return frame >= e->nr_frames;
}

static u32 frame_blocks(const struct tm_uffd_engine *e, u32 frame)
{
	return frame_is_huge(e, frame) ? e->huge_blocks : 1;
}

static size_t frame_bytes(const struct tm_uffd_engine *e, u32 frame)
{
	return (size_t)frame_blocks(e, frame) << e->block_shift;
}

/* A slot with pages for a frame that has none; 0 or -errno. */
static int frame_populate(struct tm_uffd_engine *e, unsigned int lane,
			  u32 frame, bool *new)
{
	struct tm_mech_state *s = e->mech_state;
	u32 slot;
	int err;

	if (frame_is_huge(e, frame))
		err = tm_stage_take_huge(&s->stage, lane, &slot, new);
	else
		err = tm_stage_take(&s->stage, lane, &slot, new);
	if (!err)
		s->slot_of[frame] = slot;
	return err;
}

static void *move_bytes(struct tm_uffd_engine *e, u64 block, u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	u32 part = (u32)block & (frame_blocks(e, frame) - 1);

	return tm_stage_addr(&s->stage, s->slot_of[frame] + part);
}

static void *move_fill(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		       u32 frame)
{
	bool new;

	if (e->mech_state->slot_of[frame] == FRAME_UNUSED &&
	    frame_populate(e, lane, frame, &new))
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
	char *app = tm_engine_addr(e, block),
	     *slot = tm_stage_addr(&e->mech_state->stage, first);
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
	u32 i, most = (u32)(s->stage.zero_bytes >> e->block_shift);
	size_t done;

	if (most > nr)
		most = nr;
	for (i = 0; i < most && s->slot_of[frame[i]] == FRAME_UNUSED;)
		i++;
	*err = tm_uffd_copy(e->uffd.fd, tm_engine_addr(e, block),
			    s->stage.zeros, (size_t)i << e->block_shift, &done);
	nr = (u32)(done >> e->block_shift);
	tm_stage_populated(&s->stage, (int)nr);
	for (i = 0; i < nr; i++)
		s->slot_of[frame[i]] = FRAME_AWAY;
	return nr;
}

static int move_map(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		    u32 frame, unsigned int flags)
{
	struct tm_mech_state *s = e->mech_state;
	bool zero = flags & TM_MAP_ZERO, huge = frame_is_huge(e, frame), new;
	u32 slot = s->slot_of[frame];
	int err;

	if (slot == FRAME_UNUSED) {
		TM_BUG_ON(!zero);
		if (huge || s->stage.is_huge) {
			err = frame_populate(e, lane, frame, &new);
			if (err)
				return err;
			zero = !new;
		} else if (tm_stage_take_spare(&s->stage, lane, &slot)) {
			s->slot_of[frame] = slot;
		} else {
			map_zeros(e, block, &frame, 1, &err);
			return err;
		}
	}
	slot = s->slot_of[frame];
	if (zero)
		memset(tm_stage_addr(&s->stage, slot), 0,
		       frame_bytes(e, frame));
	if (huge)
		tm_stage_free_table(&s->stage, tm_engine_addr(e, block));
	err = give(e, block, slot, frame_bytes(e, frame));
	if (err)
		return err;
	s->slot_of[frame] = FRAME_AWAY;
	tm_stage_put_moved(&s->stage, slot, frame_blocks(e, frame));
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
		if (slot == FRAME_UNUSED &&
		    !tm_stage_take_spare(&s->stage, lane, &slot))
			break;
		s->slot_of[frame[i]] = slot;
		memset(tm_stage_addr(&s->stage, slot), 0, e->engine.block);
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
		tm_stage_put_moved(&s->stage, first, n);
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
	if (at == ready && at < nr && !e->mech_state->stage.is_huge)
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
	u32 slot = tm_stage_take_huge_empty(&s->stage, lane);
	size_t done;
	int err;

	err = tm_uffd_move(e->uffd.fd, tm_stage_addr(&s->stage, slot),
			   tm_engine_addr(e, block), frame_bytes(e, frame),
			   &done);
	if (!err) {
		s->slot_of[frame] = slot;
		return true;
	}
	if (done)
		TM_BUG_ON(give(e, block, slot, done));
	tm_stage_put_moved(&s->stage, slot, e->huge_blocks);
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
		n = tm_stage_take_empty(&s->stage, lane, nr - at, &first);
		err = tm_uffd_move(e->uffd.fd, tm_stage_addr(&s->stage, first),
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
		tm_stage_put_moved(&s->stage, first + whole, n - whole);
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
	u32 slot = s->slot_of[frame];

	s->slot_of[frame] = FRAME_UNUSED;
	if (slot == FRAME_AWAY) {
		/* Whoever has the pages pinned may keep them. */
		madvise(tm_engine_addr(e, block), frame_bytes(e, frame),
			MADV_DONTNEED);
		tm_stage_populated(&s->stage, -(int)frame_blocks(e, frame));
	} else if (slot != FRAME_UNUSED) {
		tm_stage_put(&s->stage, slot, frame_is_huge(e, frame));
	}
}

/* Its pages stay where they are. */
static void move_split(struct tm_uffd_engine *e, u64 block, u32 frame,
		       const u32 *small)
{
	struct tm_mech_state *s = e->mech_state;
	u32 i, slot = s->slot_of[frame];
	bool there = slot != FRAME_UNUSED && slot != FRAME_AWAY;

	for (i = 0; i < e->huge_blocks; i++)
		s->slot_of[small[i]] = there ? slot + i : slot;
	s->slot_of[frame] = FRAME_UNUSED;
}

static void move_trim(struct tm_uffd_engine *e, u32 frames)
{
	tm_stage_trim(&e->mech_state->stage, frames);
}

static int move_start(struct tm_uffd_engine *e)
{
	struct tm_mech_state *s = tm_alloc(sizeof(*s));
	u32 nr = e->nr_frames;
	int err;

	if (!s)
		return -ENOMEM;
	e->mech_state = s;
	err = tm_stage_init(&s->stage, &(struct tm_stage_config){
					       .uffd = e->uffd.fd,
					       .block_shift = e->block_shift,
					       .nr_frames = e->nr_frames,
					       .huge_blocks = e->huge_blocks,
					       .nr_lanes = e->nr_lanes,
				       });
	if (err)
		return err;
	if (e->huge_blocks)
		nr += e->nr_frames / e->huge_blocks;
	s->slot_of = tm_alloc(nr * sizeof(*s->slot_of));
	if (!s->slot_of)
		return -ENOMEM;
	memset(s->slot_of, 0xff, nr * sizeof(*s->slot_of));
	return 0;
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
