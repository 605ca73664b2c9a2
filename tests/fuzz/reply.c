// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a client makes of a server's bytes. The input is what the server sends
 * on an open channel that has one request of each kind under way (ids and
 * epoch are always the same), in two parts, so that reception is resumed in
 * the middle. Whatever it is, every request ends exactly once.
 */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel.h"

#define NR_REQUESTS 8

static struct tm_request requests[NR_REQUESTS];
static unsigned int ended[NR_REQUESTS];
static u8 buffers[NR_REQUESTS][8192];

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void on_lost(void *ctx, struct tm_session *session, const char *why)
{
}

static const struct tm_session_ops ops = {.lost = on_lost};

static void done(struct tm_request *request, int err)
{
	TM_BUG_ON(++ended[request - requests] > 1);
}

static void prepare(struct tm_channel *channel)
{
	static const struct {
		enum tm_request_kind kind;
		u32 bytes, pieces;
	} plan[NR_REQUESTS] = {
		{TM_REQUEST_READ, 64, 3},   {TM_REQUEST_WRITE, 100, 1},
		{TM_REQUEST_READ, 4096, 1}, {TM_REQUEST_RESERVE, 0, 0},
		{TM_REQUEST_STAT, 128, 1},  {TM_REQUEST_READ, 8192, 7},
		{TM_REQUEST_DISCARD, 1, 0}, {TM_REQUEST_PING, 0, 0},
	};
	u32 i, j, left;

	for (i = 0; i < NR_REQUESTS; i++) {
		struct tm_request *r = &requests[i];
		u8 *at = buffers[i];

		*r = (struct tm_request){
			.kind = plan[i].kind,
			.bytes = plan[i].bytes,
			.nr_iov = plan[i].pieces,
			.done = done,
		};
		left = plan[i].bytes;
		for (j = 0; j < plan[i].pieces; j++) {
			u32 len = j + 1 < plan[i].pieces ? left / 2 : left;

			r->iov[j] = (struct iovec){at, len};
			at += len;
			left -= len;
		}
		ended[i] = 0;
		TM_BUG_ON(tm_channel_submit(channel, r));
	}
	tm_channel_flush(channel);
}

static void feed(int fd, const uint8_t *data, size_t size,
		 struct tm_channel *channel)
{
	while (size > 0) {
		ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n <= 0)
			return;
		data += n;
		size -= n;
		tm_channel_process(channel);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tm_slot slots[NR_REQUESTS + 1];
	size_t bytes = sizeof(struct tm_session) + sizeof(struct tm_channel);
	struct tm_session *session = tm_alloc(bytes);
	struct tm_channel *channel = &session->channels[0];
	struct tm_dial *dial = &channel->dial;
	unsigned int i;
	int fd[2];

	TM_BUG_ON(!session || socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	memset(slots, 0, sizeof(slots));
	session->bytes = bytes;
	session->nr_channels = 1;
	session->ops = &ops;
	session->timeout_ns = 10000000000ull;
	tm_channel_init(channel, session, 0, slots, NR_REQUESTS + 1);
	dial->fd = fd[0];
	dial->epoch = 1;
	tm_channel_up(channel, dial);

	prepare(channel);
	feed(fd[1], data, size / 2, channel);
	feed(fd[1], data + size / 2, size - size / 2, channel);
	close(fd[1]);
	tm_channel_process(channel);

	session->state = TM_SESSION_LOST;
	tm_channel_process(channel);
	for (i = 0; i < NR_REQUESTS; i++)
		TM_BUG_ON(ended[i] != 1);
	TM_BUG_ON(tm_channel_under_way(channel) != 0);
	tm_session_forget(session);
	return 0;
}
