/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The process's remote heap: an engine, and on it the region's books, the
 * pages and the arenas. Started by the first allocation; a forked child starts
 * its own, and the memory of its parents is neither read nor freed there.
 *
 * The API (teramalloc.c) and the preload are two faces of it.
 *
 * Lock order: the start mutex, then jemalloc's locks, the pages', the region's.
 */
#ifndef TM_ALLOCATOR_HEAP_H
#define TM_ALLOCATOR_HEAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/arena.h"
#include "allocator/engine.h"
#include "allocator/pages.h"
#include "allocator/region.h"
#include "include/teramem/teramalloc.h"

/**
 * struct tm_heap - never freed; after fork the parent's hangs at @older
 */
struct tm_heap {
	uintptr_t base;
	size_t size;
	size_t small_max; /* sizes and alignments that go to the arenas */
	struct tm_engine *engine;
	struct tm_region *region;
	struct tm_pages *pages;
	struct tm_arenas *arenas;
	struct tm_heap *older;
};

/* Read by tm_heap_owns() only. */
extern struct tm_heap *tm_heap_live, *tm_heap_parents;
extern _Thread_local unsigned int tm_heap_inside;

/**
 * tm_heap_starting() - the calling thread must not come to us for memory: it is
 * starting or stopping the engine, or is one of the engine's own
 */
static inline bool tm_heap_starting(void)
{
	return tm_heap_inside || tm_engine_thread();
}

/** tm_heap_get() - the heap, started if need be; NULL where there is none */
struct tm_heap *tm_heap_get(void);

static inline bool tm_heap_holds(const struct tm_heap *heap, const void *addr)
{
	return heap && (uintptr_t)addr - heap->base < heap->size;
}

bool tm_heap_parents_hold(const void *addr);

/** tm_heap_owns() - remote memory of this process, or of a parent's time */
static inline bool tm_heap_owns(const void *addr)
{
	return tm_heap_holds(__atomic_load_n(&tm_heap_live, __ATOMIC_ACQUIRE),
			     addr) ||
	       (tm_heap_parents && tm_heap_parents_hold(addr));
}

/**
 * tm_heap_alloc() - @size bytes at @alignment, a power of two
 * @zero: clear them
 *
 * Returns NULL with errno ENOMEM.
 */
void *tm_heap_alloc(size_t size, size_t alignment, bool zero);

/**
 * tm_heap_realloc(), tm_heap_free(), tm_heap_usable() - for what
 * tm_heap_owns()
 *
 * A pointer that is not the start of an allocation ends the program with a line
 * that says so. One of a parent's time cannot be resized (ENOMEM), has no
 * usable bytes, and is freed by doing nothing. free keeps errno.
 */
void *tm_heap_realloc(void *ptr, size_t size);
void tm_heap_free(void *ptr);
size_t tm_heap_usable(const void *ptr);

/**
 * tm_heap_fallback() - whether local memory shall be used for what remote
 * memory could not take; says so once
 */
bool tm_heap_fallback(void);

/** tm_heap_stats() - 0, or -ENODEV */
int tm_heap_stats(struct teramalloc_stats *stats);

#endif /* TM_ALLOCATOR_HEAP_H */
