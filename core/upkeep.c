// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A lane's requests besides the pager's I/O; see upkeep.h.
 */
#include "core/upkeep.h"

#include "include/teramem/proto.h"

#define REQUESTS 256
#define KEPT 64 /* that no DISCARD may use */

unsigned int tm_upkeep_max(unsigned int nr_servers)
{
	return REQUESTS + nr_servers * TM_PROTO_RESERVES_MAX;
}

bool tm_upkeep_start(struct tm_upkeep *upkeep, u8 type)
{
	unsigned int limit = REQUESTS;

	if (upkeep->reserve_ends)
		limit = tm_upkeep_max(upkeep->nr_servers) + 1;
	else if (type == TM_WIRE_RESERVE)
		limit = tm_upkeep_max(upkeep->nr_servers);
	else if (type == TM_WIRE_DISCARD)
		limit -= KEPT;
	if (upkeep->under_way >= limit)
		return false;
	upkeep->under_way++;
	return true;
}

void tm_upkeep_end(struct tm_upkeep *upkeep, struct tm_lane *lane, u8 type,
		   unsigned int server, u64 addr, u64 bytes, bool refused)
{
	if (type == TM_WIRE_RESERVE) {
		upkeep->reserve_ends = true;
		tm_pager_reserved(lane, server, addr, bytes,
				  refused ? -ENOMEM : 0);
		upkeep->reserve_ends = false;
	} else if (type == TM_WIRE_DISCARD) {
		tm_pager_discarded(lane, server, addr, bytes);
	}
	upkeep->under_way--;
}
