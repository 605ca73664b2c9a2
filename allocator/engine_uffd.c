// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The engine as the allocator sees it: start, stop, and the calls of program
 * threads. See engine.h and engine_internal.h.
 *
 * A program's thread opens the userfaultfd; all else is set up by lane 0, in
 * whose descriptor table it lives.
 */
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "allocator/config.h"
#include "allocator/engine_internal.h"
#include "allocator/fingerprint.h"
#include "common/size.h"
#include "core/blockmap.h"
#include "core/crc32c.h"
#include "core/place.h"
#include "core/replace.h"

#define MIN_FRAMES 8
#define PROGRAM_FD_MIN 500
#define IO_BYTES (1u << 20)
/* An access waits for local memory so many times the servers' timeout. */
#define STALL_TIMEOUTS 6

/* Bytes under way per lane, and blocks: what keeps a fast network busy. */
#define DEPTH_BYTES (4u << 20)
#define DEPTH_MIN 8
#define DEPTH_MAX 1024

/*
 * Huge pages, and for how many there must be local memory: with fewer, those
 * that wait for room cost streams more than moving them as one gains.
 */
#define HUGE_BYTES (2u << 20)
#define HUGE_LEAST 64
#define HUGE_SHARE 16

static u64 op_now(void *ctx)
{
	return tm_engine_now();
}

static int op_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		  unsigned int flags)
{
	struct tm_uffd_engine *e = ctx;

	return e->mech->map(e, tm_lane_index(lane), block, frame, flags);
}

static int op_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	return tm_pin_unmap(tm_engine_lane_of(ctx, lane), block, frame);
}

static u32 op_map_run(void *ctx, struct tm_lane *lane, u64 block,
		      const u32 *frame, u32 nr, unsigned int flags)
{
	struct tm_uffd_engine *e = ctx;

	if (!e->mech->map_run)
		return 0;
	return e->mech->map_run(e, tm_lane_index(lane), block, frame, nr,
				flags);
}

static u32 op_unmap_run(void *ctx, struct tm_lane *lane, u64 block,
			const u32 *frame, u32 nr, int *answer)
{
	u32 i;

	nr = tm_pin_unmap_run(tm_engine_lane_of(ctx, lane), block, frame, nr);
	for (i = 0; i < nr; i++)
		answer[i] = TM_UNMAP_UNKNOWN;
	return nr;
}

static void op_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	struct tm_uffd_engine *e = ctx;

	e->mech->drop(e, tm_lane_index(lane), block, frame);
}

static void op_split(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		     const u32 *small)
{
	struct tm_uffd_engine *e = ctx;

	e->mech->split(e, block, frame, small);
}

static void op_accessed(void *ctx, struct tm_lane *lane, u64 block,
			const u32 *frame, u32 nr, int *answer)
{
	while (nr)
		answer[--nr] = -EOPNOTSUPP;
}

static void op_wake(void *ctx, struct tm_lane *lane, u64 block)
{
	struct tm_uffd_engine *e = ctx;

	tm_uffd_wake(e->uffd.fd, tm_engine_addr(e, block), e->engine.block);
}

static u32 op_checksum(void *ctx, u64 block, u32 frame, u32 seed)
{
	struct tm_uffd_engine *e = ctx;

	return tm_crc32c(seed, e->mech->bytes(e, block, frame),
			 e->engine.block);
}

static u64 op_fingerprint(void *ctx, u64 block, u32 frame)
{
	struct tm_uffd_engine *e = ctx;

	return tm_fingerprint(e->mech->bytes(e, block, frame), e->engine.block);
}

static const struct tm_pager_ops pager_ops = {
	.now = op_now,
	.fetch = tm_transport_fetch,
	.store = tm_transport_store,
	.discard = tm_transport_discard,
	.reserve = tm_transport_reserve,
	.release = tm_transport_release,
	.map = op_map,
	.map_run = op_map_run,
	.unmap = op_unmap,
	.unmap_run = op_unmap_run,
	.drop = op_drop,
	.split = op_split,
	.accessed = op_accessed,
	.wake = op_wake,
	.fail = tm_lost_fail,
	.checksum = op_checksum,
	.fingerprint = op_fingerprint,
};

int tm_region_map(struct tm_uffd_engine *e, char *addr, size_t bytes)
{
	if (mmap(addr, bytes, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		return -errno;
	/* A child must never find zeros here: nothing at all is better. */
	if (madvise(addr, bytes, MADV_DONTFORK))
		return -errno;
	madvise(addr, bytes, MADV_DONTDUMP);
	madvise(addr, bytes,
		e->engine.block == 2u << 20 ? MADV_HUGEPAGE : MADV_NOHUGEPAGE);
	return tm_uffd_register(e->uffd.fd, addr, bytes,
				e->mech->register_mode);
}

static int region_reserve(struct tm_uffd_engine *e)
{
	int err = tm_engine_reserve(&e->engine, e->map.size_bytes);

	if (!err)
		err = tm_region_map(e, e->engine.base, e->engine.size);
	if (err)
		tm_lane_log(TM_LOG_ERROR,
			    "reserve %zu MiB of addresses: %s; raise ulimit "
			    "-v, and see that vm.overcommit_memory is not 2",
			    e->engine.size >> 20, strerror(-err));
	return err;
}

static int choose_mechanism(struct tm_uffd_engine *e)
{
	unsigned int wanted = tm_config_get()->mechanism;
	const struct tm_mech_ops *const all[] = {
		[TM_MECHANISM_MOVE] = &tm_mech_move,
		[TM_MECHANISM_COPY] = &tm_mech_copy,
	};

	if (wanted != TM_MECHANISM_AUTO)
		e->mech = all[wanted];
	else if (e->uffd.features & UFFD_FEATURE_MOVE)
		e->mech = &tm_mech_move;
	else
		e->mech = &tm_mech_copy;
	if ((e->uffd.features & e->mech->uffd_features) !=
	    e->mech->uffd_features) {
		tm_err("start engine: mechanism '%s': this kernel's "
		       "userfaultfd "
		       "lacks it; set TERAMALLOC_MECHANISM=%s, or use Linux "
		       "%s or later",
		       e->mech->name,
		       e->mech == &tm_mech_move ? "auto" : "move",
		       e->mech == &tm_mech_move ? "6.8" : "5.7");
		return -EOPNOTSUPP;
	}
	if (e->mech == &tm_mech_copy)
		tm_warn("start engine: mechanism 'copy': do not let devices "
			"read directly (O_DIRECT, io_uring, RDMA) into remote "
			"memory; Linux 6.8 and later have no such limit");
	return 0;
}

static unsigned int choose_lanes(void)
{
	const struct tm_config *config = tm_config_get();
	cpu_set_t cpus;

	if (config->lanes)
		return config->lanes;
	if (!sched_getaffinity(0, sizeof(cpus), &cpus) && CPU_COUNT(&cpus) >= 8)
		return 2;
	return 1;
}

static u32 choose_depth(const struct tm_uffd_engine *e)
{
	u32 depth = DEPTH_BYTES >> e->block_shift;

	if (depth < DEPTH_MIN)
		depth = DEPTH_MIN;
	if (depth > DEPTH_MAX)
		depth = DEPTH_MAX;
	/* room for more of those, where they are but a small part of all */
	if (e->huge_blocks && depth < e->nr_frames / HUGE_SHARE)
		depth = e->nr_frames / HUGE_SHARE < 4 * DEPTH_MAX
				? e->nr_frames / HUGE_SHARE
				: 4 * DEPTH_MAX;
	return depth < e->nr_frames / 2 ? depth : e->nr_frames / 2;
}

static u32 choose_around(const struct tm_uffd_engine *e)
{
	u32 nr = TM_MAP_AUTO_AROUND >> e->block_shift;

	if (!e->map.block_auto)
		return 0;
	return nr < TM_RUN_BLOCKS ? nr : TM_RUN_BLOCKS;
}

/* Blocks in a huge page; 0 where there is nothing to gain from those. */
static u32 choose_huge(const struct tm_uffd_engine *e)
{
	u32 nr = HUGE_BYTES >> e->block_shift;

	if (!e->map.block_auto || !e->mech->split || nr < 2 ||
	    e->map.prefetch_bytes < HUGE_BYTES ||
	    e->nr_frames < nr * HUGE_LEAST || !tm_uffd_moves_huge())
		return 0;
	return nr;
}

static int pager_start(struct tm_uffd_engine *e)
{
	struct tm_pager_config config = {
		.nr_blocks = e->engine.size >> e->block_shift,
		.nr_frames = e->nr_frames,
		.block_shift = e->block_shift,
		.nr_lanes = e->nr_lanes,
		.nr_servers = e->map.nr_servers,
		.io_depth = e->io_depth,
		.io_bytes = e->engine.block > IO_BYTES ? (u32)e->engine.block
						       : IO_BYTES,
		.prefetch_blocks =
			(u32)(e->map.prefetch_bytes >> e->block_shift),
		.around_blocks = choose_around(e),
		.huge_blocks = e->huge_blocks,
		.can_cache = e->mech->can_cache,
		.stall_ms = e->stall_ms,
		.replace = e->map.fifo ? &tm_replace_fifo : &tm_replace_lru,
		.place = e->map.rr ? &tm_place_rr : &tm_place_simple,
	};
	int err = tm_pager_create(&config, &pager_ops, e, &e->pager);

	if (err) {
		tm_lane_log(TM_LOG_ERROR, "start engine: pager: %s",
			    strerror(-err));
		return err;
	}
	tm_pager_limit_set(e->pager,
			   (u32)(e->budget.local_bytes >> e->block_shift));
	tm_pager_extents_limit_set(e->pager, 0);
	for (unsigned int i = 0; i < e->nr_lanes; i++) {
		e->lane[i].pager = tm_pager_lane(e->pager, i);
		if (e->budget.job)
			tm_lane_stats_set(e->lane[i].pager,
					  tm_job_stats(e->budget.job, i));
	}
	return 0;
}

int tm_engine_set_up(struct tm_uffd_engine *e)
{
	int err;

	err = tm_uffd_pages_open();
	e->empty_fd = (int)syscall(SYS_memfd_create, "teramem-lost", 1u);
	if (err || e->empty_fd < 0) {
		tm_lane_log(TM_LOG_ERROR, "start engine: %s (is /proc there?)",
			    strerror(err ? -err : errno));
		return -ENODEV;
	}
	err = tm_budget_init(e, tm_config_get()->job);
	if (!err)
		err = tm_transport_open(e);
	if (!err)
		err = region_reserve(e);
	if (!err) {
		e->failed =
			tm_alloc((e->engine.size >> e->block_shift) / 8 + 8);
		e->pinned =
			tm_alloc((e->engine.size >> e->block_shift) / 8 + 8);
		err = e->failed && e->pinned ? tm_command_init(e) : -ENOMEM;
	}
	if (!err)
		err = e->mech->start(e);
	if (!err)
		err = pager_start(e);
	for (unsigned int i = 0; i < e->nr_lanes && !err; i++) {
		err = tm_transport_lane_init(&e->lane[i]);
		if (!err && e->mech->lane_init)
			err = e->mech->lane_init(e, i);
	}
	/* The last step: from here on lanes use all that. */
	for (unsigned int i = 1; i < e->nr_lanes && !err; i++)
		err = tm_lane_start(&e->lane[i]);
	return err;
}

static int load_map(struct tm_uffd_engine *e, const char *path)
{
	char why[256];
	int err = tm_map_load(path, &e->map, why, sizeof(why));

	if (err) {
		tm_err("read server map %s: %s", path, why);
		return err;
	}
	e->stall_ms = e->map.timeout_s * 1000 * STALL_TIMEOUTS;
	if (e->map.local_bytes > e->map.size_bytes * TM_REGION_FACTOR)
		e->map.local_bytes = e->map.size_bytes * TM_REGION_FACTOR;
	return 0;
}

/* What the map says, or what the mechanism can make use of. */
static int choose_block(struct tm_uffd_engine *e)
{
	char block[32];

	if (e->map.block_auto && e->mech == &tm_mech_copy) {
		e->map.block_auto = false;
		e->map.block_bytes = TM_MAP_AUTO_COPIED;
	} else if (e->map.block_auto) {
		e->map.block_bytes =
			tm_map_auto_block(&e->map, sizeof(struct tm_block));
	}
	e->engine.block = e->map.block_bytes;
	e->block_shift = (u32)__builtin_ctzll(e->engine.block);
	e->nr_frames = (u32)(e->map.local_bytes >> e->block_shift);
	if (e->nr_frames >= MIN_FRAMES)
		return 0;
	tm_err("start engine: local memory: room for fewer than %d blocks of "
	       "%s; give more, or choose smaller blocks",
	       MIN_FRAMES,
	       tm_size_format(e->engine.block, block, sizeof(block)));
	return -EINVAL;
}

static void op_stop(struct tm_engine *engine)
{
	struct tm_uffd_engine *e = tm_uffd_engine_of(engine);

	tm_store_relaxed(&e->stopping, 1);
	pthread_join(e->lane[0].thread, NULL);
	tm_budget_fini(e);
}

static void op_fork_prepare(struct tm_engine *engine)
{
	/* Commits of other threads are whole in the copy. */
	pthread_mutex_lock(&tm_uffd_engine_of(engine)->budget.lock);
}

static void op_fork_parent(struct tm_engine *engine)
{
	pthread_mutex_unlock(&tm_uffd_engine_of(engine)->budget.lock);
}

/* Descriptors need no care: the lanes' are in their own table. */
static void op_fork_child(struct tm_engine *engine)
{
	struct tm_uffd_engine *e = tm_uffd_engine_of(engine);

	if (e->budget.job)
		tm_job_forget(e->budget.job);
}

static int op_commit(struct tm_engine *engine, size_t bytes)
{
	return tm_budget_commit(tm_uffd_engine_of(engine), bytes);
}

static void op_uncommit(struct tm_engine *engine, size_t bytes)
{
	tm_budget_uncommit(tm_uffd_engine_of(engine), bytes);
}

static void op_free(struct tm_engine *engine, void *addr, size_t bytes)
{
	struct tm_uffd_engine *e = tm_uffd_engine_of(engine);
	u64 first = (u64)((char *)addr - engine->base) >> e->block_shift;

	tm_command_discard(e, first, bytes >> e->block_shift);
}

static int op_stats(struct tm_engine *engine, struct teramalloc_stats *stats)
{
	struct tm_uffd_engine *e = tm_uffd_engine_of(engine);
	struct tm_pager_usage usage;
	struct tm_stats *sum;

	/* Too large for the stack of any thread. */
	sum = tm_alloc(sizeof(*sum));
	if (!sum)
		return -ENOMEM;
	for (unsigned int i = 0; i < e->nr_lanes; i++)
		tm_stats_merge(sum, tm_lane_stats(e->lane[i].pager));
	tm_pager_usage(e->pager, &usage);
	*stats = (struct teramalloc_stats){
		.allocated_bytes = tm_load_relaxed(&e->budget.committed_bytes),
		.resident_bytes = usage.used_frames << e->block_shift,
		.remote_bytes = usage.remote_blocks << e->block_shift,
		.limit_bytes = usage.limit_frames << e->block_shift,
		.capacity_bytes = e->map.size_bytes,
		.faults = sum->faults,
		.bytes_in = sum->bytes_in,
		.bytes_out = sum->bytes_out,
		.dropped_clean = sum->dropped_clean,
		.fault_ns_p50 = tm_hist_percentile(&sum->fault_ns, 500),
		.fault_ns_p99 = tm_hist_percentile(&sum->fault_ns, 990),
	};
	tm_free(sum, sizeof(*sum));
	return 0;
}

static const struct tm_engine_ops uffd_ops = {
	.stop = op_stop,
	.fork_prepare = op_fork_prepare,
	.fork_parent = op_fork_parent,
	.fork_child = op_fork_child,
	.commit = op_commit,
	.uncommit = op_uncommit,
	.discard = op_free,
	.pin = tm_pin_add,
	.pins = tm_pin_any,
	.unpin = tm_pin_remove,
	.stats = op_stats,
};

int tm_uffd_engine_start(struct tm_engine **engine)
{
	const struct tm_config *config = tm_config_get();
	struct tm_uffd_engine *e;
	int program_fd, err;

	e = tm_alloc(sizeof(*e));
	if (!e)
		return -ENOMEM;
	e->engine.ops = &uffd_ops;
	err = load_map(e, config->map);
	if (err)
		goto err_free;
	e->nr_lanes = choose_lanes();
	for (unsigned int i = 0; i < e->nr_lanes; i++) {
		e->lane[i].engine = e;
		e->lane[i].index = i;
	}
	err = tm_uffd_open(config->uffd == TM_UFFD_LIMITED, &e->uffd);
	if (err)
		goto err_free;
	/* Out of the way of programs that count on low numbers. */
	program_fd = fcntl(e->uffd.fd, F_DUPFD_CLOEXEC, PROGRAM_FD_MIN);
	if (program_fd < 0) {
		program_fd = e->uffd.fd;
	} else {
		close(e->uffd.fd);
		e->uffd.fd = program_fd;
	}
	err = choose_mechanism(e);
	if (!err)
		err = choose_block(e);
	if (err)
		goto err_close;
	e->huge_blocks = choose_huge(e);
	e->io_depth = choose_depth(e);
	err = tm_lane_start(&e->lane[0]);
	if (err) {
		tm_err("start engine: thread: %s", strerror(-err));
		goto err_close;
	}
	while (!tm_load_acquire(&e->ready))
		syscall(SYS_futex, &e->ready, 0 /* FUTEX_WAIT */, 0, NULL, NULL,
			0);
	err = e->start_err;
	if (err) {
		tm_engine_stop(&e->engine);
		if (e->engine.base)
			munmap(e->engine.base, e->engine.size);
		goto err_close;
	}
	*engine = &e->engine;
	return 0;

err_close:
	close(program_fd);
err_free:
	tm_free(e, sizeof(*e));
	return err;
}
