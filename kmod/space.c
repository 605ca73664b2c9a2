// SPDX-License-Identifier: GPL-2.0
/*
 * A space: its parts put together and taken apart, and what the agent tells it
 * and hears from it. It lives while the agent's descriptor or a region is open;
 * its lanes run until it has ended and the last region is closed.
 *
 * Lock order: tm_spaces_lock, then space->lock.
 */
#define pr_fmt(fmt) "teramem: " fmt

#include <linux/bitmap.h>
#include <linux/ctype.h>
#include <linux/file.h>
#include <linux/log2.h>
#include <linux/net.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "core/place.h"
#include "core/replace.h"
#include "kmod/internal.h"

/* Bytes under way per lane, and blocks: what keeps a fast network busy. */
#define DEPTH_BYTES (4u << 20)
#define DEPTH_MIN 8u
#define DEPTH_MAX 256u
#define FRAMES_MIN 8
#define TIME_MAX_MS (24 * 3600 * 1000)

static bool name_valid(const char *name)
{
	size_t i, len = strnlen(name, TM_UAPI_NAME_MAX);

	if (!len || len == TM_UAPI_NAME_MAX)
		return false;
	for (i = 0; i < len; i++)
		if (!isascii(name[i]) ||
		    !(isalnum(name[i]) || name[i] == '_' || name[i] == '-'))
			return false;
	return true;
}

static bool time_valid(u32 ms)
{
	return ms && ms <= TIME_MAX_MS;
}

static bool around_valid(u64 around, u32 block)
{
	return !around || (is_power_of_2(around) && around >= block &&
			   around / block <= TM_RUN_BLOCKS);
}

static bool config_valid(const struct tm_uapi_space *c)
{
	return c->version == TM_UAPI_VERSION && name_valid(c->name) &&
	       !memchr_inv(c->reserved, 0, sizeof(c->reserved)) &&
	       c->policy <= TM_UAPI_FIFO &&
	       c->placement <= TM_UAPI_ROUND_ROBIN &&
	       is_power_of_2(c->block_bytes) && c->block_bytes >= PAGE_SIZE &&
	       c->block_bytes >= 1u << TM_BLOCK_SHIFT_MIN &&
	       c->block_bytes <= 1u << TM_BLOCK_SHIFT_MAX &&
	       c->io_bytes >= c->block_bytes &&
	       !(c->io_bytes % c->block_bytes) &&
	       c->io_bytes <= TM_PROTO_IO_MAX &&
	       around_valid(c->around_bytes, c->block_bytes) &&
	       time_valid(c->timeout_ms) && time_valid(c->stall_ms) &&
	       c->nr_servers && c->nr_servers <= TM_UAPI_SERVERS_MAX &&
	       c->nr_lanes && c->nr_lanes <= TM_UAPI_LANES_MAX &&
	       c->capacity_bytes >= c->block_bytes &&
	       c->local_bytes / c->block_bytes >= FRAMES_MIN &&
	       c->local_bytes / c->block_bytes < TM_NO_FRAME;
}

static u64 op_now(void *ctx)
{
	return ktime_get_ns();
}

static const struct tm_pager_ops pager_ops = {
	.now = op_now,
	.fetch = tm_op_fetch,
	.store = tm_op_store,
	.discard = tm_op_discard,
	.reserve = tm_op_reserve,
	.release = tm_op_release,
	.map = tm_op_map,
	.map_run = tm_op_map_run,
	.unmap = tm_op_unmap,
	.unmap_run = tm_op_unmap_run,
	.drop = tm_op_drop,
	.accessed = tm_op_accessed,
	.wake = tm_op_wake,
	.fail = tm_op_fail,
	.checksum = tm_op_checksum,
};

static int pager_create(struct tm_space *space)
{
	const struct tm_uapi_space *c = &space->config;
	struct tm_pager_config config = {
		.nr_blocks = (u64)TM_TILES << TM_TILE_SHIFT,
		.nr_frames = space->pool.max,
		.block_shift = space->block_shift,
		.nr_lanes = c->nr_lanes,
		.nr_servers = c->nr_servers,
		.io_depth = space->io_depth,
		.io_bytes = c->io_bytes,
		.prefetch_blocks = c->readahead_bytes >> space->block_shift,
		.around_blocks = c->around_bytes >> space->block_shift,
		.can_cache = true,
		.stall_ms = c->stall_ms,
		.replace = c->policy == TM_UAPI_FIFO ? &tm_replace_fifo
						     : &tm_replace_lru,
		.place = c->placement == TM_UAPI_ROUND_ROBIN ? &tm_place_rr
							     : &tm_place_simple,
	};
	int err = tm_pager_create(&config, &pager_ops, space, &space->pager);

	if (!err)
		tm_pager_limit_set(space->pager, 0);
	return err;
}

static void space_free(struct kref *ref)
{
	struct tm_space *space = container_of(ref, struct tm_space, ref);

	kfree(space->server);
	kfree(space);
}

void tm_space_free(struct tm_space *space)
{
	kref_put(&space->ref, space_free);
}

/* Undo whatever of space_start() was done. */
static void space_stop(struct tm_space *space)
{
	unsigned int i;

	tm_shrink_stop(space);
	for (i = 0; i < space->config.nr_lanes && space->lane[i]; i++)
		tm_lane_stop(space->lane[i]);
	for (i = 0; i < space->config.nr_lanes && space->lane[i]; i++)
		tm_lane_destroy(space->lane[i]);
	tm_frames_destroy(space);
	tm_pool_destroy(space);
	if (space->pager)
		tm_pager_destroy(space->pager);
	xa_destroy(&space->failed);
	bitmap_free(space->tiles);
}

static int space_start(struct tm_space *space)
{
	unsigned int i;
	int err;

	space->tiles = bitmap_zalloc(TM_TILES, GFP_KERNEL);
	if (!space->tiles)
		return -ENOMEM;
	err = tm_frames_create(space);
	if (!err)
		err = pager_create(space);
	for (i = 0; i < space->config.nr_lanes && !err; i++)
		err = tm_lane_create(space, i);
	if (!err)
		err = tm_shrink_start(space);
	for (i = 0; i < space->config.nr_lanes && !err; i++)
		err = tm_lane_start(space->lane[i]);
	return err;
}

static struct tm_space *space_alloc(const struct tm_uapi_space *config)
{
	struct tm_space *space = kzalloc(sizeof(*space), GFP_KERNEL);
	u64 frames = config->local_bytes / config->block_bytes;

	if (!space)
		return NULL;
	space->server =
		kcalloc(config->nr_servers, sizeof(*space->server), GFP_KERNEL);
	if (!space->server) {
		kfree(space);
		return NULL;
	}
	space->config = *config;
	space->block_shift = ilog2(config->block_bytes);
	space->page_order = space->block_shift - PAGE_SHIFT;
	space->io_depth =
		clamp(DEPTH_BYTES >> space->block_shift, DEPTH_MIN, DEPTH_MAX);
	space->io_depth = min_t(u64, space->io_depth, frames / 2);
	space->nr_unattached = config->nr_servers * config->nr_lanes;
	kref_init(&space->ref);
	spin_lock_init(&space->lock);
	init_waitqueue_head(&space->events);
	init_waitqueue_head(&space->attach);
	init_rwsem(&space->sem);
	xa_init(&space->regions);
	xa_init(&space->failed);
	mutex_init(&space->grow_lock);
	spin_lock_init(&space->pool.lock);
	init_waitqueue_head(&space->pool.given_back);
	space->pool.max = frames;
	space->pool.floor = min_t(u64, frames, TM_POOL_FLOOR);
	space->pool.idle_until = jiffies;
	return space;
}

int tm_space_create(const struct tm_uapi_space *config,
		    struct tm_space **result)
{
	struct tm_space *space;
	int err;

	if (!config_valid(config))
		return -EINVAL;
	space = space_alloc(config);
	if (!space)
		return -ENOMEM;
	space->uid = make_kuid(current_user_ns(), config->uid);
	space->gid = make_kgid(current_user_ns(), config->gid);
	mutex_lock(&tm_spaces_lock);
	if (!uid_valid(space->uid) || !gid_valid(space->gid))
		err = -EINVAL;
	else
		err = tm_space_find(config->name) ? -EEXIST : 0;
	if (err)
		goto err_free;
	err = space_start(space);
	if (!err)
		err = tm_space_publish(space);
	if (err)
		goto err_stop;
	mutex_unlock(&tm_spaces_lock);
	*result = space;
	return 0;

err_stop:
	space_stop(space);
err_free:
	mutex_unlock(&tm_spaces_lock);
	tm_space_free(space);
	return err;
}

int tm_space_end(struct tm_space *space, bool now)
{
	int err = 0;

	mutex_lock(&tm_spaces_lock);
	if (space->ended) {
		err = -ENODEV;
	} else if (now && space->nr_regions) {
		err = -EBUSY;
	} else {
		tm_space_hide(space);
		WRITE_ONCE(space->ended, true);
		wake_up_all(&space->attach);
		wake_up_all(&space->events);
		if (!space->nr_regions)
			space_stop(space);
	}
	mutex_unlock(&tm_spaces_lock);
	return err;
}

static bool settled(struct tm_space *space)
{
	return !READ_ONCE(space->nr_unattached) || READ_ONCE(space->nr_lost) ||
	       READ_ONCE(space->ended);
}

struct tm_space *tm_space_get(unsigned int minor)
{
	struct tm_space *space;
	long left;
	int err;

	mutex_lock(&tm_spaces_lock);
	space = tm_space_by_minor(minor);
	if (!space) {
		mutex_unlock(&tm_spaces_lock);
		return ERR_PTR(-ENXIO);
	}
	space->nr_regions++;
	kref_get(&space->ref);
	mutex_unlock(&tm_spaces_lock);

	left = wait_event_killable_timeout(
		space->attach, settled(space),
		msecs_to_jiffies(space->config.timeout_ms));
	if (left < 0)
		err = -EINTR;
	else if (READ_ONCE(space->nr_unattached) || READ_ONCE(space->ended))
		err = -ENXIO;
	else
		err = tm_pool_open(space);
	if (!err)
		return space;
	tm_space_put(space);
	return ERR_PTR(err);
}

void tm_space_put(struct tm_space *space)
{
	mutex_lock(&tm_spaces_lock);
	if (!--space->nr_regions && space->ended)
		space_stop(space);
	mutex_unlock(&tm_spaces_lock);
	tm_space_free(space);
}

static bool attach_valid(const struct tm_space *space,
			 const struct tm_uapi_attach *a)
{
	const struct tm_uapi_space *c = &space->config;

	return a->server < c->nr_servers && a->channel < c->nr_lanes &&
	       !memchr_inv(a->reserved, 0, sizeof(a->reserved)) &&
	       a->extent_bytes >= c->block_bytes &&
	       !(a->extent_bytes % c->block_bytes) &&
	       a->io_max_bytes >= c->io_bytes &&
	       a->io_max_bytes <= TM_PROTO_IO_MAX;
}

int tm_space_attach(struct tm_space *space, const struct tm_uapi_attach *a)
{
	struct tm_server *server;
	struct socket *sock;
	int err = 0;

	if (!attach_valid(space, a))
		return -EINVAL;
	server = &space->server[a->server];
	if (READ_ONCE(server->lost))
		return -EIO;
	/* all of a server's extents have one size */
	if (server->extent_bytes && server->extent_bytes != a->extent_bytes)
		return -EINVAL;
	sock = sockfd_lookup(a->fd, &err);
	if (!sock)
		return err;
	err = tm_link_attach(space->lane[a->channel]->link[a->server], sock,
			     a->epoch, a->extent_bytes);
	sockfd_put(sock);
	if (err)
		return err;

	spin_lock(&space->lock);
	server->extent_bytes = a->extent_bytes;
	__clear_bit(a->channel, &server->broken);
	if (!__test_and_set_bit(a->channel, &server->attached))
		space->nr_unattached--;
	spin_unlock(&space->lock);
	tm_lane_kick(space->lane[a->channel]);
	wake_up_all(&space->attach);
	return 0;
}

int tm_space_lose(struct tm_space *space, const struct tm_uapi_lose *lose)
{
	unsigned int i;

	if (lose->server >= space->config.nr_servers || !lose->error ||
	    lose->error > MAX_ERRNO)
		return -EINVAL;
	for (i = 0; i < space->config.nr_lanes; i++) {
		tm_link_lose(space->lane[i]->link[lose->server],
			     -(int)lose->error);
		tm_lane_kick(space->lane[i]);
	}
	return 0;
}

static void op_wake(void *ctx)
{
	tm_lane_kick(ctx);
}

static void op_broken(void *ctx, unsigned int index, int err)
{
	struct tm_space_lane *lane = ctx;
	struct tm_space *space = lane->space;
	struct tm_server *server = &space->server[index];

	spin_lock(&space->lock);
	__set_bit(lane->index, &server->broken);
	server->broken_err[lane->index] = err;
	spin_unlock(&space->lock);
	wake_up_all(&space->events);
}

/* Lost by one lane, lost by all. */
static void op_lost(void *ctx, unsigned int index, int err)
{
	struct tm_space_lane *lane = ctx;
	struct tm_space *space = lane->space;
	struct tm_server *server = &space->server[index];
	bool first;
	u32 i;

	spin_lock(&space->lock);
	first = !server->lost;
	server->lost = true;
	if (first) {
		server->lost_err = err;
		space->nr_lost++;
	}
	spin_unlock(&space->lock);
	if (!first)
		return;
	tm_pager_server_lost(lane->pager, index);
	for (i = 0; i < space->config.nr_lanes; i++) {
		if (i == lane->index)
			continue;
		tm_link_lose(space->lane[i]->link[index], err);
		tm_lane_kick(space->lane[i]);
	}
	wake_up_all(&space->attach);
	wake_up_all(&space->events);
}

const struct tm_link_ops tm_space_link_ops = {
	.wake = op_wake,
	.broken = op_broken,
	.lost = op_lost,
};

/* An event of the server, if there is one; taken if @event. */
static bool server_event(struct tm_server *server, struct tm_uapi_event *event)
{
	unsigned int lane;

	if (server->lost) {
		if (server->lost_told)
			return false;
		if (event) {
			server->lost_told = true;
			event->kind = TM_EVENT_LOST;
			event->error = -server->lost_err;
		}
		return true;
	}
	if (!server->broken)
		return false;
	if (event) {
		lane = __ffs(server->broken);
		__clear_bit(lane, &server->broken);
		event->kind = TM_EVENT_BROKEN;
		event->channel = lane;
		event->error = -server->broken_err[lane];
	}
	return true;
}

bool tm_space_event(struct tm_space *space, struct tm_uapi_event *event)
{
	bool found = false;
	u32 i;

	spin_lock(&space->lock);
	for (i = 0; i < space->config.nr_servers && !found; i++) {
		found = server_event(&space->server[i], event);
		if (found && event)
			event->server = i;
	}
	spin_unlock(&space->lock);
	return found;
}

void tm_space_stats(struct tm_space *space, struct tm_stats *sum)
{
	u32 i, k;

	memset(sum, 0, sizeof(*sum));
	for (i = 0; i < space->config.nr_lanes; i++) {
		tm_stats_merge(sum, tm_lane_stats(space->lane[i]->pager));
		for (k = 0; k < space->config.nr_servers; k++)
			sum->reconnects +=
				tm_link_reconnects(space->lane[i]->link[k]);
	}
}

int tm_space_query(struct tm_space *space, struct tm_uapi_query *q)
{
	struct tm_pager_usage usage;
	struct tm_stats *sum = kmalloc(sizeof(*sum), GFP_KERNEL);
	u32 shift = space->block_shift;

	if (!sum)
		return -ENOMEM;
	tm_space_stats(space, sum);
	tm_pager_usage(space->pager, &usage);
	*q = (struct tm_uapi_query){
		.block_bytes = space->config.block_bytes,
		.nr_servers = space->config.nr_servers,
		.nr_servers_lost = READ_ONCE(space->nr_lost),
		.nr_regions = READ_ONCE(space->nr_regions),
		.capacity_bytes = space->config.capacity_bytes,
		.committed_bytes = READ_ONCE(space->committed_bytes),
		.local_bytes = (u64)space->pool.max << shift,
		.resident_bytes = usage.used_frames << shift,
		.remote_bytes = usage.remote_blocks << shift,
		.lost_bytes = usage.lost_blocks << shift,
		.faults = sum->faults,
		.faults_zero = sum->faults_zero,
		.faults_remote = sum->faults_remote,
		.bytes_in = sum->bytes_in,
		.bytes_out = sum->bytes_out,
		.fetched_blocks = sum->fetched_blocks,
		.stored_blocks = sum->stored_blocks,
		.evicted = sum->evicted,
		.dropped_clean = sum->dropped_clean,
		.prefetched = sum->prefetched,
		.prefetch_used = sum->prefetch_used,
		.checksum_errors = sum->checksum_errors,
		.reconnects = sum->reconnects,
		.fault_ns_p50 = tm_hist_percentile(&sum->fault_ns, 500),
		.fault_ns_p99 = tm_hist_percentile(&sum->fault_ns, 990),
		.resident_peak_bytes =
			max(READ_ONCE(space->resident_peak_bytes),
			    usage.used_frames << shift),
		.remote_peak_bytes = max(READ_ONCE(space->remote_peak_bytes),
					 usage.remote_blocks << shift),
		.committed_peak_bytes = READ_ONCE(space->committed_peak_bytes),
		.regions_opened = READ_ONCE(space->regions_opened),
		.faults_cached = sum->faults_cached,
		.fetch_requests = sum->fetch_requests,
		.store_requests = sum->store_requests,
		.lost_blocks = sum->lost,
	};
	memcpy(q->name, space->config.name, sizeof(q->name));
	kfree(sum);
	return 0;
}

void tm_space_tick(struct tm_space *space)
{
	u64 resident, remote;
	struct tm_pager_usage usage;

	tm_pager_usage(space->pager, &usage);
	resident = usage.used_frames << space->block_shift;
	remote = usage.remote_blocks << space->block_shift;
	if (resident > space->resident_peak_bytes)
		WRITE_ONCE(space->resident_peak_bytes, resident);
	if (remote > space->remote_peak_bytes)
		WRITE_ONCE(space->remote_peak_bytes, remote);
}
