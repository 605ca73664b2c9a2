// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's evictions: choosing victims and taking them from the program.
 * What follows is pager_leave.c's. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

/* bytes to evict in one go, while a fault waits and in the background */
#define DIRECT_BYTES (256u << 10)
#define BACKGROUND_BYTES (1u << 20)

static u32 frames_high(const struct tm_pager *p, u32 *low)
{
	u32 limit = tm_load_relaxed(&p->frames.limit);
	u32 high;

	*low = limit / 64;
	if (*low < p->config.io_depth)
		*low = p->config.io_depth;
	high = limit / 4;
	if (*low < high / 2)
		high = *low * 2;
	if (*low > (high + 1) / 2)
		*low = (high + 1) / 2;
	return high;
}

/* what faults of a few threads need until more are free */
#define FAULT_FRAMES 16

u32 tm_frames_kept(const struct tm_pager *p)
{
	u32 low;

	/* below the low watermark, so that reading ahead starts evictions */
	frames_high(p, &low);
	return low / 2 < FAULT_FRAMES ? low / 2 : FAULT_FRAMES;
}

/*
 * A program that was woken needs this long to get to its access. Were the block
 * taken sooner, programs that want more blocks than there are frames would all
 * wait for ever, each block being evicted for the next.
 */
#define FRESH_NS 500000

/*
 * Neighbours go first. Else blocks go from the shard that has most, so that
 * shards stay balanced; from the next ones after calls in which nothing there
 * could go.
 */
static struct tm_shard *shard_choose(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr, largest = 0, most = 0;

	if (lane->goes_on && tm_replace_nr(&lane->goes_on->replace))
		return lane->goes_on;
	for (i = 0; i < p->nr_shards; i++) {
		nr = tm_replace_nr(&p->shard[i].replace);
		if (nr > most) {
			most = nr;
			largest = i;
		}
	}
	for (i = 0; i < p->nr_shards; i++) {
		u32 next = (largest + lane->barren + i) & (p->nr_shards - 1);
		struct tm_shard *shard = &p->shard[next];

		if (tm_replace_nr(&shard->replace))
			return shard;
	}
	return p->shard;
}

enum evict_result {
	EVICT_NONE, /* nothing to take */
	EVICT_KEPT, /* that one stays for now */
	EVICT_TAKEN,
};

/*
 * No more of a list's blocks, 1 in so many, leave together. Of those that have
 * their second chance fewer, or that would be short.
 */
#define RUN_SHARE 8
#define CACHED_SHARE 32

/*
 * What has nowhere to go, and can neither equal a copy nor be zeros, is left
 * alone.
 */
static bool may_leave(struct tm_pager *p, const struct tm_ref *b,
		      bool have_slot)
{
	u8 flags = tm_ref_frame(p, b)->flags;

	return have_slot || tm_slot_usable(p, b->e, b->e->flags) ||
	       (flags & (TM_FRAME_ZERO | TM_FRAME_DIRTY)) == TM_FRAME_ZERO;
}

/* Frames lie in no order: they are asked for so many blocks ahead. */
#define FRAMES_SOON 8

/* Of the same kind as the victim, and not much younger. */
static bool like_victim(struct tm_pager *p, const struct tm_ref *victim,
			const struct tm_ref *b, bool have_slot)
{
	return b->e->state == victim->e->state &&
	       tm_replace_joins(&b->shard->replace, victim->e->frame,
				b->e->frame) &&
	       may_leave(p, b, have_slot);
}

/* And small, as it is: a huge one leaves alone. */
static bool joins_victim(struct tm_pager *p, const struct tm_ref *victim,
			 const struct tm_ref *b, bool have_slot)
{
	if (b->block % TM_RUN_BLOCKS < TM_RUN_BLOCKS - FRAMES_SOON)
		tm_touch_soon(&p->frames.at[b->e[FRAMES_SOON].frame]);
	return like_victim(p, victim, b, have_slot) &&
	       !tm_ref_is_huge(p, victim) && !tm_ref_is_huge(p, b);
}

/* What follows the victims belongs to them, but that they are enough. */
static bool goes_on(struct tm_pager *p, const struct tm_ref *victim,
		    const struct tm_victims *v, bool have_slot)
{
	u32 nr = v->nr * tm_ref_frame(p, victim)->blocks;
	struct tm_ref next = {.block = v->first.block + nr};

	if (next.block >> p->stretch_shift != victim->block >> p->stretch_shift)
		return false;
	next = tm_ref_find(p, next.block);
	return next.e && like_victim(p, victim, &next, have_slot);
}

/*
 * The victim, which is off its list, and around it those of its aligned unit
 * that may as well leave with it, up to @most in all; shard locked. After the
 * clusters of FreeBSD's pageout (vm_pageout_cluster()): neighbours leave with
 * one call, and lie together on the server, whatever was used in between.
 */
static void victims_gather(struct tm_pager *p, const struct tm_ref *victim,
			   bool have_slot, u32 most, struct tm_victims *v)
{
	const struct tm_replace_ops *ops = p->config.replace;
	struct tm_replace *replace = &victim->shard->replace;
	u32 share = 1 + tm_replace_peers(replace, victim->e->frame) /
				(v->mapped ? RUN_SHARE : CACHED_SHARE);
	struct tm_ref b;
	u32 i;

	if (most > share)
		most = share;
	v->first = *victim;
	for (v->nr = 1; v->nr < most && v->first.block % TM_RUN_BLOCKS;
	     v->nr++) {
		b = tm_ref_before(&v->first);
		if (!joins_victim(p, victim, &b, have_slot))
			break;
		v->first = b;
	}
	for (; v->nr < most; v->nr++) {
		b = tm_ref_neighbour(&v->first, v->nr);
		if (b.block % TM_RUN_BLOCKS == 0 ||
		    !joins_victim(p, victim, &b, have_slot))
			break;
	}
	v->more = goes_on(p, victim, v, have_slot);
	for (i = 0; i < v->nr; i++) {
		b = tm_ref_neighbour(&v->first, i);
		v->frame[i] = b.e->frame;
		if (b.block != victim->block)
			ops->remove(replace, b.e->frame);
		b.e->state = TM_UNMAPPING;
	}
}

/*
 * Take a victim out of its list, busy, and up to @most in all with those
 * around it. The shard is not locked on return.
 */
static enum evict_result victims_take(struct tm_pager *p,
				      struct tm_shard *shard, bool have_slot,
				      u32 most, struct tm_victims *v)
{
	const struct tm_replace_ops *ops = p->config.replace;
	struct tm_ref victim;
	u32 frame;

	tm_lock_acquire(&shard->lock);
	frame = ops->victim(&shard->replace);
	if (frame == TM_NO_FRAME) {
		tm_lock_release(&shard->lock);
		return EVICT_NONE;
	}
	victim = tm_ref_find(p, p->frames.at[frame].block);
	v->mapped = victim.e->state == TM_RESIDENT;
	if (!may_leave(p, &victim, have_slot)) {
		ops->insert(&shard->replace, frame, !v->mapped);
		tm_lock_release(&shard->lock);
		return EVICT_KEPT;
	}
	victims_gather(p, &victim, have_slot, most, v);
	tm_lock_release(&shard->lock);
	return EVICT_TAKEN;
}

/* Whether the program has used mapped victims of late, or is about to. */
static void victims_accessed(struct tm_lane *lane, struct tm_victims *v)
{
	struct tm_pager *p = lane->pager;
	u64 mapped_ns, now = p->ops->now(p->ctx);
	u32 i;

	if (p->config.replace->ages)
		p->ops->accessed(p->ctx, lane, v->first.block, v->frame, v->nr,
				 v->accessed);
	else
		memset(v->accessed, 0, v->nr * sizeof(*v->accessed));
	for (i = 0; i < v->nr; i++) {
		mapped_ns = p->frames.at[v->frame[i]].mapped_ns;
		if (!mapped_ns || now - mapped_ns >= FRESH_NS)
			continue;
		lane->fresh = true;
		v->accessed[i] = 1;
	}
}

/* What becomes of a victim that was unmapped, or not. */
enum fate { FATE_LEAVES, FATE_SECOND_CHANCE, FATE_PINNED };

static enum fate victim_fate(const struct tm_pager *p, int accessed, int change)
{
	if (change < 0)
		return FATE_PINNED;
	return accessed == -EOPNOTSUPP && p->config.can_cache
		       ? FATE_SECOND_CHANCE
		       : FATE_LEAVES;
}

/* What is pinned of it shall not keep the rest here. */
static void huge_pinned(struct tm_pager *p, const struct tm_ref *b)
{
	if (!tm_ref_is_huge(p, b))
		return;
	tm_lock_acquire(&b->shard->lock);
	tm_huge_split_later(b);
	tm_lock_release(&b->shard->lock);
}

/* They were unmapped; @change says what each answered. Returns how many go. */
static u32 victims_unmapped(struct tm_lane *lane, const struct tm_victims *v,
			    u32 first, u32 nr, const int *change, int *no_slot)
{
	struct tm_pager *p = lane->pager;
	struct tm_ref b;
	enum fate fate;
	u32 i, n, gone = 0;

	tm_lock_acquire(&v->first.shard->lock);
	for (i = 0; i < nr; i++) {
		u8 *flags = &p->frames.at[v->frame[first + i]].flags;

		if (change[i] == TM_UNMAP_DIRTY)
			*flags |= TM_FRAME_DIRTY;
		else if (change[i] == TM_UNMAP_UNKNOWN)
			*flags |= TM_FRAME_UNKNOWN;
	}
	tm_lock_release(&v->first.shard->lock);

	for (i = 0; i < nr; i += n) {
		const int *accessed = v->accessed + first + i;

		b = tm_ref_neighbour(&v->first, first + i);
		fate = victim_fate(p, accessed[0], change[i]);
		for (n = 1; i + n < nr &&
			    victim_fate(p, accessed[n], change[i + n]) == fate;)
			n++;
		if (fate == FATE_PINNED) {
			tm_stats_add(lane->stats, evict_pinned, n);
			huge_pinned(p, &b);
		}
		if (fate == FATE_LEAVES)
			gone += tm_run_leave(lane, &b, n, no_slot);
		else
			tm_run_settle(lane, &b, n,
				      fate == FATE_PINNED ? TM_HELD_MAPPED
							  : TM_HELD_BYTES);
	}
	return gone;
}

/*
 * Unmap victims from the @i-th on, up to the first that the program uses, and
 * let them go; adds those that do to @gone. Returns how many were dealt with.
 */
static u32 victims_leave(struct tm_lane *lane, const struct tm_victims *v,
			 u32 i, int *no_slot, u32 *gone)
{
	struct tm_pager *p = lane->pager;
	struct tm_ref b = tm_ref_neighbour(&v->first, i);
	bool used = v->accessed[i] > 0;
	int change[TM_RUN_BLOCKS];
	u32 nr = 1, done = 0;

	while (i + nr < v->nr && (v->accessed[i + nr] > 0) == used)
		nr++;
	if (used) {
		tm_run_settle(lane, &b, nr, TM_HELD_MAPPED);
		return nr;
	}
	if (nr > 1 && p->ops->unmap_run)
		done = p->ops->unmap_run(p->ctx, lane, b.block, v->frame + i,
					 nr, change);
	for (; done < nr; done++)
		change[done] = p->ops->unmap(p->ctx, lane, b.block + done,
					     v->frame[i + done]);
	*gone += victims_unmapped(lane, v, i, nr, change, no_slot);
	return nr;
}

/*
 * Evict up to @most neighbours, of which @tried says how many there were, and
 * @gone how many went. Returns false when the shard has no victim.
 */
static bool evict_some(struct tm_lane *lane, struct tm_shard *shard, u32 most,
		       int *no_slot, u32 *tried, u32 *gone)
{
	struct tm_pager *p = lane->pager;
	struct tm_victims *v = &lane->victims;
	enum evict_result taken;
	u32 i;

	*tried = 1;
	*gone = 0;
	lane->goes_on = NULL;
	taken = victims_take(p, shard, !*no_slot, most, v);
	if (taken != EVICT_TAKEN)
		return taken == EVICT_KEPT;
	*tried = v->nr * p->frames.at[v->frame[0]].blocks;
	if (!v->mapped) {
		*gone = tm_run_leave(lane, &v->first, v->nr, no_slot);
	} else {
		victims_accessed(lane, v);
		for (i = 0; i < v->nr;)
			i += victims_leave(lane, v, i, no_slot, gone);
	}
	/* not after a second chance: nothing lies anywhere because of that */
	if (v->more && *gone)
		lane->goes_on = shard;
	return true;
}

u32 tm_evict(struct tm_lane *lane, u32 want, bool direct)
{
	struct tm_pager *p = lane->pager;
	u32 batch = (direct ? DIRECT_BYTES : BACKGROUND_BYTES) >>
		    p->config.block_shift;
	struct tm_shard *shard = shard_choose(lane);
	u32 nr = 0, tries, tried, gone, most;
	int no_slot = 0;

	u32 huge = p->config.huge_blocks;
	u32 goal = want < 2 * huge ? want : 2 * huge;

	if (!batch)
		batch = 1;
	if (direct && want < batch)
		want = batch;
	if (!direct && want > batch)
		want = batch;
	if (want > TM_IO_BLOCKS)
		want = TM_IO_BLOCKS;
	/* second chances and pinned pages take some of them */
	for (tries = want * 4 + 16; nr < want && tries;
	     tries -= tried < tries ? tried : tries) {
		most = tm_lane_room(lane, !direct);
		if (!most)
			break;
		if (most > batch)
			most = batch;
		if (most > tries)
			most = tries;
		/* stay with one shard: neighbours shall leave together */
		if (!tm_replace_nr(&shard->replace))
			shard = shard_choose(lane);
		if (!evict_some(lane, shard, most, &no_slot, &tried, &gone))
			break;
		nr += gone;
		/* as much again as a stream takes at one time */
		if (!direct && huge && gone >= huge && want < goal)
			want = goal;
		if (direct)
			tm_stats_add(lane->stats, evict_direct, gone);
		/*
		 * Full servers still take blocks that have a slot. But if there
		 * will be more room soon, wait for it.
		 */
		if (no_slot == -EAGAIN)
			break;
	}
	if (lane->slots_used) {
		lane->slots_used = false;
		tm_reserve_extents(lane);
	}
	lane->barren = nr ? 0 : lane->barren + 1;
	return nr;
}

bool tm_reclaim(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	s64 used, limit, low, high, gone;
	u32 low_mark, nr;

	high = frames_high(p, &low_mark);
	low = low_mark;
	limit = tm_load_relaxed(&p->frames.limit);
	used = tm_load_relaxed(&p->frames.used);
	gone = limit - used + tm_total_storing(p);

	if (gone < low)
		tm_store_relaxed(&p->reclaim, 1);
	else if (gone >= high)
		tm_store_relaxed(&p->reclaim, 0);
	if (!tm_load_relaxed(&p->reclaim) || gone >= high)
		return false;
	nr = tm_evict(lane, (u32)(high - gone), false);
	/* without success now, trying again at once would not help */
	return nr && gone + nr < high && tm_lane_room(lane, true);
}
