/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The requests that a client has under way on one channel: their table, their
 * order, their headers, and whose reply is whose. No I/O, no allocation, no
 * lock; all of it belongs to one thread, but @unsent, which others may read.
 *
 * Requests are numbered and sent in the order in which they were added. One
 * stays in the table until it is removed, over however many connections.
 */
#ifndef TM_CORE_CALLS_H
#define TM_CORE_CALLS_H

#include "core/proto.h"

#define TM_CALL_NONE (~(u32)0)
#define TM_CALLS_MAX 65536u

/**
 * struct tm_call - a request under way
 * @request: the caller's; NULL: free
 * @next: in the order of sending, or the next free one
 * @prev: in the order of sending
 * @out: bytes of payload that go with the request
 * @in: bytes of payload that come with a successful reply
 * @type: enum tm_wire_type
 * @sent: to the last byte, so that a reply may come
 * @id: on the wire: a number that grows, and the index in the table
 */
struct tm_call {
	void *request;
	u32 next, prev;
	u32 out, in;
	u8 type;
	bool sent;
	u64 id;
	struct tm_wire_header header;
};

/**
 * struct tm_calls - all of a channel's
 * @head: the oldest; @tail: the youngest
 * @unsent: the oldest that is not sent to the end
 * @under_way: how many; of them @reserves are RESERVEs
 * @epoch: of the connection; 0: there was none yet
 * @tx_done: bytes of @unsent (header and payload) that are sent
 */
struct tm_calls {
	struct tm_call *call;
	u32 nr, head, tail, unsent, free;
	u32 under_way, reserves;
	u32 epoch;
	u64 sequence;
	size_t tx_done;
};

/** tm_calls_init() - @call has room for @nr, up to TM_CALLS_MAX */
void tm_calls_init(struct tm_calls *calls, struct tm_call *call, u32 nr);

/**
 * tm_calls_add() - to be sent after the others; there must be room
 * @addr, @bytes: as the type wants it: the range, or the payload's length
 */
void tm_calls_add(struct tm_calls *calls, void *request, u8 type, u64 addr,
		  u64 bytes);

/** tm_calls_remove() - it has ended; returns the caller's request */
void *tm_calls_remove(struct tm_calls *calls, struct tm_call *call);

/** tm_calls_rewind() - all are to be sent from the start, with this epoch */
void tm_calls_rewind(struct tm_calls *calls, u32 epoch);

/** tm_calls_sent() - so many bytes more, headers and payloads in order */
void tm_calls_sent(struct tm_calls *calls, size_t bytes);

/**
 * tm_calls_reply() - whose reply is it?
 *
 * A server is not trusted to keep to the protocol: a reply is taken only for a
 * request that was sent, with the type, the epoch and the length that it has.
 * Returns NULL, and @why, if it is a lie.
 */
struct tm_call *tm_calls_reply(const struct tm_calls *calls,
			       const struct tm_wire_header *header,
			       struct tm_msg *msg, const char **why);

#endif /* TM_CORE_CALLS_H */
