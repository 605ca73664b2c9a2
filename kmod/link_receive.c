// SPDX-License-Identifier: GPL-2.0
/*
 * The receiving half of a link: a header, then its payload straight into the
 * pages that the request names. See link_internal.h for who may touch what.
 *
 * A server is not trusted to keep to the protocol: a reply is taken only for a
 * request that was sent, with the type, the epoch and the length that it has.
 */
#include <linux/kernel.h>
#include <linux/uio.h>

#include "kmod/link_internal.h"

/* Received in one call to process, so that other links get their turn. */
#define RECEIVE_BYTES (8u << 20)

/* Whose reply is it? NULL and why if it is a lie. */
static struct tm_link_slot *identify(struct tm_link *link, struct tm_msg *msg,
				     const char **why)
{
	struct tm_link_slot *slot;
	u32 index;

	if (tm_msg_decode(&link->rx_header, true, msg, why))
		return NULL;
	index = msg->id & ((1u << TM_LINK_ID_INDEX_BITS) - 1);
	slot = index < link->nr_slots ? &link->slots[index] : NULL;
	*why = NULL;
	if (!msg->reply)
		*why = "a request from the server";
	else if (!slot || !slot->request || !slot->sent || slot->id != msg->id)
		*why = "a reply to no request";
	else if (msg->type != slot->request->type)
		*why = "a reply of another type than the request";
	else if (msg->epoch != link->epoch)
		*why = "a reply with another epoch";
	else if (msg->status == TM_STATUS_STALE ||
		 msg->status == TM_STATUS_NO_SESSION)
		*why = tm_status_text(msg->status);
	else if (!msg->status &&
		 msg->length != tm_link_payload_in(slot->request))
		*why = "a reply of another length than the request's";
	else if (!msg->status && msg->type == TM_WIRE_RESERVE &&
		 msg->argument != link->extent_bytes)
		*why = "an extent of another size than it said";
	return *why ? NULL : slot;
}

static void accept_reply(struct tm_link *link, struct tm_link_slot *slot,
			 const struct tm_msg *msg)
{
	int err = tm_status_errno(msg->status);

	if (msg->length) {
		link->rx_slot = slot;
		link->rx_done = 0;
		return;
	}
	if (msg->type == TM_WIRE_RESERVE && !msg->status) {
		slot->request->addr = msg->addr;
		slot->request->bytes = msg->argument;
	}
	/* Answered pings must not hide requests that are not. */
	if (msg->type != TM_WIRE_PING)
		link->progress = link->heard;
	link->barren = 0;
	/* The first time, the reply got lost. */
	if (slot->resent && msg->type == TM_WIRE_RELEASE && err == -EFAULT)
		err = 0;
	tm_link_finish(link, slot, err);
}

/* The rest of the header, or of the payload. Bytes received, or -errno. */
static int receive_piece(struct tm_link *link)
{
	struct msghdr msg = {};
	struct kvec vec;

	if (link->rx_slot) {
		const struct tm_link_request *request = link->rx_slot->request;

		iov_iter_bvec(&msg.msg_iter, READ, request->bvec,
			      request->nr_bvec, request->bytes);
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
	struct tm_link_slot *slot = link->rx_slot;
	struct tm_msg msg;

	link->heard = jiffies;
	if (slot) {
		link->progress = link->heard;
		link->rx_done += bytes;
		if (link->rx_done < slot->request->bytes)
			return 0;
		link->rx_slot = NULL;
		link->barren = 0;
		tm_link_finish(link, slot, 0);
		return 0;
	}
	link->rx_header_done += bytes;
	if (link->rx_header_done < sizeof(link->rx_header))
		return 0;
	link->rx_header_done = 0;
	slot = identify(link, &msg, why);
	if (!slot)
		return -EPROTO;
	accept_reply(link, slot, &msg);
	return 0;
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
		if (n == -EAGAIN)
			return;
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
