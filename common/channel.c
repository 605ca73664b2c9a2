// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A channel while its connection is up: the table of requests under way, and
 * sending them. Receiving the replies is receive.c's, and what happens when the
 * connection breaks renew.c's. See channel.h for who may touch what.
 */
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include "common/channel.h"

u64 tm_channel_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC_COARSE, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

u8 tm_request_wire_type(enum tm_request_kind kind)
{
	static const u8 types[] = {
		[TM_REQUEST_READ] = TM_WIRE_READ,
		[TM_REQUEST_WRITE] = TM_WIRE_WRITE,
		[TM_REQUEST_DISCARD] = TM_WIRE_DISCARD,
		[TM_REQUEST_RESERVE] = TM_WIRE_RESERVE,
		[TM_REQUEST_RELEASE] = TM_WIRE_RELEASE,
		[TM_REQUEST_STAT] = TM_WIRE_STAT,
		[TM_REQUEST_PING] = TM_WIRE_PING,
	};

	return types[kind];
}

/* Payload bytes that go with the request, and with the reply. */
static u32 payload_out(const struct tm_request *request)
{
	return request->kind == TM_REQUEST_WRITE ? request->bytes : 0;
}

u32 tm_payload_in(const struct tm_request *request)
{
	return request->kind == TM_REQUEST_READ ||
			       request->kind == TM_REQUEST_STAT
		       ? request->bytes
		       : 0;
}

static void encode(struct tm_channel *channel, struct tm_slot *slot)
{
	const struct tm_request *request = slot->request;
	struct tm_msg msg = {
		.type = tm_request_wire_type(request->kind),
		.id = slot->id,
		.epoch = channel->epoch,
		.length = payload_out(request),
	};

	switch (request->kind) {
	case TM_REQUEST_READ:
	case TM_REQUEST_DISCARD:
	case TM_REQUEST_RELEASE:
		msg.argument = request->bytes;
		msg.addr = request->addr;
		break;
	case TM_REQUEST_WRITE:
		msg.addr = request->addr;
		break;
	default:
		break;
	}
	tm_msg_encode(&msg, &slot->header);
}

void tm_channel_init(struct tm_channel *channel, struct tm_session *session,
		     u32 index, struct tm_slot *slots, u32 nr_slots)
{
	u32 i;

	channel->session = session;
	channel->index = index;
	channel->fd = -1;
	channel->dial.fd = -1;
	channel->slots = slots;
	channel->nr_slots = nr_slots;
	channel->heart.timeout = session->timeout_ns;
	channel->head = channel->tail = channel->unsent = TM_SLOT_NONE;
	for (i = 0; i < nr_slots; i++)
		slots[i].next = i + 1 < nr_slots ? i + 1 : TM_SLOT_NONE;
}

void tm_channel_enqueue(struct tm_channel *channel, struct tm_request *request)
{
	u32 index = channel->free;
	struct tm_slot *slot = &channel->slots[index];

	channel->free = slot->next;
	slot->request = request;
	slot->id = ++channel->sequence << TM_ID_INDEX_BITS | index;
	slot->sent = false;
	slot->next = TM_SLOT_NONE;
	slot->prev = channel->tail;
	if (channel->tail == TM_SLOT_NONE)
		channel->head = index;
	else
		channel->slots[channel->tail].next = index;
	channel->tail = index;
	if (channel->unsent == TM_SLOT_NONE)
		channel->unsent = index;
	channel->under_way++;
	channel->reserves += request->kind == TM_REQUEST_RESERVE;
	encode(channel, slot);
}

int tm_channel_submit(struct tm_channel *channel, struct tm_request *request)
{
	if (tm_session_lost(channel->session))
		return -EIO;
	if (tm_channel_under_way(channel) + 1 >= channel->nr_slots)
		return -EAGAIN;
	if (request->kind == TM_REQUEST_RESERVE &&
	    channel->reserves == TM_PROTO_RESERVES_MAX)
		return -EAGAIN;
	if (tm_channel_under_way(channel) == channel->reserves)
		channel->heart.progress = tm_channel_now();
	tm_channel_enqueue(channel, request);
	return 0;
}

unsigned int tm_channel_under_way(const struct tm_channel *channel)
{
	return channel->under_way - channel->heart.ping_under_way;
}

void tm_channel_finish(struct tm_channel *channel, struct tm_slot *slot,
		       int err)
{
	struct tm_request *request = slot->request;
	u32 index = slot - channel->slots;

	if (slot->prev == TM_SLOT_NONE)
		channel->head = slot->next;
	else
		channel->slots[slot->prev].next = slot->next;
	if (slot->next == TM_SLOT_NONE)
		channel->tail = slot->prev;
	else
		channel->slots[slot->next].prev = slot->prev;
	slot->request = NULL;
	slot->next = channel->free;
	channel->free = index;
	channel->under_way--;
	channel->reserves -= request->kind == TM_REQUEST_RESERVE;
	if (request != &channel->ping)
		channel->completions++;
	request->done(request, err);
}

void tm_channel_fail_all(struct tm_channel *channel)
{
	while (channel->head != TM_SLOT_NONE)
		tm_channel_finish(channel, &channel->slots[channel->head],
				  -EIO);
	channel->unsent = TM_SLOT_NONE;
}

void tm_channel_rewind(struct tm_channel *channel)
{
	u32 i;

	for (i = channel->head; i != TM_SLOT_NONE; i = channel->slots[i].next) {
		struct tm_slot *slot = &channel->slots[i];

		slot->sent = false;
		encode(channel, slot);
	}
	channel->unsent = channel->head;
	channel->tx_done = 0;
	channel->tx_err = 0;
	channel->rx_slot = NULL;
	channel->rx_header_done = 0;
}

bool tm_vectors_add(struct tm_vectors *v, void *base, size_t len)
{
	size_t fits = len < v->room ? len : v->room;

	if (v->nr == TM_CHANNEL_VECTORS)
		return false;
	v->vec[v->nr].iov_base = base;
	v->vec[v->nr++].iov_len = fits;
	v->bytes += fits;
	v->room -= fits;
	return fits == len && v->room > 0;
}

bool tm_vectors_add_payload(struct tm_vectors *v,
			    const struct tm_request *request, size_t skip)
{
	unsigned int i;

	for (i = 0; i < request->nr_iov; i++) {
		const struct iovec *iov = &request->iov[i];

		if (skip >= iov->iov_len) {
			skip -= iov->iov_len;
			continue;
		}
		if (!tm_vectors_add(v, (char *)iov->iov_base + skip,
				    iov->iov_len - skip))
			return false;
		skip = 0;
	}
	return true;
}

static void collect_requests(struct tm_channel *channel, struct tm_vectors *v)
{
	const size_t header_bytes = sizeof(struct tm_wire_header);
	size_t skip = channel->tx_done;
	u32 i;

	for (i = channel->unsent; i != TM_SLOT_NONE;
	     i = channel->slots[i].next) {
		struct tm_slot *slot = &channel->slots[i];
		size_t in_header = skip < header_bytes ? skip : header_bytes;

		if (in_header < header_bytes &&
		    !tm_vectors_add(v, (u8 *)&slot->header + in_header,
				    header_bytes - in_header))
			return;
		if (payload_out(slot->request) &&
		    !tm_vectors_add_payload(v, slot->request, skip - in_header))
			return;
		skip = 0;
	}
}

static void sent(struct tm_channel *channel, size_t bytes)
{
	while (bytes > 0) {
		struct tm_slot *slot = &channel->slots[channel->unsent];
		size_t left = sizeof(slot->header) +
			      payload_out(slot->request) - channel->tx_done;

		if (bytes < left) {
			channel->tx_done += bytes;
			return;
		}
		bytes -= left;
		channel->tx_done = 0;
		channel->unsent = slot->next;
		slot->sent = true;
	}
}

void tm_channel_flush(struct tm_channel *channel)
{
	while (channel->state == TM_CHANNEL_UP && !channel->tx_err &&
	       channel->unsent != TM_SLOT_NONE) {
		struct tm_vectors v = tm_vectors(channel->tx_vec);
		struct msghdr msg = {.msg_iov = v.vec};
		ssize_t n;

		collect_requests(channel, &v);
		msg.msg_iovlen = v.nr;
		n = sendmsg(channel->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			sent(channel, n);
		else if (errno != EAGAIN && errno != ENOBUFS)
			channel->tx_err = errno;
		if (n < (ssize_t)v.bytes)
			return;
	}
}

int tm_channel_process(struct tm_channel *channel)
{
	channel->completions = 0;
	if (channel->state == TM_CHANNEL_UP) {
		tm_channel_receive(channel);
		tm_channel_flush(channel);
		tm_channel_keep_time(channel);
		if (channel->tx_err && channel->state == TM_CHANNEL_UP)
			tm_channel_drop(channel, -channel->tx_err,
					strerrordesc_np(channel->tx_err));
	}
	if (channel->state != TM_CHANNEL_UP) {
		tm_channel_renew(channel);
		tm_channel_flush(channel);
	}
	if (tm_session_lost(channel->session))
		tm_channel_fail_all(channel);
	return channel->completions;
}

int tm_channel_fd(const struct tm_channel *channel, short *events)
{
	if (channel->state == TM_CHANNEL_DIALING) {
		*events = tm_dial_events(&channel->dial);
		return channel->dial.fd;
	}
	*events = POLLIN;
	if (channel->unsent != TM_SLOT_NONE)
		*events |= POLLOUT;
	return channel->fd;
}

static void call_done(struct tm_request *request, int err)
{
	*(int *)request->cookie = err;
}

int tm_channel_call(struct tm_channel *channel, struct tm_request *request)
{
	int err = 1; /* no errno */
	int submitted;

	request->done = call_done;
	request->cookie = &err;
	submitted = tm_channel_submit(channel, request);
	if (submitted)
		return submitted;
	while (err > 0)
		tm_channel_wait(channel);
	return err;
}

int tm_channel_wait(struct tm_channel *channel)
{
	int completions = 0;

	tm_channel_flush(channel);
	while (tm_channel_under_way(channel) && !completions) {
		struct pollfd p = {0};

		p.fd = tm_channel_fd(channel, &p.events);
		poll(&p, 1, tm_channel_wait_ms(channel));
		completions = tm_channel_process(channel);
	}
	return completions;
}
