// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The block map's levels, and the reserve that new leaves and nodes come from.
 * Knows nothing of what entries mean. Lock order: none.
 */
#include "core/blockmap.h"

_Static_assert(TM_REPLICAS > 1 || sizeof(struct tm_block) == 32,
	       "an entry is 32 bytes");
_Static_assert(sizeof(struct tm_node) <= sizeof(struct tm_leaf),
	       "a leaf's memory does for a node");

/* As large as 64 leaves; the first is spent on the link. */
struct tm_leaf_chunk {
	union {
		struct tm_leaf_chunk *next;
		struct tm_leaf head;
	};
	struct tm_leaf leaf[TM_LEAF_RESERVE];
};

int tm_blockmap_init(struct tm_blockmap *map, u64 nr_blocks)
{
	if (!nr_blocks || nr_blocks >= TM_BLOCKS_MAX)
		return -EINVAL;
	map->nr_blocks = nr_blocks;
	map->nr_nodes = (nr_blocks + TM_NODE_BLOCKS - 1) / TM_NODE_BLOCKS;
	map->directory = tm_alloc(map->nr_nodes * sizeof(*map->directory));
	return map->directory ? 0 : -ENOMEM;
}

void tm_blockmap_fini(struct tm_blockmap *map)
{
	tm_free(map->directory, map->nr_nodes * sizeof(*map->directory));
}

int tm_leaf_reserve_fill(struct tm_leaf_reserve *reserve)
{
	while (!reserve->chunk || !reserve->spare) {
		struct tm_leaf_chunk *chunk = tm_alloc(sizeof(*chunk));

		if (!chunk)
			return -ENOMEM;
		if (reserve->chunk)
			reserve->spare = chunk;
		else
			reserve->chunk = chunk;
	}
	return 0;
}

void tm_leaf_reserve_fini(struct tm_leaf_reserve *reserve)
{
	struct tm_leaf_chunk *chunk, *next;

	for (chunk = reserve->chunk; chunk; chunk = next) {
		next = chunk->next;
		tm_free(chunk, sizeof(*chunk));
	}
	tm_free(reserve->spare, sizeof(*reserve->spare));
}

static struct tm_leaf *leaf_peek(struct tm_leaf_reserve *reserve)
{
	if (reserve->used == TM_LEAF_RESERVE && reserve->spare) {
		reserve->spare->next = reserve->chunk;
		reserve->chunk = reserve->spare;
		reserve->spare = NULL;
		reserve->used = 0;
	}
	if (!reserve->chunk || reserve->used == TM_LEAF_RESERVE)
		return NULL;
	return &reserve->chunk->leaf[reserve->used];
}

/* It was put to use, unless another lane was quicker. */
static void leaf_taken(struct tm_leaf_reserve *reserve)
{
	reserve->used++;
	tm_store_relaxed(&reserve->taken, reserve->taken + 1);
}

struct tm_block *tm_blockmap_get(struct tm_blockmap *map, u64 block,
				 struct tm_leaf_reserve *reserve)
{
	struct tm_block *e = tm_blockmap_find(map, block);
	struct tm_node **node;
	struct tm_leaf **leaf, *spare;

	if (tm_likely(e))
		return e;
	node = &map->directory[block / TM_NODE_BLOCKS];
	if (!tm_load_acquire(node)) {
		spare = leaf_peek(reserve);
		if (!spare)
			return NULL;
		if (tm_cas(node, NULL, (struct tm_node *)spare))
			leaf_taken(reserve);
	}
	leaf = &tm_load_acquire(node)
			->leaf[block >> TM_LEAF_SHIFT & (TM_NODE_LEAVES - 1)];
	if (!tm_load_acquire(leaf)) {
		spare = leaf_peek(reserve);
		if (!spare)
			return NULL;
		if (tm_cas(leaf, NULL, spare))
			leaf_taken(reserve);
	}
	return tm_blockmap_find(map, block);
}

u64 tm_blockmap_skip(const struct tm_blockmap *map, u64 block)
{
	u64 leaf = block >> TM_LEAF_SHIFT;
	u64 end = map->nr_nodes << TM_NODE_SHIFT;

	while (leaf < end) {
		struct tm_node *node =
			tm_load_acquire(&map->directory[leaf >> TM_NODE_SHIFT]);

		if (!node) {
			leaf = (leaf | (TM_NODE_LEAVES - 1)) + 1;
			continue;
		}
		if (tm_load_relaxed(&node->leaf[leaf & (TM_NODE_LEAVES - 1)])) {
			leaf <<= TM_LEAF_SHIFT;
			return leaf > block ? leaf : block;
		}
		leaf++;
	}
	return map->nr_blocks;
}
