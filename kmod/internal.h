/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of teramem.ko share, grouped under the file that defines it.
 * The transport keeps its insides to itself.
 *
 * A space has one pager and some lanes, threads that alone call it. A thread of
 * the program that faults posts the block to a lane and waits; when the lane
 * has published the block's pages, the thread maps them itself.
 *
 * Locks, outermost first; no two of one line are held together:
 *
 *   mmap_lock of a program (lanes only ever try it)
 *   tm_spaces_lock: the spaces by minor and name, who uses them, their end
 *   space->grow_lock: making memory for frames
 *   region->vmas_lock
 *   i_mmap_rwsem and page-table locks, in the kernel's functions
 *   lane->lock, space->lock, bucket->lock, pool->lock: spinlocks, innermost;
 *	nothing sleeps under them
 *
 * space->sem is taken for reading by lanes around what they do with a region
 * they looked up, and for writing when it is taken away; inside it, as above.
 */
#ifndef TM_KMOD_INTERNAL_H
#define TM_KMOD_INTERNAL_H

#include <linux/completion.h>
#include <linux/device.h>
#include <linux/fs.h>
#include <linux/kref.h>
#include <linux/list.h>
#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "core/pager.h"
#include "core/upkeep.h"
#include "include/teramem/uapi.h"
#include "kmod/compat.h"
#include "kmod/link.h"

#if !IS_ENABLED(CONFIG_64BIT)
#error "teramem.ko needs a 64-bit kernel"
#endif

/*
 * Regions take address space from the space in tiles of this many blocks: large
 * enough that there are few, and no more than the block map has nodes.
 */
#define TM_TILE_SHIFT 16
#define TM_TILES 65535

#define TM_MINORS 1024 /* of them the first is the control device */

/* frames that a space always has memory for, once it has been opened */
#define TM_POOL_FLOOR 16u

/* asked for at one time; what is beyond them is asked for again, later */
#define TM_HINTS 16

/* A kernel thread that finds nothing to do looks again after this time. */
#define TM_TICK (HZ / 10)

struct tm_region;
struct tm_space;
struct tm_token;
struct tm_transfer;

/**
 * struct tm_pages - memory for one block
 * @next: while free
 */
struct tm_pages {
	struct tm_pages *next;
	struct page *page[];
};

/**
 * struct tm_pool - memory for frames: as much as the pager may use
 * @lock: guards the rest
 * @total: of which there are @nr_free in @free
 * @limit: what the pager was told; never more than @total
 * @max: all of the space's local memory; @floor: what pressure leaves
 * @idle_until: do not grow before (jiffies)
 * @given_back: who waits for memory to be freed
 */
struct tm_pool {
	spinlock_t lock;
	struct tm_pages *free;
	u32 nr_free;
	u32 total;
	u32 limit;
	u32 max;
	u32 floor;
	unsigned long idle_until;
	wait_queue_head_t given_back;
};

/**
 * struct tm_slot - what a frame is; under its block's bucket lock, except
 * @pages: belongs to the lane that has the block, or to whoever is @busy
 * @block: in it
 * @next: in the bucket; TM_NO_FRAME ends
 * @busy: threads that are mapping it
 * @present: threads may map it
 * @mapped: some thread has mapped it since it was published
 * @awaited: published for a thread that has not mapped it yet, at @published
 *	(jiffies)
 * @refused: a lane wanted to take it away, and could not for @busy or @awaited
 */
struct tm_slot {
	struct tm_pages *pages;
	u64 block;
	u32 next;
	u32 published;
	u32 busy;
	bool present;
	bool mapped;
	bool awaited;
	bool refused;
};

/**
 * struct tm_bucket - of blocks: those present, and threads that wait
 */
struct tm_bucket {
	spinlock_t lock;
	u32 slot;
	struct list_head waiters;
};

/**
 * struct tm_wait - a thread that waits for a block
 * @bucket: in the bucket's waiters
 * @post: in the lane's posts, until the lane has taken it
 */
struct tm_wait {
	struct list_head bucket;
	struct list_head post;
	struct completion done;
	u64 block;
	u64 started_ns;
	bool write;
};

/**
 * struct tm_discard - blocks to be forgotten; shared by a lane and who waits
 */
struct tm_discard {
	struct kref ref;
	struct list_head list;
	struct completion done;
	u64 first;
	u64 nr;
};

/**
 * struct tm_space_lane - a thread that pages
 * @lock: guards @posts, @hints and @discards
 * @kicked: there may be something to do
 * @hint: @nr_hints blocks that were asked for by who may not wait
 * @failed: transfers to be completed with an error
 * @full: servers that refused an extent or a store; asked again at the next
 *	tick
 */
struct tm_space_lane {
	struct tm_space *space;
	unsigned int index;
	struct tm_lane *pager;
	struct task_struct *task;
	wait_queue_head_t wait;
	bool kicked;

	spinlock_t lock;
	struct list_head posts;
	u64 hint[TM_HINTS];
	unsigned int nr_hints;
	struct list_head discards;

	struct tm_link *link[TM_SERVERS_MAX];
	struct tm_transfer *transfers;
	struct bio_vec *bvecs;
	struct tm_transfer *free_data;
	struct tm_transfer *free_control;
	struct tm_transfer *failed;
	struct tm_upkeep upkeep;
	bool full[TM_SERVERS_MAX];
	unsigned long ticked;
};

/**
 * struct tm_server - what the space knows of one; under space->lock
 * @broken: by lane: to be told to the agent, with @broken_err
 * @lost: given up; @lost_told once the agent was
 * @attached: lanes that ever had a connection
 */
struct tm_server {
	u64 extent_bytes;
	bool lost;
	bool lost_told;
	int lost_err;
	unsigned long broken;
	unsigned long attached;
	int broken_err[TM_LANES_MAX];
};

/**
 * struct tm_space - see include/teramem/uapi.h
 * @ref: on the memory: of the agent's file and each region
 * @config: as asked for, checked
 * @minor: of its device; its place in tm_spaces
 * @nr_regions: open files; under tm_spaces_lock
 * @ended: the agent is gone or ended it; under tm_spaces_lock
 * @device: /dev/teramem/NAME, NULL when @ended
 * @lock: guards @server, @committed_bytes and @nr_unattached
 * @events: the agent waits here; @attach: openers do
 * @regions: struct tm_region by tile, @tiles says which are taken; written
 *	under @sem
 * @failed: errno by block: accesses end in SIGBUS
 * @memcg: charged for frames; under @grow_lock
 * @token: in @tokens, charged there too; see shrink.c
 */
struct tm_space {
	struct kref ref;
	struct tm_uapi_space config;
	u32 block_shift;
	u32 page_order; /* pages in a block, as a power of two */
	u32 io_depth;
	kuid_t uid;
	kgid_t gid;

	int minor;
	unsigned int nr_regions;
	u64 regions_opened; /* ever */
	bool ended;
	struct device *device;

	spinlock_t lock;
	struct tm_server *server;
	u64 committed_bytes;
	u64 committed_peak_bytes;
	unsigned int nr_unattached;
	u32 nr_lost;
	wait_queue_head_t events;
	wait_queue_head_t attach;

	struct rw_semaphore sem;
	struct xarray regions;
	unsigned long *tiles;
	struct xarray failed;

	struct tm_pager *pager;
	struct tm_slot *slot;
	struct tm_bucket *bucket;
	u32 nr_buckets; /* a power of two */
	struct tm_pool pool;
	struct mutex grow_lock;
	struct mem_cgroup *memcg;
	struct tm_shrinker shrinker;
	bool shrinks; /* it is registered */
	struct list_lru tokens;
	struct tm_token *token;
	u64 resident_peak_bytes;
	u64 remote_peak_bytes;

	struct tm_space_lane *lane[TM_LANES_MAX];
};

/**
 * struct tm_region - an open file of the space's device
 * @inode: whose mapping all its mappings are in
 * @first, @nr: its blocks; @nr is 0 before TM_IOC_REGION
 * @committed_bytes: under space->lock
 * @vmas: mappings, as struct tm_vma
 */
struct tm_region {
	struct tm_space *space;
	struct inode *inode;
	u64 first;
	u64 nr;
	u64 committed_bytes;
	struct mutex vmas_lock;
	struct list_head vmas;
};

struct tm_vma {
	struct list_head list;
	struct vm_area_struct *vma;
};

static inline size_t tm_block_bytes(const struct tm_space *space)
{
	return (size_t)1 << space->block_shift;
}

static inline u32 tm_block_pages(const struct tm_space *space)
{
	return 1u << space->page_order;
}

static inline struct tm_space_lane *tm_space_lane_of(struct tm_space *space,
						     struct tm_lane *lane)
{
	return space->lane[tm_lane_index(lane)];
}

/*
 * Neighbours meet the same lane, which sees streams in their faults; and so
 * that not all of a small region does, the next ones another.
 */
static inline struct tm_space_lane *tm_block_lane(struct tm_space *space,
						  u64 block)
{
	u64 at = (block >> 10) + (block >> TM_TILE_SHIFT);

	return space->lane[at % space->config.nr_lanes];
}

/* main.c */

extern struct mutex tm_spaces_lock;

/** tm_inode_create() - an inode whose mapping is its own; or ERR_PTR() */
struct inode *tm_inode_create(void);
/** tm_space_publish() - give it a minor and a device; tm_spaces_lock is held */
int tm_space_publish(struct tm_space *space);
/** tm_space_hide() - take them away; tm_spaces_lock is held */
void tm_space_hide(struct tm_space *space);
/** tm_space_find() - by name, or NULL; tm_spaces_lock is held */
struct tm_space *tm_space_find(const char *name);
/** tm_space_by_minor() - or NULL; tm_spaces_lock is held */
struct tm_space *tm_space_by_minor(unsigned int minor);

/* control.c */

extern const struct file_operations tm_control_fops;

/* space.c */

/** tm_space_create() - from what the agent asks for; 0 or an error of the ABI
 */
int tm_space_create(const struct tm_uapi_space *config,
		    struct tm_space **space);
/**
 * tm_space_end() - no new regions; it goes with the last one
 * @now: only if there is none; else -EBUSY
 */
int tm_space_end(struct tm_space *space, bool now);
int tm_space_attach(struct tm_space *space, const struct tm_uapi_attach *a);
int tm_space_lose(struct tm_space *space, const struct tm_uapi_lose *lose);
/** tm_space_event() - take the next one; false if none. NULL: only look */
bool tm_space_event(struct tm_space *space, struct tm_uapi_event *event);
/** tm_space_free() - the agent's reference is gone */
void tm_space_free(struct tm_space *space);
/** tm_space_query() - fill all but the name; 0 or -ENOMEM */
int tm_space_query(struct tm_space *space, struct tm_uapi_query *query);
/** tm_space_stats() - the sum over all lanes */
void tm_space_stats(struct tm_space *space, struct tm_stats *sum);
/** tm_space_get() - by minor, for one more region; or ERR_PTR() */
struct tm_space *tm_space_get(unsigned int minor);
/** tm_space_put() - one region less; the last ends an ended space */
void tm_space_put(struct tm_space *space);
/** tm_space_tick() - every TM_TICK, by the first lane */
void tm_space_tick(struct tm_space *space);

extern const struct tm_link_ops tm_space_link_ops;

/* region.c */

extern const struct file_operations tm_region_fops;

/** tm_region_find() - the block's, or NULL; space->sem is held */
struct tm_region *tm_region_find(struct tm_space *space, u64 block);

/* fault.c */

extern const struct vm_operations_struct tm_vm_ops;

/** tm_bucket_of() - where the block is looked up */
struct tm_bucket *tm_bucket_of(struct tm_space *space, u64 block);
/** tm_wake_waiters() - all that wait for the block; its bucket is locked */
bool tm_wake_waiters(struct tm_bucket *bucket, u64 block);
void tm_op_wake(void *ctx, struct tm_lane *lane, u64 block);
void tm_op_fail(void *ctx, struct tm_lane *lane, u64 block, int err);
/** tm_failed_forget() - these blocks can be had again */
void tm_failed_forget(struct tm_space *space, u64 first, u64 nr);

/* frame.c */

int tm_frames_create(struct tm_space *space);
void tm_frames_destroy(struct tm_space *space);
/** tm_frame_fill() - the frame's pages, made if need be; NULL: none left */
struct page **tm_frame_fill(struct tm_space *space, u32 frame);
int tm_op_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
	      unsigned int flags);
u32 tm_op_map_run(void *ctx, struct tm_lane *lane, u64 block, const u32 *frame,
		  u32 nr, unsigned int flags);
int tm_op_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame);
u32 tm_op_unmap_run(void *ctx, struct tm_lane *lane, u64 block,
		    const u32 *frame, u32 nr, int *answer);
void tm_op_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame);
u32 tm_op_checksum(void *ctx, u64 block, u32 frame, u32 seed);

/* pool.c */

/** tm_pool_open() - a program comes: charge its cgroup; the floor or -ENOMEM */
int tm_pool_open(struct tm_space *space);
/** tm_pool_grow() - if the pager is about to need more; by lanes */
void tm_pool_grow(struct tm_space *space);
struct tm_pages *tm_pool_take(struct tm_space *space);
void tm_pool_put(struct tm_space *space, struct tm_pages *pages);
/** tm_pool_abandon() - someone else still refers to these: never use them again
 */
void tm_pool_abandon(struct tm_space *space, struct tm_pages *pages);
void tm_pages_free(struct tm_space *space, struct tm_pages *pages);
/**
 * tm_pool_shrink() - do with so many frames less, for a while; how many there
 * were to free at once
 */
u32 tm_pool_shrink(struct tm_space *space, u32 wanted);
void tm_pool_destroy(struct tm_space *space);

/* shrink.c */

int tm_shrink_init(void);
void tm_shrink_exit(void);
/** tm_shrink_start() - before the lanes run */
int tm_shrink_start(struct tm_space *space);
/** tm_shrink_stop() - if it was started; before the lanes end */
void tm_shrink_stop(struct tm_space *space);
/**
 * tm_shrink_charge() - space->memcg may ask for memory from now on, no other
 * does; 0 or -ENOMEM. grow_lock is held
 */
int tm_shrink_charge(struct tm_space *space);

/* age.c */

void tm_op_accessed(void *ctx, struct tm_lane *lane, u64 block,
		    const u32 *frame, u32 nr, int *answer);

/* lane.c */

int tm_lane_create(struct tm_space *space, unsigned int index);
int tm_lane_start(struct tm_space_lane *lane);
void tm_lane_stop(struct tm_space_lane *lane);
void tm_lane_destroy(struct tm_space_lane *lane);
/** tm_lane_kick() - have it look; any context */
void tm_lane_kick(struct tm_space_lane *lane);
void tm_lane_post(struct tm_space_lane *lane, struct tm_wait *wait);
/** tm_lane_unpost() - the thread does not wait any more */
void tm_lane_unpost(struct tm_space_lane *lane, struct tm_wait *wait);
/** tm_lane_hint() - bring a block in for who does not wait but comes again */
void tm_lane_hint(struct tm_space_lane *lane, u64 block);
/**
 * tm_region_discard() - forget blocks, wait until none is mapped
 * @killable: -EINTR by a fatal signal; it is done all the same
 */
int tm_region_discard(struct tm_region *region, u64 index, u64 nr,
		      bool killable);

/* transfer.c */

int tm_transfers_create(struct tm_space_lane *lane);
void tm_transfers_destroy(struct tm_space_lane *lane);
/** tm_transfers_depth() - requests that a link may get at one time */
unsigned int tm_transfers_depth(const struct tm_space *space);
/** tm_transfers_fail() - complete what could not be submitted; how many */
unsigned int tm_transfers_fail(struct tm_space_lane *lane);
/** tm_transfers_tick() - ask servers that were full once more */
void tm_transfers_tick(struct tm_space_lane *lane);
void tm_op_fetch(void *ctx, struct tm_io *io);
void tm_op_store(void *ctx, struct tm_io *io);
bool tm_op_discard(void *ctx, struct tm_lane *lane, unsigned int server,
		   u64 addr, u64 bytes);
void tm_op_reserve(void *ctx, struct tm_lane *lane, unsigned int server);
bool tm_op_release(void *ctx, struct tm_lane *lane, unsigned int server,
		   u64 addr, u64 bytes);

/* sysfs.c */

extern const struct attribute_group *tm_space_groups[];

/** tm_sysfs_init() - complete them, before the first space */
void tm_sysfs_init(void);

#endif /* TM_KMOD_INTERNAL_H */
