/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator: the real core/ under a third set of ops, with virtual time,
 * seeded schedules and seeded faults, against a model of what every block must
 * hold. One seed is one run, always the same.
 *
 *	main.c	   options, the loop over seeds, the report of a failure
 *	config.c   what a seed means: sizes, policies, which faults
 *	sched.c	   lanes as coroutines, what happens next
 *	program.c  the program: threads that access and discard; the model
 *	glue.c	   struct tm_pager_ops: page table, frames
 *	net.c	   requests under way, and the servers
 *	slot.c	   how a server's bytes are damaged
 *
 * A block's bytes are eight words here. Lanes really interleave: a lane may be
 * left in the middle of any op and continued much later.
 */
#ifndef TM_TESTS_SIM_H
#define TM_TESTS_SIM_H

#include "core/crc32c.h"
#include "core/pager.h"
#include "core/place.h"
#include "core/replace.h"

#define SIM_WORDS 8
#define SIM_BLOCKS_MAX 33000
#define SIM_USED_MAX 2000
#define SIM_FRAMES_MAX 600
#define SIM_SERVERS_MAX 8
#define SIM_LANES_MAX 4
#define SIM_THREADS_MAX 8
#define SIM_EXTENTS_MAX 96 /* of one server, by number */
#define SIM_EXTENT_SLOTS_MAX 32
#define SIM_HUGE_MAX 32 /* blocks in a huge one */
#define SIM_SLOTS_MAX (SIM_EXTENTS_MAX * SIM_EXTENT_SLOTS_MAX)

#define SIM_NO_BLOCK (~(u64)0)
#define SIM_MS 1000000ull

/* How long the transport may take at worst, resent requests included. */
#define SIM_NET_MAX_NS (400 * SIM_MS)

/**
 * enum sim_sabotage - a lie told to the core by its ops, to see that the model
 * notices
 */
enum sim_sabotage {
	SABOTAGE_NONE,
	SABOTAGE_CHECKSUM,    /* constant: damage passes */
	SABOTAGE_FINGERPRINT, /* constant: changed blocks look clean */
	SABOTAGE_DIRTY,	      /* changed blocks are reported as clean */
	SABOTAGE_STORE,	      /* acknowledged, never written */
	SABOTAGE_ZERO,	      /* new blocks are not cleared */
	SABOTAGE_WAKE,	      /* waiting threads are not told */
	SABOTAGE_SPLIT,	      /* bytes are lost where a huge block is split */
};

struct content {
	u64 word[SIM_WORDS];
};

/* Chances are per mille of the occasion; 0 = never in this run. */
struct sim_config {
	u64 seed;
	enum sim_sabotage sabotage;
	struct tm_pager_config pager;
	u32 nr_used; /* blocks that the program touches: */
	u32 row;     /* so many in a row, */
	u32 gap;     /* then none of so many */
	unsigned int nr_threads;
	u32 extent_slots;
	u32 server_extents[SIM_SERVERS_MAX]; /* capacity of each */
	u64 extents_limit;
	bool exact_dirty;
	bool accessed_bits;
	unsigned int write_percent;
	unsigned int yield;	   /* leave a lane in the middle of an op */
	unsigned int preempt;	   /* the same, at a lock */
	unsigned int resend;	   /* deliver a request twice */
	unsigned int lose;	   /* deliver it only after a timeout */
	unsigned int late;	   /* a late reply */
	unsigned int refuse_fetch; /* -EREMOTEIO */
	unsigned int refuse_store;
	unsigned int stubborn; /* this server refuses every store */
	unsigned int refuse_reserve;
	unsigned int damage; /* of a reply, or of what is kept */
	unsigned int kill;   /* a server, per 100 ms */
	unsigned int pin;
	unsigned int map_error;
	bool streams;	       /* threads mostly go in order */
	unsigned int run_ends; /* a run is done only up to a point */
	unsigned int limit;
	unsigned int discard;
	unsigned int no_memory;
	unsigned int abandon; /* a thread stops waiting (a signal) */
};

enum frame_state {
	FRAME_FREE,
	FRAME_FILLING, /* a fetch into it is under way */
	FRAME_STABLE,  /* has a block's bytes, the program cannot write them */
	FRAME_MAPPED,
};

struct sim_frame {
	struct content content;
	enum frame_state state;
	u64 block;
	unsigned int stores; /* under way */
	bool readable;	     /* stable, but the program still reads it */
	bool dirty;
	bool accessed;
};

/* Why a block may fail. */
#define CAUSE_SERVER_LOST 0x01u
#define CAUSE_DAMAGED 0x02u
#define CAUSE_REFUSED 0x04u
#define CAUSE_MAP_ERROR 0x08u
#define CAUSE_NO_ROOM 0x10u

struct sim_block {
	struct content model; /* what the program must see */
	u32 frame;	      /* mapped or readable there, or TM_NO_FRAME */
	unsigned int ops;     /* lanes in an op on this block */
	unsigned int damaged; /* replies in a row */
	unsigned int causes;
	bool failed;
	bool discarding;
	u64 pinned_until;
};

enum thread_state {
	THREAD_RUN,
	THREAD_FAULTING, /* tm_pager_fault() has not returned */
	THREAD_WAITING,
};

struct sim_thread {
	enum thread_state state;
	bool accessing; /* block and write hold an access to complete */
	bool woken;
	bool write;
	u64 block;
	u64 since; /* of the fault */
	unsigned int pattern;
	u64 next;
	s64 stride;
};

struct sim_server {
	bool alive;
	bool held[SIM_EXTENTS_MAX];
	unsigned int nr_held;
	struct sim_slot {
		struct content content;
		struct content old;
		u64 owner; /* block whose copy it is, or SIM_NO_BLOCK */
	} slot[SIM_SLOTS_MAX];
};

struct net_request;
struct discard;

/* What a lane is told to do. */
struct sim_task {
	void (*run)(struct sim_task *task, struct tm_lane *lane);
	struct sim_thread *thread;
	struct net_request *request;
	struct discard *discard;
	unsigned int server;
};

extern struct sim sim;

struct sim {
	struct sim_config config;
	struct tm_pager *pager;
	u64 rng;
	u64 now;
	u64 step;
	u64 steps;
	bool creating;	/* the pager */
	bool huge_only; /* see main.c */
	bool calm;   /* no more faults are injected, threads end their access */
	u64 room_ns; /* when the servers are next asked again */
	u64 tight_ns; /* when there was last too little remote memory */
	u64 fetches, stores, faults, accesses, failed_accesses; /* counted */
	u64 busy; /* a block of the last run */
	struct sim_block block[SIM_BLOCKS_MAX];
	struct sim_frame frame[SIM_FRAMES_MAX];
	struct sim_frame huge[SIM_FRAMES_MAX]; /* parts of huge frames */
	struct sim_server server[SIM_SERVERS_MAX];
	struct sim_thread thread[SIM_THREADS_MAX];
};

/* main.c */
void sim_trace(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void sim_fail(const char *fmt, ...)
	__attribute__((format(printf, 1, 2), noreturn));
#define sim_check(cond, ...)                                                   \
	do {                                                                   \
		if (!(cond))                                                   \
			sim_fail(__VA_ARGS__);                                 \
	} while (0)

/* config.c */
void sim_config_draw(struct sim_config *c, u64 seed);
u64 sim_random(u64 below);
bool sim_chance(unsigned int per_mille);
u64 sim_address(const struct sim_config *c, u64 index); /* of a used block */

/* sched.c */
void sched_init(void);
void sched_step(void);
void sched_yield_lane(void); /* in an op: maybe let others run */
bool sched_lane_idle(unsigned int lane);
bool sched_idle_lane(unsigned int *lane); /* any idle one, by chance */
bool sched_all_idle(void);
bool sched_balanced(void);
void sched_start(unsigned int lane, const struct sim_task *task);

/* program.c */
void program_init(void);
bool program_step(void); /* false when no thread could do anything */
bool program_idle(void);
void program_wake(u64 block);
void program_discard_all(void);
void program_sweep(void); /* thread 0 shall read all blocks once more */
void program_watch(void);
void program_failed(u64 block, int err);

/* glue.c */
extern const struct tm_pager_ops glue_ops;
void glue_init(void);
bool glue_is_huge(u32 frame);
bool glue_lies(enum sim_sabotage kind, u32 frame);
/* the small frame, or the part of a huge one that is for this block */
struct sim_frame *glue_frame(u64 block, u32 frame);
void glue_filled(u64 block, u32 frame, const struct content *content);
void glue_not_filled(u64 block, u32 frame);
const struct content *glue_stored_content(u64 block, u32 frame);
void glue_check_empty(void);

/* Of a request: what its @i-th block is, and the frame that it is in. */
static inline u64 io_block(const struct tm_io *io, unsigned int i)
{
	return io->nr_segs == 1 ? io->seg[0].block + i : io->seg[i].block;
}

static inline u32 io_frame(const struct tm_io *io, unsigned int i)
{
	return io->seg[io->nr_segs == 1 ? 0 : i].frame;
}

/* net.c */
void slot_spoil(struct sim_slot *slot);
void slot_damaged(const struct sim_slot *slot);
void content_damage(struct content *content, const struct sim_slot *slot,
		    unsigned int server);

void net_init(void);
void net_deliver(void);
bool net_complete(void);  /* one that is due, by chance, on an idle lane */
void net_next(u64 *when); /* lower it to the next event there */
void net_server_lost(unsigned int server);
unsigned int net_under_way(void);
void net_check_empty(void);
void net_fetch(struct tm_io *io);
void net_store(struct tm_io *io);
bool net_discard(void *ctx, struct tm_lane *lane, unsigned int server, u64 addr,
		 u64 bytes);
void net_reserve(void *ctx, struct tm_lane *lane, unsigned int server);
bool net_release(void *ctx, struct tm_lane *lane, unsigned int server, u64 addr,
		 u64 bytes);

#endif /* TM_TESTS_SIM_H */
