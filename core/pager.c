// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The pager's frame: creation, lanes, limits, gauges, and the balance step. The
 * life of a block is in pager_fault.c, pager_evict.c and pager_discard.c;
 * requests are in pager_io.c. Lock order: see pager_internal.h.
 */
#include "core/pager_internal.h"

/*
 * A shard with fewer frames would often be empty; one with less memory would
 * have but a few runs of neighbours, and one more or less of them decide
 * which leaves next.
 */
#define SHARD_FRAMES_LEAST 128
#define SHARD_FRAMES_MOST 8192
#define SHARD_BYTES (32u << 20)

/* As much as is read ahead: it lies together on the server then. */
#define STRETCH_BYTES (4u << 20)

static u32 shards_for(u32 nr_frames, u32 block_shift)
{
	u32 each = SHARD_BYTES >> block_shift, nr = 1;

	if (each < SHARD_FRAMES_LEAST)
		each = SHARD_FRAMES_LEAST;
	if (each > SHARD_FRAMES_MOST)
		each = SHARD_FRAMES_MOST;
	while (nr < TM_SHARDS_MAX && nr * 2 * each <= nr_frames)
		nr *= 2;
	return nr;
}

static u32 stretch_for(const struct tm_pager_config *config)
{
	u32 shift = 0;

	while (1u << shift < TM_RUN_BLOCKS ||
	       1u << shift < config->huge_blocks ||
	       1u << shift < STRETCH_BYTES >> config->block_shift)
		shift++;
	return shift;
}

static size_t io_table_bytes(u32 io_depth)
{
	return (size_t)(io_depth + 1) *
	       (sizeof(struct tm_io) + sizeof(struct tm_io *));
}

static int lane_create(struct tm_pager *p, unsigned int index)
{
	u32 i, nr = p->config.io_depth + 1;
	struct tm_lane *lane = tm_alloc(sizeof(*lane));

	if (!lane)
		return -ENOMEM;
	p->lane[index] = lane;
	lane->pager = p;
	lane->index = index;
	lane->stats = &lane->own_stats;
	lane->io = tm_alloc(io_table_bytes(p->config.io_depth));
	if (!lane->io)
		return -ENOMEM;
	if (p->config.huge_blocks) {
		lane->huge = tm_alloc(sizeof(*lane->huge));
		if (!lane->huge)
			return -ENOMEM;
	}
	lane->io_free = (struct tm_io **)(lane->io + nr);
	for (i = 0; i < nr; i++)
		lane->io_free[i] = &lane->io[i];
	lane->nr_io_free = nr;
	return tm_leaf_reserve_fill(&lane->leaves);
}

static void lane_destroy(struct tm_lane *lane, u32 io_depth)
{
	tm_leaf_reserve_fini(&lane->leaves);
	tm_free(lane->huge, sizeof(*lane->huge));
	tm_free(lane->io, io_table_bytes(io_depth));
	tm_free(lane, sizeof(*lane));
}

static bool huge_valid(const struct tm_pager_config *c)
{
	u32 nr = c->huge_blocks;

	return !nr || (c->can_cache && nr > 1 && nr <= TM_HUGE_BLOCKS_MAX &&
		       !(nr & (nr - 1)));
}

static bool config_valid(const struct tm_pager_config *c)
{
	return c->nr_blocks && c->nr_blocks < TM_BLOCKS_MAX &&
	       c->nr_frames >= TM_FRAMES_MIN && c->nr_frames < TM_NO_FRAME &&
	       c->block_shift >= TM_BLOCK_SHIFT_MIN &&
	       c->block_shift <= TM_BLOCK_SHIFT_MAX && c->nr_lanes &&
	       c->nr_lanes <= TM_LANES_MAX && c->nr_servers &&
	       c->nr_servers <= TM_SERVERS_MAX && c->io_depth &&
	       c->io_depth < TM_NO_FRAME && c->around_blocks <= TM_RUN_BLOCKS &&
	       huge_valid(c) && c->replace && c->place;
}

/* A stream begins with so much, or with two blocks. */
#define WINDOW_LEAST_BYTES (32u << 10)

static u32 window_least(const struct tm_pager_config *config)
{
	u32 nr = WINDOW_LEAST_BYTES >> config->block_shift;

	return nr < 2 ? 2 : nr;
}

/* Most programs use what lies so near. */
#define AROUND_FIRST_SHIFT 14 /* log2 of bytes */

static u32 around_first(const struct tm_pager *p)
{
	u32 first = p->config.block_shift < AROUND_FIRST_SHIFT
			    ? AROUND_FIRST_SHIFT - p->config.block_shift
			    : 0;

	return first < p->around_max ? first : p->around_max;
}

int tm_pager_create(const struct tm_pager_config *config,
		    const struct tm_pager_ops *ops, void *ctx,
		    struct tm_pager **pager)
{
	struct tm_pager *p;
	u32 i;
	int err;

	if (!config_valid(config))
		return -EINVAL;
	p = tm_alloc(sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->config = *config;
	p->ops = ops;
	p->ctx = ctx;
	p->io_blocks = config->io_bytes >> config->block_shift;
	if (!p->io_blocks)
		p->io_blocks = 1;
	if (p->io_blocks > TM_IO_BLOCKS)
		p->io_blocks = TM_IO_BLOCKS;

	err = tm_blockmap_init(&p->map, config->nr_blocks);
	if (err)
		goto err_pager;
	err = tm_frames_init(&p->frames, config->nr_frames,
			     config->huge_blocks);
	if (err)
		goto err_map;
	err = tm_place_create(config->place, config->nr_servers,
			      config->block_shift, &p->place);
	if (err)
		goto err_frames;

	p->stretch_shift = stretch_for(config);
	p->nr_shards = shards_for(config->nr_frames, config->block_shift);
	for (i = 0; i < p->nr_shards; i++) {
		tm_lock_init(&p->shard[i].lock);
		tm_replace_init(&p->shard[i].replace, p->frames.at);
		p->shard[i].queue_head = TM_NO_BLOCK;
		p->shard[i].queue_tail = TM_NO_BLOCK;
	}
	for (i = 0; i < TM_ZONES; i++) {
		tm_lock_init(&p->zone[i].lock);
		/* without markers, the window itself covers the way there */
		tm_prefetch_init(&p->zone[i].prefetch, window_least(config),
				 config->prefetch_blocks *
					 (config->can_cache ? 1 : 2),
				 config->huge_blocks);
	}
	/* without the cached state there are no probes to tell when to stop */
	while (config->can_cache && config->around_blocks >> p->around_max > 1)
		p->around_max++;
	for (i = 0; i < TM_AREAS; i++) {
		tm_lock_init(&p->area[i].lock);
		tm_around_init(&p->area[i].around, around_first(p));
	}
	for (i = 0; i < config->nr_lanes && !err; i++)
		err = lane_create(p, i);
	if (err) {
		tm_pager_destroy(p);
		return err;
	}
	*pager = p;
	return 0;

err_frames:
	tm_frames_fini(&p->frames);
err_map:
	tm_blockmap_fini(&p->map);
err_pager:
	tm_free(p, sizeof(*p));
	return err;
}

void tm_pager_destroy(struct tm_pager *p)
{
	u32 i;

	for (i = 0; i < p->config.nr_lanes; i++)
		if (p->lane[i])
			lane_destroy(p->lane[i], p->config.io_depth);
	tm_place_destroy(p->place);
	tm_frames_fini(&p->frames);
	tm_blockmap_fini(&p->map);
	tm_free(p, sizeof(*p));
}

struct tm_lane *tm_pager_lane(struct tm_pager *p, unsigned int index)
{
	return p->lane[index];
}

unsigned int tm_lane_index(const struct tm_lane *lane)
{
	return lane->index;
}

void tm_lane_stats_set(struct tm_lane *lane, struct tm_stats *stats)
{
	lane->stats = stats;
}

struct tm_stats *tm_lane_stats(struct tm_lane *lane)
{
	return lane->stats;
}

void tm_pager_server_room(struct tm_pager *p, unsigned int server)
{
	tm_place_server_room(p->place, server);
}

void tm_pager_server_lost(struct tm_lane *lane, unsigned int server)
{
	/* nothing else: this may be in the midst of another entry point */
	tm_place_server_lost(lane->pager->place, server);
	tm_store_release(&lane->pager->losses, 1);
}

void tm_pager_limit_set(struct tm_pager *p, u32 frames)
{
	if (frames < TM_FRAMES_MIN)
		frames = TM_FRAMES_MIN;
	if (frames > p->frames.nr)
		frames = p->frames.nr;
	tm_store_relaxed(&p->frames.limit, frames);
}

void tm_pager_extents_limit_set(struct tm_pager *p, u64 extents)
{
	tm_place_limit_set(p->place, extents);
}

void tm_pager_usage(struct tm_pager *p, struct tm_pager_usage *usage)
{
	u64 leaves = 0;
	u32 i;

	memset(usage, 0, sizeof(*usage));
	usage->limit_frames = tm_load_relaxed(&p->frames.limit);
	usage->used_frames = tm_load_relaxed(&p->frames.used);
	for (i = 0; i < p->config.nr_servers; i++)
		if (tm_place_server_alive(p->place, i))
			usage->remote_blocks += tm_load_relaxed(&p->remote[i]);
	usage->lost_blocks = tm_load_relaxed(&p->lost);
	usage->waiting_faults = tm_load_relaxed(&p->waiting);
	for (i = 0; i < p->config.nr_lanes; i++)
		leaves += tm_load_relaxed(&p->lane[i]->leaves.taken);
	usage->metadata_bytes =
		leaves * sizeof(struct tm_leaf) + tm_frames_bytes(&p->frames);
	usage->idle = tm_total_idle(p, true);
}

/*
 * Faults that came while the block map's reserve was empty. They do not fail,
 * however long they wait: without an entry that could not be remembered.
 */
static void leafless_serve(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u32 i, kept = 0;

	for (i = 0; i < lane->nr_leafless; i++) {
		struct tm_leafless *f = &lane->leafless[i];

		if (tm_blockmap_get(&p->map, f->block, &lane->leaves))
			tm_fault_block(lane, f->block, f->write, f->started_ns);
		else
			lane->leafless[kept++] = *f;
	}
	lane->nr_leafless = kept;
}

/* Give up faults that have had no prospect of a frame for too long. */
static void stall_check(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	u64 stall = (u64)p->config.stall_ms * 1000000;
	u64 now, stuck;

	if (!tm_load_relaxed(&p->waiting)) {
		tm_store_relaxed(&p->stuck_ns, 0);
		return;
	}
	/*
	 * Neither full servers that are asked again and again are a prospect,
	 * nor those that refuse what is sent to them.
	 */
	if (!tm_total_idle(p, false) && !tm_load_relaxed(&p->refused)) {
		tm_store_relaxed(&p->stuck_ns, 0);
		return;
	}
	now = p->ops->now(p->ctx);
	stuck = tm_load_relaxed(&p->stuck_ns);
	if (!stuck) {
		tm_store_relaxed(&p->stuck_ns, now);
	} else if ((s64)(now - stuck) > (s64)stall) {
		/* signed: another lane may have read the clock later */
		tm_queue_expire(lane, now - stall);
		/* their slots */
		tm_lane_finish(lane);
	}
}

const char *tm_fail_cause(int err)
{
	switch (err) {
	case -EIO:
		return "its only copy is gone with its server";
	case -EBADMSG:
		return "it came back from its server damaged, twice";
	case -ENOMEM:
		return "no local memory became free for it";
	case -EREMOTEIO:
		return "its server refuses to give it back (see that server's "
		       "log)";
	case -ETIMEDOUT:
		return "it did not come in time";
	default:
		return NULL;
	}
}

/* Who waits for room for bytes that are gone need not wait any longer. */
static void losses_tell(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;

	if (tm_likely(!tm_load_relaxed(&p->losses)) ||
	    !tm_cas(&p->losses, 1, 0))
		return;
	tm_queue_lose(lane);
	tm_lane_finish(lane);
}

static void extents_release(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;
	unsigned int server;
	u64 addr, bytes;

	if (tm_place_extent_idle(p->place, &server, &addr, &bytes) &&
	    !p->ops->release(p->ctx, lane, server, addr, bytes))
		tm_place_extent_keep(p->place, server, addr);
}

/*
 * A fault waits for others to have had their access, or for a look at the other
 * shards: trying again soon will do.
 */
static bool wait_is_short(struct tm_lane *lane)
{
	struct tm_pager *p = lane->pager;

	return tm_load_relaxed(&p->waiting) && tm_total_idle(p, true) &&
	       (lane->fresh || (lane->barren && lane->barren < p->nr_shards));
}

bool tm_pager_balance(struct tm_lane *lane)
{
	bool more;

	lane->fresh = false;
	/* without memory the faults that need it wait; next time, perhaps */
	(void)tm_leaf_reserve_fill(&lane->leaves);
	if (tm_unlikely(lane->nr_leafless))
		leafless_serve(lane);
	tm_reserve_extents(lane);
	more = tm_reclaim(lane);
	tm_lane_finish(lane);
	losses_tell(lane);
	stall_check(lane);
	extents_release(lane);
	return more || wait_is_short(lane);
}
