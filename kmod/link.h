/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A link: one connection of a lane to one server, or the lack of one; the
 * kernel's counterpart of common/session.h's channel. It speaks the wire
 * protocol over a socket that the agent connected and authenticated.
 *
 * Everything but create, attach, lose and destroy is called by the lane's
 * thread only, never blocks and never allocates. Sockets run with
 * sk_allocation = GFP_NOIO: reclaim may be waiting for us.
 *
 * A broken connection is reported (ops->broken) and renewed by the agent, which
 * attaches a new one with a higher epoch; then everything under way is sent
 * again (requests are idempotent). A server without a sign of life for the
 * timeout, connected or not, is lost: ops->lost once, then every request under
 * way and every later one ends with -EIO. A link judges for itself: that the
 * server's links in other lanes are lost too is for ops->lost to bring about
 * (tm_link_lose()).
 */
#ifndef TM_KMOD_LINK_H
#define TM_KMOD_LINK_H

#include <linux/bvec.h>
#include <linux/socket.h>

#include "core/proto.h"

struct tm_link;
struct socket;

/**
 * struct tm_link_ops
 * @wake: the lane has something to do on a link; any context, may be a softirq
 * @broken: tell the agent; from the lane's thread
 * @lost: the server is given up; from the lane's thread, once for each link
 */
struct tm_link_ops {
	void (*wake)(void *ctx);
	void (*broken)(void *ctx, unsigned int server, int err);
	void (*lost)(void *ctx, unsigned int server, int err);
};

/**
 * struct tm_link_request - memory of the caller, until done() was called
 * @type: TM_WIRE_READ, WRITE, DISCARD, RESERVE, RELEASE or PING
 * @addr, @bytes: as in the wire's addr, and argument or length; for RESERVE
 *	they hold the extent when done(0) is called
 * @bvec, @nr_bvec: payload, whole pages, @bytes in sum; what a READ's pages
 *	hold is undefined until done(0)
 * @done: from tm_link_process() only, never from submit; may submit again. 0,
 *	-EIO lost, -ENOMEM refused, -EFAULT address refused, -EREMOTEIO the
 *	server failed
 */
struct tm_link_request {
	u8 type;
	unsigned int nr_bvec;
	u64 addr;
	u64 bytes;
	struct bio_vec *bvec;
	void (*done)(struct tm_link_request *request, int err);
	void *cookie;
};

/**
 * struct tm_link_config - what a link is made for
 * @name: of the space, for the log; outlives the link
 * @server: told to the ops
 * @depth: requests under way at most, 1..32767
 */
struct tm_link_config {
	const char *name;
	unsigned int server;
	unsigned int channel;
	unsigned int depth;
	unsigned int timeout_ms;
	const struct tm_link_ops *ops;
	void *ctx;
};

/** tm_link_create() - without a connection yet; 0 or -ENOMEM */
int tm_link_create(const struct tm_link_config *config, struct tm_link **link);

/** tm_link_destroy() - BYE, close; nothing is completed; the lane has ended */
void tm_link_destroy(struct tm_link *link);

/**
 * tm_link_attach() - from now on over this socket
 *
 * Any process context; takes its own reference of the socket's file. The server
 * said that its extents have @extent_bytes, always the same. Returns 0 or an
 * error of struct tm_uapi_attach; then nothing changed.
 */
int tm_link_attach(struct tm_link *link, struct socket *sock, u32 epoch,
		   u64 extent_bytes);

/** tm_link_lose() - the server is given up; any process context */
void tm_link_lose(struct tm_link *link, int err);

/**
 * tm_link_submit() - queue; tm_link_process() sends
 *
 * Returns 0, -EAGAIN (depth, or TM_PROTO_RESERVES_MAX RESERVEs, are under way),
 * -EIO the server is lost.
 */
int tm_link_submit(struct tm_link *link, struct tm_link_request *request);

/** tm_link_process() - send, receive, complete, keep time; completions */
int tm_link_process(struct tm_link *link);

/** tm_link_ready() - whether process() would do something; any context */
bool tm_link_ready(const struct tm_link *link);

/** tm_link_wait() - jiffies that process() may stay uncalled */
long tm_link_wait(const struct tm_link *link);

/** tm_link_attached() - it has a connection that works; any context */
bool tm_link_attached(const struct tm_link *link);

unsigned int tm_link_under_way(const struct tm_link *link);
u64 tm_link_reconnects(const struct tm_link *link);

#endif /* TM_KMOD_LINK_H */
