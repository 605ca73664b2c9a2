/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * What place.c and place_ask.c share: nothing for others.
 */
#ifndef CORE_PLACE_INTERNAL_H
#define CORE_PLACE_INTERNAL_H

#include "core/place.h"

struct extent_list {
	u32 first, last;
};

struct place_server {
	bool alive;
	bool refused;  /* an extent */
	bool doubtful; /* refused the last one, and gave none since */
	bool shut;     /* refused a store */
	u32 asked;
	u32 extent_slots; /* 0 until the first extent came */
	u64 extent_bytes;
	size_t record_bytes; /* of a struct extent with its map */
	u64 free_slots;
	u64 nr_extents;
	u64 nr_idle;
	void **leaf;
	struct extent_list room;
	struct extent_list idle;
};

struct tm_place {
	struct tm_lock lock;
	const struct tm_place_ops *ops;
	u64 state; /* the policy's */
	u64 turn_slots;
	u64 turn_left; /* slots to give on @turn_server, at least */
	u64 turn_unit; /* of the block that was last, see tm_place_get() */
	unsigned int turn_server;
	u64 limit; /* extents */
	u64 nr_extents;
	u64 nr_asked;
	u64 nr_idle;
	u64 ahead_slots;
	u32 block_shift;
	unsigned int nr_servers;
	unsigned int nr_room; /* servers whose has_room is set */
	bool *has_room;	      /* a free slot, now */
	bool *candidate;      /* scratch of tm_place_wants() */
	struct place_server server[];
};

/** tm_place_may_ask() - an extent, within the limit; place->lock is held */
static inline bool tm_place_may_ask(const struct tm_place *p,
				    const struct place_server *s)
{
	return s->alive && !s->refused && !s->shut &&
	       p->nr_extents + p->nr_asked < p->limit;
}

#endif
