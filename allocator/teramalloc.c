/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The installed API: C's rules (NULL and errno) over the remote heap. What the
 * heap cannot take comes from malloc(3) where the user said so.
 */
#include "include/teramem/teramalloc.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include "allocator/config.h"
#include "allocator/heap.h"
#include "common/log.h"

#define EXPORT __attribute__((visibility("default")))

/* Why there is nothing, once: the engine is quiet where no map is named. */
static void explain(void)
{
	const struct tm_config *config = tm_config_get();
	static bool said;

	if (config->map[0] || config->device[0] ||
	    __atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
		return;
	tm_err("allocate remote memory: TERAMEM_JOB_MAP names no server map; "
	       "start the program with 'teramem run', or set "
	       "TERAMALLOC_FALLBACK=local");
}

static void *allocate(size_t size, size_t alignment, bool zero)
{
	void *ptr = tm_heap_alloc(size, alignment, zero);

	if (__builtin_expect(ptr != NULL, 1))
		return ptr;
	if (!tm_heap_fallback()) {
		explain();
		errno = ENOMEM;
		return NULL;
	}
	if (zero)
		return calloc(1, size);
	return alignment > 1 ? aligned_alloc(alignment, size) : malloc(size);
}

EXPORT void *teramalloc(size_t size)
{
	return allocate(size, 1, false);
}

EXPORT void *teracalloc(size_t count, size_t size)
{
	if (__builtin_mul_overflow(count, size, &size)) {
		errno = ENOMEM;
		return NULL;
	}
	return allocate(size, 1, true);
}

EXPORT void *teraaligned_alloc(size_t alignment, size_t size)
{
	if (!alignment || alignment & (alignment - 1)) {
		errno = EINVAL;
		return NULL;
	}
	return allocate(size, alignment, false);
}

EXPORT void *terarealloc(void *ptr, size_t size)
{
	void *new;

	if (!ptr)
		return teramalloc(size);
	if (!size) {
		terafree(ptr);
		return NULL;
	}
	if (!tm_heap_owns(ptr))
		return realloc(ptr, size);
	new = tm_heap_realloc(ptr, size);
	if (new || !tm_heap_usable(ptr) || !tm_heap_fallback())
		return new;
	new = malloc(size);
	if (!new)
		return NULL;
	memcpy(new, ptr, tm_heap_usable(ptr)); /* it did not fit: it is less */
	terafree(ptr);
	return new;
}

EXPORT void terafree(void *ptr)
{
	int saved = errno;

	if (!ptr)
		return;
	if (tm_heap_owns(ptr))
		tm_heap_free(ptr);
	else
		free(ptr);
	errno = saved;
}

EXPORT size_t teramalloc_usable_size(const void *ptr)
{
	if (!ptr)
		return 0;
	return tm_heap_owns(ptr) ? tm_heap_usable(ptr)
				 : malloc_usable_size((void *)ptr);
}

EXPORT int teramalloc_stats_get(struct teramalloc_stats *stats, size_t size)
{
	struct teramalloc_stats now = {0};
	int err;

	if (size != sizeof(now)) {
		errno = EINVAL;
		return -1;
	}
	err = tm_heap_stats(&now);
	if (err) {
		errno = -err;
		return -1;
	}
	*stats = now;
	return 0;
}
