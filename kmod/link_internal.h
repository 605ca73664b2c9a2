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

#include <linux/net.h>
#include <linux/poll.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/wait.h>

#include "core/calls.h"
#include "core/heartbeat.h"
#include "kmod/link.h"

/**
 * struct tm_link - see link.h
 * @lock: guards what is handed over by attach and lose
 * @newest_epoch: of all sockets that were ever attached; under @lock
 * @incoming: a socket to go on with; under @lock
 * @lose_err: the agent gave the server up; under @lock
 * @extent_bytes: of the server; written under @lock before there is a socket
 * @attached: @incoming or @sock works; written under @lock
 * @lost: for good
 * @event: something happened on the socket, or was handed over
 * @wait: in the socket's wait queue, @wait_head; NULL: in none
 * @calls: its epoch is that of @sock, or of the one before
 * @tx_full: the socket takes nothing more until an event
 * @rx_call: whose payload is being received, @rx_done bytes of it so far
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
	wait_queue_entry_t wait;
	wait_queue_head_t *wait_head;
	poll_table poll;

	struct tm_calls calls;
	bool tx_full;

	struct tm_wire_header rx_header;
	size_t rx_header_done;
	struct tm_call *rx_call;
	size_t rx_done;

	struct tm_link_request ping;
	struct tm_heartbeat heart;
	int completions;
	u64 reconnects;
};

/* Monotonic ns, cheap: as coarse as jiffies. */
static inline u64 tm_link_now(void)
{
	return ktime_get_coarse_ns();
}

/* link.c */

/** tm_link_enqueue() - as submit, there must be room */
void tm_link_enqueue(struct tm_link *link, struct tm_link_request *request);
/** tm_link_finish() - take it off the table and tell its owner */
void tm_link_finish(struct tm_link *link, struct tm_call *call, int err);
/** tm_link_rewind() - everything under way is to be sent, with this epoch */
void tm_link_rewind(struct tm_link *link, u32 epoch);

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
