/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The pager: the event-driven state machine that decides which blocks of a
 * space are in local memory. It drives everything else in core/ and is driven
 * by a glue (the user-space engine, teramem.ko, or the simulator), which does
 * all I/O and all mapping through struct tm_pager_ops.
 *
 * It starts no thread, waits for nothing, and allocates only at set-up and in
 * tm_pager_balance().
 *
 * Concurrency. Every entry point takes a lane: the caller's private context
 * (free I/O descriptors, counters). A lane is used by one thread at a time;
 * different lanes run at the same time. Blocks are spread
 * over shards, each with its own lock; no lock spans them, and no ops function
 * is called with a lock held, except where its comment says so. While an
 * operation on a block is under way the block is in a busy state, which is
 * what keeps other lanes off it.
 *
 * A block's life:
 *
 *   ABSENT --fault--> MAPPING --> RESIDENT
 *   REMOTE --fault or prefetch--> FETCHING --> MAPPING or CACHED
 *   RESIDENT --evict--> UNMAPPING --> dropped clean: REMOTE
 *                                 --> STORING --> REMOTE
 *                                 --> CACHED (second chance, LRU)
 *   CACHED --fault--> MAPPING --> RESIDENT
 *   any --discard--> ABSENT
 *   any whose only copy is gone --> LOST
 *
 * A fault on a busy block is remembered and served when the operation ends; a
 * fault that finds no free frame waits in its shard's queue. What was mapped
 * for a fault is not evicted within the next half millisecond, so that the
 * access comes through even where more faults wait than there are frames.
 */
#ifndef TM_CORE_PAGER_H
#define TM_CORE_PAGER_H

#include "core/stats.h"

struct tm_pager;
struct tm_lane;
struct tm_place_ops;
struct tm_replace_ops; /* core/replace.h */

#define TM_BLOCK_SHIFT_MIN 12 /* 4 KiB */
#define TM_BLOCK_SHIFT_MAX 21 /* 2 MiB */
#define TM_SERVERS_MAX 256
#define TM_LANES_MAX 16
#define TM_IO_BLOCKS 256 /* blocks in one request at most */
/* blocks that may come and go together, the first at a multiple of it */
#define TM_RUN_BLOCKS 128
#define TM_HUGE_BLOCKS_MAX 512

#define TM_NO_FRAME (~(u32)0)

/**
 * struct tm_io - one request to one server, over contiguous remote memory
 * @lane: the lane that started it; its completion must come back on it
 * @server: index of the server
 * @nr: blocks in it, 1..TM_IO_BLOCKS, or more in a huge frame
 * @nr_segs: entries of @seg: @nr; or 1 for neighbours in one huge frame, which
 *	may be a part of what is there
 * @addr: remote address of the first block in bytes; the others follow it
 * @seg: the blocks and the frame that holds (store) or will hold (fetch) each
 * @priv: for the glue, while the request is under way
 *
 * Owned by the glue between ops->fetch or ops->store and the completion.
 */
struct tm_io {
	struct tm_lane *lane;
	u16 server;
	u16 nr;
	u16 nr_segs;
	u64 addr;
	u64 started_ns;
	void *priv;
	struct {
		u64 block;
		u32 frame;
		u32 version;
	} seg[TM_IO_BLOCKS];
};

/* flags of tm_pager_ops.map */
#define TM_MAP_ZERO 0x1u  /* fill with zeros first: the block is new */
#define TM_MAP_WRITE 0x2u /* the access was a write */

/* results of tm_pager_ops.unmap besides -errno */
#define TM_UNMAP_CLEAN 0
#define TM_UNMAP_DIRTY 1
#define TM_UNMAP_UNKNOWN 2 /* compare the fingerprint */

/**
 * struct tm_pager_ops - what the glue does for the pager
 *
 * A frame is a place for one block in local memory, numbered from 0. What it
 * is, the glue decides: a slot of a staging area, or a set of pages. Frames
 * from nr_frames on are huge: each holds huge_blocks neighbours, the first at a
 * multiple of that, with which they go by in every call; but @checksum and
 * @fingerprint are of the one block that is named, and @wake is for it.
 *
 * None may call back into the pager, except where said.
 */
struct tm_pager_ops {
	/**
	 * @now: monotonic nanoseconds
	 */
	u64 (*now)(void *ctx);
	/**
	 * @fetch: start reading io->nr blocks into their frames; completion by
	 * tm_pager_fetched() on the same lane, later, never from within.
	 */
	void (*fetch)(void *ctx, struct tm_io *io);
	/**
	 * @store: start writing; the frames' bytes do not change until
	 * tm_pager_stored(), never called from within.
	 */
	void (*store)(void *ctx, struct tm_io *io);
	/**
	 * @discard: tell the server that these bytes are not needed any more;
	 * answered by tm_pager_discarded() on the same lane, never from within.
	 * Until then nothing else is asked for these bytes, on any lane, so it
	 * needs no order among other requests. Returns false when it cannot be
	 * done now: the server then keeps them for nothing.
	 */
	bool (*discard)(void *ctx, struct tm_lane *lane, unsigned int server,
			u64 addr, u64 bytes);
	/**
	 * @reserve: ask the server for one more extent; answered by
	 * tm_pager_reserved() on the same lane, never from within.
	 */
	void (*reserve)(void *ctx, struct tm_lane *lane, unsigned int server);
	/**
	 * @release: give an extent back; nothing in it is in use. Returns
	 * false when that cannot be done now: the pager keeps it and offers it
	 * again. Never so within tm_pager_reserved(), where the request that
	 * ended has left room for this one.
	 */
	bool (*release)(void *ctx, struct tm_lane *lane, unsigned int server,
			u64 addr, u64 bytes);
	/**
	 * @map: give the program access to the frame's bytes at @block, and
	 * wake whoever waits for it. Atomic: the program sees either no page or
	 * the right bytes. Where an unmap left the bytes in place (see
	 * @unmap), gives access again.
	 *
	 * Returns 0, or -errno when the range cannot be mapped: the pager then
	 * calls @fail.
	 */
	int (*map)(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		   unsigned int flags);
	/**
	 * @map_run: @map for neighbours together, where that is cheaper; NULL
	 * where it is not
	 * @frame: of each block from @block on
	 * @flags: 0, or TM_MAP_ZERO for all
	 *
	 * Returns how many, from the first on, are mapped; the others, none of
	 * which is, are mapped one by one.
	 */
	u32 (*map_run)(void *ctx, struct tm_lane *lane, u64 block,
		       const u32 *frame, u32 nr, unsigned int flags);
	/**
	 * @unmap: stop the program from changing the block. From here until
	 * @map or @drop the frame's bytes are stable; checksum, fingerprint and
	 * store read them.
	 *
	 * Returns TM_UNMAP_*, or -EBUSY when pages are pinned: the block then
	 * stays mapped.
	 */
	int (*unmap)(void *ctx, struct tm_lane *lane, u64 block, u32 frame);
	/**
	 * @unmap_run: @unmap for neighbours together, as @map_run
	 * @answer: for each of those that it did, as @unmap's
	 */
	u32 (*unmap_run)(void *ctx, struct tm_lane *lane, u64 block,
			 const u32 *frame, u32 nr, int *answer);
	/**
	 * @drop: the frame is free again, its bytes are not needed; called for
	 * every frame that was filled or mapped, before it is used again.
	 *
	 * Where unmap has answered -EBUSY and the program freed the block, it
	 * is still mapped: drop takes it away from the program all the same.
	 */
	void (*drop)(void *ctx, struct tm_lane *lane, u64 block, u32 frame);
	/**
	 * @split: the bytes of the huge frame, mapped or not, are in these
	 * small ones from now on, one for each of its blocks; @frame is free.
	 * NULL where there are no huge ones.
	 */
	void (*split)(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
		      const u32 *small);
	/**
	 * @accessed: test and clear, of neighbours from @block on
	 * @answer: for each 1, 0, or -EOPNOTSUPP where the glue cannot know, in
	 * which case LRU gives a second chance by unmapping early
	 */
	void (*accessed)(void *ctx, struct tm_lane *lane, u64 block,
			 const u32 *frame, u32 nr, int *answer);
	/**
	 * @wake: whoever waits for the block shall try again.
	 */
	void (*wake)(void *ctx, struct tm_lane *lane, u64 block);
	/**
	 * @fail: the block cannot be had: accesses end in SIGBUS from now on.
	 * The glue logs tm_fail_cause(): -EIO its server is lost; -EBADMSG it
	 * came back damaged; -ENOMEM no frame became free for it; else what
	 * @map or the fetch ended with.
	 */
	void (*fail)(void *ctx, struct tm_lane *lane, u64 block, int err);
	/**
	 * @checksum: CRC32C of the frame's bytes, starting from @seed.
	 */
	u32 (*checksum)(void *ctx, u64 block, u32 frame, u32 seed);
	/**
	 * @fingerprint: a 64-bit hash of the frame's bytes, to tell whether a
	 * block changed where unmap answers TM_UNMAP_UNKNOWN; NULL where it
	 * never does. 0 says that all bytes are zero, and nothing else.
	 */
	u64 (*fingerprint)(void *ctx, u64 block, u32 frame);
};

/** tm_fail_cause() - @err of ops->fail, for the log; NULL: any other errno */
const char *tm_fail_cause(int err);

/**
 * struct tm_pager_config - fixed at creation
 * @nr_blocks: size of the block address space; costs a pointer per 65536
 *	blocks of address space
 * @nr_frames: most frames that there will ever be; the limit starts here
 * @block_shift: log2 of the block size in bytes
 * @nr_lanes: lanes
 * @nr_servers: servers known from the start
 * @io_depth: blocks that may be fetched or stored at one time, per lane; the
 *	glue has buffers for that many. The last to be started may be a huge
 *	one, and go beyond that
 * @io_bytes: largest request in bytes
 * @prefetch_blocks: most blocks ahead of a stream; 0 switches prefetch off
 * @around_blocks: most neighbours, a power of two up to TM_RUN_BLOCKS, that
 *	come with a fault that is part of no stream; 0 or 1: none. Nor without
 *	@can_cache
 * @huge_blocks: blocks in a huge block, a power of two up to
 *	TM_HUGE_BLOCKS_MAX; 0 for none. Needs @can_cache, and ops->split
 * @can_cache: the glue keeps an unmapped block's bytes in its frame apart from
 *	the program's address space, so that the CACHED state exists
 * @stall_ms: a fault that waits for a frame longer than this, with no
 *	eviction possible (or none that succeeds), fails
 */
struct tm_pager_config {
	u64 nr_blocks;
	u32 nr_frames;
	u32 block_shift;
	u32 nr_lanes;
	u32 nr_servers;
	u32 io_depth;
	u32 io_bytes;
	u32 prefetch_blocks;
	u32 around_blocks;
	u32 huge_blocks;
	bool can_cache;
	u32 stall_ms;
	const struct tm_replace_ops *replace;
	const struct tm_place_ops *place;
};

/**
 * tm_pager_create() - make a pager
 * @ctx: handed to every function of @ops
 *
 * Returns 0, -EINVAL (impossible configuration) or -ENOMEM.
 */
int tm_pager_create(const struct tm_pager_config *config,
		    const struct tm_pager_ops *ops, void *ctx,
		    struct tm_pager **pager);

/** tm_pager_destroy() - free it; nothing may be under way; drops no frames */
void tm_pager_destroy(struct tm_pager *pager);

/**
 * tm_pager_lane() - lane @index, in [0, nr_lanes)
 *
 * tm_lane_stats_set() lets its counters live elsewhere (shared memory).
 */
struct tm_lane *tm_pager_lane(struct tm_pager *pager, unsigned int index);
unsigned int tm_lane_index(const struct tm_lane *lane);
void tm_lane_stats_set(struct tm_lane *lane, struct tm_stats *stats);
struct tm_stats *tm_lane_stats(struct tm_lane *lane);

enum tm_fault_result {
	TM_FAULT_DONE,	  /* mapped, woken or failed: retry the access */
	TM_FAULT_PENDING, /* map, wake or fail is called, most likely later */
};

/**
 * tm_pager_fault() - the program touched a block that is not mapped
 * @started_ns: when it did (or was noticed), for the latency histogram
 */
enum tm_fault_result tm_pager_fault(struct tm_lane *lane, u64 block, bool write,
				    u64 started_ns);

/**
 * tm_pager_fetched() - a fetch ended; @io belongs to the pager again
 * @status: 0; -EIO when the server is lost; another -errno when it lives and
 *	could or would not
 *
 * Verifies checksums: a damaged or refused block is fetched once more, then
 * failed.
 */
void tm_pager_fetched(struct tm_io *io, int status);

/**
 * tm_pager_stored() - a store ended
 * @status: as for tm_pager_fetched()
 *
 * What one server refused goes to another; the server gets nothing more until
 * tm_pager_server_room(). Where all do, faults wait for frames up to the stall
 * time.
 */
void tm_pager_stored(struct tm_io *io, int status);

/** tm_pager_discarded() - the answer to ops->discard, whatever it says */
void tm_pager_discarded(struct tm_lane *lane, unsigned int server, u64 addr,
			u64 bytes);

/**
 * tm_pager_reserved() - the answer to ops->reserve
 * @status: 0, or -ENOMEM: the server has no more; it is asked again only after
 *	tm_pager_server_room()
 */
void tm_pager_reserved(struct tm_lane *lane, unsigned int server, u64 addr,
		       u64 bytes, int status);

/** tm_pager_server_room() - a server that had no more may take some again */
void tm_pager_server_room(struct tm_pager *pager, unsigned int server);

/**
 * tm_pager_server_lost() - the server and all it held are gone for good
 *
 * The glue completes what was under way there with -EIO. Blocks whose only
 * copy it had fail when they are touched; local copies find a new server. May
 * be called from within the ops.
 */
void tm_pager_server_lost(struct tm_lane *lane, unsigned int server);

/**
 * tm_pager_discard() - the program freed these blocks
 *
 * On return none of them is mapped, unless a fault came later; what is under
 * way for one ends by itself. Their next fault finds zeros.
 *
 * Returns true; or false where blocks are being stored out of the program's own
 * memory (only when !can_cache): those can still be read until the store ends.
 * Call again after tm_pager_stored() to learn whether they are gone.
 */
bool tm_pager_discard(struct tm_lane *lane, u64 first, u64 nr);

/**
 * tm_pager_balance() - background work: evict to the watermark, get leaves and
 *	extents ready, give long waits up
 *
 * A bounded step; to be called while no event waits, and at least every 100 ms.
 * May allocate. Returns true when there is more to do now.
 */
bool tm_pager_balance(struct tm_lane *lane);

/**
 * tm_pager_limit_set() - change how many frames may be used, up to nr_frames
 *
 * Lowering it takes effect as balance evicts.
 */
void tm_pager_limit_set(struct tm_pager *pager, u32 frames);

/** tm_pager_extents_limit_set() - see tm_place_limit_set() */
void tm_pager_extents_limit_set(struct tm_pager *pager, u64 extents);

/**
 * struct tm_pager_usage - gauges, approximate while lanes run
 */
struct tm_pager_usage {
	u64 limit_frames;
	u64 used_frames;
	u64 remote_blocks; /* with a valid copy on a server */
	u64 lost_blocks;
	u64 waiting_faults; /* for a frame, now */
	u64 metadata_bytes; /* held by the block map and frame table */
	bool idle;	    /* nothing fetching, storing or reserving */
};
void tm_pager_usage(struct tm_pager *pager, struct tm_pager_usage *usage);

#endif /* TM_CORE_PAGER_H */
