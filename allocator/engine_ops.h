/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two engines behind engine.h have in common: userfaultfd in this
 * process (engine_uffd.c and what it uses), and teramem.ko (engine_kmod.c).
 */
#ifndef TM_ALLOCATOR_ENGINE_OPS_H
#define TM_ALLOCATOR_ENGINE_OPS_H

#include "allocator/engine.h"

/**
 * struct tm_engine_ops - engine.h's functions of the same names, of one engine
 * @stop: the region is not accessible any more
 * @fork_prepare, @fork_parent: may be NULL
 * @fork_child: the region's addresses are taken in the child; system calls only
 */
struct tm_engine_ops {
	void (*stop)(struct tm_engine *engine);
	void (*fork_prepare)(struct tm_engine *engine);
	void (*fork_parent)(struct tm_engine *engine);
	void (*fork_child)(struct tm_engine *engine);
	int (*commit)(struct tm_engine *engine, size_t bytes);
	void (*uncommit)(struct tm_engine *engine, size_t bytes);
	void (*discard)(struct tm_engine *engine, void *addr, size_t bytes);
	int (*pin)(struct tm_engine *engine, void *addr, size_t bytes);
	bool (*pins)(const struct tm_engine *engine, const void *addr,
		     size_t bytes);
	void (*unpin)(struct tm_engine *engine, void *addr, size_t bytes);
	int (*stats)(struct tm_engine *engine, struct teramalloc_stats *stats);
};

/** struct tm_engine - first member of each engine */
struct tm_engine {
	const struct tm_engine_ops *ops;
	char *base;
	size_t size;
	size_t block;
};

/* More addresses than memory, so that fragments of it do not matter. */
#define TM_REGION_FACTOR 2
#define TM_REGION_ALIGN (1ull << 30)

/**
 * tm_engine_reserve() - inaccessible addresses for a region: @engine->base and
 * size, from @capacity
 *
 * Returns 0 or -errno.
 */
int tm_engine_reserve(struct tm_engine *engine, uint64_t capacity);

/** tm_engine_close_off() - the region stays, but nothing in it is accessible */
void tm_engine_close_off(struct tm_engine *engine);

/* Their starts, as tm_engine_start() */
int tm_uffd_engine_start(struct tm_engine **engine);
int tm_kmod_engine_start(struct tm_engine **engine);

#endif /* TM_ALLOCATOR_ENGINE_OPS_H */
