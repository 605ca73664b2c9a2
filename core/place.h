/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Placement: which server keeps a block, and where in that server's memory.
 *
 * Servers give memory in extents; the placement cuts them into slots of one
 * block. A block's replica set is a list (length TM_REPLICAS, 1 today), so
 * that mirroring is a placement and not a rewrite.
 *
 * Own lock inside (innermost: nothing else is taken under it). Not on the path
 * of a fault that finds a free frame.
 */
#ifndef TM_CORE_PLACE_H
#define TM_CORE_PLACE_H

#include "tm_port.h"

#define TM_REPLICAS 1

/**
 * struct tm_replica - where one copy of a block lies
 * @server: index, or TM_NO_SERVER
 * @slot: address in the server's memory divided by the block size; 48 bits
 *	are used
 */
struct tm_replica {
	u64 server : 16;
	u64 slot : 48;
};
#define TM_NO_SERVER 0xffffu

struct tm_place;

/**
 * struct tm_place_ops - a placement policy
 * @name: as in the configuration ("simple", "rr")
 * @turn_bytes: what the server that was picked takes before the next is, at
 *	least; one block where that is more
 * @pick: choose the server for the next turn among those with a free slot;
 *	@has_room tells for each index; never called when none has. @state is
 *	the policy's own word, zero at the start.
 */
struct tm_place_ops {
	const char *name;
	u64 turn_bytes;
	unsigned int (*pick)(u64 *state, unsigned int nr_servers,
			     const bool *has_room);
};

extern const struct tm_place_ops tm_place_simple;
extern const struct tm_place_ops tm_place_rr;

/** tm_place_find() - policy by name, or NULL */
const struct tm_place_ops *tm_place_find(const char *name);

int tm_place_create(const struct tm_place_ops *ops, unsigned int nr_servers,
		    u32 block_shift, struct tm_place **place);
void tm_place_destroy(struct tm_place *place);

/**
 * tm_place_get() - a free slot for one block
 * @block: its number; the last aligned @turn_bytes of blocks in a turn are not
 *	divided while they come in a row
 *
 * Slots of one extent are given in ascending order, so that blocks evicted one
 * after the other lie one after the other.
 *
 * Returns 0; -EAGAIN when an extent must be reserved first (tm_place_wants());
 * -ENOSPC when every server is full or lost or refuses stores, or the limit is
 * reached.
 */
int tm_place_get(struct tm_place *place, u64 block, struct tm_replica *replica);

/**
 * tm_place_get_row() - slots for @nr neighbours, one after the other
 * @block: the first, a multiple of @nr
 *
 * Returns 0 and the first slot; -EAGAIN where there is no row at hand, but an
 * extent was asked for; -ENOSPC where none was: there may well be single slots.
 */
int tm_place_get_row(struct tm_place *place, u64 block, u32 nr,
		     struct tm_replica *replica);

/** tm_place_put() - the slot is free again */
void tm_place_put(struct tm_place *place, struct tm_replica replica);

/**
 * tm_place_wants() - which server should be asked for an extent now
 * @server: set on success; it counts as asked until tm_place_extent_add() or
 *	tm_place_extent_refused()
 *
 * Keeps a few free slots ahead of eviction on each server that the policy is
 * going to use. A server that refused is asked again after
 * tm_place_server_room(), but the others do not wait for its answer.
 *
 * Returns true when there is one to ask.
 */
bool tm_place_wants(struct tm_place *place, unsigned int *server);

/**
 * tm_place_extent_add() - the server gave an extent; may allocate
 *
 * All extents of a server have one size, a multiple of the block, and lie at
 * multiples of it.
 *
 * Returns 0; -EINVAL when that is not so or it is held already, -EIO when the
 * server is lost, -ENOMEM. On failure the extent was not taken, and the server
 * counts as one that refused.
 */
int tm_place_extent_add(struct tm_place *place, unsigned int server, u64 addr,
			u64 bytes);
/** tm_place_extent_refused() - it has no more, until tm_place_server_room() */
void tm_place_extent_refused(struct tm_place *place, unsigned int server);
/**
 * tm_place_store_refused() - it does not take what is sent to its extents: no
 * slot there is given out until tm_place_server_room()
 */
void tm_place_store_refused(struct tm_place *place, unsigned int server);
void tm_place_server_room(struct tm_place *place, unsigned int server);

/** tm_place_server_lost() - its slots are gone; puts of them are ignored */
void tm_place_server_lost(struct tm_place *place, unsigned int server);
bool tm_place_server_alive(const struct tm_place *place, unsigned int server);
/** tm_place_server_takes() - it is alive, and refused no store of late */
bool tm_place_server_takes(const struct tm_place *place, unsigned int server);

/**
 * tm_place_extent_idle() - find an extent with no slot in use, to release it
 *
 * Keeps some slots in hand. Returns true and takes the extent out when there
 * is one.
 */
bool tm_place_extent_idle(struct tm_place *place, unsigned int *server,
			  u64 *addr, u64 *bytes);

/** tm_place_extent_keep() - take that extent back in: it was not released */
void tm_place_extent_keep(struct tm_place *place, unsigned int server,
			  u64 addr);

/**
 * tm_place_limit_set() - most extents that may be held in all; the client's
 *	share of a common capacity. tm_place_wants() stays within it.
 */
void tm_place_limit_set(struct tm_place *place, u64 extents);
u64 tm_place_extents(struct tm_place *place);

#endif /* TM_CORE_PLACE_H */
