/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A client that does exactly what it is told, message by message, right or
 * wrong. Blocking; gives up after 30 seconds without an answer.
 */
#ifndef TM_TESTS_PEER_H
#define TM_TESTS_PEER_H

#include "core/proto.h"
#include "common/auth.h"

/* What peer_receive() returns at the end of the connection. */
#define PEER_EOF -1

struct peer {
	int fd;
	const char *address;
	bool munge;
	uint64_t job;
	uint32_t epoch;
	uint64_t next_id;
	uint8_t server_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t client_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t key[TM_PROTO_KEY_BYTES];
	struct tm_wire_welcome welcome;
};

/* Who runs the servers under test, for credentials. */
extern uid_t peer_server_uid;

/** peer_connect() - 0 or -errno */
int peer_connect(struct peer *peer, const char *address);
void peer_close(struct peer *peer);

/** peer_send_raw() - these bytes, whatever they are; 0 or -errno */
int peer_send_raw(struct peer *peer, const void *data, size_t len);

/** peer_send() - a message; id 0: the next, epoch 0: the peer's */
int peer_send(struct peer *peer, struct tm_msg msg, const void *payload);

/**
 * peer_receive() - a message and its payload, of at most @len bytes
 *
 * Returns its status, PEER_EOF, or -errno.
 */
int peer_receive(struct peer *peer, struct tm_msg *msg, void *payload,
		 size_t len);

/** peer_call() - send, and receive the reply; as peer_receive() */
int peer_call(struct peer *peer, struct tm_msg msg, const void *payload,
	      struct tm_msg *reply, void *data, size_t len);

/** peer_hello() - exchange HELLOs; the status */
int peer_hello(struct peer *peer);

/** peer_fill_auth() - as it should be */
void peer_fill_auth(struct peer *peer, struct tm_wire_auth *auth);

/** peer_send_auth() - AUTH with this payload, wrapped as the server wants */
int peer_send_auth(struct peer *peer, const struct tm_wire_auth *auth);

/** peer_welcome() - receive WELCOME; the status; checks the server's MAC */
int peer_welcome(struct peer *peer, uint32_t channel);

/** peer_open() - connect and authenticate; the status */
int peer_open(struct peer *peer, const char *address, bool munge);

/**
 * peer_attach() - a new connection of @first's session; the status
 */
int peer_attach(struct peer *peer, const struct peer *first, uint32_t channel,
		uint32_t epoch);

/** peer_reserve(), … - one request and its reply's status */
int peer_reserve(struct peer *peer, uint64_t *addr);
int peer_release(struct peer *peer, uint64_t addr);
int peer_write(struct peer *peer, uint64_t addr, const void *data,
	       uint32_t bytes);
int peer_read(struct peer *peer, uint64_t addr, void *data, uint32_t bytes);
int peer_ping(struct peer *peer);
int peer_stat(struct peer *peer, struct tm_wire_stat *stat);
/** peer_bye() - and wait for the end; PEER_EOF if all is well */
int peer_bye(struct peer *peer);

#endif /* TM_TESTS_PEER_H */
