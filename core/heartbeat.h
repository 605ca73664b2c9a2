/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * How the client judges a connection, and by it the server: when to ask for a
 * sign of life, when to try a new connection, when to give the server up.
 * Rules only: no clock, no I/O, no lock. All times are the caller's, in
 * nanoseconds of one monotonic clock.
 *
 * Silence: a quarter of the timeout without a byte brings a ping; a second
 * quarter without an answer breaks the connection, since a new one may get
 * through where a half-open one does not; after the rest the server is dead.
 */
#ifndef TM_CORE_HEARTBEAT_H
#define TM_CORE_HEARTBEAT_H

#include "tm_port.h"

/* So many lies over the connections of a channel, and the server is lost. */
#define TM_VIOLATIONS_MAX 3

/**
 * struct tm_heartbeat - what is known of a channel's connections
 * @timeout: fixed at the start
 * @heard: last byte received
 * @progress: last payload or answer other than to a ping, or when the requests
 *	under way began; for the caller to set
 * @pinged: last ping
 * @ping_under_way: for the caller to end
 * @give_up: when no connection followed the one that broke until then, the
 *	server is lost
 * @barren: connections in a row that brought nothing
 * @violations: lies so far
 */
struct tm_heartbeat {
	u64 timeout;
	u64 heard;
	u64 progress;
	u64 pinged;
	bool ping_under_way;
	u64 give_up;
	unsigned int barren;
	unsigned int violations;
};

/** tm_heartbeat_up() - a connection is made */
void tm_heartbeat_up(struct tm_heartbeat *heart, u64 now);

/** tm_heartbeat_broke() - it broke, or is given up; @err why, -EPROTO a lie */
void tm_heartbeat_broke(struct tm_heartbeat *heart, u64 now, int err);

/** tm_heartbeat_due() - when to look, if nothing is heard until then */
u64 tm_heartbeat_due(const struct tm_heartbeat *heart);

/**
 * tm_heartbeat_look() - is there still life in the connection?
 * @requests: under way, pings aside; of them @reserves are RESERVEs
 *
 * Returns 0; 1 when a ping is to be sent, which counts as under way then; or
 * -errno and @why: the connection is to be given up.
 */
int tm_heartbeat_look(struct tm_heartbeat *heart, u64 now,
		      unsigned int requests, unsigned int reserves,
		      const char **why);

#endif /* TM_CORE_HEARTBEAT_H */
