// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory that is lent: one memfd, mapped once, cut into extents. An extent
 * has pages only while it is reserved, and a new owner gets zeros. Knows
 * owners by number only; who may ask is session.c's and request.c's matter.
 *
 * store.lock guards the two stacks of free extents; nothing is taken under it.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/size.h"
#include "server/server.h"

static uint64_t extent_addr(const struct tm_store *store, uint32_t extent)
{
	return (uint64_t)extent << store->extent_shift;
}

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
	if (!mlock2(store->base, store->capacity_bytes, MLOCK_ONFAULT))
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
	unsigned int flags = MFD_CLOEXEC;
	char size[32];
	int err;

	if (store->hugepages)
		flags |= MFD_HUGETLB | MFD_HUGE_2MB;
	tm_size_format(store->capacity_bytes, size, sizeof(size));
	store->fd = memfd_create("teramem", flags);
	if (store->fd < 0 || ftruncate(store->fd, store->capacity_bytes)) {
		err = errno;
		tm_err("make %s of memory: %s", size, strerrordesc_np(err));
		return -err;
	}
	/*
	 * Huge pages are reserved here for all of the capacity, so that what
	 * is missing is known now.
	 */
	store->base = mmap(NULL, store->capacity_bytes, PROT_READ | PROT_WRITE,
			   MAP_SHARED | (store->hugepages ? 0 : MAP_NORESERVE),
			   store->fd, 0);
	if (store->base == MAP_FAILED) {
		err = errno;
		store->base = NULL;
		tm_err("map %s of memory: %s%s", size, strerrordesc_np(err),
		       store->hugepages ? " (are there enough huge pages? see "
				   "vm.nr_hugepages)"
				 : "");
		return -err;
	}
	return 0;
}

int tm_store_init(struct tm_server *server)
{
	const struct tm_options *options = &server->options;
	struct tm_store *store = &server->store;
	uint32_t i;
	int ret;

	pthread_mutex_init(&store->lock, NULL);
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
	if (!store->owner || !store->clean || !store->dirty) {
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

	free(store->dirty);
	free(store->clean);
	free(store->owner);
	if (store->base)
		munmap(store->base, store->capacity_bytes);
	if (store->fd >= 0)
		close(store->fd);
	pthread_mutex_destroy(&store->lock);
}

/* Give an extent's pages back to the system: the next owner reads zeros. */
static void punch(struct tm_store *store, uint32_t extent)
{
	if (fallocate(store->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
		      extent_addr(store, extent), store->extent_bytes)) {
		/* Never lend what could not be wiped. */
		tm_err("wipe memory: %s", strerrordesc_np(errno));
		abort();
	}
}

static int populate(struct tm_store *store, uint32_t extent)
{
	uint64_t addr = extent_addr(store, extent);
	uint64_t headroom = store->hugepages ? UINT64_MAX
					     : tm_memory_headroom();
	char size[32];
	int err;

	if (headroom < store->extent_bytes) {
		tm_size_format(headroom, size, sizeof(size));
		tm_warn("lend memory: only %s is left on this machine or in "
			"this cgroup",
			size);
		return -ENOMEM;
	}
	/* Pages first, since this fails with an errno; then their mapping. */
	if (fallocate(store->fd, 0, addr, store->extent_bytes) ||
	    madvise(store->base + addr, store->extent_bytes,
		    MADV_POPULATE_WRITE)) {
		err = errno;
		tm_warn("lend memory: %s", strerrordesc_np(err));
		punch(store, extent);
		return -ENOMEM;
	}
	return 0;
}

static bool take(struct tm_store *store, uint32_t *extent, bool *dirty)
{
	bool found = true;

	pthread_mutex_lock(&store->lock);
	*dirty = !store->nr_clean;
	if (store->nr_clean)
		*extent = store->clean[--store->nr_clean];
	else if (store->nr_dirty)
		*extent = store->dirty[--store->nr_dirty];
	else
		found = false;
	pthread_mutex_unlock(&store->lock);
	return found;
}

static void put_clean(struct tm_store *store, uint32_t extent)
{
	pthread_mutex_lock(&store->lock);
	store->clean[store->nr_clean++] = extent;
	pthread_mutex_unlock(&store->lock);
}

int tm_store_lend(struct tm_store *store, uint64_t session, uint64_t *addr)
{
	uint32_t extent;
	bool dirty;
	int ret;

	if (!take(store, &extent, &dirty))
		return -ENOSPC;
	if (dirty)
		punch(store, extent);
	ret = populate(store, extent);
	if (ret) {
		put_clean(store, extent);
		return ret;
	}
	tm_store_relaxed(&store->owner[extent], session);
	*addr = extent_addr(store, extent);
	return 0;
}

void tm_store_return(struct tm_store *store, uint64_t addr)
{
	uint32_t extent = addr >> store->extent_shift;

	tm_store_relaxed(&store->owner[extent], 0);
	pthread_mutex_lock(&store->lock);
	store->dirty[store->nr_dirty++] = extent;
	pthread_mutex_unlock(&store->lock);
}

void tm_store_return_all(struct tm_store *store, uint64_t session)
{
	uint32_t i;

	for (i = 0; i < store->nr_extents; i++)
		if (tm_load_relaxed(&store->owner[i]) == session)
			tm_store_return(store, extent_addr(store, i));
}

bool tm_store_tidy(struct tm_store *store)
{
	uint32_t extent = 0, left;

	pthread_mutex_lock(&store->lock);
	left = store->nr_dirty;
	if (left)
		extent = store->dirty[--store->nr_dirty];
	pthread_mutex_unlock(&store->lock);
	if (!left)
		return false;
	punch(store, extent);
	put_clean(store, extent);
	return left > 1;
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

uint64_t tm_store_reserved_bytes(struct tm_store *store)
{
	uint32_t nr_free;

	pthread_mutex_lock(&store->lock);
	nr_free = store->nr_clean + store->nr_dirty;
	pthread_mutex_unlock(&store->lock);
	return (uint64_t)(store->nr_extents - nr_free) << store->extent_shift;
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
