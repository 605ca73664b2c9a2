// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What clients discarded within the extents that they hold. A bit per page says
 * that its bytes are not needed; once all pages of a piece of memory (a huge
 * page, or an extent if that is smaller) are such, it goes back to the system.
 * Smaller parts do not: that would split huge pages, and free nothing until the
 * system runs out of memory. Before bytes go in or out again, the piece is
 * populated anew; where that fails is answered, as a RESERVE is.
 *
 * store.discard_lock guards the bits and what is done to pieces; nothing is
 * taken under it. Bits are read without it by who is about to use the bytes:
 * none of theirs is set by others, since a session does not use what it is
 * discarding (or harms itself).
 */
#include <errno.h>
#include <linux/mman.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/log.h"
#include "common/memory.h"
#include "common/size.h"
#include "server/server.h"

#define PAGE_SHIFT 12
#define PAGE_BYTES ((uint64_t)1 << PAGE_SHIFT)
#define PIECE_BYTES_MAX ((uint64_t)2 << 20)

/* So much is populated per look at the machine's memory, which takes time. */
#define ROOM_BYTES ((uint64_t)16 << 20)
#define ROOM_MS 100

int tm_discard_init(struct tm_store *store)
{
	uint64_t pages = store->capacity_bytes >> PAGE_SHIFT;

	store->piece_bytes = store->extent_bytes < PIECE_BYTES_MAX
				     ? store->extent_bytes
				     : PIECE_BYTES_MAX;
	pthread_mutex_init(&store->discard_lock, NULL);
	store->discarded = calloc(pages / 64 + 1, sizeof(*store->discarded));
	store->gone = calloc(store->capacity_bytes / store->piece_bytes,
			     sizeof(*store->gone));
	return store->discarded && store->gone ? 0 : -ENOMEM;
}

void tm_discard_fini(struct tm_store *store)
{
	free(store->gone);
	free(store->discarded);
	pthread_mutex_destroy(&store->discard_lock);
}

static bool is_discarded(const struct tm_store *store, uint64_t page)
{
	return tm_load_relaxed(&store->discarded[page / 64]) >> page % 64 & 1;
}

/* How many of the pages, @end excluded, are discarded. */
static uint64_t count_discarded(const struct tm_store *store, uint64_t page,
				uint64_t end)
{
	uint64_t nr = 0, word;

	while (page < end) {
		word = tm_load_relaxed(&store->discarded[page / 64]);
		word &= ~(uint64_t)0 << page % 64;
		if (page / 64 == end / 64)
			word &= ((uint64_t)1 << end % 64) - 1;
		nr += __builtin_popcountll(word);
		page = (page / 64 + 1) * 64;
	}
	return nr;
}

static void mark(struct tm_store *store, uint64_t page, bool discarded)
{
	uint64_t *word = &store->discarded[page / 64];
	uint64_t bit = (uint64_t)1 << page % 64;

	tm_store_relaxed(word, discarded ? *word | bit : *word & ~bit);
}

/* Does the system have memory for a piece? Under the lock. */
static bool has_room(struct tm_server *server)
{
	struct tm_store *store = &server->store;
	uint64_t headroom = 0, now_ms = tm_now_ms();
	char size[32], why[128];

	if (now_ms - store->room_ms > ROOM_MS)
		store->room_bytes = 0;
	if (store->room_bytes < store->piece_bytes) {
		headroom = tm_memory_headroom();
		store->room_bytes =
			headroom < ROOM_BYTES ? headroom : ROOM_BYTES;
		store->room_ms = now_ms;
	}
	if (store->room_bytes < store->piece_bytes) {
		tm_size_format(headroom, size, sizeof(size));
		snprintf(why, sizeof(why),
			 "only %s is left on this machine or in this cgroup",
			 size);
		tm_quiet_warn(&server->quiet, "store in discarded memory", why);
		return false;
	}
	store->room_bytes -= store->piece_bytes;
	return true;
}

static void give_back(struct tm_store *store, uint64_t piece)
{
	void *p = store->base + piece * store->piece_bytes;

	/* Those reserved for us would be of no use to others. */
	if (!store->hugepages && !tm_store_drop(store, p, store->piece_bytes))
		store->gone[piece] = true;
}

static int fetch_back(struct tm_server *server, uint64_t piece)
{
	struct tm_store *store = &server->store;
	void *p = store->base + piece * store->piece_bytes;

	if (!has_room(server))
		return -ENOMEM;
	if (madvise(p, store->piece_bytes, MADV_POPULATE_WRITE)) {
		tm_store_drop(store, p, store->piece_bytes);
		return -ENOMEM;
	}
	store->gone[piece] = false;
	return 0;
}

/* What is not a whole page; zeros if it is discarded already. */
static void wipe(struct tm_store *store, uint64_t addr, uint64_t bytes)
{
	if (bytes && !is_discarded(store, addr >> PAGE_SHIFT))
		memset(store->base + addr, 0, bytes);
}

void tm_store_discard(struct tm_store *store, uint64_t addr, uint64_t bytes)
{
	uint64_t pages = store->piece_bytes >> PAGE_SHIFT;
	uint64_t page = (addr + PAGE_BYTES - 1) >> PAGE_SHIFT;
	uint64_t end = (addr + bytes) >> PAGE_SHIFT, piece, last;

	if (page > end) {
		wipe(store, addr, bytes);
		return;
	}
	wipe(store, addr, (page << PAGE_SHIFT) - addr);
	wipe(store, end << PAGE_SHIFT, addr + bytes - (end << PAGE_SHIFT));
	while (page < end) {
		piece = page / pages;
		last = (piece + 1) * pages;
		pthread_mutex_lock(&store->discard_lock);
		for (; page < end && page < last; page++)
			mark(store, page, true);
		if (!store->gone[piece] &&
		    count_discarded(store, last - pages, last) == pages)
			give_back(store, piece);
		pthread_mutex_unlock(&store->discard_lock);
	}
}

/* One page of a piece that is there comes into use. */
static void use_page(struct tm_store *store, uint64_t page, uint64_t addr,
		     uint64_t end, bool overwrite, bool zeros)
{
	uint64_t start = page << PAGE_SHIFT;

	if (!is_discarded(store, page))
		return;
	mark(store, page, false);
	if (!zeros &&
	    !(overwrite && addr <= start && start + PAGE_BYTES <= end))
		memset(store->base + start, 0, PAGE_BYTES);
}

int tm_store_use(struct tm_server *server, uint64_t addr, uint64_t bytes,
		 bool overwrite)
{
	struct tm_store *store = &server->store;
	uint64_t pages = store->piece_bytes >> PAGE_SHIFT, piece, last;
	uint64_t page = addr >> PAGE_SHIFT;
	uint64_t end = ((addr + bytes - 1) >> PAGE_SHIFT) + 1;
	bool gone;
	int err = 0;

	if (!count_discarded(store, page, end))
		return 0;
	while (page < end && !err) {
		piece = page / pages;
		last = (piece + 1) * pages;
		pthread_mutex_lock(&store->discard_lock);
		gone = store->gone[piece];
		if (gone)
			err = fetch_back(server, piece);
		for (; !err && page < end && page < last; page++)
			use_page(store, page, addr, addr + bytes, overwrite,
				 gone);
		pthread_mutex_unlock(&store->discard_lock);
	}
	return err;
}

bool tm_store_undiscard(struct tm_store *store, uint32_t extent)
{
	uint64_t pages = store->extent_bytes >> PAGE_SHIFT;
	uint64_t pieces = store->extent_bytes / store->piece_bytes;
	uint64_t i;
	bool gone = false;

	pthread_mutex_lock(&store->discard_lock);
	for (i = extent * pages; i < (extent + 1) * pages; i++)
		mark(store, i, false);
	for (i = extent * pieces; i < (extent + 1) * pieces; i++) {
		gone |= store->gone[i];
		store->gone[i] = false;
	}
	pthread_mutex_unlock(&store->discard_lock);
	return gone;
}
