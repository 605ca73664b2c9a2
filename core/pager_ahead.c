// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's reading ahead: what is done with the windows that prefetch.c
 * finds. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

/* A demanded block this large goes alone: it shall not wait for others. */
#define DEMAND_ALONE_BYTES 65536

/*
 * New blocks are mapped at once, and other faults wait for that; more are not
 * needed, since there is no time on the way to be covered.
 */
#define ZERO_AHEAD_BYTES (1u << 20)
#define ZERO_AHEAD_LEAST 16

static u32 zeros_ahead(const struct tm_pager *p)
{
	u32 nr = ZERO_AHEAD_BYTES >> p->config.block_shift;

	return nr < ZERO_AHEAD_LEAST ? ZERO_AHEAD_LEAST : nr;
}

/* New blocks of a window, which are MAPPING, and how many more there may be. */
struct zeros {
	struct tm_ref first;
	u32 frame[TM_RUN_BLOCKS];
	u32 nr;
	u32 left;
};

static void zeros_map(struct tm_lane *lane, struct zeros *z)
{
	if (z->nr)
		tm_run_map(lane, &z->first, z->frame, z->nr, TM_MAP_ZERO);
	z->nr = 0;
}

static void zeros_add(struct tm_lane *lane, struct zeros *z,
		      const struct tm_ref *b)
{
	if (z->nr && (b->block != z->first.block + z->nr ||
		      b->block % TM_RUN_BLOCKS == 0))
		zeros_map(lane, z);
	if (!z->nr)
		z->first = *b;
	z->frame[z->nr++] = b->e->frame;
	z->left--;
}

enum ahead {
	AHEAD_ENDS,  /* nothing more is to be had */
	AHEAD_THERE, /* it is here, or on its way */
	AHEAD_HUGE,  /* the same, as part of a huge block */
	AHEAD_TAKES, /* it took a frame */
};

/*
 * Have one block of a window ready; new ones are put in @zeros, and there are
 * none where that is NULL. Never evicts: takes only frames that faults can do
 * without. @marker: TM_FRAME_MARKER if it is to be left unmapped.
 */
static enum ahead ahead_one(struct tm_lane *lane, u64 block,
			    struct zeros *zeros, u8 marker)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e;
	struct tm_ref b;
	u32 frame = TM_NO_FRAME;
	bool remote;

	if (block >= p->config.nr_blocks)
		return AHEAD_ENDS;
	e = tm_blockmap_get(&p->map, block, &lane->leaves);
	if (!e)
		return AHEAD_ENDS;
	b = tm_ref(p, block, e);

	tm_lock_acquire(&b.shard->lock);
	if (e->state == TM_TAIL) {
		tm_lock_release(&b.shard->lock);
		return AHEAD_HUGE;
	}
	remote = e->state == TM_REMOTE;
	if ((!remote && e->state != TM_ABSENT) ||
	    (e->flags & TM_BLOCK_WAITING)) {
		tm_lock_release(&b.shard->lock);
		return AHEAD_THERE;
	}
	if (remote ? tm_block_copied(p, e, e->flags) && tm_lane_room(lane, true)
		   : zeros && zeros->left)
		frame = tm_frame_get(&p->frames, tm_frames_kept(p));
	if (frame == TM_NO_FRAME) {
		tm_lock_release(&b.shard->lock);
		return AHEAD_ENDS;
	}
	if (!remote) {
		tm_frame_claim(p, &b, frame, 0, 0);
		e->state = TM_MAPPING;
		tm_lock_release(&b.shard->lock);
		zeros_add(lane, zeros, &b);
		return AHEAD_TAKES;
	}
	tm_frame_claim(p, &b, frame,
		       p->config.can_cache ? TM_FRAME_AHEAD | marker
					   : TM_FRAME_AHEAD,
		       0);
	e->state = TM_FETCHING;
	tm_fetch_add(lane, &b);
	tm_lock_release(&b.shard->lock);
	tm_lane_flush_full(lane);
	tm_stats_add(lane->stats, prefetched, 1);
	return AHEAD_TAKES;
}

static struct tm_area *area_of(struct tm_pager *p, u64 block)
{
	return &p->area[block >> (TM_AREA_SHIFT - p->config.block_shift) &
			(TM_AREAS - 1)];
}

void tm_probe_ended(struct tm_pager *p, u64 block, bool used)
{
	struct tm_area *area = area_of(p, block);

	tm_lock_acquire(&area->lock);
	tm_around_judge(&area->around, used);
	tm_lock_release(&area->lock);
}

/* Learn from the fault how much belongs around it: log2 of the blocks. */
static u32 around_learn(struct tm_pager *p, u64 block, u32 *probe)
{
	struct tm_area *area = area_of(p, block);
	u32 shift;

	tm_lock_acquire(&area->lock);
	shift = tm_around_fault(&area->around, block, p->around_max);
	*probe = tm_around_probe(&area->around, 1u << shift);
	tm_lock_release(&area->lock);
	return shift;
}

/*
 * Have what lies around a fault that is part of no stream; one of the
 * neighbours is left unmapped, so that a fault tells whether they are of use.
 */
static void have_around(struct tm_lane *lane, u64 block, u32 shift, u32 probe)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr = 1u << shift;
	struct tm_ref first;

	block &= ~(u64)(nr - 1);
	if (nr > p->config.nr_blocks - block)
		nr = (u32)(p->config.nr_blocks - block);
	if ((u64)nr << p->config.block_shift >= DEMAND_ALONE_BYTES)
		tm_fetch_flush(lane);
	/* its neighbours share its leaf */
	first = tm_ref_find(p, block);
	tm_run_rescue(lane, &first, nr, probe);
	for (i = 0; i < nr; i++)
		if (ahead_one(lane, block + i, NULL,
			      i == probe ? TM_FRAME_MARKER | TM_FRAME_PROBE
					 : 0) == AHEAD_ENDS)
			break;
}

/*
 * Streams share the frames that are free. Were all given to the one that asks
 * first, nothing would be on its way when another gets to the end of what it
 * has.
 */
static u32 window_share(const struct tm_pager *p, u32 want)
{
	u32 limit = tm_load_relaxed(&p->frames.limit);
	u32 taken = tm_load_relaxed(&p->frames.used) + tm_frames_kept(p);
	u32 left = taken < limit ? limit - taken : 0, share = (left + 1) / 2;

	/* or it would be for small ones only */
	if (share < p->config.huge_blocks && left >= p->config.huge_blocks)
		share = p->config.huge_blocks;
	return want < share ? want : share;
}

/* Blocks from the window's @i-th on to the end of an aligned huge one. */
static u32 to_huge_end(const struct tm_pager *p, const struct tm_window *w,
		       u32 i)
{
	u32 last = p->config.huge_blocks - 1;
	u32 at = (u32)(w->first + (u64)(i * w->stride)) & last;

	return (w->stride < 0 ? at : last - at) + 1;
}

/* The part of a huge block that is within the window. */
static u32 rest_of_huge(const struct tm_pager *p, const struct tm_window *w,
			u32 i)
{
	u32 nr = w->stride == 1 || w->stride == -1 ? to_huge_end(p, w, i) : 1;

	return nr < w->nr - i ? nr : w->nr - i;
}

static bool whole_fits(const struct tm_pager *p, const struct tm_window *w,
		       u32 i)
{
	u32 nr = p->config.huge_blocks;

	return nr && nr <= w->nr - i && (w->stride == 1 || w->stride == -1) &&
	       to_huge_end(p, w, i) == nr;
}

/*
 * Have the huge block that begins with the window's @i-th, if there may be one:
 * returns its blocks, or 0.
 */
static int whole_ahead(struct tm_lane *lane, const struct tm_window *w, u32 i,
		       u32 left, struct zeros *zeros, u8 marker)
{
	struct tm_pager *p = lane->pager;
	u32 nr = p->config.huge_blocks;
	enum tm_huge_ahead had;
	u64 block;

	if (nr > left || !whole_fits(p, w, i))
		return 0;
	block = w->first + (u64)(i * w->stride);
	if (w->stride < 0)
		block -= nr - 1;
	had = tm_huge_ahead(lane, block, zeros->left, marker);
	if (had == TM_HUGE_NEW)
		zeros->left = 0;
	if (had == TM_HUGE_LATER)
		return -1;
	return had == TM_HUGE_NONE ? 0 : (int)nr;
}

/*
 * Have a window ready; returns how much of it is. Blocks that are new do not
 * wait for a fault each where the stream is of neighbours.
 */
static u32 have_window(struct tm_lane *lane, const struct tm_window *w)
{
	struct tm_pager *p = lane->pager;
	u32 i, step, left = window_share(p, w->nr);
	u8 marker = TM_FRAME_MARKER;
	int whole;
	struct zeros zeros;
	enum ahead had;
	u64 block;

	zeros.nr = 0;
	zeros.left = w->stride == 1 || w->stride == -1 ? zeros_ahead(p) : 0;
	for (i = 0; i < w->nr && left; i += step, marker = 0) {
		whole = whole_ahead(lane, w, i, left, &zeros, marker);
		if (whole < 0)
			break;
		if (whole) {
			step = (u32)whole;
			left -= step;
			continue;
		}
		/* the next window begins with it */
		if (i && whole_fits(p, w, i) && left < p->config.huge_blocks)
			break;
		block = w->first + (u64)(i * w->stride);
		had = ahead_one(lane, block, &zeros, marker);
		if (had == AHEAD_ENDS)
			break;
		left -= had == AHEAD_TAKES;
		step = had == AHEAD_HUGE ? rest_of_huge(p, w, i) : 1;
	}
	zeros_map(lane, &zeros);
	return i;
}

/*
 * What is still in local memory of the first @nr blocks of a window, unmapped
 * early for its second chance, is about to be used; but for the marker.
 */
static void rescue_window(struct tm_lane *lane, const struct tm_window *w,
			  u32 nr)
{
	u64 block = w->stride == 1 ? w->first + 1 : w->first - (nr - 1);
	struct tm_ref first;
	u32 part;

	for (nr--; nr; nr -= part, block += part) {
		part = TM_RUN_BLOCKS - (u32)(block % TM_RUN_BLOCKS);
		if (part > nr)
			part = nr;
		first = tm_ref_find(lane->pager, block);
		tm_run_rescue(lane, &first, part, part);
	}
}

static struct tm_zone *zone_of(struct tm_pager *p, u64 block)
{
	return &p->zone[block >> TM_ZONE_SHIFT & (TM_ZONES - 1)];
}

bool tm_ahead_goes_on(struct tm_pager *p, u64 block, u32 nr)
{
	struct tm_zone *zone = zone_of(p, block);
	bool goes_on;

	tm_lock_acquire(&zone->lock);
	goes_on = tm_prefetch_goes_on(&zone->prefetch, block, nr);
	tm_lock_release(&zone->lock);
	return goes_on;
}

void tm_read_ahead(struct tm_lane *lane, u64 block, enum tm_found found)
{
	struct tm_pager *p = lane->pager;
	struct tm_zone *zone = zone_of(p, block);
	struct tm_window w;
	u32 nr, shift = 0, probe = 0;
	bool more, missed = found == TM_FOUND_NEW || found == TM_FOUND_REMOTE;

	if (p->around_max && found != TM_FOUND_NEW)
		shift = around_learn(p, block, &probe);
	tm_lock_acquire(&zone->lock);
	more = tm_prefetch_fault(&zone->prefetch, block, shift, missed, &w);
	tm_lock_release(&zone->lock);
	/* what a stream has passed may be used again in no order */
	if (shift && (!w.stream || (!more && found == TM_FOUND_AGAIN)))
		have_around(lane, block, shift, probe);
	if (!more)
		return;
	if ((u64)w.nr << p->config.block_shift >= DEMAND_ALONE_BYTES)
		tm_fetch_flush(lane);
	nr = have_window(lane, &w);
	if (nr > 1 && p->config.can_cache && (w.stride == 1 || w.stride == -1))
		rescue_window(lane, &w, nr);
	if (nr == w.nr)
		return;
	lane->scarce = true;
	tm_lock_acquire(&zone->lock);
	tm_prefetch_trim(&w, nr);
	tm_lock_release(&zone->lock);
}
