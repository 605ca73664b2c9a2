/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Small objects in remote memory: arenas of a private copy of jemalloc whose
 * extents are runs of pages (pages.h). jemalloc's own books stay in local
 * memory.
 *
 * The copy serves nothing else: each thread is tied to one of the arenas, so
 * that jemalloc's thread caches work. After fork(2) the child makes new arenas;
 * what the old ones still hold is let go without being touched.
 *
 * Lock order: jemalloc's locks, then the pages'.
 */
#ifndef TM_ALLOCATOR_ARENA_H
#define TM_ALLOCATOR_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "allocator/pages.h"

#define TM_ARENAS_MAX 8

struct tm_arenas;

/** tm_arenas_create() - arenas over @pages, at most one per CPU; 0 or -errno */
int tm_arenas_create(struct tm_pages *pages, struct tm_arenas **arenas);

/**
 * tm_arenas_forget() - after fork, in the child, before jemalloc's own handler:
 * nothing of @arenas is ever given back to its pages
 */
void tm_arenas_forget(struct tm_arenas *arenas);

/** tm_arenas_purge() - give everything unused back to the pages */
void tm_arenas_purge(struct tm_arenas *arenas);

/**
 * tm_arenas_alloc(), _realloc(), _free(), _usable() - as in malloc(3)
 *
 * For sizes and alignments of at most 7/8 of the pages' chunk. NULL: no room.
 */
void *tm_arenas_alloc(struct tm_arenas *arenas, size_t size, size_t alignment,
		      bool zero);
void *tm_arenas_realloc(struct tm_arenas *arenas, void *ptr, size_t size);
void tm_arenas_free(void *ptr);
size_t tm_arenas_usable(const void *ptr);

/**
 * tm_arenas_init() - let jemalloc register its fork handlers now
 */
void tm_arenas_init(void);

#endif /* TM_ALLOCATOR_ARENA_H */
