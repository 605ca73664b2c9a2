/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * How much memory this machine, and the memory cgroups that the process is in,
 * have left.
 */
#ifndef TM_COMMON_MEMORY_H
#define TM_COMMON_MEMORY_H

#include <stdint.h>

/**
 * tm_memory_headroom() - bytes that may be populated now without running this
 * machine, or a memory cgroup that the process is in, out of memory
 *
 * An estimate on the safe side; counts page cache as free.
 */
uint64_t tm_memory_headroom(void);

/** tm_memory_cgroup_headroom() - the cgroups' part; UINT64_MAX: no limit */
uint64_t tm_memory_cgroup_headroom(void);

#endif /* TM_COMMON_MEMORY_H */
