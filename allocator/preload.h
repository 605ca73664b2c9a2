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
 * tm_preload_maps() - whether a mapping for @caller may be remote
 *
 * Not from inside of the malloc behind ours: what it hands out from there is
 * freed by ours, which would take it for its own. Nor may any malloc start the
 * heap: it holds its locks, and starting allocates.
 */
bool tm_preload_maps(const void *caller);

#endif /* TM_ALLOCATOR_PRELOAD_H */
