/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Making one connection of a session: connect, HELLO, AUTH or ATTACH, WELCOME.
 * A state machine on a nonblocking socket, so that a channel can be renewed
 * without holding up its thread. Only an AUTH by MUNGE blocks (on munged) and
 * allocates.
 */
#ifndef TM_COMMON_DIAL_H
#define TM_COMMON_DIAL_H

#include <sys/socket.h>

#include "common/map.h"
#include "core/proto.h"

#define TM_ADDRESSES_MAX 8

struct tm_address {
	struct sockaddr_storage sockaddr;
	socklen_t len;
};

/**
 * tm_address_resolve() - addresses behind "tcp:HOST:PORT" or "unix:/PATH"
 * @list: receives up to TM_ADDRESSES_MAX, in the order to be tried
 * @why: the cause, on failure
 *
 * HOST is a name or a number, IPv6 numbers in brackets. Blocks, allocates.
 * Returns how many there are, or -errno.
 */
int tm_address_resolve(const char *text, struct tm_address *list, char *why,
		       size_t why_len);

/**
 * struct tm_dial_target - where to, and as whom
 * @name: the address as text, for AUTH
 * @key: of the session
 * @session: its id; 0: a new one by AUTH
 * @timeout_ms: when the kernel shall give unacknowledged data up
 */
struct tm_dial_target {
	const char *name;
	struct tm_address address;
	enum tm_auth auth;
	uint64_t job;
	uint64_t session;
	unsigned int timeout_ms;
	uint8_t key[TM_PROTO_KEY_BYTES];
};

/**
 * struct tm_dial - one attempt; the fields are dial.c's, except
 * @fd: for poll; the connection, once tm_dial_step() returned 0
 * @welcome: the server's, then
 * @status: why the server refused, TM_STATUS_OK when it did not
 * @why: the cause of a failure, with the remedy where there is one
 */
struct tm_dial {
	int fd;
	u16 status;
	char why[320];
	struct tm_wire_welcome welcome;

	int (*step)(struct tm_dial *dial, const struct tm_dial_target *target);
	u32 channel, epoch;
	uint8_t server_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t client_nonce[TM_PROTO_NONCE_BYTES];
	size_t out_len, out_done;
	size_t in_done;
	uint8_t out[sizeof(struct tm_wire_header) + TM_PROTO_HANDSHAKE_MAX];
	uint8_t in[sizeof(struct tm_wire_header) +
		   sizeof(struct tm_wire_welcome)];
};

/**
 * tm_dial_start() - begin to connect channel @channel with @epoch
 *
 * Returns 0 or -errno, as tm_dial_step() does; never -EAGAIN.
 */
int tm_dial_start(struct tm_dial *dial, const struct tm_dial_target *target,
		  u32 channel, u32 epoch);

/**
 * tm_dial_step() - go on as far as possible
 *
 * Returns 0: connected, @fd is the caller's; -EAGAIN: poll @fd for
 * tm_dial_events() and call again; else it failed and is closed:
 * -ECONNREFUSED nobody serves there, -EACCES or another error with @status
 * set when the server refused, -EPROTO it does not speak our language.
 */
int tm_dial_step(struct tm_dial *dial, const struct tm_dial_target *target);

short tm_dial_events(const struct tm_dial *dial);

/** tm_dial_cancel() - give it up; also after it failed or succeeded */
void tm_dial_cancel(struct tm_dial *dial);

#endif /* TM_COMMON_DIAL_H */
