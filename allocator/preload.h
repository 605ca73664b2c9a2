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

#endif /* TM_ALLOCATOR_PRELOAD_H */
