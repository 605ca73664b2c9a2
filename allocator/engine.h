/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The paging engine of this process, as the allocator sees it: one contiguous
 * region of virtual memory whose blocks come and go.
 *
 * allocator/region.c hands out ranges of it; the engine pages them. The engine
 * starts at the first allocation, in the process that makes it; a forked child
 * starts its own.
 */
#ifndef TM_ALLOCATOR_ENGINE_H
#define TM_ALLOCATOR_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/stats.h"
#include "include/teramem/teramalloc.h"

struct tm_engine;

/**
 * tm_engine_start() - connect to the servers and reserve the region
 *
 * Configuration comes from the environment (TERAMEM_JOB_DEVICE,
 * TERAMEM_JOB_MAP, TERAMEM_JOB_FILE, TERAMALLOC_*; see teramalloc(3)). Blocks;
 * may allocate from libc.
 *
 * Returns 0 or -errno, with one line on stderr that says why and the remedy;
 * -ENODEV quietly where neither device nor map is named.
 */
int tm_engine_start(struct tm_engine **engine);

/** tm_engine_stop() - end threads and sessions; the region stays unusable */
void tm_engine_stop(struct tm_engine *engine);

/**
 * tm_engine_fork_prepare(), _parent(), _child() - around fork(2)
 *
 * The child has no engine: the parent's region is inaccessible there (SIGSEGV
 * with a line that says why), its address range stays taken, and nothing of
 * the parent's sessions is touched. The allocator then starts a new one on
 * demand.
 */
void tm_engine_fork_prepare(struct tm_engine *engine);
void tm_engine_fork_parent(struct tm_engine *engine);
void tm_engine_fork_child(struct tm_engine *engine);

/** the region: page aligned to 1 GiB; its size is a multiple of the block */
void *tm_engine_base(const struct tm_engine *engine);
size_t tm_engine_size(const struct tm_engine *engine);
size_t tm_engine_block(const struct tm_engine *engine);

/**
 * tm_engine_commit() - promise capacity for @bytes (a multiple of the block)
 *
 * Returns 0 or -ENOMEM: the job's capacity is used up; nothing changed.
 */
int tm_engine_commit(struct tm_engine *engine, size_t bytes);
void tm_engine_uncommit(struct tm_engine *engine, size_t bytes);

/**
 * tm_engine_discard() - the blocks in [addr, addr + bytes) are freed; their
 * next access finds zeros; none of them is pinned
 *
 * Blocks until the range holds nothing. Both bounds are block-aligned. Called
 * by program threads; never by the engine's own.
 */
void tm_engine_discard(struct tm_engine *engine, void *addr, size_t bytes);

/**
 * tm_engine_pin() - these blocks are brought in and stay in local memory
 *
 * For memory whose pages the program is about to protect or lock, which paging
 * must not touch from then on. Both bounds are block-aligned. Blocks that are
 * pinned already are passed over.
 *
 * Returns 0, or -ENOMEM: too much of the local memory would be bound; nothing
 * changed. The caller lets nobody else pin, or protect, the same blocks before
 * it returned.
 */
int tm_engine_pin(struct tm_engine *engine, void *addr, size_t bytes);

/** tm_engine_pins() - whether any of these blocks is pinned; takes no lock */
bool tm_engine_pins(const struct tm_engine *engine, const void *addr,
		    size_t bytes);

/** tm_engine_unpin() - they come and go again; not pinned ones are passed over
 */
void tm_engine_unpin(struct tm_engine *engine, void *addr, size_t bytes);

int tm_engine_stats(struct tm_engine *engine, struct teramalloc_stats *stats);

/** tm_engine_thread() - true in the engine's own threads, which must not fault
 */
bool tm_engine_thread(void);

#endif /* TM_ALLOCATOR_ENGINE_H */
