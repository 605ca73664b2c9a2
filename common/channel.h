/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What session.c, channel.c and renew.c share: the insides of a session.
 * Callers use common/session.h.
 *
 * A channel belongs to one thread. What threads share is the session's state
 * and `lock`, which guards the descriptors while one thread shuts the others'
 * down; both are touched only when a connection breaks, apart from one load of
 * `state` per call. Nothing is locked inside `lock`.
 */
#ifndef TM_COMMON_CHANNEL_H
#define TM_COMMON_CHANNEL_H

#include "common/dial.h"
#include "common/session.h"
#include "core/calls.h"
#include "core/heartbeat.h"

#define TM_CHANNEL_VECTORS 512
#define TM_CHANNEL_EXPECTED 64

/*
 * Most bytes of one system call: the first reply in it is not delivered before
 * the last is copied.
 */
#define TM_CHANNEL_CALL_BYTES (1u << 20)

enum tm_channel_state {
	TM_CHANNEL_UP,
	TM_CHANNEL_DOWN,    /* until retry_ns */
	TM_CHANNEL_DIALING, /* until retry_ns, then from the start */
};

/**
 * struct tm_channel - a connection, or the lack of one
 * @tx_err: what sending failed with; process() drops the connection for it,
 *	so that nothing changes below a done() that flushes
 * @rx_header: of the message that is being received, @rx_header_done bytes
 * @rx_call: whose payload is being received, @rx_done bytes of it so far
 * @expected: the replies that a receive was prepared for, in order; vec is the
 *	index of the vector that its header goes to
 * @spill: where bytes go that came otherwise than expected
 */
struct tm_channel {
	struct tm_session *session;
	u32 index;
	u32 epoch;
	int fd;
	enum tm_channel_state state;

	struct tm_calls calls;
	int tx_err;

	struct tm_wire_header rx_header;
	size_t rx_header_done;
	struct tm_call *rx_call;
	size_t rx_done;

	struct tm_request ping;
	struct tm_heartbeat heart;
	int completions;

	u64 retry_ns;
	unsigned int refusals; /* since the connection broke */
	char why[320];	       /* it broke */

	struct tm_dial dial;
	struct iovec tx_vec[TM_CHANNEL_VECTORS];
	struct iovec rx_vec[TM_CHANNEL_VECTORS];
	struct tm_expected {
		struct tm_call *call;
		unsigned int vec;
	} expected[TM_CHANNEL_EXPECTED];
	struct tm_wire_header expected_header[TM_CHANNEL_EXPECTED];
	u8 spill[TM_CHANNEL_CALL_BYTES];
};

enum tm_session_state { TM_SESSION_ALIVE, TM_SESSION_LOSING, TM_SESSION_LOST };

struct tm_session {
	u32 state; /* enum tm_session_state */
	struct tm_lock lock;
	unsigned int nr_channels;
	size_t bytes; /* of memory that all this takes */
	char name[TM_MAP_ADDRESS_MAX];
	struct tm_dial_target target;
	struct tm_wire_welcome welcome;
	const struct tm_session_ops *ops;
	void *ctx;
	u64 timeout_ns;
	struct tm_channel channels[];
};

static inline bool tm_session_lost(const struct tm_session *session)
{
	return tm_load_acquire(&session->state) == TM_SESSION_LOST;
}

/**
 * struct tm_vectors - what one system call sends or receives
 * @room: bytes that may still be added
 */
struct tm_vectors {
	struct iovec *vec;
	unsigned int nr;
	size_t bytes, room;
};

static inline struct tm_vectors tm_vectors(struct iovec *vec)
{
	return (struct tm_vectors){.vec = vec, .room = TM_CHANNEL_CALL_BYTES};
}

/**
 * tm_vectors_add() - one more piece of memory
 *
 * Returns false when not everything found room: nothing may follow.
 */
bool tm_vectors_add(struct tm_vectors *v, void *base, size_t len);

/** tm_vectors_add_payload() - the request's payload from byte @skip on */
bool tm_vectors_add_payload(struct tm_vectors *v,
			    const struct tm_request *request, size_t skip);

/** tm_channel_now() - monotonic ns, cheap: some milliseconds coarse */
u64 tm_channel_now(void);

/** tm_channel_init() - @call has room for @nr_calls, depth + 1 */
void tm_channel_init(struct tm_channel *channel, struct tm_session *session,
		     u32 index, struct tm_call *call, u32 nr_calls);

/** tm_channel_enqueue() - as submit, for any type, there must be room */
void tm_channel_enqueue(struct tm_channel *channel, struct tm_request *request);

/** tm_channel_finish() - take it off the table and tell its owner */
void tm_channel_finish(struct tm_channel *channel, struct tm_call *call,
		       int err);

/** tm_channel_receive() - take and complete what the socket has */
void tm_channel_receive(struct tm_channel *channel);

/** tm_channel_rewind() - everything under way is to be sent from the start */
void tm_channel_rewind(struct tm_channel *channel);

/** tm_channel_fail_all() - complete everything under way with -EIO */
void tm_channel_fail_all(struct tm_channel *channel);

/**
 * tm_channel_up() - a connection is made: take it over
 * @dial: which made it
 */
void tm_channel_up(struct tm_channel *channel, struct tm_dial *dial);

/**
 * tm_channel_drop() - the connection broke or lied (-EPROTO); @why it did
 *
 * Completes nothing; tm_channel_renew() goes on from there.
 */
void tm_channel_drop(struct tm_channel *channel, int err, const char *why);

/** tm_channel_renew() - go on with a new connection; may end in loss */
void tm_channel_renew(struct tm_channel *channel);

/** tm_channel_keep_time() - ping, or drop a silent connection */
void tm_channel_keep_time(struct tm_channel *channel);

#endif /* TM_COMMON_CHANNEL_H */
