// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's evictions: choosing victims, telling clean ones from changed
 * ones, and sending the latter away. Lock order: see pager_internal.h.
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

u32 tm_frames_kept(const struct tm_pager *p)
{
	u32 low;

	/* below the low watermark, so that reading ahead starts evictions */
	frames_high(p, &low);
	return low / 2;
}

/*
 * A program that was woken needs this long to get to its access. Were the block
 * taken sooner, programs that want more blocks than there are frames would all
 * wait for ever, each block being evicted for the next.
 */
#define FRESH_NS 500000

/*
 * Blocks go from the shard that has most, so that shards stay balanced; from
 * the next ones after calls in which nothing there could go.
 */
static struct tm_shard *shard_choose(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u32 i, nr, largest = 0, most = 0;

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

/*
 * The block may use the slot that it has; that keeps its place among its
 * neighbours.
 */
static bool slot_usable(struct tm_pager *p, const struct tm_block *e, u16 flags)
{
	return (flags & TM_BLOCK_SLOT) &&
	       tm_place_server_takes(p->place, e->replica[0].server);
}

enum evict_result {
	EVICT_NONE, /* nothing to take */
	EVICT_KEPT, /* that one stays for now */
	EVICT_GONE,
	EVICT_STORING,
};

/*
 * Take a victim out of its list, busy; the shard is not locked on return. What
 * has nowhere to go, and can neither equal a copy nor be zeros, is left alone.
 */
static enum evict_result victim_take(struct tm_pager *p, struct tm_shard *shard,
				     bool have_slot, struct tm_ref *b,
				     bool *mapped)
{
	const struct tm_replace_ops *ops = p->config.replace;
	enum evict_result result = EVICT_GONE;
	u32 frame;
	u8 flags;

	tm_lock_acquire(&shard->lock);
	frame = ops->victim(&shard->replace);
	if (frame == TM_NO_FRAME) {
		tm_lock_release(&shard->lock);
		return EVICT_NONE;
	}
	*b = tm_ref_find(p, p->frames.at[frame].block);
	*mapped = b->e->state == TM_RESIDENT;
	flags = p->frames.at[frame].flags;
	if (have_slot || slot_usable(p, b->e, b->e->flags) ||
	    (flags & (TM_FRAME_ZERO | TM_FRAME_DIRTY)) == TM_FRAME_ZERO) {
		b->e->state = TM_UNMAPPING;
	} else {
		ops->insert(&shard->replace, frame, !*mapped);
		result = EVICT_KEPT;
	}
	tm_lock_release(&shard->lock);
	return result;
}

/*
 * Unmap a victim. Returns true, with its shard locked, if its eviction goes on;
 * false when it has settled.
 */
static bool victim_unmap(struct tm_lane *lane, const struct tm_ref *b)
{
	struct tm_pager *p = lane->pager;
	u32 frame = b->e->frame;
	bool ages = p->config.replace->ages;
	u64 mapped_ns = p->frames.at[frame].mapped_ns;
	int accessed = 0, change;

	if (mapped_ns && p->ops->now(p->ctx) - mapped_ns < FRESH_NS) {
		lane->fresh = true;
		accessed = 1;
	} else if (ages) {
		accessed = p->ops->accessed(p->ctx, lane, b->block, frame);
	}
	if (accessed > 0) {
		tm_lock_acquire(&b->shard->lock);
		tm_block_settle(lane, b, TM_HELD_MAPPED, 0);
		return false;
	}

	change = p->ops->unmap(p->ctx, lane, b->block, frame);
	tm_lock_acquire(&b->shard->lock);
	if (change < 0) {
		tm_stats_add(lane->stats, evict_pinned, 1);
		tm_block_settle(lane, b, TM_HELD_MAPPED, 0);
		return false;
	}
	if (change == TM_UNMAP_DIRTY)
		p->frames.at[frame].flags |= TM_FRAME_DIRTY;
	else if (change == TM_UNMAP_UNKNOWN)
		p->frames.at[frame].flags |= TM_FRAME_UNKNOWN;
	if (accessed == -EOPNOTSUPP && p->config.can_cache) {
		tm_block_settle(lane, b, TM_HELD_BYTES, 0);
		return false;
	}
	return true;
}

/* What an eviction needs to know of an unmapped block's bytes. */
struct content {
	u64 fingerprint;
	bool print; /* fingerprint is set */
	bool clean; /* nothing is lost with them */
};

static void content_look(struct tm_lane *lane, const struct tm_ref *b,
			 u8 frame_flags, u16 block_flags, struct content *c)
{
	struct tm_pager *p = lane->pager;
	bool dirty = frame_flags & TM_FRAME_DIRTY;
	bool unknown = frame_flags & TM_FRAME_UNKNOWN;

	c->print = unknown && p->ops->fingerprint;
	if (c->print)
		c->fingerprint =
			p->ops->fingerprint(p->ctx, b->block, b->e->frame);
	if (frame_flags & TM_FRAME_ZERO) {
		/* also what was readied ahead and never written */
		c->clean =
			!dirty && (!unknown || (c->print && !c->fingerprint));
		return;
	}
	c->clean = !dirty && tm_block_copied(p, b->e, block_flags) &&
		   (!unknown || (c->print && (block_flags & TM_BLOCK_PRINT) &&
				 c->fingerprint == b->e->fingerprint));
}

static enum evict_result victim_clean(struct tm_lane *lane,
				      const struct tm_ref *b)
{
	tm_lock_acquire(&b->shard->lock);
	if (b->e->flags & TM_BLOCK_WANTED) {
		tm_stats_add(lane->stats, evict_rescued, 1);
		tm_block_settle(lane, b, TM_HELD_BYTES, 0);
		return EVICT_KEPT;
	}
	tm_stats_add(lane->stats, evicted, 1);
	tm_stats_add(lane->stats, dropped_clean, 1);
	tm_block_settle(lane, b, TM_HELD_SPARE, 0);
	return EVICT_GONE;
}

/*
 * Send a changed block to its own slot, or to a new one; @no_slot is set to
 * the error when there is none. @flags are the block's, of which others only
 * ever add WANTED and DISCARD.
 */
static enum evict_result victim_store(struct tm_lane *lane,
				      const struct tm_ref *b,
				      const struct content *c, u16 flags,
				      int *no_slot)
{
	struct tm_pager *p = lane->pager;
	struct tm_block *e = b->e;
	u32 version = e->version + 1;
	struct tm_replica slot, lost;
	bool owns, forgotten = false;
	u32 crc;

	owns = slot_usable(p, e, flags);
	if (!owns)
		*no_slot = tm_place_get(p->place, &slot);
	if (!owns && *no_slot) {
		tm_lock_acquire(&b->shard->lock);
		/* its bytes have been looked at: not again before they left */
		tm_ref_frame(p, b)->flags |= TM_FRAME_DIRTY;
		tm_block_settle(lane, b, TM_HELD_BYTES, 0);
		return EVICT_KEPT;
	}
	crc = p->ops->checksum(p->ctx, b->block, e->frame,
			       tm_ledger_seed(b->block, version));

	tm_lock_acquire(&b->shard->lock);
	if (e->flags & (TM_BLOCK_WANTED | TM_BLOCK_DISCARD)) {
		if (!(e->flags & TM_BLOCK_DISCARD))
			tm_stats_add(lane->stats, evict_rescued, 1);
		tm_block_settle(lane, b, TM_HELD_BYTES, 0);
		if (!owns)
			tm_place_put(p->place, slot);
		return EVICT_KEPT;
	}
	if (!owns) {
		forgotten = tm_block_forget(p, b, &lost);
		e->replica[0] = slot;
	}
	tm_copy_clear(p, e);
	e->flags |= TM_BLOCK_SLOT;
	e->flags &= (u16)~TM_BLOCK_PRINT;
	if (c->print) {
		e->fingerprint = c->fingerprint;
		e->flags |= TM_BLOCK_PRINT;
	}
	e->version = version;
	e->crc = crc;
	e->state = TM_STORING;
	tm_store_add(lane, b);
	tm_lock_release(&b->shard->lock);
	tm_lane_flush_full(lane);
	if (forgotten)
		tm_place_put(p->place, lost);
	return EVICT_STORING;
}

static enum evict_result evict_one(struct tm_lane *lane, struct tm_shard *shard,
				   int *no_slot)
{
	struct tm_pager *p = lane->pager;
	struct content c = {0};
	enum evict_result taken;
	struct tm_ref b;
	u8 frame_flags;
	u16 block_flags;
	bool mapped;

	taken = victim_take(p, shard, !*no_slot, &b, &mapped);
	if (taken != EVICT_GONE)
		return taken;
	if (!mapped)
		tm_lock_acquire(&b.shard->lock);
	else if (!victim_unmap(lane, &b))
		return EVICT_KEPT;

	frame_flags = tm_ref_frame(p, &b)->flags;
	block_flags = b.e->flags;
	if (block_flags & (TM_BLOCK_DISCARD | TM_BLOCK_WANTED)) {
		if (!(block_flags & TM_BLOCK_DISCARD))
			tm_stats_add(lane->stats, evict_rescued, 1);
		tm_block_settle(lane, &b, TM_HELD_BYTES, 0);
		return EVICT_KEPT;
	}
	tm_lock_release(&b.shard->lock);

	content_look(lane, &b, frame_flags, block_flags, &c);
	return c.clean ? victim_clean(lane, &b)
		       : victim_store(lane, &b, &c, block_flags, no_slot);
}

u32 tm_evict(struct tm_lane *lane, u32 want, bool direct)
{
	struct tm_pager *p = lane->pager;
	u32 batch = (direct ? DIRECT_BYTES : BACKGROUND_BYTES) >>
		    p->config.block_shift;
	struct tm_shard *shard = shard_choose(lane);
	u32 nr = 0, tries;
	int no_slot = 0;

	if (direct && want < batch)
		want = batch;
	if (!direct && want > batch)
		want = batch ? batch : 1;
	if (want > TM_IO_BLOCKS)
		want = TM_IO_BLOCKS;
	/* second chances and pinned pages take some of them */
	for (tries = want * 4 + 16; nr < want && tries; tries--) {
		enum evict_result result;

		if (!tm_lane_room(lane, !direct))
			break;
		/* stay with one shard: neighbours shall leave together */
		if (!tm_replace_nr(&shard->replace))
			shard = shard_choose(lane);
		result = evict_one(lane, shard, &no_slot);
		/*
		 * Full servers still take blocks that have a slot. But if there
		 * will be more room soon, wait for it.
		 */
		if (no_slot == -EAGAIN) {
			tm_reserve_extents(lane);
			break;
		}
		if (result == EVICT_NONE)
			break;
		if (result == EVICT_KEPT)
			continue;
		nr++;
		if (direct)
			tm_stats_add(lane->stats, evict_direct, 1);
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
