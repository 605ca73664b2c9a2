/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the files of the user-space engine share; declarations are grouped
 * under the file that defines them. engine.h is what the allocator sees, and
 * engine_ops.h how it gets here.
 *
 * The engine's threads (lanes) own its descriptors: they have a descriptor
 * table of their own, so that a program that closes everything it did not
 * open, or forks, cannot take paging away from itself. They never touch the
 * region, never call malloc once paging runs, and block all signals.
 *
 * Lock order: budget.lock, then what the job file has inside. The pager's locks
 * are never held across a call out. log_lock is innermost.
 */
#ifndef TM_ALLOCATOR_ENGINE_INTERNAL_H
#define TM_ALLOCATOR_ENGINE_INTERNAL_H

#include <pthread.h>
#include <signal.h>
#include <sys/types.h>

#include "allocator/engine_ops.h"
#include "allocator/mech.h"
#include "allocator/uffd.h"
#include "common/job.h"
#include "common/log.h"
#include "common/map.h"
#include "common/session.h"
#include "core/pager.h"
#include "core/upkeep.h"

struct tm_transport_request;
struct tm_command;

/**
 * struct tm_engine_lane - one handler thread
 * @pager: the pager's lane of the same index
 * @commands: being done here, oldest first
 * @dirty: servers with something queued since the last flush
 * @bounce, @nr_bounce: free buffers of the copy mechanism
 */
struct tm_engine_lane {
	struct tm_uffd_engine *engine;
	unsigned int index;
	struct tm_lane *pager;
	pthread_t thread;
	bool started;
	struct tm_command *commands;
	struct tm_command **commands_end;

	struct tm_transport_request *requests;
	size_t requests_bytes;
	struct tm_transport_request *free_request;
	unsigned int nr_requests; /* used so far: others take no memory */
	struct tm_transport_request *failed; /* to be completed so */
	struct tm_upkeep upkeep;
	unsigned int nr_dirty;
	u16 dirty[TM_SERVERS_MAX];
	bool is_dirty[TM_SERVERS_MAX];

	unsigned int nr_bounce;
	void **bounce;

	u32 unmapping; /* odd while the lane unmaps a block */
	u64 spin_ns;
	u64 active_ns; /* when something last happened */
	u64 tick_ns;
	u64 exit_check_ns;
	u64 judged_ns;
	u64 ran_ns;    /* processor time, then */
	u64 napped_ns; /* since then */
	u64 spin_from_ns;
	u64 rest_ns; /* that spinning was suspended for last */
};

/**
 * struct tm_budget - this process's share of the job's capacity and memory
 * @job: NULL where there is no job file: then all of the map's is ours
 * @committed_bytes: promised to the allocator
 * @drawn_bytes: taken from the job's capacity, whole extents
 * @local_bytes: local memory that may be used
 * @giving_bytes: of what was drawn, on the way back: eviction first
 */
struct tm_budget {
	pthread_mutex_t lock;
	struct tm_job *job;
	u64 extent_bytes;
	u64 committed_bytes;
	u64 drawn_bytes;
	u64 local_bytes;
	u64 giving_bytes;
	u64 chunk_bytes;
	u64 floor_bytes;
};

struct tm_uffd_engine {
	struct tm_engine engine;
	struct tm_map map;
	struct tm_userfaultfd uffd;
	u32 block_shift;
	u32 nr_frames;
	u32 huge_blocks; /* 0: there are no huge ones */
	const struct tm_mech_ops *mech;
	struct tm_mech_state *mech_state;
	struct tm_pager *pager;
	struct tm_budget budget;

	unsigned int nr_lanes;
	struct tm_engine_lane lane[TM_LANES_MAX];
	u32 io_depth; /* blocks under way per lane */
	u32 stall_ms;
	struct tm_session *session[TM_SERVERS_MAX];
	bool full[TM_SERVERS_MAX];	/* refused an extent, or a store */
	u64 refused_ns[TM_SERVERS_MAX]; /* the log last said so of a store */

	struct tm_command *command;
	char *doorbell; /* a page per command, absent while that is not done */
	u32 ready;	/* futex: lane 0 is up, or failed with start_err */
	int start_err;
	u32 stopping;
	bool exiting;

	int empty_fd; /* an empty memfd: access to a mapping of it is SIGBUS */
	u64 *failed;  /* a bit per block */
	u32 nr_failed;
	u64 *pinned; /* a bit per block */
	u32 nr_pinned;
};

static inline struct tm_uffd_engine *
tm_uffd_engine_of(const struct tm_engine *engine)
{
	return (struct tm_uffd_engine *)engine; /* its first member */
}

static inline void *tm_engine_addr(const struct tm_uffd_engine *e, u64 block)
{
	return e->engine.base + (block << e->block_shift);
}

static inline struct tm_engine_lane *tm_engine_lane_of(struct tm_uffd_engine *e,
						       struct tm_lane *lane)
{
	return &e->lane[tm_lane_index(lane)];
}

u64 tm_engine_now(void);

/* engine_uffd.c */

/** tm_engine_set_up() - in lane 0: sessions, region, pager; 0 or -errno */
int tm_engine_set_up(struct tm_uffd_engine *e);

/** tm_region_map() - fresh, absent, served memory in the region; 0 or -errno */
int tm_region_map(struct tm_uffd_engine *e, char *addr, size_t bytes);

/* lane.c */

/** tm_lane_start() - make the thread; 0 or -errno */
int tm_lane_start(struct tm_engine_lane *lane);

/** tm_lane_self() - the lane that the calling thread is; NULL in others */
struct tm_engine_lane *tm_lane_self(void);

/**
 * tm_lane_log() - tm_log() from a lane, onto the program's stderr, which is not
 * in the lane's own descriptor table
 */
void tm_lane_log(enum tm_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

/* command.c: from program threads to a lane */

int tm_command_init(struct tm_uffd_engine *e);
/** tm_command_discard() - and wait for it; for program threads */
void tm_command_discard(struct tm_uffd_engine *e, u64 first, u64 nr);
/** tm_command_take() - a fault at @addr: true when it was a command's */
bool tm_command_take(struct tm_engine_lane *lane, u64 addr);
/** tm_command_step() - do a bounded part of those taken */
void tm_command_step(struct tm_engine_lane *lane);

/* transport.c: pager I/O over sessions */

int tm_transport_open(struct tm_uffd_engine *e);
void tm_transport_close(struct tm_uffd_engine *e);
int tm_transport_lane_init(struct tm_engine_lane *lane);
void tm_transport_fetch(void *ctx, struct tm_io *io);
void tm_transport_store(void *ctx, struct tm_io *io);
bool tm_transport_discard(void *ctx, struct tm_lane *lane, unsigned int server,
			  u64 addr, u64 bytes);
void tm_transport_reserve(void *ctx, struct tm_lane *lane, unsigned int server);
bool tm_transport_release(void *ctx, struct tm_lane *lane, unsigned int server,
			  u64 addr, u64 bytes);
/** tm_transport_flush() - send what was queued; true when there was any */
bool tm_transport_flush(struct tm_engine_lane *lane);
/** tm_transport_process() - receive; returns completions */
unsigned int tm_transport_process(struct tm_engine_lane *lane, bool idle_too);
/** tm_transport_tick() - ask servers that were full once more */
void tm_transport_tick(struct tm_engine_lane *lane);

/* exit.c */

/** tm_exit_check() - end the process if no thread of the program is left */
void tm_exit_check(struct tm_uffd_engine *e);

/* lost.c: blocks that cannot be had */

/** tm_lost_fail() - accesses to the block end in SIGBUS from now on */
void tm_lost_fail(void *ctx, struct tm_lane *lane, u64 block, int err);
/** tm_lost() - whether the block is such a one */
bool tm_lost(const struct tm_uffd_engine *e, u64 block);
/** tm_lost_restore() - discarded blocks are usable again */
void tm_lost_restore(struct tm_uffd_engine *e, u64 first, u64 nr);
/**
 * tm_lost_vanished() - a page of a mapped block is not there
 * @tid: the thread that touched it, or 0
 *
 * Only the program can have removed it (a raw madvise(2)), and zeros are never
 * served on suspicion: it gets SIGBUS.
 */
void tm_lost_vanished(struct tm_uffd_engine *e, u64 addr, pid_t tid);

/* pin.c: tm_engine_pin(), _pins(), _unpin() and what they act on */

int tm_pin_add(struct tm_engine *engine, void *addr, size_t bytes);
bool tm_pin_any(const struct tm_engine *engine, const void *addr, size_t bytes);
void tm_pin_remove(struct tm_engine *engine, void *addr, size_t bytes);

/** tm_pin_unmap() - the mechanism's unmap, unless the block is pinned: -EBUSY
 */
int tm_pin_unmap(struct tm_engine_lane *lane, u64 block, u32 frame);
/** tm_pin_unmap_run() - the same for a run, up to the first that is pinned */
u32 tm_pin_unmap_run(struct tm_engine_lane *lane, u64 block, const u32 *frame,
		     u32 nr);

/* budget.c */

int tm_budget_init(struct tm_uffd_engine *e, const char *job_path);
void tm_budget_fini(struct tm_uffd_engine *e);
int tm_budget_commit(struct tm_uffd_engine *e, u64 bytes);
void tm_budget_uncommit(struct tm_uffd_engine *e, u64 bytes);
/** tm_budget_grow() - draw local memory if the pager is about to need it */
void tm_budget_grow(struct tm_uffd_engine *e);
/** tm_budget_gauges() - write them; a program may end at any time after this */
void tm_budget_gauges(struct tm_uffd_engine *e);
/** tm_budget_tick() - give back what others need, write the gauges */
void tm_budget_tick(struct tm_uffd_engine *e);

#endif /* TM_ALLOCATOR_ENGINE_INTERNAL_H */
