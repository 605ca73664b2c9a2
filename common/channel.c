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

void tm_channel_init(struct tm_channel *channel, struct tm_session *session,
		     u32 index, struct tm_call *call, u32 nr_calls)
{
	channel->session = session;
	channel->index = index;
	channel->fd = -1;
	channel->dial.fd = -1;
	channel->heart.timeout = session->timeout_ns;
	tm_calls_init(&channel->calls, call, nr_calls);
}

void tm_channel_enqueue(struct tm_channel *channel, struct tm_request *request)
{
	tm_calls_add(&channel->calls, request, request->type, request->addr,
		     request->bytes);
}

int tm_channel_submit(struct tm_channel *channel, struct tm_request *request)
{
	if (tm_session_lost(channel->session))
		return -EIO;
	if (tm_channel_under_way(channel) + 1 >= channel->calls.nr)
		return -EAGAIN;
	if (request->type == TM_WIRE_RESERVE &&
	    channel->calls.reserves == TM_PROTO_RESERVES_MAX)
		return -EAGAIN;
	if (tm_channel_under_way(channel) == channel->calls.reserves)
		channel->heart.progress = tm_channel_now();
	tm_channel_enqueue(channel, request);
	return 0;
}

unsigned int tm_channel_under_way(const struct tm_channel *channel)
{
	return channel->calls.under_way - channel->heart.ping_under_way;
}

void tm_channel_finish(struct tm_channel *channel, struct tm_call *call,
		       int err)
{
	struct tm_request *request = tm_calls_remove(&channel->calls, call);

	if (request != &channel->ping)
		channel->completions++;
	request->done(request, err);
}

void tm_channel_fail_all(struct tm_channel *channel)
{
	struct tm_calls *calls = &channel->calls;

	while (calls->head != TM_CALL_NONE)
		tm_channel_finish(channel, &calls->call[calls->head], -EIO);
}

void tm_channel_rewind(struct tm_channel *channel)
{
	tm_calls_rewind(&channel->calls, channel->epoch);
	channel->tx_err = 0;
	channel->rx_call = NULL;
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

static void collect_requests(struct tm_calls *calls, struct tm_vectors *v)
{
	const size_t header_bytes = sizeof(struct tm_wire_header);
	size_t skip = calls->tx_done;
	u32 i;

	for (i = calls->unsent; i != TM_CALL_NONE; i = calls->call[i].next) {
		struct tm_call *call = &calls->call[i];
		size_t in_header = skip < header_bytes ? skip : header_bytes;

		if (in_header < header_bytes &&
		    !tm_vectors_add(v, (u8 *)&call->header + in_header,
				    header_bytes - in_header))
			return;
		if (call->out &&
		    !tm_vectors_add_payload(v, call->request, skip - in_header))
			return;
		skip = 0;
	}
}

void tm_channel_flush(struct tm_channel *channel)
{
	while (channel->state == TM_CHANNEL_UP && !channel->tx_err &&
	       channel->calls.unsent != TM_CALL_NONE) {
		struct tm_vectors v = tm_vectors(channel->tx_vec);
		struct msghdr msg = {.msg_iov = v.vec};
		ssize_t n;

		collect_requests(&channel->calls, &v);
		msg.msg_iovlen = v.nr;
		n = sendmsg(channel->fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n >= 0)
			tm_calls_sent(&channel->calls, n);
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
	if (channel->calls.unsent != TM_CALL_NONE)
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
