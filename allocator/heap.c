/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Life of the remote heap: start, fork, exit; and the choice between arenas and
 * whole blocks. See heap.h.
 */
#include "allocator/heap.h"

#include <pthread.h>
#include <stdlib.h>

#include "allocator/config.h"
#include "common/log.h"
#include "tm_port.h"

struct tm_heap *tm_heap_live, *tm_heap_parents;
_Thread_local unsigned int tm_heap_inside
	__attribute__((tls_model("initial-exec")));

static pthread_mutex_t start_lock = PTHREAD_MUTEX_INITIALIZER;
static bool failed; /* no further attempts in this process */

static struct tm_heap *create(void)
{
	struct tm_heap *h = tm_alloc(sizeof(*h));
	int err = -ENOMEM;

	if (h)
		err = tm_engine_start(&h->engine);
	if (err)
		goto err_free;
	h->base = (uintptr_t)tm_engine_base(h->engine);
	h->size = tm_engine_size(h->engine);
	err = tm_region_create(h->engine, &h->region);
	if (!err)
		err = tm_pages_create(h->engine, h->region, &h->pages);
	if (!err)
		err = tm_arenas_create(h->pages, &h->arenas);
	if (err)
		goto err_stop;
	/* Rounded up to jemalloc's class, and a page more, it fits a chunk. */
	h->small_max = tm_pages_chunk(h->pages) / 8 * 7;
	return h;

err_stop:
	/* What was made of the rest is a few pages, and this happens once. */
	tm_err("start remote memory: %s; raise the memory limit of the job",
	       strerror(-err));
	tm_engine_stop(h->engine);
err_free:
	tm_free(h, sizeof(*h));
	return NULL;
}

struct tm_heap *tm_heap_get(void)
{
	struct tm_heap *h = tm_load_acquire(&tm_heap_live);

	if (tm_likely(h != NULL) || tm_load_acquire(&failed) ||
	    tm_heap_starting())
		return h;
	pthread_mutex_lock(&start_lock);
	h = tm_heap_live;
	if (!h && !failed) {
		tm_heap_inside++;
		tm_config_warn_unknown();
		h = create();
		tm_heap_inside--;
		if (h)
			tm_store_release(&tm_heap_live, h);
		else
			tm_store_release(&failed, true);
	}
	pthread_mutex_unlock(&start_lock);
	return h;
}

bool tm_heap_parents_hold(const void *addr)
{
	const struct tm_heap *h;

	for (h = tm_heap_parents; h; h = h->older)
		if (tm_heap_holds(h, addr))
			return true;
	return false;
}

static void __attribute__((noreturn)) die(const void *ptr)
{
	tm_err("free or resize %p: not the start of an allocation in remote "
	       "memory, or already freed; the program has a bug",
	       ptr);
	abort();
}

static void *try_alloc(struct tm_heap *h, size_t size, size_t alignment,
		       bool zero)
{
	if (size <= h->small_max && alignment <= h->small_max)
		return tm_arenas_alloc(h->arenas, size, alignment, zero);
	return tm_region_alloc(h->region, size ? size : 1, alignment,
			       TM_RANGE_LARGE);
}

void *tm_heap_alloc(size_t size, size_t alignment, bool zero)
{
	struct tm_heap *h = tm_heap_get();
	void *ptr = NULL;

	if (tm_likely(h != NULL)) {
		ptr = try_alloc(h, size, alignment, zero);
		if (tm_unlikely(!ptr)) {
			tm_arenas_purge(h->arenas);
			ptr = try_alloc(h, size, alignment, zero);
		}
	}
	if (tm_unlikely(!ptr))
		errno = ENOMEM;
	return ptr;
}

size_t tm_heap_usable(const void *ptr)
{
	struct tm_heap *h = tm_load_acquire(&tm_heap_live);
	struct tm_range range;

	if (!tm_heap_holds(h, ptr))
		return 0;
	if (tm_pages_has(h->pages, ptr))
		return tm_arenas_usable(ptr);
	range = tm_region_find(h->region, ptr);
	if (range.addr != (uintptr_t)ptr || range.kind != TM_RANGE_LARGE)
		die(ptr);
	return range.bytes;
}

void tm_heap_free(void *ptr)
{
	struct tm_heap *h = tm_load_acquire(&tm_heap_live);
	int saved = errno;

	if (!tm_heap_holds(h, ptr))
		return;
	if (tm_pages_has(h->pages, ptr))
		tm_arenas_free(ptr);
	else if (tm_region_free(h->region, ptr, TM_RANGE_LARGE))
		die(ptr);
	errno = saved;
}

void *tm_heap_realloc(void *ptr, size_t size)
{
	struct tm_heap *h = tm_load_acquire(&tm_heap_live);
	size_t old;
	bool small;
	void *new;

	if (!tm_heap_holds(h, ptr)) {
		errno = ENOMEM;
		return NULL;
	}
	old = tm_heap_usable(ptr);
	small = tm_pages_has(h->pages, ptr);
	if (small && size <= h->small_max) {
		new = tm_arenas_realloc(h->arenas, ptr, size);
		if (new)
			return new;
	}
	if (!small && size > h->small_max &&
	    !tm_region_resize(h->region, ptr, size, TM_RANGE_LARGE))
		return ptr;
	new = tm_heap_alloc(size, 1, false);
	if (!new)
		return size <= old ? ptr : NULL;
	memcpy(new, ptr, old < size ? old : size);
	tm_heap_free(ptr);
	return new;
}

bool tm_heap_fallback(void)
{
	static bool said;
	int saved = errno;

	if (tm_config_get()->fallback != TM_FALLBACK_LOCAL)
		return false;
	if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
		tm_warn("allocate remote memory: %s; local memory is used "
			"instead, as TERAMALLOC_FALLBACK=local says",
			tm_heap_live ? "the capacity is used up"
				     : "there is none");
	errno = saved;
	return true;
}

int tm_heap_stats(struct teramalloc_stats *stats)
{
	struct tm_heap *h;
	int err = -ENODEV;

	/* The lock keeps the engine while others may be on their way out. */
	pthread_mutex_lock(&start_lock);
	h = tm_heap_live;
	if (h)
		err = tm_engine_stats(h->engine, stats);
	if (!err)
		stats->allocated_bytes = tm_region_used(h->region);
	pthread_mutex_unlock(&start_lock);
	return err;
}

/*
 * Around fork(2). pthread_atfork() runs prepare handlers in the reverse order
 * of registration, the others in order. jemalloc takes all its locks in
 * prepare, and whoever holds one of them may wait for the pages, the region or
 * the engine; whoever starts the heap calls jemalloc. So the outer pair,
 * registered after jemalloc's, takes the start mutex, and the inner pair,
 * registered before, the rest.
 */
static void outer_prepare(void)
{
	if (!tm_heap_inside)
		pthread_mutex_lock(&start_lock);
}

static void outer_parent(void)
{
	if (!tm_heap_inside)
		pthread_mutex_unlock(&start_lock);
}

static void outer_child(void)
{
	pthread_mutex_init(&start_lock, NULL);
}

static void inner_prepare(void)
{
	struct tm_heap *h = tm_heap_live;

	if (!h)
		return;
	tm_pages_lock(h->pages);
	tm_region_lock(h->region);
	tm_engine_fork_prepare(h->engine);
}

static void inner_parent(void)
{
	struct tm_heap *h = tm_heap_live;

	if (!h)
		return;
	tm_engine_fork_parent(h->engine);
	tm_region_unlock(h->region);
	tm_pages_unlock(h->pages);
}

static void inner_child(void)
{
	struct tm_heap *h = tm_heap_live;

	if (!h)
		return;
	tm_engine_fork_child(h->engine);
	tm_arenas_forget(h->arenas);
	h->older = tm_heap_parents;
	tm_heap_parents = h;
	tm_heap_live = NULL;
}

static void __attribute__((constructor(101))) init(void)
{
	pthread_atfork(inner_prepare, inner_parent, inner_child);
	tm_arenas_init();
	pthread_atfork(outer_prepare, outer_parent, outer_child);
}

/*
 * Say goodbye to the servers if nothing is allocated any more. Otherwise the
 * engine lives until the process does not: destructors and threads that run
 * later may still use its memory, and the servers see the connections close.
 */
static void __attribute__((destructor(101))) fini(void)
{
	struct tm_heap *h = tm_load_acquire(&tm_heap_live);

	if (!h || tm_heap_starting())
		return;
	tm_arenas_purge(h->arenas);
	pthread_mutex_lock(&start_lock);
	tm_heap_inside++;
	if (tm_region_close(h->region)) {
		tm_store_release(&failed, true);
		tm_engine_stop(h->engine);
		tm_store_release(&tm_heap_live, NULL);
	}
	tm_heap_inside--;
	pthread_mutex_unlock(&start_lock);
}
