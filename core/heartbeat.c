// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The rules of heartbeat.h. No clock, no I/O, no state of its own, no locks.
 */
#include "core/heartbeat.h"

/* A full server keeps a RESERVE for a moment before it refuses it. */
#define RESERVE_PATIENCE_NS 2000000000ull

void tm_heartbeat_up(struct tm_heartbeat *heart, u64 now)
{
	heart->heard = heart->progress = now;
}

void tm_heartbeat_broke(struct tm_heartbeat *heart, u64 now, int err)
{
	u64 timeout = heart->timeout;

	if (err == -EPROTO)
		heart->violations++;
	/* A connection that brought nothing is no sign of life either. */
	if (heart->barren++ == 0)
		heart->give_up =
			now + (err == -ETIMEDOUT ? timeout / 2 : timeout);
}

/* Not before the ping had its time, since it may be us who slept. */
u64 tm_heartbeat_due(const struct tm_heartbeat *heart)
{
	u64 quarter = heart->timeout / 4;
	u64 ask = heart->heard + quarter;
	u64 answer = heart->pinged + quarter;

	if (!heart->ping_under_way)
		return ask;
	return answer > ask + quarter ? answer : ask + quarter;
}

int tm_heartbeat_look(struct tm_heartbeat *heart, u64 now,
		      unsigned int requests, unsigned int reserves,
		      const char **why)
{
	u64 patience = heart->timeout;

	if (requests == reserves)
		patience += RESERVE_PATIENCE_NS;
	/* A server that answers pings only is no good either. */
	if (requests && now > heart->progress + patience) {
		*why = "it left requests unanswered";
		return -EPROTO;
	}
	if (now <= tm_heartbeat_due(heart))
		return 0;
	if (heart->ping_under_way) {
		*why = "it gave no sign of life";
		return -ETIMEDOUT;
	}
	heart->ping_under_way = true;
	heart->pinged = now;
	return 1;
}
