/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * libteramalloc: memory that is larger than the machine. See teramalloc(3).
 */
#ifndef TERAMEM_TERAMALLOC_H
#define TERAMEM_TERAMALLOC_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/**
 * teramalloc() - allocate remote memory
 * @size: bytes; 0 gives a unique pointer that terafree() takes
 *
 * Like malloc(3), from the job's remote memory. The first call in a process
 * connects to the memory servers and may block for seconds.
 *
 * Returns NULL with errno ENOMEM when the job's capacity is used up, or when
 * there is no remote memory. With TERAMALLOC_FALLBACK=local such memory comes
 * from malloc(3) instead, which is said once on stderr.
 */
void *teramalloc(size_t size);

/** teracalloc() - teramalloc() for count elements of size bytes, zeroed */
void *teracalloc(size_t count, size_t size);

/** terarealloc() - resize; grows in place where the region has room */
void *terarealloc(void *ptr, size_t size);

/** teraaligned_alloc() - teramalloc() at an alignment (a power of two) */
void *teraaligned_alloc(size_t alignment, size_t size);

/** terafree() - give memory back; NULL is allowed; keeps errno */
void terafree(void *ptr);

/** teramalloc_usable_size() - bytes that may be used at @ptr; 0 for NULL */
size_t teramalloc_usable_size(const void *ptr);

/**
 * struct teramalloc_stats - what this process did with remote memory so far
 */
struct teramalloc_stats {
	uint64_t allocated_bytes; /* live, as asked for, rounded to what is kept */
	uint64_t resident_bytes;  /* of them in local memory */
	uint64_t remote_bytes;	  /* with a valid copy on a server */
	uint64_t limit_bytes;	  /* local memory that may be used now */
	uint64_t capacity_bytes;  /* of the job, all processes together */
	uint64_t faults;
	uint64_t bytes_in;
	uint64_t bytes_out;
	uint64_t dropped_clean; /* blocks evicted without a transfer */
	uint64_t fault_ns_p50;
	uint64_t fault_ns_p99;
};

/**
 * teramalloc_stats_get() - fill @stats
 * @size: sizeof(*stats) as the caller was compiled
 *
 * Returns 0, or -1 with errno EINVAL for an unknown size, ENODEV where this
 * process has no remote memory.
 */
int teramalloc_stats_get(struct teramalloc_stats *stats, size_t size);

#ifdef __cplusplus
}
#endif

#endif /* TERAMEM_TERAMALLOC_H */
