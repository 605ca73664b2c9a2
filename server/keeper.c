// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread that has extents ready: it wipes those that came back, and
 * populates some ahead of demand. Both take milliseconds, which no loop has.
 *
 * Works under store.lock only while it moves an extent from stack to stack.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/size.h"
#include "server/server.h"

/* Kept ready, in whole extents. */
#define AHEAD_BYTES (32u << 20)

static uint8_t *memory(const struct tm_store *store, uint32_t extent)
{
	return store->base + ((uint64_t)extent << store->extent_shift);
}

/*
 * Give the pages back to the system; but those that were reserved for us, and
 * those that cannot be dropped, are zeroed.
 */
static void drop(struct tm_store *store, uint32_t extent)
{
	uint8_t *p = memory(store, extent);

	if (store->hugepages || tm_store_drop(store, p, store->extent_bytes))
		memset(p, 0, store->extent_bytes);
}

static bool populate(struct tm_server *server, uint32_t extent)
{
	struct tm_store *store = &server->store;
	char size[32], why[128];
	uint64_t headroom;

	/* Asked first: failing later costs a process its life, not an errno. */
	headroom = store->hugepages ? UINT64_MAX : tm_memory_headroom();
	if (headroom < store->extent_bytes) {
		tm_size_format(headroom, size, sizeof(size));
		snprintf(why, sizeof(why),
			 "only %s is left on this machine or in this cgroup",
			 size);
		tm_quiet_warn(&server->quiet, "lend memory", why);
		return false;
	}
	if (!madvise(memory(store, extent), store->extent_bytes,
		     MADV_POPULATE_WRITE))
		return true;
	tm_quiet_warn(&server->quiet, "lend memory", strerrordesc_np(errno));
	drop(store, extent);
	return false;
}

static bool wants_more(const struct tm_store *store)
{
	uint32_t ahead = AHEAD_BYTES >> store->extent_shift;

	return store->wanted && store->nr_ready < (ahead ? ahead : 1);
}

/* Loops wait for an extent, or to hear that there is none. */
static void tell(struct tm_server *server)
{
	unsigned int i;

	for (i = 0; i < server->nr_loops; i++)
		tm_loop_wake(server->loop[i]);
}

static void add_ready(struct tm_store *store, uint32_t extent)
{
	store->ready[(store->first_ready + store->nr_ready++) %
		     store->nr_extents] = extent;
}

static void recycle(struct tm_store *store)
{
	uint32_t extent = store->dirty[--store->nr_dirty];
	bool ready = wants_more(store);

	pthread_mutex_unlock(&store->lock);
	/* One with holes is populated like any other: it might not fit. */
	if (tm_store_undiscard(store, extent))
		ready = false;
	if (ready)
		memset(memory(store, extent), 0, store->extent_bytes);
	else
		drop(store, extent);
	pthread_mutex_lock(&store->lock);
	if (ready)
		add_ready(store, extent);
	else
		store->clean[store->nr_clean++] = extent;
}

static void prepare(struct tm_server *server)
{
	struct tm_store *store = &server->store;
	uint32_t extent = store->clean[--store->nr_clean];
	bool ready;

	pthread_mutex_unlock(&store->lock);
	ready = populate(server, extent);
	pthread_mutex_lock(&store->lock);
	/* One that came back meanwhile serves as well. */
	store->failed = !ready && !store->nr_dirty;
	if (ready)
		add_ready(store, extent);
	else
		store->clean[store->nr_clean++] = extent;
}

static void *keeper_main(void *arg)
{
	struct tm_server *server = arg;
	struct tm_store *store = &server->store;

	pthread_mutex_lock(&store->lock);
	while (!store->stop) {
		if (store->nr_dirty)
			recycle(store);
		else if (store->nr_clean && wants_more(store) && !store->failed)
			prepare(server);
		else
			pthread_cond_wait(&store->work, &store->lock);
		if (store->awaited && (store->nr_ready || store->failed)) {
			store->awaited = false;
			pthread_mutex_unlock(&store->lock);
			tell(server);
			pthread_mutex_lock(&store->lock);
		}
	}
	pthread_mutex_unlock(&store->lock);
	return NULL;
}

int tm_keeper_init(struct tm_server *server)
{
	struct tm_store *store = &server->store;
	int err = pthread_create(&store->keeper, NULL, keeper_main, server);

	if (err) {
		tm_err("start a thread: %s", strerrordesc_np(err));
		return -err;
	}
	store->kept = true;
	return 0;
}

void tm_keeper_fini(struct tm_server *server)
{
	struct tm_store *store = &server->store;

	if (!store->kept)
		return;
	pthread_mutex_lock(&store->lock);
	store->stop = true;
	pthread_cond_signal(&store->work);
	pthread_mutex_unlock(&store->lock);
	pthread_join(store->keeper, NULL);
}
