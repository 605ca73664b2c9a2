/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * mmap(2) in terms of the remote heap: what a program asks of the kernel for
 * page-granular mappings, kept in ranges of whole blocks. A block goes back
 * when all of its pages were unmapped; until then unmapped pages of it stay
 * accessible (a program that touches them has a bug that we do not show).
 *
 * Not here: which calls are ours (preload_mmap.c).
 *
 * Lock order: the pinning mutex, then the region's; the records' mutex is a
 * leaf.
 */
#ifndef TM_ALLOCATOR_MAPPING_H
#define TM_ALLOCATOR_MAPPING_H

#include "allocator/heap.h"

/* All functions return 0 or -errno as the system call would. */

/** tm_mapping_create() - @bytes of zeros; NULL when the capacity is used up */
void *tm_mapping_create(struct tm_heap *heap, size_t bytes);

/** tm_mapping_unmap() - munmap(2) of any part of any mappings */
int tm_mapping_unmap(struct tm_heap *heap, uintptr_t addr, size_t bytes);

/**
 * tm_mapping_clear() - make it zeros again and give its memory back where
 * whole blocks allow it; also for memory from malloc. -EINVAL where a page of
 * the blocks around is protected or locked.
 */
int tm_mapping_clear(struct tm_heap *heap, uintptr_t addr, size_t bytes);

/**
 * tm_mapping_replace() - mmap(2) with MAP_FIXED of private anonymous memory
 *
 * -ENOMEM where the range is not wholly inside one mapping.
 */
int tm_mapping_replace(struct tm_heap *heap, uintptr_t addr, size_t bytes,
		       int prot);

/** tm_mapping_resize() - mremap(2) without moving */
int tm_mapping_resize(struct tm_heap *heap, uintptr_t addr, size_t old_bytes,
		      size_t new_bytes);

/**
 * tm_mapping_protect() - mprotect(2)
 *
 * Blocks with a page that is not readable and writable stay in local memory
 * until the block as a whole is made so again. -ENOMEM also when too much
 * would.
 */
int tm_mapping_protect(struct tm_heap *heap, uintptr_t addr, size_t bytes,
		       int prot);

/** tm_mapping_lock() - before mlock(2): the blocks stay until they are freed */
int tm_mapping_lock(struct tm_heap *heap, uintptr_t addr, size_t bytes);

#endif /* TM_ALLOCATOR_MAPPING_H */
