/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Ranges of whole blocks in the engine's region: who has which, and where the
 * next one goes. Best fit, lowest address first, so that what is allocated in
 * sequence lies in sequence. The books are in local memory, never in the
 * region.
 *
 * Not here: anything smaller than a block (pages.h), and what a range is used
 * for.
 *
 * Lock: the region's mutex, a leaf but for tm_engine_commit(). It is never
 * held across tm_engine_discard().
 */
#ifndef TM_ALLOCATOR_REGION_H
#define TM_ALLOCATOR_REGION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "allocator/engine.h"

struct tm_region;

enum tm_range_kind {
	TM_RANGE_FREE,
	TM_RANGE_LARGE,	  /* an allocation of its own */
	TM_RANGE_CHUNK,	  /* small objects live in it */
	TM_RANGE_MAPPING, /* the program thinks that it came from mmap(2) */
	TM_RANGE_BUSY,	  /* freed, its blocks are being discarded */
};

/*
 * What the program did to pages of a range; it is undone, and the blocks are
 * unpinned, before the range is used again.
 */
#define TM_RANGE_PROTECTED (1u << 0) /* mprotect(2) */
#define TM_RANGE_LOCKED (1u << 1)    /* mlock(2) */

/** struct tm_range - a copy of what the books say about an address */
struct tm_range {
	uintptr_t addr;
	size_t bytes;
	enum tm_range_kind kind;
};

/** tm_region_create() - books for @engine's region; 0 or -ENOMEM */
int tm_region_create(struct tm_engine *engine, struct tm_region **region);

/**
 * tm_region_alloc() - a range of @bytes, rounded up to whole blocks
 * @alignment: a power of two
 *
 * Its bytes are zero. Returns NULL when the region or the capacity is used up.
 */
void *tm_region_alloc(struct tm_region *region, size_t bytes, size_t alignment,
		      enum tm_range_kind kind);

/**
 * tm_region_free() - give a range back; blocks while it is discarded
 * @kind: what it must be
 *
 * Returns 0, or -EINVAL: @addr is not where such a range starts.
 */
int tm_region_free(struct tm_region *region, void *addr,
		   enum tm_range_kind kind);

/**
 * tm_region_resize() - shorter, or longer where the range behind is free
 *
 * Returns 0, -ENOMEM (it stays as it is), or -EINVAL as in free.
 */
int tm_region_resize(struct tm_region *region, void *addr, size_t bytes,
		     enum tm_range_kind kind);

/**
 * tm_region_cut() - free the whole blocks of mappings in [addr, addr + bytes)
 *
 * Both bounds are block-aligned. Ranges are split; free parts are passed over.
 * Returns 0, -ENOMEM (no memory for the books; nothing or only a first part was
 * freed), or -EINVAL: there is something else than mappings (nothing was
 * freed).
 */
int tm_region_cut(struct tm_region *region, uintptr_t addr, size_t bytes);

/** tm_region_find() - the range that @addr lies in */
struct tm_range tm_region_find(struct tm_region *region, const void *addr);

/** tm_region_note() - TM_RANGE_* for every range in [addr, addr + bytes) */
void tm_region_note(struct tm_region *region, uintptr_t addr, size_t bytes,
		    unsigned int notes);

/**
 * tm_region_survey() - the notes of all ranges in [addr, addr + bytes)
 *
 * Returns TM_RANGE_*, or -ENOMEM where some of it is not allocated.
 */
int tm_region_survey(struct tm_region *region, uintptr_t addr, size_t bytes);

/** tm_region_used() - bytes in ranges that are not free */
size_t tm_region_used(const struct tm_region *region);

/**
 * tm_region_close() - if every range is free, there will be none any more
 *
 * Returns whether it is so; then nobody is in the engine on behalf of the
 * region, nor will be.
 */
bool tm_region_close(struct tm_region *region);

/** tm_region_lock(), _unlock() - around fork(2) */
void tm_region_lock(struct tm_region *region);
void tm_region_unlock(struct tm_region *region);

#endif /* TM_ALLOCATOR_REGION_H */
