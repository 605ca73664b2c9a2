// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory that is lent: one anonymous mapping, cut into extents. An extent
 * has pages only while it is lent, or about to be; keeper.c sees to that. Knows
 * owners by number only; who may ask is session.c's and request.c's matter.
 *
 * Anonymous rather than a memfd, because it gets transparent huge pages on any
 * system, which makes lending an extent several times cheaper (a memfd does
 * only where the administrator has changed shmem_enabled).
 *
 * store.lock guards the stacks of free extents; nothing is taken under it.
 */
#include <errno.h>
#include <linux/mman.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>

#include "common/log.h"
#include "common/size.h"
#include "server/server.h"

#define HUGE_PAGE_BYTES ((uintptr_t)2 << 20)

#ifndef MADV_DONTNEED_LOCKED
#define MADV_DONTNEED_LOCKED 24
#endif

/* Pages are locked as they come: the limit is checked here, once for all. */
static int lock_pages(struct tm_store *store, enum tm_mlock mode)
{
	struct rlimit limit;
	char size[32];
	int err;

	if (mode == TM_MLOCK_NO)
		return 0;
	if (!getrlimit(RLIMIT_MEMLOCK, &limit) &&
	    limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_MEMLOCK, &limit);
	}
	store->locked =
		!mlock2(store->base, store->capacity_bytes, MLOCK_ONFAULT);
	if (store->locked)
		return 0;
	err = errno;
	tm_size_format(store->capacity_bytes, size, sizeof(size));
	if (mode == TM_MLOCK_REQUIRE) {
		tm_err("lock %s of memory: %s (raise 'ulimit -l', or use "
		       "--mlock=no)",
		       size, strerrordesc_np(err));
		return -err;
	}
	tm_warn("lock %s of memory: %s; it may be swapped out (raise "
		"'ulimit -l', or use --mlock=no)",
		size, strerrordesc_np(err));
	return 0;
}

static int map_pages(struct tm_store *store)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS;
	char size[32];
	uintptr_t start;
	int err;

	/*
	 * Huge pages are reserved here for all of the capacity, so that what
	 * is missing is known now.
	 */
	flags |= store->hugepages ? MAP_HUGETLB | MAP_HUGE_2MB : MAP_NORESERVE;
	store->map_bytes = store->capacity_bytes +
			   (store->hugepages ? 0 : HUGE_PAGE_BYTES);
	store->map = mmap(NULL, store->map_bytes, PROT_READ | PROT_WRITE, flags,
			  -1, 0);
	if (store->map == MAP_FAILED) {
		err = errno;
		store->map = NULL;
		tm_size_format(store->capacity_bytes, size, sizeof(size));
		tm_err("map %s of memory: %s%s", size, strerrordesc_np(err),
		       store->hugepages ? " (are there enough huge pages? see "
					  "vm.nr_hugepages)"
					: "");
		return -err;
	}
	start = (uintptr_t)store->map + HUGE_PAGE_BYTES - 1;
	store->base = (uint8_t *)(start & ~(uintptr_t)(HUGE_PAGE_BYTES - 1));
	/* Smaller extents would get their neighbours' pages with theirs. */
	if (!store->hugepages && store->extent_bytes >= HUGE_PAGE_BYTES)
		madvise(store->base, store->capacity_bytes, MADV_HUGEPAGE);
	return 0;
}

int tm_store_init(struct tm_server *server)
{
	const struct tm_options *options = &server->options;
	struct tm_store *store = &server->store;
	uint32_t i;
	int ret;

	pthread_mutex_init(&store->lock, NULL);
	pthread_cond_init(&store->work, NULL);
	store->capacity_bytes = options->capacity_bytes;
	store->extent_bytes = options->extent_bytes;
	store->extent_shift = __builtin_ctzll(options->extent_bytes);
	store->nr_extents = options->capacity_bytes >> store->extent_shift;
	store->hugepages = options->hugepages;
	ret = map_pages(store);
	if (!ret)
		ret = lock_pages(store, options->mlock);
	if (ret)
		return ret;
	store->owner = calloc(store->nr_extents, sizeof(*store->owner));
	store->clean = calloc(store->nr_extents, sizeof(*store->clean));
	store->dirty = calloc(store->nr_extents, sizeof(*store->dirty));
	store->ready = calloc(store->nr_extents, sizeof(*store->ready));
	if (!store->owner || !store->clean || !store->dirty || !store->ready ||
	    tm_discard_init(store)) {
		tm_err("start: out of memory");
		return -ENOMEM;
	}
	for (i = store->nr_extents; i-- > 0;)
		store->clean[store->nr_clean++] = i;
	return 0;
}

void tm_store_fini(struct tm_server *server)
{
	struct tm_store *store = &server->store;

	tm_discard_fini(store);
	free(store->ready);
	free(store->dirty);
	free(store->clean);
	free(store->owner);
	if (store->map)
		munmap(store->map, store->map_bytes);
	pthread_cond_destroy(&store->work);
	pthread_mutex_destroy(&store->lock);
}

int tm_store_lend(struct tm_store *store, uint64_t session, bool again,
		  uint64_t *addr)
{
	uint32_t extent = 0;
	int ret = 0;

	pthread_mutex_lock(&store->lock);
	store->wanted = true;
	if (store->nr_ready) {
		extent = store->ready[store->first_ready];
		store->first_ready =
			(store->first_ready + 1) % store->nr_extents;
		store->nr_ready--;
		store->nr_lent++;
		store->failed = false;
	} else if (store->failed && again) {
		store->failed = false;
		ret = -ENOMEM;
	} else {
		store->failed = false;
		store->awaited = true;
		ret = store->nr_lent < store->nr_extents ? -EAGAIN : -ENOSPC;
	}
	pthread_cond_signal(&store->work);
	pthread_mutex_unlock(&store->lock);
	if (ret)
		return ret;
	tm_store_relaxed(&store->owner[extent], session);
	*addr = (uint64_t)extent << store->extent_shift;
	return 0;
}

void tm_store_return(struct tm_store *store, uint64_t addr)
{
	uint32_t extent = addr >> store->extent_shift;

	tm_store_relaxed(&store->owner[extent], 0);
	pthread_mutex_lock(&store->lock);
	store->dirty[store->nr_dirty++] = extent;
	store->nr_lent--;
	store->failed = false;
	pthread_cond_signal(&store->work);
	pthread_mutex_unlock(&store->lock);
}

void tm_store_return_all(struct tm_store *store, uint64_t session)
{
	uint32_t i;

	for (i = 0; i < store->nr_extents; i++)
		if (tm_load_relaxed(&store->owner[i]) == session)
			tm_store_return(store,
					(uint64_t)i << store->extent_shift);
}

bool tm_store_owns(const struct tm_store *store, uint64_t session,
		   uint64_t addr, uint64_t bytes)
{
	uint64_t extent, last;

	if (addr >= store->capacity_bytes ||
	    bytes > store->capacity_bytes - addr)
		return false;
	last = (addr + bytes - 1) >> store->extent_shift;
	for (extent = addr >> store->extent_shift; extent <= last; extent++)
		if (tm_load_relaxed(&store->owner[extent]) != session)
			return false;
	return true;
}

int tm_store_drop(const struct tm_store *store, void *p, uint64_t bytes)
{
	return madvise(p, bytes,
		       store->locked ? MADV_DONTNEED_LOCKED : MADV_DONTNEED);
}

uint64_t tm_store_lent_bytes(struct tm_store *store)
{
	uint64_t lent;

	pthread_mutex_lock(&store->lock);
	lent = store->nr_lent;
	pthread_mutex_unlock(&store->lock);
	return lent << store->extent_shift;
}

const uint8_t *tm_store_read_ptr(struct tm_store *store, uint64_t addr,
				 uint32_t bytes)
{
	return store->base + addr;
}

uint8_t *tm_store_write_ptr(struct tm_store *store, uint64_t addr,
			    uint32_t bytes)
{
	return store->base + addr;
}
