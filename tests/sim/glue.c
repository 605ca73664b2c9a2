// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulator's struct tm_pager_ops: frames, and the page table that says
 * which of them the program sees. Every rule that pager.h makes about the order
 * of calls is checked here.
 */
#include "tests/sim/sim.h"

static void op_enter(u64 block)
{
	sim_check(block < sim.config.pager.nr_blocks, "block %llu",
		  (unsigned long long)block);
	sim.block[block].ops++;
	sched_yield_lane();
}

static void op_leave(u64 block)
{
	sched_yield_lane();
	sim.block[block].ops--;
}

static struct sim_frame *frame_of(u64 block, u32 frame)
{
	struct sim_frame *f = &sim.frame[frame];

	sim_check(frame < sim.config.pager.nr_frames, "frame %u", frame);
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

static int glue_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		    unsigned int flags)
{
	struct sim_block *b = &sim.block[block];
	struct sim_frame *f;
	int err = 0;

	op_enter(block);
	f = frame_of(block, frame);
	if (flags & TM_MAP_ZERO) {
		sim_check(f->state == FRAME_FREE,
			  "new block %llu in used frame",
			  (unsigned long long)block);
		sim_check(b->frame == TM_NO_FRAME, "block %llu mapped twice",
			  (unsigned long long)block);
		if (sim.config.sabotage != SABOTAGE_ZERO)
			memset(&f->content, 0, sizeof(f->content));
		f->block = block;
	} else {
		f = stable_frame(block, frame, "map");
		sim_check(!f->stores, "map during a store");
		sim_check(b->frame == TM_NO_FRAME || b->frame == frame,
			  "block %llu mapped twice", (unsigned long long)block);
	}
	sim_check(!b->failed || b->discarding, "failed block %llu mapped",
		  (unsigned long long)block);
	if (!sim.calm && sim_chance(sim.config.map_error)) {
		sim_trace("map block %llu frame %u: error",
			  (unsigned long long)block, frame);
		b->causes |= CAUSE_MAP_ERROR;
		err = -ENOMEM;
	} else {
		sim_trace("map block %llu frame %u flags %u",
			  (unsigned long long)block, frame, flags);
		f->state = FRAME_MAPPED;
		f->dirty = false;
		f->accessed = true;
		b->frame = frame;
		/* A copy that is damaged stays so. */
		b->causes &= CAUSE_DAMAGED;
		program_wake(block);
	}
	op_leave(block);
	return err;
}

static int glue_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	const struct sim_config *c = &sim.config;
	struct sim_block *b = &sim.block[block];
	struct sim_frame *f;
	int answer;

	op_enter(block);
	f = frame_of(block, frame);
	sim_check(f->state == FRAME_MAPPED, "unmap of frame %u in state %d",
		  frame, f->state);
	if (b->pinned_until > sim.now) {
		answer = -EBUSY;
	} else {
		f->state = FRAME_STABLE;
		/* Without a cache only writing is taken away. */
		if (c->pager.can_cache || c->exact_dirty)
			page_clear(block);
		answer = !c->exact_dirty ? TM_UNMAP_UNKNOWN
			 : f->dirty && c->sabotage != SABOTAGE_DIRTY
				 ? TM_UNMAP_DIRTY
				 : TM_UNMAP_CLEAN;
	}
	sim_trace("unmap block %llu frame %u: %d", (unsigned long long)block,
		  frame, answer);
	op_leave(block);
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

static void glue_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	struct sim_frame *f;

	op_enter(block);
	f = frame_of(block, frame);
	sim_check(f->state != FRAME_FILLING, "drop of a frame being filled");
	sim_check(!f->stores, "drop of a frame being stored");
	sim_trace("drop block %llu frame %u", (unsigned long long)block, frame);
	if (sim.block[block].frame == frame)
		page_clear(block);
	f->state = FRAME_FREE;
	f->content.word[0] = ~f->content.word[0];
	op_leave(block);
}

static void glue_accessed(void *ctx, struct tm_lane *lane, u64 block,
			  const u32 *frame, u32 nr, int *answer)
{
	struct sim_frame *f;
	u32 i;

	for (i = 0; i < nr; i++) {
		op_enter(block + i);
		f = frame_of(block + i, frame[i]);
		answer[i] =
			sim.config.accessed_bits ? f->accessed : -EOPNOTSUPP;
		f->accessed = false;
		op_leave(block + i);
	}
}

static void glue_wake(void *ctx, struct tm_lane *lane, u64 block)
{
	op_enter(block);
	sim_trace("wake block %llu", (unsigned long long)block);
	program_wake(block);
	op_leave(block);
}

static void glue_fail(void *ctx, struct tm_lane *lane, u64 block, int err)
{
	op_enter(block);
	program_failed(block, err);
	op_leave(block);
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

	if (sim.config.sabotage == SABOTAGE_FINGERPRINT)
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
			frame_of(io->seg[i].block, io->seg[i].frame);

		sim_check(f->state == FRAME_FREE, "fetch into used frame %u",
			  io->seg[i].frame);
		f->state = FRAME_FILLING;
		f->block = io->seg[i].block;
	}
	net_fetch(io);
	sched_yield_lane();
}

static void glue_store(void *ctx, struct tm_io *io)
{
	unsigned int i;

	for (i = 0; i < io->nr; i++)
		stable_frame(io->seg[i].block, io->seg[i].frame, "store")
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

	for (i = 0; i < sim.config.pager.nr_frames; i++)
		sim_check(sim.frame[i].state == FRAME_FREE,
			  "frame %u of block %llu leaked", i,
			  (unsigned long long)sim.frame[i].block);
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
	.accessed = glue_accessed,
	.wake = glue_wake,
	.fail = glue_fail,
	.checksum = glue_checksum,
	.fingerprint = glue_fingerprint,
};
