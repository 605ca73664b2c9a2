// SPDX-License-Identifier: GPL-2.0
/*
 * The receiving half of a link: a header, then its payload straight into the
 * pages that the request names. See link_internal.h for who may touch what.
 */
#include <linux/kernel.h>
#include <linux/uio.h>
#include <net/sock.h>

#include "kmod/link_internal.h"

/* Received in one call to process, so that other links get their turn. */
#define RECEIVE_BYTES (8u << 20)
/* Less of a payload than this is left to grow; its rest is not. */
#define EVENT_BYTES (128u << 10)

static void accept_reply(struct tm_link *link, struct tm_call *call,
			 const struct tm_msg *msg)
{
	if (msg->length) {
		link->rx_call = call;
		link->rx_done = 0;
		return;
	}
	if (msg->type == TM_WIRE_RESERVE && !msg->status) {
		struct tm_link_request *request = call->request;

		request->addr = msg->addr;
		request->bytes = msg->argument;
	}
	/* Answered pings must not hide requests that are not. */
	if (msg->type != TM_WIRE_PING)
		link->heart.progress = link->heart.heard;
	link->heart.barren = 0;
	tm_link_finish(link, call, tm_status_errno(msg->status));
}

/* The rest of the header, or of the payload. Bytes received, or -errno. */
static int receive_piece(struct tm_link *link)
{
	struct msghdr msg = {};
	struct kvec vec;

	if (link->rx_call) {
		const struct tm_link_request *request = link->rx_call->request;

		iov_iter_bvec(&msg.msg_iter, READ, request->bvec,
			      request->nr_bvec, link->rx_call->in);
		iov_iter_advance(&msg.msg_iter, link->rx_done);
	} else {
		vec.iov_base = (u8 *)&link->rx_header + link->rx_header_done;
		vec.iov_len = sizeof(link->rx_header) - link->rx_header_done;
		iov_iter_kvec(&msg.msg_iter, READ, &vec, 1, vec.iov_len);
	}
	return sock_recvmsg(link->sock, &msg, MSG_DONTWAIT);
}

/* What came belongs to the header, or to the payload. 0, or -EPROTO and why. */
static int take(struct tm_link *link, size_t bytes, const char **why)
{
	struct tm_call *call = link->rx_call;
	struct tm_msg msg;

	link->heart.heard = tm_link_now();
	if (call) {
		link->heart.progress = link->heart.heard;
		link->rx_done += bytes;
		if (link->rx_done < call->in)
			return 0;
		link->rx_call = NULL;
		link->heart.barren = 0;
		tm_link_finish(link, call, 0);
		return 0;
	}
	link->rx_header_done += bytes;
	if (link->rx_header_done < sizeof(link->rx_header))
		return 0;
	link->rx_header_done = 0;
	call = tm_calls_reply(&link->calls, &link->rx_header, &msg, why);
	if (!call)
		return -EPROTO;
	if (msg.type == TM_WIRE_RESERVE && !msg.status &&
	    msg.argument != link->extent_bytes) {
		*why = "an extent of another size than it said";
		return -EPROTO;
	}
	accept_reply(link, call, &msg);
	return 0;
}

/*
 * All was taken: the next event shall come when there is something to do. Where
 * the protocol cannot wait for that much, events come for each packet.
 */
static void await(struct tm_link *link)
{
	const struct proto_ops *ops = link->sock->ops;
	struct sock *sk = link->sock->sk;
	int bytes = 1;

	if (link->rx_call)
		bytes = min_t(size_t, link->rx_call->in - link->rx_done,
			      EVENT_BYTES);
	if (!ops->set_rcvlowat || READ_ONCE(sk->sk_rcvlowat) == bytes)
		return;
	lock_sock(sk);
	/* tells of what came meanwhile */
	ops->set_rcvlowat(sk, bytes);
	release_sock(sk);
}

void tm_link_receive(struct tm_link *link)
{
	size_t total = 0;
	const char *why;
	int n;

	while (link->sock) {
		if (total >= RECEIVE_BYTES) {
			WRITE_ONCE(link->event, true);
			return;
		}
		n = receive_piece(link);
		if (n == -EAGAIN) {
			await(link);
			return;
		}
		if (n < 0)
			tm_link_drop(link, n, "receiving failed");
		else if (n == 0)
			tm_link_drop(link, -ECONNRESET, "closed by the server");
		else if (take(link, n, &why))
			tm_link_drop(link, -EPROTO, why);
		else
			total += n;
	}
}
