/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A memory server that lies: a hostile or broken peer for the client's session
 * code. It speaks the protocol over a unix socket, with real peer credentials
 * and MACs, honestly but for the one lie that it is told to tell.
 */
#ifndef TM_TESTS_NET_PEER_H
#define TM_TESTS_NET_PEER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PEER_MEMORY_BYTES (16u << 20)
#define PEER_EXTENT_BYTES (4u << 20)
#define PEER_JOB 4711

enum peer_lie {
	PEER_HONEST,
	/* in the handshake */
	PEER_HELLO_VERSION, /* none in common */
	PEER_HELLO_JOB,	    /* another job's server */
	PEER_HELLO_GARBAGE,
	PEER_HELLO_SILENT,
	PEER_WELCOME_DENIED,
	PEER_WELCOME_MAC, /* does not know the key */
	PEER_WELCOME_CLOSE,
	/* in replies */
	PEER_MAGIC,
	PEER_ID,
	PEER_ID_HUGE,
	PEER_TYPE,
	PEER_EPOCH,
	PEER_LONGER,
	PEER_SHORTER,
	PEER_EXTENT, /* twice as long as it said */
	PEER_TWICE,
	PEER_REQUEST, /* a request instead of a reply */
	PEER_STATUS,
	PEER_RESERVED,
	PEER_SILENT, /* not even pings are answered */
	PEER_PINGS_ONLY,
	PEER_CLOSES, /* at the first request, every time */
	/* not a lie, but hard: */
	PEER_SHUFFLE, /* replies in random order, reads refused now and then */
	PEER_CHUNKS,  /* replies in tiny pieces */
	PEER_CUTS,    /* every connection is cut somewhere in the replies */
};

/**
 * struct peer - a running peer
 * @lie: may be changed at any time
 * @no_session: ATTACH is refused: the session's grace is over
 * @cut_bytes: with PEER_CUTS: bytes that a connection lives for
 * @address: "unix:/..."
 */
struct peer {
	_Atomic enum peer_lie lie;
	atomic_bool no_session;
	atomic_uint cut_bytes;
	atomic_uint connections;
	atomic_uint byes;
	char address[108];
	uint8_t *memory;

	char dir[64];
	int listen_fd, stop_fd;
	uint8_t key[32];
	atomic_uint threads;
	pthread_t thread;
};

void peer_start(struct peer *peer, enum peer_lie lie);
void peer_stop(struct peer *peer);

#endif /* TM_TESTS_NET_PEER_H */
