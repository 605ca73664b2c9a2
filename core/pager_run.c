// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's runs: neighbours that are mapped with one call, after they were
 * fetched together or because one of them is used again. Lock order: see
 * pager_internal.h.
 */
#include "core/pager_internal.h"

void tm_run_map(struct tm_lane *lane, const struct tm_ref *first,
		const u32 *frame, u32 nr, unsigned int flags)
{
	struct tm_pager *p = lane->pager;
	bool zero = flags & TM_MAP_ZERO;
	u32 i, done;
	u64 now;

	done = p->ops->map_run ? p->ops->map_run(p->ctx, lane, first->block,
						 frame, nr, flags)
			       : 0;
	now = p->ops->now(p->ctx);
	for (i = 0; i < nr; i++) {
		struct tm_ref b = tm_ref_neighbour(first, i);
		struct tm_frame *f = &p->frames.at[frame[i]];

		tm_lock_acquire(&b.shard->lock);
		if (i < done) {
			f->mapped_ns = f->flags & TM_FRAME_FAULT ? now : 0;
			if (zero)
				f->flags |= TM_FRAME_ZERO;
			tm_block_settle(lane, &b, TM_HELD_MAPPED, 0);
		} else {
			b.e->flags |= TM_BLOCK_WANTED;
			tm_block_settle(lane, &b,
					zero ? TM_HELD_NOTHING : TM_HELD_BYTES,
					0);
		}
	}
}

/* It joins a run; shard locked. */
static void run_add(const struct tm_ref *b, u32 *frame, u32 *nr)
{
	b->e->flags &=
		(u16) ~(TM_BLOCK_RETRY | TM_BLOCK_WANTED | TM_BLOCK_WRITE);
	b->e->state = TM_MAPPING;
	frame[(*nr)++] = b->e->frame;
}

bool tm_run_joins(struct tm_pager *p, const struct tm_ref *b)
{
	return !(b->e->flags & TM_BLOCK_DISCARD) &&
	       !(tm_ref_frame(p, b)->flags & TM_FRAME_MARKER);
}

u32 tm_run_fetched(struct tm_lane *lane, const struct tm_ref *first, u32 nr)
{
	struct tm_pager *p = lane->pager;
	u32 frame[TM_RUN_BLOCKS], run = 0;
	struct tm_ref b, next;

	if (nr < 2 || !p->ops->map_run)
		return 0;
	tm_lock_acquire(&first->shard->lock);
	next = tm_ref_neighbour(first, 1);
	if (tm_run_joins(p, first) && tm_run_joins(p, &next))
		for (b = *first; run < nr && tm_run_joins(p, &b);
		     b = tm_ref_neighbour(&b, 1))
			run_add(&b, frame, &run);
	tm_lock_release(&first->shard->lock);
	if (run)
		tm_run_map(lane, first, frame, run, 0);
	return run;
}

void tm_run_rescue(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		   u32 probe)
{
	struct tm_pager *p = lane->pager;
	u32 frame[TM_RUN_BLOCKS], i, run;
	struct tm_ref b;

	for (i = 0; i < nr; i += run + 1) {
		run = 0;
		tm_lock_acquire(&first->shard->lock);
		for (b = tm_ref_neighbour(first, i);
		     i + run < nr && b.e->state == TM_CACHED;
		     b = tm_ref_neighbour(&b, 1)) {
			/* read ahead, and not asked for yet */
			if (tm_ref_frame(p, &b)->flags & TM_FRAME_AHEAD)
				break;
			if (i + run == probe) {
				tm_ref_frame(p, &b)->flags |= TM_FRAME_PROBE;
				break;
			}
			p->config.replace->remove(&b.shard->replace,
						  b.e->frame);
			run_add(&b, frame, &run);
		}
		tm_lock_release(&first->shard->lock);
		b = tm_ref_neighbour(first, i);
		if (run)
			tm_run_map(lane, &b, frame, run, 0);
	}
}
