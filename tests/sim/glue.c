// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulator's struct tm_pager_ops: frames, and the page table that says
 * which of them the program sees. Every rule that pager.h makes about the order
 * of calls is checked here.
 */
#include "tests/sim/sim.h"

bool glue_is_huge(u32 frame)
{
	return frame >= sim.config.pager.nr_frames;
}

/* With huge blocks only, the lie is about those. */
bool glue_lies(enum sim_sabotage kind, u32 frame)
{
	return sim.config.sabotage == kind &&
	       (!sim.huge_only || glue_is_huge(frame));
}

struct sim_frame *glue_frame(u64 block, u32 frame)
{
	const struct tm_pager_config *p = &sim.config.pager;
	u32 nr = p->huge_blocks, huge = frame - p->nr_frames;

	if (!glue_is_huge(frame))
		return &sim.frame[frame];
	sim_check(nr && huge < p->nr_frames / nr, "frame %u", frame);
	return &sim.huge[huge * nr + (u32)(block & (nr - 1))];
}

/* How many blocks a call is about that names this one and this frame. */
static u32 nr_in(u64 block, u32 frame)
{
	u32 nr = sim.config.pager.huge_blocks;

	if (!glue_is_huge(frame))
		return 1;
	sim_check(nr && block % nr == 0, "block %llu begins no huge one",
		  (unsigned long long)block);
	return nr;
}

static void op_enter(u64 block, u32 nr)
{
	u32 i;

	sim_check(block < sim.config.pager.nr_blocks &&
			  nr <= sim.config.pager.nr_blocks - block,
		  "blocks %llu, %u", (unsigned long long)block, nr);
	if (nr > 1)
		sim.busy = block + sim_random(nr);
	for (i = 0; i < nr; i++)
		sim.block[block + i].ops++;
	sched_yield_lane();
}

static void op_leave(u64 block, u32 nr)
{
	u32 i;

	sched_yield_lane();
	for (i = 0; i < nr; i++)
		sim.block[block + i].ops--;
}

static struct sim_frame *frame_of(u64 block, u32 frame)
{
	struct sim_frame *f = glue_frame(block, frame);

	sim_check(f->state == FRAME_FREE || f->block == block,
		  "frame %u is block %llu's, not %llu's", frame,
		  (unsigned long long)f->block, (unsigned long long)block);
	return f;
}

/* Has this frame the block's bytes, out of the program's reach? */
static struct sim_frame *stable_frame(u64 block, u32 frame, const char *what)
{
	struct sim_frame *f = frame_of(block, frame);

	sim_check(f->state == FRAME_STABLE, "%s of frame %u in state %d", what,
		  frame, f->state);
	return f;
}

/* The program sees the block no more. */
static void page_clear(u64 block)
{
	sim.block[block].frame = TM_NO_FRAME;
}

void glue_filled(u64 block, u32 frame, const struct content *content)
{
	struct sim_frame *f = frame_of(block, frame);

	sim_check(f->state == FRAME_FILLING, "frame %u was not filling", frame);
	f->content = *content;
	f->state = FRAME_STABLE;
}

void glue_not_filled(u64 block, u32 frame)
{
	struct sim_frame *f = frame_of(block, frame);

	sim_check(f->state == FRAME_FILLING, "frame %u was not filling", frame);
	f->state = FRAME_FREE;
}

const struct content *glue_stored_content(u64 block, u32 frame)
{
	return &stable_frame(block, frame, "store")->content;
}

static u64 glue_now(void *ctx)
{
	return sim.now;
}

/* Whether that is allowed at all. */
static void map_check(u64 block, u32 frame, unsigned int flags)
{
	const struct sim_block *b = &sim.block[block];

	if (flags & TM_MAP_ZERO) {
		sim_check(frame_of(block, frame)->state == FRAME_FREE,
			  "new block %llu in used frame",
			  (unsigned long long)block);
		sim_check(b->frame == TM_NO_FRAME, "block %llu mapped twice",
			  (unsigned long long)block);
	} else {
		sim_check(!stable_frame(block, frame, "map")->stores,
			  "map during a store");
		sim_check(b->frame == TM_NO_FRAME || b->frame == frame,
			  "block %llu mapped twice", (unsigned long long)block);
	}
	sim_check(!b->failed || b->discarding, "failed block %llu mapped",
		  (unsigned long long)block);
}

static void map_one(u64 block, u32 frame, unsigned int flags)
{
	struct sim_block *b = &sim.block[block];
	struct sim_frame *f = frame_of(block, frame);

	if (flags & TM_MAP_ZERO && !glue_lies(SABOTAGE_ZERO, frame))
		memset(&f->content, 0, sizeof(f->content));
	f->block = block;
	f->state = FRAME_MAPPED;
	f->dirty = false;
	f->accessed = true;
	b->frame = frame;
	/* A copy that is damaged stays so. */
	b->causes &= CAUSE_DAMAGED;
	program_wake(block);
}

static int glue_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		    unsigned int flags)
{
	u32 i, nr = nr_in(block, frame);
	int err = 0;

	op_enter(block, nr);
	for (i = 0; i < nr; i++)
		map_check(block + i, frame, flags);
	if (!sim.calm && sim_chance(sim.config.map_error)) {
		sim_trace("map block %llu frame %u: error",
			  (unsigned long long)block, frame);
		for (i = 0; i < nr; i++)
			sim.block[block + i].causes |= CAUSE_MAP_ERROR;
		err = -ENOMEM;
	} else {
		sim_trace("map block %llu frame %u flags %u",
			  (unsigned long long)block, frame, flags);
		for (i = 0; i < nr; i++)
			map_one(block + i, frame, flags);
	}
	op_leave(block, nr);
	return err;
}

static bool is_pinned(u64 block, u32 nr)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (sim.block[block + i].pinned_until > sim.now)
			return true;
	return false;
}

/* Returns whether it was changed. */
static bool unmap_one(u64 block, u32 frame)
{
	const struct sim_config *c = &sim.config;
	struct sim_frame *f = frame_of(block, frame);

	f->state = FRAME_STABLE;
	/* Without a cache only writing is taken away. */
	if (c->pager.can_cache || c->exact_dirty)
		page_clear(block);
	return f->dirty;
}

static int glue_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	u32 i, nr = nr_in(block, frame);
	bool dirty = false;
	int answer;

	op_enter(block, nr);
	for (i = 0; i < nr; i++)
		sim_check(frame_of(block + i, frame)->state == FRAME_MAPPED,
			  "unmap of frame %u in state %d", frame,
			  frame_of(block + i, frame)->state);
	if (is_pinned(block, nr)) {
		answer = -EBUSY;
	} else {
		for (i = 0; i < nr; i++)
			dirty |= unmap_one(block + i, frame);
		if (glue_lies(SABOTAGE_DIRTY, frame))
			dirty = false;
		answer = dirty ? TM_UNMAP_DIRTY : TM_UNMAP_CLEAN;
		/* a changed huge one may not know which of it that is */
		if (!sim.config.exact_dirty ||
		    (nr > 1 && dirty && sim_random(2)))
			answer = TM_UNMAP_UNKNOWN;
	}
	sim_trace("unmap block %llu frame %u: %d", (unsigned long long)block,
		  frame, answer);
	op_leave(block, nr);
	return answer;
}

/* As far as seed and luck let it: up to the first that cannot. */
static u32 glue_map_run(void *ctx, struct tm_lane *lane, u64 block,
			const u32 *frame, u32 nr, unsigned int flags)
{
	u32 i;

	sim.busy = block + sim_random(nr);
	for (i = 0; i < nr && !sim_chance(sim.config.run_ends); i++)
		if (glue_map(ctx, lane, block + i, frame[i], flags))
			break;
	return i;
}

static u32 glue_unmap_run(void *ctx, struct tm_lane *lane, u64 block,
			  const u32 *frame, u32 nr, int *answer)
{
	u32 i;

	sim.busy = block + sim_random(nr);
	for (i = 0; i < nr && !sim_chance(sim.config.run_ends); i++)
		answer[i] = glue_unmap(ctx, lane, block + i, frame[i]);
	return i;
}

static void drop_one(u64 block, u32 frame)
{
	struct sim_frame *f = frame_of(block, frame);

	sim_check(f->state != FRAME_FILLING, "drop of a frame being filled");
	sim_check(!f->stores, "drop of a frame being stored");
	if (sim.block[block].frame == frame)
		page_clear(block);
	f->state = FRAME_FREE;
	f->content.word[0] = ~f->content.word[0];
}

static void glue_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	u32 i, nr = nr_in(block, frame);

	op_enter(block, nr);
	sim_trace("drop block %llu frame %u", (unsigned long long)block, frame);
	for (i = 0; i < nr; i++)
		drop_one(block + i, frame);
	op_leave(block, nr);
}

static void split_one(u64 block, u32 huge, u32 small)
{
	struct sim_frame *from = frame_of(block, huge);
	struct sim_frame *to = &sim.frame[small];

	sim_check(!glue_is_huge(small) && to->state == FRAME_FREE,
		  "split into used frame %u", small);
	sim_check(from->state != FRAME_FILLING && !from->stores,
		  "split of a frame in use");
	*to = *from;
	to->block = block;
	if (glue_lies(SABOTAGE_SPLIT, huge))
		to->content.word[0] ^= 1;
	if (sim.block[block].frame == huge)
		sim.block[block].frame = small;
	from->state = FRAME_FREE;
	from->content.word[0] = ~from->content.word[0];
}

static void glue_split(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		       const u32 *small)
{
	u32 i, nr = nr_in(block, frame);

	sim_check(glue_is_huge(frame), "split of small frame %u", frame);
	op_enter(block, nr);
	sim_trace("split block %llu frame %u", (unsigned long long)block,
		  frame);
	for (i = 0; i < nr; i++)
		split_one(block + i, frame, small[i]);
	op_leave(block, nr);
}

static bool take_accessed(u64 block, u32 frame, u32 nr)
{
	bool accessed = false;
	struct sim_frame *f;
	u32 i;

	for (i = 0; i < nr; i++) {
		f = frame_of(block + i, frame);
		accessed |= f->accessed;
		f->accessed = false;
	}
	return accessed;
}

static void glue_accessed(void *ctx, struct tm_lane *lane, u64 block,
			  const u32 *frame, u32 nr, int *answer)
{
	u32 i, n;
	bool accessed;

	for (i = 0; i < nr; i++) {
		n = nr_in(block + i, frame[i]);
		op_enter(block + i, n);
		accessed = take_accessed(block + i, frame[i], n);
		answer[i] = sim.config.accessed_bits ? accessed : -EOPNOTSUPP;
		op_leave(block + i, n);
	}
}

static void glue_wake(void *ctx, struct tm_lane *lane, u64 block)
{
	op_enter(block, 1);
	sim_trace("wake block %llu", (unsigned long long)block);
	program_wake(block);
	op_leave(block, 1);
}

static void glue_fail(void *ctx, struct tm_lane *lane, u64 block, int err)
{
	op_enter(block, 1);
	program_failed(block, err);
	op_leave(block, 1);
}

static u32 glue_checksum(void *ctx, u64 block, u32 frame, u32 seed)
{
	struct sim_frame *f = stable_frame(block, frame, "checksum");

	if (sim.config.sabotage == SABOTAGE_CHECKSUM)
		return 0;
	return tm_crc32c(seed, &f->content, sizeof(f->content));
}

static u64 glue_fingerprint(void *ctx, u64 block, u32 frame)
{
	struct sim_frame *f = stable_frame(block, frame, "fingerprint");
	u64 hash = 0, any = 0;
	unsigned int i;

	if (glue_lies(SABOTAGE_FINGERPRINT, frame))
		return 1;
	for (i = 0; i < SIM_WORDS; i++) {
		any |= f->content.word[i];
		hash ^= f->content.word[i];
		hash *= 0x9e3779b97f4a7c15ull;
		hash ^= hash >> 29;
	}
	return any ? hash | 1 : 0;
}

static void glue_fetch(void *ctx, struct tm_io *io)
{
	unsigned int i;

	for (i = 0; i < io->nr; i++) {
		struct sim_frame *f =
			frame_of(io_block(io, i), io_frame(io, i));

		sim_check(f->state == FRAME_FREE, "fetch into used frame %u",
			  io_frame(io, i));
		f->state = FRAME_FILLING;
		f->block = io_block(io, i);
	}
	net_fetch(io);
	sched_yield_lane();
}

static void glue_store(void *ctx, struct tm_io *io)
{
	unsigned int i;

	for (i = 0; i < io->nr; i++)
		stable_frame(io_block(io, i), io_frame(io, i), "store")
			->stores++;
	net_store(io);
	sched_yield_lane();
}

void glue_init(void)
{
	unsigned int i;

	for (i = 0; i < SIM_BLOCKS_MAX; i++)
		sim.block[i].frame = TM_NO_FRAME;
}

void glue_check_empty(void)
{
	unsigned int i;

	for (i = 0; i < sim.config.pager.nr_frames; i++) {
		sim_check(sim.frame[i].state == FRAME_FREE,
			  "frame %u of block %llu leaked", i,
			  (unsigned long long)sim.frame[i].block);
		sim_check(sim.huge[i].state == FRAME_FREE,
			  "part %u of huge frames, of block %llu, leaked", i,
			  (unsigned long long)sim.huge[i].block);
	}
}

const struct tm_pager_ops glue_ops = {
	.now = glue_now,
	.fetch = glue_fetch,
	.store = glue_store,
	.discard = net_discard,
	.reserve = net_reserve,
	.release = net_release,
	.map = glue_map,
	.map_run = glue_map_run,
	.unmap = glue_unmap,
	.unmap_run = glue_unmap_run,
	.drop = glue_drop,
	.split = glue_split,
	.accessed = glue_accessed,
	.wake = glue_wake,
	.fail = glue_fail,
	.checksum = glue_checksum,
	.fingerprint = glue_fingerprint,
};
