/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What the environment tells libteramalloc and its preload: every TERAMALLOC_*
 * variable, and where the job is (TERAMEM_JOB_MAP, _FILE, _DEVICE). One table
 * in config.c; the manual page teramalloc(3) says the same in words.
 *
 * Read once, at first use, into static memory: a program that changes its
 * environment later changes nothing here. Never allocates. In a set-user-ID
 * program (AT_SECURE) the whole environment is ignored. Lock order: none.
 */
#ifndef TM_ALLOCATOR_CONFIG_H
#define TM_ALLOCATOR_CONFIG_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

enum tm_mechanism { TM_MECHANISM_AUTO, TM_MECHANISM_MOVE, TM_MECHANISM_COPY };

enum tm_fallback { TM_FALLBACK_FAIL, TM_FALLBACK_LOCAL };

enum tm_uffd_kind { TM_UFFD_FULL, TM_UFFD_LIMITED };

#define TM_CONFIG_LANES_MAX 8

/**
 * struct tm_config - the parsed environment
 * @map: TERAMEM_JOB_MAP, the server map; "" where there is none
 * @job: TERAMEM_JOB_FILE, the job file; "" where there is none
 * @device: TERAMEM_JOB_DEVICE, the job's device of teramem.ko; "" where there
 *is none
 * @threshold_bytes: TERAMALLOC_THRESHOLD: the preload takes allocations from
 *	this size on (default 1 MiB)
 * @mmap: TERAMALLOC_MMAP: the preload takes large anonymous mappings too
 * @fallback: TERAMALLOC_FALLBACK: what happens without remote memory
 *	(default: fail)
 * @mechanism: TERAMALLOC_MECHANISM: auto, move or copy
 * @lanes: TERAMALLOC_LANES: handler threads, 1..TM_CONFIG_LANES_MAX; 0 where
 *	the engine chooses
 * @spin_us: TERAMALLOC_SPIN_US: how long a handler spins before it sleeps; -1
 *	where the engine chooses
 * @uffd: TERAMALLOC_UFFD: full, or limited where system calls into absent
 *	memory may fail (EFAULT) and the user said that this is fine
 */
struct tm_config {
	char map[PATH_MAX];
	char job[PATH_MAX];
	char device[PATH_MAX];
	uint64_t threshold_bytes;
	unsigned int mmap;
	unsigned int fallback;
	unsigned int mechanism;
	unsigned int lanes;
	int spin_us;
	unsigned int uffd;
};

/**
 * tm_config_get() - the configuration of this process
 *
 * A value that cannot be understood ends the process at once with one line on
 * stderr and exit status TM_CONFIG_EXIT, before anything was allocated.
 */
const struct tm_config *tm_config_get(void);
#define TM_CONFIG_EXIT 125

/** tm_config_warn_unknown() - one line for each unknown TERAMALLOC_* variable
 */
void tm_config_warn_unknown(void);

#endif /* TM_ALLOCATOR_CONFIG_H */
