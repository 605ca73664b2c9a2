/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The memory that teramemd lends: store.c has the books, keeper.c the thread
 * that has extents ready, discard.c the parts that clients gave back. See
 * server.h for threads and locks.
 */
#ifndef TM_SERVER_STORE_H
#define TM_SERVER_STORE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct tm_server;

/* ---- store.c ------------------------------------------------------------ */

/**
 * struct tm_store - the memory that is lent, in extents
 * @map: the mapping; @base is within, aligned for huge pages
 * @locked: pages are locked in memory as they come
 * @owner: id of the session that holds each extent, 0: free. Written by the
 *	thread of that session, or while the session has no connection.
 *
 * Under the lock:
 * @clean: stack of free extents without pages
 * @dirty: stack of free extents that still have a former owner's bytes
 * @ready: ring of free extents with pages, zeroed, in the order to be lent
 * @work: wakes the keeper
 * @wanted: an extent was asked for, ever: have some ready
 * @awaited: somebody asked in vain, tell the loops
 * @failed: there was no memory for the last extent
 *
 * Under the discard lock:
 * @piece_bytes: what goes back to the system at one time
 * @discarded: a bit per page
 * @gone: of each piece, that it has no memory
 * @room_bytes: may still be populated before looking at the machine again
 * @room_ms: when that was
 */
struct tm_store {
	void *map;
	size_t map_bytes;
	uint8_t *base;
	uint64_t capacity_bytes;
	uint64_t extent_bytes;
	unsigned int extent_shift;
	uint32_t nr_extents;
	bool hugepages;
	bool locked;
	uint64_t *owner;

	pthread_mutex_t lock;
	pthread_cond_t work;
	uint32_t *clean;
	uint32_t *dirty;
	uint32_t *ready;
	uint32_t nr_clean;
	uint32_t nr_dirty;
	uint32_t first_ready;
	uint32_t nr_ready;
	uint32_t nr_lent;
	bool wanted;
	bool awaited;
	bool failed;
	bool stop;

	/* the keeper's */
	pthread_t keeper;
	bool kept;

	pthread_mutex_t discard_lock;
	uint64_t piece_bytes;
	uint64_t *discarded;
	bool *gone;
	uint64_t room_bytes;
	uint64_t room_ms;
};

int tm_store_init(struct tm_server *server);
void tm_store_fini(struct tm_server *server);

/**
 * tm_store_lend() - an extent for a session; never waits
 * @again: it was asked for before; only then may it hear of a lack of memory
 *	that was noticed since
 *
 * Returns 0; -EAGAIN when one will be ready soon; -ENOSPC beyond the capacity;
 * -ENOMEM when the machine or the cgroup has no room (said in the log). After
 * the first two, loops are woken when it is worth another try.
 */
int tm_store_lend(struct tm_store *store, uint64_t session, bool again,
		  uint64_t *addr);

/** tm_store_return() - the extent at @addr, which is the session's, is free */
void tm_store_return(struct tm_store *store, uint64_t addr);

/** tm_store_return_all() - all extents of a session are free */
void tm_store_return_all(struct tm_store *store, uint64_t session);

/** tm_store_owns() - all of @bytes (not 0) from @addr is the session's */
bool tm_store_owns(const struct tm_store *store, uint64_t session,
		   uint64_t addr, uint64_t bytes);

/**
 * tm_store_drop() - give pages back to the system; they read as zeros
 *
 * Returns 0, or -1 where that cannot be (locked ones before Linux 5.18).
 */
int tm_store_drop(const struct tm_store *store, void *p, uint64_t bytes);

uint64_t tm_store_lent_bytes(struct tm_store *store);

/** tm_store_read_ptr() - where a reply takes @bytes at @addr from */
const uint8_t *tm_store_read_ptr(struct tm_store *store, uint64_t addr,
				 uint32_t bytes);

/** tm_store_write_ptr() - where @bytes for @addr are received to */
uint8_t *tm_store_write_ptr(struct tm_store *store, uint64_t addr,
			    uint32_t bytes);

/* ---- discard.c ---------------------------------------------------------- */

int tm_discard_init(struct tm_store *store);
void tm_discard_fini(struct tm_store *store);

/** tm_store_discard() - these bytes of a session are zeros from now on */
void tm_store_discard(struct tm_store *store, uint64_t addr, uint64_t bytes);

/**
 * tm_store_use() - before bytes are received for, or sent from, these addresses
 * @overwrite: all of them will be received
 *
 * Returns 0, or -ENOMEM when they had been discarded and the machine or the
 * cgroup has no room for them any more (said in the log).
 */
int tm_store_use(struct tm_server *server, uint64_t addr, uint64_t bytes,
		 bool overwrite);

/**
 * tm_store_undiscard() - forget what was discarded in a free extent
 *
 * Returns true if not all of it has memory.
 */
bool tm_store_undiscard(struct tm_store *store, uint32_t extent);

/* ---- keeper.c ----------------------------------------------------------- */

int tm_keeper_init(struct tm_server *server);
void tm_keeper_fini(struct tm_server *server);

#endif /* TM_SERVER_STORE_H */
