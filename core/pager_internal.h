/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * What the pager's files share; nobody else includes it.
 *
 * Locks: a shard's lock guards the entries of its blocks, the frames they are
 * in, its lists and its queue. It is innermost: neither an ops function nor the
 * placement is called with it held. So is a zone's lock, which guards what is
 * known of the streams there. What belongs to a lane is not locked.
 *
 * A block in a busy state belongs to the lane that put it there (FETCHING and
 * STORING: to the lane whose request it is in). Others may only set flags.
 * MAPPING and UNMAPPING never outlast the call that entered them.
 */
#ifndef TM_CORE_PAGER_INTERNAL_H
#define TM_CORE_PAGER_INTERNAL_H

#include "core/around.h"
#include "core/blockmap.h"
#include "core/frame.h"
#include "core/ledger.h"
#include "core/pager.h"
#include "core/prefetch.h"
#include "core/replace.h"

#define TM_SHARDS_MAX 16
/* fewest frames that a space can run with */
#define TM_FRAMES_MIN 4
/* faults that may wait for a leaf of the block map, per lane */
#define TM_LEAFLESS_MAX 32

struct tm_shard {
	struct tm_lock lock;
	u32 queue_head; /* blocks whose fault waits for a frame */
	u32 queue_tail;
	u32 queue_nr;
	struct tm_replace replace;
} __attribute__((aligned(64)));

struct tm_batch_item {
	u64 block;
	struct tm_replica replica;
	u32 frame;
	u32 version;
};

/* Requests being put together; they start at the end of the entry point. */
struct tm_batch {
	u32 nr;
	struct tm_batch_item item[TM_IO_BLOCKS];
};

/* A block at hand. */
struct tm_ref {
	u64 block;
	struct tm_block *e;
	struct tm_shard *shard;
};

/* Neighbours that leave together: @first and those behind it. */
struct tm_victims {
	struct tm_ref first;
	u32 nr;
	bool mapped;
	bool more; /* of the same stretch, which could not leave with these */
	u32 frame[TM_RUN_BLOCKS];
	int accessed[TM_RUN_BLOCKS]; /* as tm_pager_ops.accessed */
};

/* What a lane knows of a huge block's parts while it works on one. */
struct tm_huge {
	u32 frame[TM_HUGE_BLOCKS_MAX];
	u16 flags[TM_HUGE_BLOCKS_MAX];
	u32 crc[TM_HUGE_BLOCKS_MAX];
	u64 fingerprint[TM_HUGE_BLOCKS_MAX];
	struct tm_replica slot[TM_HUGE_BLOCKS_MAX];
};

struct tm_leafless {
	u64 block;
	u64 started_ns;
	bool write;
};

struct tm_lane {
	struct tm_pager *pager;
	unsigned int index;
	struct tm_stats *stats;
	struct tm_stats own_stats;

	/* counted in blocks; read by other lanes */
	u32 fetching;
	u32 storing;
	u32 reserving; /* in extents */

	struct tm_io *io; /* io_depth + 1: one may be ending */
	struct tm_io **io_free;
	u32 nr_io_free;
	struct tm_batch fetch;
	struct tm_batch store;
	struct tm_victims victims; /* too large for a kernel's stack */
	struct tm_huge *huge;	   /* NULL where there are none */
	struct tm_shard *goes_on;  /* where what follows them is next */

	/* freed slots in a row, which the server has yet to hear of */
	struct tm_replica freed;
	u64 nr_freed;
	bool frames_freed;
	bool slots_used; /* and more of them are to be asked for */
	u32 barren;	 /* calls of tm_evict() in a row that found nothing */
	u32 served;	 /* faults taken from queues: the shards take turns */
	bool scarce;	 /* reading ahead found too few frames */
	bool fresh; /* a victim was spared because its fault has just ended */

	struct tm_leaf_reserve leaves;
	struct tm_leafless leafless[TM_LEAFLESS_MAX];
	u32 nr_leafless;
};

/*
 * A part of the address space whose streams are known together, on whatever
 * lane their faults come: whichever is free takes a stream's next fault. A
 * stream that enters another zone begins anew there, which is rare.
 */
#define TM_ZONE_SHIFT 18 /* log2 of its blocks */
#define TM_ZONES 8

struct tm_zone {
	struct tm_lock lock;
	struct tm_prefetch prefetch;
} __attribute__((aligned(64)));

/* Parts of the address space that differ in how much comes around a fault. */
#define TM_AREA_SHIFT 26 /* log2 of its bytes */
#define TM_AREAS 64

struct tm_area {
	struct tm_lock lock;
	struct tm_around around;
} __attribute__((aligned(64)));

struct tm_pager {
	struct tm_pager_config config;
	const struct tm_pager_ops *ops;
	void *ctx;
	struct tm_blockmap map;
	struct tm_frames frames;
	struct tm_place *place;
	struct tm_lane *lane[TM_LANES_MAX];
	u32 nr_shards;
	u32 stretch_shift; /* log2 of a stretch's blocks, runs all of them */
	u32 io_blocks;	   /* in a request */
	u32 waiting;	   /* faults in the shards' queues */
	u32 reclaim;	   /* background eviction is on */
	u32 refused;	   /* a store failed, and no frame was freed since */
	u32 losses;   /* a server was lost, and its waiting faults not told */
	u64 stuck_ns; /* since when a waiting fault has had no prospect */
	u64 lost;
	u64 remote[TM_SERVERS_MAX];
	struct tm_zone zone[TM_ZONES];
	struct tm_area area[TM_AREAS];
	u32 around_max; /* log2 of most blocks around a fault */
	struct tm_shard shard[TM_SHARDS_MAX];
};

/*
 * Blocks of a stretch share a shard, so that they leave one after the other;
 * those of a run share a leaf of the map, too.
 * Stretches that follow each other are spread evenly: Fibonacci hashing (Knuth,
 * The Art of Computer Programming, volume 3, section 6.4).
 */
static inline struct tm_ref tm_ref(struct tm_pager *p, u64 block,
				   struct tm_block *e)
{
	u64 hash = (block >> p->stretch_shift) * 0x9e3779b97f4a7c15ULL >> 32;

	return (struct tm_ref){block, e, &p->shard[hash * p->nr_shards >> 32]};
}

static inline struct tm_ref tm_ref_find(struct tm_pager *p, u64 block)
{
	return tm_ref(p, block, tm_blockmap_find(&p->map, block));
}

/* The @i-th block after this one, of the same run. */
static inline struct tm_ref tm_ref_neighbour(const struct tm_ref *b, u32 i)
{
	return (struct tm_ref){b->block + i, b->e + i, b->shard};
}

static inline struct tm_ref tm_ref_before(const struct tm_ref *b)
{
	return (struct tm_ref){b->block - 1, b->e - 1, b->shard};
}

static inline struct tm_frame *tm_ref_frame(struct tm_pager *p,
					    const struct tm_ref *b)
{
	return &p->frames.at[b->e->frame];
}

/* The block's copy on a server; shard locked. */
static inline void tm_copy_set(struct tm_pager *p, struct tm_block *e)
{
	e->flags |= TM_BLOCK_COPY;
	tm_add_return(&p->remote[e->replica[0].server], 1);
}

static inline void tm_copy_clear(struct tm_pager *p, struct tm_block *e)
{
	if (e->flags & TM_BLOCK_COPY)
		tm_add_return(&p->remote[e->replica[0].server], -1);
	e->flags &= (u16)~TM_BLOCK_COPY;
}

/* The frame now belongs to the block; shard locked. */
static inline void tm_frame_claim(struct tm_pager *p, const struct tm_ref *b,
				  u32 frame, u8 flags, u64 started_ns)
{
	struct tm_frame *f = &p->frames.at[frame];

	f->block = (u32)b->block;
	f->flags = flags;
	f->started_ns = started_ns;
	b->e->frame = frame;
}

/* The block stays in its frame, RESIDENT or CACHED; shard locked. */
static inline void tm_block_rest(struct tm_pager *p, const struct tm_ref *b,
				 enum tm_block_state state)
{
	b->e->state = state;
	if (state == TM_RESIDENT) {
		b->e->flags &= (u16) ~(TM_BLOCK_WANTED | TM_BLOCK_WRITE);
		tm_ref_frame(p, b)->flags &=
			(u8) ~(TM_FRAME_FAULT | TM_FRAME_AHEAD |
			       TM_FRAME_MARKER | TM_FRAME_PROBE);
	}
	p->config.replace->insert(&b->shard->replace, b->e->frame,
				  state == TM_CACHED);
}

/* It has no frame any more: its bytes are elsewhere, or nowhere; likewise. */
static inline void tm_block_vacate(const struct tm_ref *b)
{
	b->e->state = b->e->flags & TM_BLOCK_COPY ? TM_REMOTE : TM_ABSENT;
	b->e->flags &= (u16)~TM_BLOCK_WRITE;
}

/* What a busy block's frame holds, between two operations. */
enum tm_held {
	TM_HELD_NOTHING, /* never filled, or dropped */
	TM_HELD_BYTES,	 /* the block's bytes, not mapped */
	TM_HELD_SPARE,	 /* bytes that are elsewhere too, to be dropped */
	TM_HELD_MAPPED,
};

/* pager_fault.c */

/**
 * tm_block_settle() - an operation on a busy block has ended: what is next?
 * @err: with TM_HELD_NOTHING: its content is gone for good; else 0
 *
 * Called with the shard locked, returns with it unlocked. Goes on with the
 * block until it rests or a transfer has been put in a batch.
 */
enum tm_fault_result tm_block_settle(struct tm_lane *lane,
				     const struct tm_ref *b, enum tm_held held,
				     int err);

/**
 * tm_block_lose() - give a block up that has no frame
 *
 * Called with the shard locked, returns with it unlocked.
 */
void tm_block_lose(struct tm_lane *lane, const struct tm_ref *b, int err);

/** tm_block_forget() - take the block's slot, if it has one; shard locked */
bool tm_block_forget(struct tm_pager *p, const struct tm_ref *b,
		     struct tm_replica *slot);

/**
 * tm_block_copied() - the block's copy is on a server that lives
 * @flags: the block's
 */
bool tm_block_copied(struct tm_pager *p, const struct tm_block *e, u16 flags);

/** tm_fault_block() - tm_pager_fault() without its bookkeeping */
enum tm_fault_result tm_fault_block(struct tm_lane *lane, u64 block, bool write,
				    u64 started_ns);

/** tm_queue_serve() - give @frame to a waiting fault; false if there is none */
bool tm_queue_serve(struct tm_lane *lane, u32 frame);

/** tm_queue_lose() - fail those whose only copy is gone */
void tm_queue_lose(struct tm_lane *lane);

/** tm_queue_expire() - fail those that have waited since before @ns */
void tm_queue_expire(struct tm_lane *lane, u64 ns);

/* pager_huge.c */

/** tm_huge_head() - the first block of the huge one that a TM_TAIL is part of
 */
static inline struct tm_ref tm_huge_head(struct tm_pager *p,
					 const struct tm_ref *b)
{
	u64 head = b->block & ~(u64)(p->config.huge_blocks - 1);

	return (struct tm_ref){head, tm_blockmap_find(&p->map, head), b->shard};
}

/** tm_ref_is_huge() - of a block that has a frame */
static inline bool tm_ref_is_huge(const struct tm_pager *p,
				  const struct tm_ref *b)
{
	return tm_frame_is_huge(&p->frames, b->e->frame);
}

enum tm_huge_ahead {
	TM_HUGE_NONE,  /* it is not to be had as a whole */
	TM_HUGE_LATER, /* nor anything else now */
	TM_HUGE_FETCHES,
	TM_HUGE_NEW,
};

/**
 * tm_huge_ahead() - read a huge block ahead, or fill a new one with zeros
 * @block: its first
 * @zeros: whether it may be new
 * @marker: TM_FRAME_MARKER if it is to be left unmapped
 */
enum tm_huge_ahead tm_huge_ahead(struct tm_lane *lane, u64 block, bool zeros,
				 u8 marker);

/**
 * tm_huge_fault() - a fault where a stream goes on with as many blocks
 *
 * Returns true where it has been served, and a new huge one is there. Else one
 * may be on its way, for which the fault is to wait.
 */
bool tm_huge_fault(struct tm_lane *lane, u64 block, u64 started_ns);

/** tm_huge_settle() - tm_block_settle() for a huge block */
enum tm_fault_result tm_huge_settle(struct tm_lane *lane,
				    const struct tm_ref *b, enum tm_held held);

/**
 * tm_huge_split() - a huge block at rest becomes small ones at rest
 *
 * Called with the shard locked, returns with it unlocked.
 */
void tm_huge_split(struct tm_lane *lane, const struct tm_ref *b);

/** tm_huge_split_later() - when the operation under way ends; shard locked */
void tm_huge_split_later(const struct tm_ref *b);

/**
 * tm_huge_discard() - the program freed all of a huge block
 *
 * Called with the shard locked, returns with it unlocked. Where an operation
 * is under way, it is emptied when that has ended.
 */
void tm_huge_discard(struct tm_lane *lane, const struct tm_ref *b);

/**
 * tm_huge_discard_part() - a huge block that is not at rest is to be split, and
 * a part of it emptied; shard locked
 */
void tm_huge_discard_part(const struct tm_ref *head, struct tm_block *part);

/** tm_huge_leave() - tm_run_leave() for a huge block */
u32 tm_huge_leave(struct tm_lane *lane, const struct tm_ref *b, int *no_slot);

/** tm_huge_fetched() - a request ended that was for @nr parts from @b on */
void tm_huge_fetched(struct tm_lane *lane, const struct tm_ref *b, u32 nr,
		     int status);
void tm_huge_stored(struct tm_lane *lane, const struct tm_ref *b, int status);

/* pager_ahead.c */

/* Where a fault found its block. */
enum tm_found {
	TM_FOUND_NEW,	 /* nowhere: it was never used */
	TM_FOUND_REMOTE, /* on its server only */
	TM_FOUND_AHEAD,	 /* on its way, or read ahead */
	TM_FOUND_AGAIN,	 /* here, unmapped for its second chance */
};

/** tm_read_ahead() - have ready what is needed next after a fault on @block */
void tm_read_ahead(struct tm_lane *lane, u64 block, enum tm_found found);

/** tm_ahead_goes_on() - a stream of neighbours gets to @block, with @nr more */
bool tm_ahead_goes_on(struct tm_pager *p, u64 block, u32 nr);

/** tm_probe_ended() - the block that was left unmapped was used, or was not */
void tm_probe_ended(struct tm_pager *p, u64 block, bool used);

/* pager_run.c */

/**
 * tm_run_map() - neighbours whose bytes are here, and which are MAPPING now,
 * become mapped, with one call if possible
 * @frame: of each from @first on
 * @flags: TM_MAP_ZERO where they are new instead
 */
void tm_run_map(struct tm_lane *lane, const struct tm_ref *first,
		const u32 *frame, u32 nr, unsigned int flags);

/**
 * tm_run_settle() - tm_block_settle() for neighbours that all hold the same
 * @held: TM_HELD_MAPPED; TM_HELD_BYTES where they are not to be mapped;
 *	TM_HELD_NOTHING
 *
 * Those of which nobody wants anything else are done under one lock.
 */
void tm_run_settle(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		   enum tm_held held);

/**
 * tm_run_evict() - tm_block_settle() for neighbours whose bytes are elsewhere,
 * too: their frames become free, unless somebody wants them
 *
 * Counts them, and returns how many have gone.
 */
u32 tm_run_evict(struct tm_lane *lane, const struct tm_ref *first, u32 nr);

/**
 * tm_run_joins() - the block, which came from its server, is to be mapped
 *
 * Unless it is a marker or a probe, or was freed meanwhile; shard locked.
 */
bool tm_run_joins(struct tm_pager *p, const struct tm_ref *b);

/**
 * tm_run_fetched() - map the first of @nr neighbours that came together, and
 * all those behind it that may be mapped with it
 *
 * Returns how many are settled, 0 where nothing is to be gained.
 */
u32 tm_run_fetched(struct tm_lane *lane, const struct tm_ref *first, u32 nr);

/**
 * tm_run_rescue() - map the CACHED ones among @nr neighbours
 * @probe: the one of them to be left, for tm_probe_ended()
 */
void tm_run_rescue(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		   u32 probe);

/* pager_evict.c */

/** tm_evict() - start to empty @want frames; returns how many were started */
u32 tm_evict(struct tm_lane *lane, u32 want, bool direct);

/** tm_reclaim() - a step of background eviction; true if there is more to do */
bool tm_reclaim(struct tm_lane *lane);

/** tm_reserve_extents() - ask for what the placement wants */
void tm_reserve_extents(struct tm_lane *lane);

/** tm_frames_kept() - free frames that reading ahead leaves to faults */
u32 tm_frames_kept(const struct tm_pager *p);

/* pager_leave.c */

/* A block's flags and its frame's, as they were under the lock. */
struct tm_flags {
	u16 block;
	u8 frame;
};

/* What an eviction needs to know of an unmapped block's bytes. */
struct tm_content {
	u64 fingerprint;
	bool print; /* fingerprint is set */
	bool clean; /* nothing is lost with them */
};

/** tm_content_look() - @frame: that it is in, perhaps as part of a huge one */
void tm_content_look(struct tm_lane *lane, const struct tm_ref *b, u32 frame,
		     const struct tm_flags *flags, struct tm_content *c);

/**
 * tm_slot_usable() - the block may go to the slot that it has
 * @flags: the block's
 *
 * That keeps its place among its neighbours.
 */
bool tm_slot_usable(struct tm_pager *p, const struct tm_block *e, u16 flags);

/**
 * tm_run_leave() - let neighbours go that the program is kept from, as far as
 * nobody wants them
 * @no_slot: set to the error where there is no room for a changed one
 *
 * Returns how many have gone or are on their way.
 */
u32 tm_run_leave(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		 int *no_slot);

/* pager_io.c */

/** tm_lane_room() - blocks that may still be put in batches */
u32 tm_lane_room(const struct tm_lane *lane, bool background);

/* Put a block in a batch; shard locked. */
void tm_fetch_add(struct tm_lane *lane, const struct tm_ref *b);
void tm_store_add(struct tm_lane *lane, const struct tm_ref *b);
void tm_fetch_flush(struct tm_lane *lane);

/** tm_fetch_huge(), tm_store_huge() - start a request; shard not locked */
void tm_fetch_huge(struct tm_lane *lane, const struct tm_ref *b, u32 frame,
		   u32 nr);
void tm_store_huge(struct tm_lane *lane, const struct tm_ref *b);

/** tm_run_came() - neighbours, of one run, that a fetch was of */
void tm_run_came(struct tm_lane *lane, const struct tm_ref *first, u32 nr,
		 int status);

/** tm_store_failed() - a block that is STORING stays here */
void tm_store_failed(struct tm_lane *lane, const struct tm_ref *b);

/** tm_lane_flush_full() - after each add, when the shard is unlocked again */
void tm_lane_flush_full(struct tm_lane *lane);

/** tm_slots_put() - @nr slots in a row may be given out again, at once */
void tm_slots_put(struct tm_pager *p, struct tm_replica slot, u64 nr);

/** tm_slot_free() - a slot is not used any more; tells the server, batched */
void tm_slot_free(struct tm_lane *lane, struct tm_replica slot);

/** tm_lane_frames_put() - frames are free; tm_lane_finish() hands them on */
void tm_lane_frames_put(struct tm_lane *lane, const u32 *frame, u32 nr);

/** tm_lane_finish() - the end of every entry point: serve and flush */
void tm_lane_finish(struct tm_lane *lane);

/** tm_total_storing() - blocks on their way out, over all lanes */
u32 tm_total_storing(const struct tm_pager *p);

/** tm_total_idle() - no transfer, nor @reserving, is under way on any lane */
bool tm_total_idle(const struct tm_pager *p, bool reserving);

#endif /* TM_CORE_PAGER_INTERNAL_H */
