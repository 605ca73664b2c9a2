/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * A lane's requests besides the pager's I/O: how many there may be at one time,
 * and what their answers are to the pager. No lock; it belongs to one lane.
 *
 * DISCARD tells the server what it would learn from the next store, or from the
 * extent's release, anyway: when there are many it gives way to RELEASE.
 * RESERVE always finds room.
 */
#ifndef TM_CORE_UPKEEP_H
#define TM_CORE_UPKEEP_H

#include "core/pager.h"

/**
 * struct tm_upkeep - how many there are
 * @nr_servers: fixed at the start
 * @under_way: of all types and servers
 * @reserve_ends: one is being answered, which leaves room for its RELEASE
 */
struct tm_upkeep {
	unsigned int nr_servers;
	unsigned int under_way;
	bool reserve_ends;
};

/** tm_upkeep_max() - as many as there may ever be */
unsigned int tm_upkeep_max(unsigned int nr_servers);

/** tm_upkeep_start() - one more, of this enum tm_wire_type; or false */
bool tm_upkeep_start(struct tm_upkeep *upkeep, u8 type);

/**
 * tm_upkeep_end() - it was answered: tell the pager
 *
 * The pager may start another from within.
 */
void tm_upkeep_end(struct tm_upkeep *upkeep, struct tm_lane *lane, u8 type,
		   unsigned int server, u64 addr, u64 bytes, bool refused);

#endif /* TM_CORE_UPKEEP_H */
