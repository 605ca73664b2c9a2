/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Remote memory for the paging tests, straight from the engine: what the
 * allocator would do is not to hide what is tested here.
 */
#ifndef TM_TESTS_REMOTE_H
#define TM_TESTS_REMOTE_H

#include <errno.h>
#include <stddef.h>

#include "allocator/engine.h"

/** remote_alloc() - whole blocks, zeroed; NULL and errno */
void *remote_alloc(size_t bytes);
/** remote_discard() - whole blocks read as zeros from now on */
void remote_discard(void *addr, size_t bytes);
size_t remote_block(void);
int remote_stats(struct teramalloc_stats *stats);

#endif /* TM_TESTS_REMOTE_H */
