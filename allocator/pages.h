/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs of pages, where a block would be too much: chunks of the region, cut up
 * for the small-object allocator (arena.c). A chunk goes back to the region
 * as soon as nothing in it is in use, so that capacity does not stick to
 * freed small objects. The books are in local memory.
 *
 * Lock order: the pages' mutex, then the region's. Never held across
 * tm_engine_discard().
 */
#ifndef TM_ALLOCATOR_PAGES_H
#define TM_ALLOCATOR_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/region.h"

struct tm_pages;

/** tm_pages_create() - an empty set of chunks; 0 or -ENOMEM */
int tm_pages_create(struct tm_engine *engine, struct tm_region *region,
		    struct tm_pages **pages);

/** tm_pages_chunk() - bytes of a chunk: the longest run that there can be */
size_t tm_pages_chunk(const struct tm_pages *pages);

/**
 * tm_pages_alloc() - a run of @bytes, a multiple of the page
 * @alignment: a power of two, at least the page, at most a chunk
 * @zero: set to whether its bytes are zero
 *
 * Returns NULL when there is no room, or when @bytes is more than a chunk.
 */
void *tm_pages_alloc(struct tm_pages *pages, size_t bytes, size_t alignment,
		     bool *zero);

/**
 * tm_pages_free() - give pages back: a run, a part of one, or neighbouring ones
 *
 * May block while blocks are discarded.
 */
void tm_pages_free(struct tm_pages *pages, void *addr, size_t bytes);

/** tm_pages_has() - whether @addr is in a chunk; takes no lock */
bool tm_pages_has(const struct tm_pages *pages, const void *addr);

/** tm_pages_lock(), _unlock() - around fork(2) */
void tm_pages_lock(struct tm_pages *pages);
void tm_pages_unlock(struct tm_pages *pages);

#endif /* TM_ALLOCATOR_PAGES_H */
