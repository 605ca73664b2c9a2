/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The block map: what the pager knows of each block of the address space.
 *
 * A sparse table of three levels: a directory of pointers to nodes of pointers
 * to leaves of 128 entries. Nodes and leaves are made when the first of their
 * blocks is touched and kept until the map is destroyed. Finding an entry takes
 * no lock. The entry itself is guarded by whoever uses the map (the lock of the
 * block's shard).
 */
#ifndef TM_CORE_BLOCKMAP_H
#define TM_CORE_BLOCKMAP_H

#include "core/place.h"

/* The busy states come last: while in one, the block belongs to a lane. */
enum tm_block_state {
	TM_ABSENT, /* never touched, or freed: zeros */
	TM_REMOTE,
	TM_CACHED, /* in a frame, not mapped */
	TM_RESIDENT,
	TM_LOST,
	TM_TAIL, /* part of a huge block, not its first: core/pager_huge.c */
	TM_MAPPING,
	TM_UNMAPPING,
	TM_FETCHING,
	TM_STORING,
};

#define TM_BLOCK_WANTED 0x01u  /* map it when the operation ends */
#define TM_BLOCK_WRITE 0x02u   /* the fault that wants it is a write */
#define TM_BLOCK_DISCARD 0x04u /* forget it when the operation ends */
#define TM_BLOCK_WAITING 0x08u /* a fault waits in the shard's queue */
#define TM_BLOCK_SLOT 0x10u    /* replica[] names a slot that is ours */
#define TM_BLOCK_COPY 0x20u    /* and that holds what crc and version say */
#define TM_BLOCK_PRINT 0x40u   /* fingerprint is that of the copy */
#define TM_BLOCK_RETRY 0x80u   /* the last fetch failed */
#define TM_BLOCK_SPLIT 0x100u  /* of a huge block: when the operation ends */
#define TM_BLOCK_MISSED 0x200u /* of a part of one: its request failed */

/**
 * struct tm_block - one block; all zero when it was never touched
 * @state: enum tm_block_state
 * @flags: TM_BLOCK_*
 * @frame: where its bytes are, in the states that have a frame
 * @next: while TM_BLOCK_WAITING: the next block in the queue
 * @err: while TM_LOST: why
 * @crc: checksum of the copy; see core/ledger.h
 * @version: how often it was stored
 * @fingerprint: with TM_BLOCK_PRINT
 * @since_ns: while TM_BLOCK_WAITING: when the fault came
 */
struct tm_block {
	u8 state;
	u16 flags;
	union {
		u32 frame;
		u32 next;
		int err;
	};
	u32 crc;
	u32 version;
	union {
		u64 fingerprint;
		u64 since_ns;
	};
	struct tm_replica replica[TM_REPLICAS];
};

/* queues link blocks by 32 bits, and all ones end them */
#define TM_BLOCKS_MAX (~(u32)0)
#define TM_NO_BLOCK (~(u32)0)

#define TM_LEAF_SHIFT 7
#define TM_LEAF_BLOCKS (1u << TM_LEAF_SHIFT)

struct tm_leaf {
	struct tm_block block[TM_LEAF_BLOCKS];
};

#define TM_NODE_SHIFT 9
#define TM_NODE_LEAVES (1u << TM_NODE_SHIFT)
#define TM_NODE_BLOCKS (1u << (TM_NODE_SHIFT + TM_LEAF_SHIFT))

struct tm_node {
	struct tm_leaf *leaf[TM_NODE_LEAVES];
};

struct tm_blockmap {
	struct tm_node **directory;
	u64 nr_blocks;
	u64 nr_nodes; /* of the address space, not those that exist */
};

/**
 * struct tm_leaf_reserve - leaves in hand, so that a fault need not allocate
 *
 * Nodes come from it too: they are no larger.
 *
 * One for each lane; not locked.
 */
struct tm_leaf_reserve {
	struct tm_leaf_chunk *chunk; /* being used; links all earlier ones */
	struct tm_leaf_chunk *spare;
	u32 used;  /* leaves of @chunk */
	u64 taken; /* leaves and nodes in all */
};

/* leaves that a full reserve has at least */
#define TM_LEAF_RESERVE 63u

/** tm_blockmap_init() - 0, -EINVAL (too many blocks) or -ENOMEM */
int tm_blockmap_init(struct tm_blockmap *map, u64 nr_blocks);
void tm_blockmap_fini(struct tm_blockmap *map);

/** tm_leaf_reserve_fill() - fill it up; allocates; 0 or -ENOMEM */
int tm_leaf_reserve_fill(struct tm_leaf_reserve *reserve);

/** tm_leaf_reserve_fini() - free every leaf that came from it */
void tm_leaf_reserve_fini(struct tm_leaf_reserve *reserve);

/** tm_blockmap_find() - the entry, or NULL if nothing near was touched */
static inline struct tm_block *tm_blockmap_find(const struct tm_blockmap *map,
						u64 block)
{
	struct tm_node *node = tm_load_acquire(
		&map->directory[block >> (TM_NODE_SHIFT + TM_LEAF_SHIFT)]);
	struct tm_leaf *leaf;

	if (!node)
		return NULL;
	leaf = tm_load_acquire(
		&node->leaf[block >> TM_LEAF_SHIFT & (TM_NODE_LEAVES - 1)]);
	return leaf ? &leaf->block[block & (TM_LEAF_BLOCKS - 1)] : NULL;
}

/**
 * tm_blockmap_get() - the entry, made if need be
 *
 * Returns NULL when the reserve is empty.
 */
struct tm_block *tm_blockmap_get(struct tm_blockmap *map, u64 block,
				 struct tm_leaf_reserve *reserve);

/** tm_blockmap_skip() - the first block from @block on that has an entry */
u64 tm_blockmap_skip(const struct tm_blockmap *map, u64 block);

#endif /* TM_CORE_BLOCKMAP_H */
