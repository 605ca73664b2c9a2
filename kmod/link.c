// SPDX-License-Identifier: GPL-2.0
/*
 * A link's requests, whose table is core/calls.h's, and their sending; see
 * link.h and, for who may touch what, link_internal.h.
 */
#include <linux/file.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "kmod/link_internal.h"

void tm_link_enqueue(struct tm_link *link, struct tm_link_request *request)
{
	tm_calls_add(&link->calls, request, request->type, request->addr,
		     request->bytes);
}

int tm_link_submit(struct tm_link *link, struct tm_link_request *request)
{
	if (link->lost)
		return -EIO;
	if (tm_link_under_way(link) == link->config.depth)
		return -EAGAIN;
	if (request->type == TM_WIRE_RESERVE &&
	    link->calls.reserves == TM_PROTO_RESERVES_MAX)
		return -EAGAIN;
	if (tm_link_under_way(link) == link->calls.reserves)
		link->heart.progress = tm_link_now();
	tm_link_enqueue(link, request);
	return 0;
}

unsigned int tm_link_under_way(const struct tm_link *link)
{
	return link->calls.under_way - link->heart.ping_under_way;
}

void tm_link_finish(struct tm_link *link, struct tm_call *call, int err)
{
	struct tm_link_request *request = tm_calls_remove(&link->calls, call);

	if (request != &link->ping)
		link->completions++;
	request->done(request, err);
}

void tm_link_rewind(struct tm_link *link, u32 epoch)
{
	tm_calls_rewind(&link->calls, epoch);
	link->tx_full = false;
	link->rx_call = NULL;
	link->rx_header_done = 0;
}

static void fail_all(struct tm_link *link)
{
	struct tm_calls *calls = &link->calls;

	while (calls->head != TM_CALL_NONE)
		tm_link_finish(link, &calls->call[calls->head], -EIO);
}

/* The rest of the call's header, or of its payload. Bytes sent, or -errno. */
static int send_piece(struct tm_link *link, struct tm_call *call)
{
	const struct tm_link_request *request = call->request;
	struct msghdr msg = {.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL};
	size_t done = link->calls.tx_done;
	struct kvec vec;

	if (call->next != TM_CALL_NONE)
		msg.msg_flags |= MSG_MORE;
	if (done < sizeof(call->header)) {
		if (call->out)
			msg.msg_flags |= MSG_MORE;
		vec.iov_base = (u8 *)&call->header + done;
		vec.iov_len = sizeof(call->header) - done;
		iov_iter_kvec(&msg.msg_iter, WRITE, &vec, 1, vec.iov_len);
	} else {
		iov_iter_bvec(&msg.msg_iter, WRITE, request->bvec,
			      request->nr_bvec, call->out);
		iov_iter_advance(&msg.msg_iter, done - sizeof(call->header));
	}
	return sock_sendmsg(link->sock, &msg);
}

static void send_requests(struct tm_link *link)
{
	struct tm_calls *calls = &link->calls;
	int n;

	while (link->sock && !link->tx_full && calls->unsent != TM_CALL_NONE) {
		n = send_piece(link, &calls->call[calls->unsent]);
		if (n == -EAGAIN)
			WRITE_ONCE(link->tx_full, true);
		else if (n < 0)
			tm_link_drop(link, n, "sending failed");
		else
			tm_calls_sent(calls, n);
	}
}

int tm_link_process(struct tm_link *link)
{
	link->completions = 0;
	/* A payload that trickles makes no events: not to take it for dead. */
	if (READ_ONCE(link->event) || link->rx_call) {
		/* Before the looks at what it announces. */
		smp_store_mb(link->event, false);
		link->tx_full = false;
		tm_link_adopt(link);
		tm_link_receive(link);
	}
	send_requests(link);
	tm_link_keep_time(link);
	send_requests(link);
	if (link->lost)
		fail_all(link);
	return link->completions;
}

bool tm_link_ready(const struct tm_link *link)
{
	if (READ_ONCE(link->event))
		return true;
	return READ_ONCE(link->attached) && !READ_ONCE(link->tx_full) &&
	       READ_ONCE(link->calls.unsent) != TM_CALL_NONE;
}

bool tm_link_attached(const struct tm_link *link)
{
	return READ_ONCE(link->attached);
}

u64 tm_link_reconnects(const struct tm_link *link)
{
	return link->reconnects;
}

int tm_link_create(const struct tm_link_config *config, struct tm_link **result)
{
	/* One more than asked for: the ping's. */
	u32 nr_calls = config->depth + 1;
	struct tm_link *link;
	struct tm_call *call;

	link = kzalloc(sizeof(*link), GFP_KERNEL);
	if (!link)
		return -ENOMEM;
	call = kvcalloc(nr_calls, sizeof(*call), GFP_KERNEL);
	if (!call) {
		kfree(link);
		return -ENOMEM;
	}
	link->config = *config;
	spin_lock_init(&link->lock);
	link->heart.timeout = (u64)config->timeout_ms * NSEC_PER_MSEC;
	tm_calls_init(&link->calls, call, nr_calls);
	*result = link;
	return 0;
}

/*
 * The session ends on purpose: the server need not keep it for the grace time.
 * Not into the middle of another message.
 */
static void say_bye(struct tm_link *link)
{
	const struct tm_msg bye = {.type = TM_WIRE_BYE,
				   .epoch = link->calls.epoch};
	struct msghdr msg = {.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL};
	struct tm_wire_header header;
	struct kvec vec = {&header, sizeof(header)};

	if (!link->sock || link->calls.tx_done)
		return;
	tm_msg_encode(&bye, &header);
	kernel_sendmsg(link->sock, &msg, &vec, 1, sizeof(header));
}

void tm_link_destroy(struct tm_link *link)
{
	if (link->incoming)
		sockfd_put(link->incoming);
	say_bye(link);
	tm_link_unhook(link);
	kvfree(link->calls.call);
	kfree(link);
}
