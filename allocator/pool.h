/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Records of one size for the allocator's own books: never from malloc (which
 * may be us) and never from the region (which may be remote). Memory comes in
 * slabs from mmap(2) and is kept. The owner's lock guards a pool.
 */
#ifndef TM_ALLOCATOR_POOL_H
#define TM_ALLOCATOR_POOL_H

#include "tm_port.h"

#define TM_POOL_SLAB_BYTES (64u << 10)

struct tm_pool {
	size_t item_bytes; /* a multiple of the pointer size */
	size_t nr_free;
	void *free;
};

/** tm_pool_reserve() - have @nr records at hand; 0 or -ENOMEM */
static inline int tm_pool_reserve(struct tm_pool *pool, size_t nr)
{
	char *slab, *item;

	while (pool->nr_free < nr) {
		slab = tm_alloc(TM_POOL_SLAB_BYTES);
		if (!slab)
			return -ENOMEM;
		for (item = slab;
		     item + pool->item_bytes <= slab + TM_POOL_SLAB_BYTES;
		     item += pool->item_bytes) {
			*(void **)item = pool->free;
			pool->free = item;
			pool->nr_free++;
		}
	}
	return 0;
}

/** tm_pool_get() - a zeroed record; one must have been reserved */
static inline void *tm_pool_get(struct tm_pool *pool)
{
	void *item = pool->free;

	pool->free = *(void **)item;
	pool->nr_free--;
	return memset(item, 0, pool->item_bytes);
}

static inline void tm_pool_put(struct tm_pool *pool, void *item)
{
	*(void **)item = pool->free;
	pool->free = item;
	pool->nr_free++;
}

#endif /* TM_ALLOCATOR_POOL_H */
