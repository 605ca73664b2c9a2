/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What link.c, link_receive.c and link_life.c share: the insides of a link.
 * Callers use kmod/link.h.
 *
 * All of it belongs to the lane's thread, except what says otherwise: what the
 * agent hands over is under `lock`, and single flags are read and written whole
 * (READ_ONCE). Lock order: nothing is locked inside `lock`; ops->wake() is
 * called with a socket's wait queue locked.
 */
#ifndef TM_KMOD_LINK_INTERNAL_H
#define TM_KMOD_LINK_INTERNAL_H

#include <linux/jiffies.h>
#include <linux/net.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/wait.h>

#include "kmod/link.h"

#define TM_LINK_ID_INDEX_BITS 16

/**
 * struct tm_link_slot - a request under way; NULL: free
 * @next: in the order of submission, or the next free one
 * @prev: in the order of submission
 * @sent: to the last byte, so that a reply may come
 * @resent: it was sent over a former connection, too
 * @id: on the wire: a number that never comes again, and the slot's index
 */
struct tm_link_slot {
	struct tm_link_request *request;
	u32 next, prev;
	bool sent, resent;
	u64 id;
	struct tm_wire_header header;
};
#define TM_LINK_NONE (~(u32)0)

/**
 * struct tm_link - see link.h
 * @lock: guards what is handed over by attach and lose
 * @newest_epoch: of all sockets that were ever attached; under @lock
 * @incoming: a socket to go on with; under @lock
 * @lose_err: the agent gave the server up; under @lock
 * @extent_bytes: of the server; written under @lock before there is a socket
 * @attached: @incoming or @sock works; written under @lock
 * @epoch: of @sock, or of the one before; 0: there was none yet
 * @lost: for good
 * @event: something happened on the socket, or was handed over
 * @wait: in the socket's wait queue, @wait_head; NULL: in none
 * @head: the oldest request under way; @tail the youngest
 * @unsent: the oldest that is not sent to the end
 * @tx_done: bytes of it (header and payload) that are
 * @tx_full: the socket takes nothing more until an event
 * @rx_slot: whose payload is being received, @rx_done bytes of it so far
 * @heard: last sign of life (jiffies, as all times here)
 * @pinged: last ping queued
 * @progress: last payload or completion, or first request
 * @give_up: without a connection until then, the server is lost
 * @barren: connections in a row that brought nothing
 * @violations: lies in the life of the link
 */
struct tm_link {
	struct tm_link_config config;

	spinlock_t lock;
	u32 newest_epoch;
	struct socket *incoming;
	int lose_err;
	u64 extent_bytes;
	bool attached;
	bool lost;
	bool event;

	struct socket *sock;
	u32 epoch;
	wait_queue_entry_t wait;
	wait_queue_head_t *wait_head;
	poll_table poll;

	struct tm_link_slot *slots;
	u32 nr_slots, head, tail, unsent, free, under_way, reserves;
	u64 sequence;
	size_t tx_done;
	bool tx_full;

	struct tm_wire_header rx_header;
	size_t rx_header_done;
	struct tm_link_slot *rx_slot;
	size_t rx_done;

	struct tm_link_request ping;
	bool ping_under_way;
	int completions;
	unsigned long heard, pinged, progress, give_up;
	unsigned int barren, violations;
	u64 reconnects;
};

static inline unsigned long tm_link_timeout(const struct tm_link *link)
{
	return msecs_to_jiffies(link->config.timeout_ms);
}

/* Payload bytes that go with the request, and with a successful reply. */
static inline u32 tm_link_payload_out(const struct tm_link_request *request)
{
	return request->type == TM_WIRE_WRITE ? request->bytes : 0;
}

static inline u32 tm_link_payload_in(const struct tm_link_request *request)
{
	return request->type == TM_WIRE_READ ? request->bytes : 0;
}

/* link.c */

/** tm_link_enqueue() - as submit, a slot must be free */
void tm_link_enqueue(struct tm_link *link, struct tm_link_request *request);
/** tm_link_finish() - take it off the table and tell its owner */
void tm_link_finish(struct tm_link *link, struct tm_link_slot *slot, int err);
/** tm_link_rewind() - everything under way is to be sent from the start */
void tm_link_rewind(struct tm_link *link);

/* link_receive.c */

/** tm_link_receive() - take and complete what the socket has */
void tm_link_receive(struct tm_link *link);

/* link_life.c */

/** tm_link_adopt() - go on over the socket that was handed over, if any */
void tm_link_adopt(struct tm_link *link);
/** tm_link_unhook() - close the connection */
void tm_link_unhook(struct tm_link *link);
/**
 * tm_link_drop() - the connection broke, or lied (-EPROTO); @why, for the log
 *
 * Completes nothing.
 */
void tm_link_drop(struct tm_link *link, int err, const char *why);
/** tm_link_keep_time() - ping, drop a silent connection, give the server up */
void tm_link_keep_time(struct tm_link *link);

#endif /* TM_KMOD_LINK_INTERNAL_H */
