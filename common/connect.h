/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first connections of a session, made one after the other: dial.h's state
 * machine, waited for. Blocks, allocates.
 */
#ifndef TM_COMMON_CONNECT_H
#define TM_COMMON_CONNECT_H

#include "common/dial.h"

/**
 * tm_connect_prepare() - a target for a new session, with a fresh key
 * @server: outlives the target
 *
 * Returns 0 or -errno.
 */
int tm_connect_prepare(struct tm_dial_target *target,
		       const struct tm_map_server *server, uint64_t job,
		       unsigned int timeout_ms);

/**
 * tm_connect() - channel @channel, with epoch 1
 * @deadline_ns: monotonic
 *
 * Returns 0: @dial->fd is the caller's; or -errno: @dial->why says why.
 */
int tm_connect(struct tm_dial *dial, const struct tm_dial_target *target,
	       uint32_t channel, uint64_t deadline_ns);

/**
 * tm_connect_first() - channel 0, which brings the session, on the first
 * address that works; both are noted in the target
 *
 * Returns as tm_connect() does.
 */
int tm_connect_first(struct tm_dial *dial, struct tm_dial_target *target,
		     uint64_t deadline_ns);

#endif /* TM_COMMON_CONNECT_H */
