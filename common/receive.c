// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The receiving half of a channel. See channel.h for who may touch what.
 *
 * Replies may come in any order, but nearly always come in that of the
 * requests: so a receive is prepared for the replies to be expected, each
 * header to its place and each payload straight to where the request wants it,
 * as many as fit into one system call. Bytes that turn out to belong elsewhere
 * are copied out (`spill`) and taken one by one. What lies in a READ's memory
 * is undefined until it is done, so that the wrong bytes there do no harm.
 */
#include <sys/socket.h>

#include "common/channel.h"

/* Bytes received in one call to process, so that other work gets its turn. */
#define RECEIVE_BYTES (8u << 20)

/* What may come next, and where it goes. Returns the number of replies. */
static unsigned int collect_replies(struct tm_channel *channel,
				    struct tm_vectors *v)
{
	unsigned int nr = 0;
	u32 i;

	if (channel->rx_call &&
	    !tm_vectors_add_payload(v, channel->rx_call->request,
				    channel->rx_done))
		return 0;
	for (i = channel->calls.head;
	     i != channel->calls.unsent && !channel->rx_header_done;
	     i = channel->calls.call[i].next) {
		struct tm_call *call = &channel->calls.call[i];

		if (call == channel->rx_call)
			continue;
		if (nr == TM_CHANNEL_EXPECTED || v->nr == TM_CHANNEL_VECTORS ||
		    v->room < sizeof(struct tm_wire_header))
			break;
		channel->expected[nr].call = call;
		channel->expected[nr].vec = v->nr;
		if (!tm_vectors_add(v, &channel->expected_header[nr++],
				    sizeof(struct tm_wire_header)))
			break;
		if (call->in && !tm_vectors_add_payload(v, call->request, 0))
			break;
	}
	if (v->nr == 0)
		tm_vectors_add(
			v, (u8 *)&channel->rx_header + channel->rx_header_done,
			sizeof(channel->rx_header) - channel->rx_header_done);
	return nr;
}

static void accept_reply(struct tm_channel *channel, struct tm_call *call,
			 const struct tm_msg *msg)
{
	if (msg->length) {
		channel->rx_call = call;
		channel->rx_done = 0;
		return;
	}
	if (msg->type == TM_WIRE_RESERVE && !msg->status) {
		struct tm_request *request = call->request;

		request->addr = msg->addr;
		request->bytes = msg->argument;
	}
	/* Answered pings must not hide requests that are not. */
	if (msg->type != TM_WIRE_PING)
		channel->heart.progress = channel->heart.heard;
	channel->heart.barren = 0;
	tm_channel_finish(channel, call, tm_status_errno(msg->status));
}

/* `bytes` arrived, some of them in rx_call's memory; returns how many. */
static size_t advance(struct tm_channel *channel, size_t bytes)
{
	struct tm_call *call = channel->rx_call;
	size_t left = call->in - channel->rx_done;

	channel->heart.progress = channel->heart.heard;
	if (bytes < left) {
		channel->rx_done += bytes;
		return bytes;
	}
	channel->rx_call = NULL;
	channel->heart.barren = 0;
	tm_channel_finish(channel, call, 0);
	return left;
}

/* Copy into rx_call's memory; returns how many bytes belonged there. */
static size_t copy_payload(struct tm_channel *channel, const u8 *from,
			   size_t bytes)
{
	struct tm_vectors v = tm_vectors(channel->rx_vec);
	size_t done = 0;
	unsigned int i;

	tm_vectors_add_payload(&v, channel->rx_call->request, channel->rx_done);
	for (i = 0; i < v.nr && done < bytes; i++) {
		size_t len = v.vec[i].iov_len;

		if (len > bytes - done)
			len = bytes - done;
		memcpy(v.vec[i].iov_base, from + done, len);
		done += len;
	}
	return advance(channel, done);
}

static int header_complete(struct tm_channel *channel, const char **why)
{
	struct tm_call *call;
	struct tm_msg msg;

	channel->rx_header_done = 0;
	call = tm_calls_reply(&channel->calls, &channel->rx_header, &msg, why);
	if (!call)
		return -EPROTO;
	accept_reply(channel, call, &msg);
	return 0;
}

/* Bytes in a row, in whatever state the reception is. */
static int take_bytes(struct tm_channel *channel, const u8 *from, size_t bytes,
		      const char **why)
{
	while (bytes > 0) {
		size_t len =
			sizeof(channel->rx_header) - channel->rx_header_done;

		if (channel->rx_call) {
			len = copy_payload(channel, from, bytes);
		} else {
			if (len > bytes)
				len = bytes;
			memcpy((u8 *)&channel->rx_header +
				       channel->rx_header_done,
			       from, len);
			channel->rx_header_done += len;
			if (channel->rx_header_done ==
				    sizeof(channel->rx_header) &&
			    header_complete(channel, why))
				return -EPROTO;
		}
		from += len;
		bytes -= len;
	}
	return 0;
}

/* Bytes that were received into the vectors from number `first` on. */
static void spill(struct tm_channel *channel, unsigned int first, size_t bytes)
{
	size_t done = 0;

	for (; done < bytes; first++) {
		size_t len = channel->rx_vec[first].iov_len;

		if (len > bytes - done)
			len = bytes - done;
		memcpy(channel->spill + done, channel->rx_vec[first].iov_base,
		       len);
		done += len;
	}
}

/* Go through what a receive prepared for `nr` replies brought. */
static int take(struct tm_channel *channel, unsigned int nr, size_t bytes,
		const char **why)
{
	unsigned int i;

	if (channel->rx_call) {
		bytes -= advance(channel, bytes);
	} else if (nr == 0) {
		channel->rx_header_done += bytes;
		if (channel->rx_header_done == sizeof(channel->rx_header))
			return header_complete(channel, why);
		return 0;
	}
	for (i = 0; i < nr && bytes > 0; i++) {
		const struct tm_wire_header *header =
			&channel->expected_header[i];
		const struct tm_expected *expected = &channel->expected[i];
		struct tm_call *call;
		struct tm_msg msg;

		if (bytes < sizeof(*header))
			return take_bytes(channel, (const u8 *)header, bytes,
					  why);
		bytes -= sizeof(*header);
		call = tm_calls_reply(&channel->calls, header, &msg, why);
		if (!call)
			return -EPROTO;
		if (bytes > 0 &&
		    (call != expected->call || msg.length != call->in)) {
			spill(channel, expected->vec + 1, bytes);
			accept_reply(channel, call, &msg);
			return take_bytes(channel, channel->spill, bytes, why);
		}
		accept_reply(channel, call, &msg);
		if (bytes > 0 && channel->rx_call)
			bytes -= advance(channel, bytes);
	}
	return 0;
}

void tm_channel_receive(struct tm_channel *channel)
{
	size_t total = 0;
	bool more;

	do {
		struct tm_vectors v = tm_vectors(channel->rx_vec);
		unsigned int nr = collect_replies(channel, &v);
		struct msghdr msg = {
			.msg_iov = v.vec,
			.msg_iovlen = v.nr,
		};
		const char *why;
		ssize_t n = recvmsg(channel->fd, &msg, MSG_DONTWAIT);

		if (n == 0)
			return tm_channel_drop(channel, -ECONNRESET,
					       "closed by the server");
		if (n < 0 && errno != EAGAIN)
			tm_channel_drop(channel, -errno,
					strerrordesc_np(errno));
		if (n < 0)
			return;
		channel->heart.heard = tm_channel_now();
		if (take(channel, nr, n, &why))
			return tm_channel_drop(channel, -EPROTO, why);
		total += n;
		/* A short read has emptied the socket. */
		more = n == (ssize_t)v.bytes &&
		       channel->calls.head != channel->calls.unsent;
	} while (more && total < RECEIVE_BYTES);
}
