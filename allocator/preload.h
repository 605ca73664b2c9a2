/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the two halves of the preload share: preload.c (the malloc family) and
 * preload_mmap.c (mappings).
 */
#ifndef TM_ALLOCATOR_PRELOAD_H
#define TM_ALLOCATOR_PRELOAD_H

#include <stdbool.h>
#include <stddef.h>

/** tm_preload_job() - whether this process is part of a job */
bool tm_preload_job(void);

/**
 * tm_preload_may_start() - whether a call from @caller may start the heap
 *
 * Not from inside of a malloc: that holds its locks, and starting allocates.
 */
bool tm_preload_may_start(const void *caller);

#endif /* TM_ALLOCATOR_PRELOAD_H */
