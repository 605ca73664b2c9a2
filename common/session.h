/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The client's side of the wire: sessions with memory servers.
 *
 * A session is what one process holds on one server. It has channels
 * (connections); each belongs to one thread, which drives it from its own
 * event loop. tm_session_open() blocks and may allocate; the channel functions
 * do neither.
 *
 * A broken connection is renewed within the server's grace time, with a higher
 * epoch, and everything under way is sent again (requests are idempotent). A
 * server that gives no sign of life for the timeout, refuses connections, or
 * no longer knows the session is lost: ops->lost is called once, by the thread
 * that found out, then every request under way ends with -EIO, each on its own
 * channel's thread.
 */
#ifndef TM_COMMON_SESSION_H
#define TM_COMMON_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "common/map.h"
#include "include/teramem/proto.h"

struct tm_session;
struct tm_channel;

struct tm_session_config {
	const struct tm_map_server *server;
	uint64_t job;
	unsigned int timeout_ms;  /* without a sign of life */
	unsigned int nr_channels; /* 1..TM_PROTO_CHANNELS_MAX */
	unsigned int depth;	  /* requests under way per channel */
};

/**
 * struct tm_request - one request; memory of the caller, alive until done() was
 * called
 * @type: TM_WIRE_READ, WRITE, DISCARD, RESERVE, RELEASE, STAT (into a struct
 *	tm_wire_stat) or PING
 * @addr: in the server's memory
 * @bytes: READ, WRITE and STAT: the sum of @iov; DISCARD, RELEASE: length
 * @iov: payload, scattered; what a READ's holds is undefined until done(0)
 * @done: called by the owning thread from within tm_channel_process() (never
 *	from within submit), where it may submit again; err is 0 or -errno
 *	(-EIO lost; refused by a server that lives: -ENOMEM, -EFAULT the
 *	address, -EREMOTEIO its own error). For RESERVE addr and bytes hold the
 *	extent.
 * @cookie: the caller's
 */
#define TM_REQUEST_IOV_MAX 256

struct tm_request {
	uint8_t type;
	unsigned int nr_iov;
	uint64_t addr;
	uint64_t bytes;
	struct iovec iov[TM_REQUEST_IOV_MAX];
	void (*done)(struct tm_request *request, int err);
	void *cookie;
};

struct tm_session_ops {
	/**
	 * the server is lost for good; why is one line for the log: "use server
	 * ADDRESS: lost: cause"
	 */
	void (*lost)(void *ctx, struct tm_session *session, const char *why);
	/** a channel was renewed */
	void (*renewed)(void *ctx, struct tm_session *session);
};

/**
 * tm_session_open() - connect and prove who we are; all channels
 * @why: on failure one line for the log: "connect to server ADDRESS: cause
 *	(remedy)"
 *
 * Blocks up to the timeout. Returns 0 or -errno: -EACCES refused,
 * -EPROTO no common version or not a Teramem server, -ECONNREFUSED, …
 */
int tm_session_open(const struct tm_session_config *config,
		    const struct tm_session_ops *ops, void *ctx,
		    struct tm_session **session, char *why, size_t why_len);

/**
 * tm_session_close() - say BYE where possible, close; nothing is completed
 *
 * No thread may be in a channel function. Waits up to a second for the server
 * to take note.
 */
void tm_session_close(struct tm_session *session);

/**
 * tm_session_forget() - after fork, in the child: close without BYE; the
 * session is gone afterwards, as with close
 */
void tm_session_forget(struct tm_session *session);

const struct tm_wire_welcome *tm_session_welcome(const struct tm_session *s);
struct tm_channel *tm_session_channel(struct tm_session *session,
				      unsigned int index);

/**
 * tm_channel_submit() - queue a request; tm_channel_flush() sends
 *
 * Returns 0, -EAGAIN when depth requests (or TM_PROTO_RESERVES_MAX RESERVEs)
 * are under way, -EIO when the server is lost.
 */
int tm_channel_submit(struct tm_channel *channel, struct tm_request *request);

/** tm_channel_flush() - send what the socket takes now */
void tm_channel_flush(struct tm_channel *channel);

/**
 * tm_channel_process() - receive, complete, send, keep time
 *
 * To be called when the descriptor is ready and at least every
 * tm_channel_wait_ms(). Never blocks. Returns the number of completions.
 */
int tm_channel_process(struct tm_channel *channel);

/**
 * tm_channel_fd() - what to poll; changes when the channel is renewed
 * @events: POLLIN, and POLLOUT while something waits to be sent
 *
 * Returns -1 while there is no connection (poll nothing, keep calling process).
 */
int tm_channel_fd(const struct tm_channel *channel, short *events);

/** tm_channel_wait_ms() - how long process may stay uncalled */
int tm_channel_wait_ms(const struct tm_channel *channel);

unsigned int tm_channel_under_way(const struct tm_channel *channel);

/**
 * tm_channel_wait() - block until something completes, for tools and tests
 *
 * Returns the number of completions; 0 when nothing is under way.
 */
int tm_channel_wait(struct tm_channel *channel);

/**
 * tm_channel_call() - submit one request and wait for it; sets its done() and
 * cookie. Returns what done() was told, or submit's error.
 */
int tm_channel_call(struct tm_channel *channel, struct tm_request *request);

#endif /* TM_COMMON_SESSION_H */
