// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The block map's two levels, and the reserve that new leaves come from. Knows
 * nothing of what entries mean. Lock order: none.
 */
#include "core/blockmap.h"

_Static_assert(TM_REPLICAS > 1 || sizeof(struct tm_block) == 32,
	       "an entry is 32 bytes");

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
	map->nr_leaves = (nr_blocks + TM_LEAF_BLOCKS - 1) >> TM_LEAF_SHIFT;
	map->directory = tm_alloc(map->nr_leaves * sizeof(*map->directory));
	return map->directory ? 0 : -ENOMEM;
}

void tm_blockmap_fini(struct tm_blockmap *map)
{
	tm_free(map->directory, map->nr_leaves * sizeof(*map->directory));
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

struct tm_block *tm_blockmap_get(struct tm_blockmap *map, u64 block,
				 struct tm_leaf_reserve *reserve)
{
	struct tm_block *e = tm_blockmap_find(map, block);
	struct tm_leaf *leaf;

	if (tm_likely(e))
		return e;
	leaf = leaf_peek(reserve);
	if (!leaf)
		return NULL;
	/* another lane may be quicker: then the leaf stays in the reserve */
	if (tm_cas(&map->directory[block >> TM_LEAF_SHIFT], NULL, leaf)) {
		reserve->used++;
		tm_store_relaxed(&reserve->taken, reserve->taken + 1);
	}
	return tm_blockmap_find(map, block);
}

u64 tm_blockmap_skip(const struct tm_blockmap *map, u64 block)
{
	u64 leaf = block >> TM_LEAF_SHIFT;

	if (tm_load_relaxed(&map->directory[leaf]))
		return block;
	while (++leaf < map->nr_leaves)
		if (tm_load_relaxed(&map->directory[leaf]))
			return leaf << TM_LEAF_SHIFT;
	return map->nr_blocks;
}
