// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A memory server's replies, as the client takes them: a channel with one
 * request of each kind under way receives the input from its socket, in pieces
 * as large as the first byte says. Each request must be completed exactly once,
 * whatever comes.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel.h"
#include "tests/fuzz/fuzz.h"

#define DATA_BYTES 4096

static const enum tm_wire_type types[] = {
	TM_WIRE_READ, TM_WIRE_WRITE,   TM_WIRE_READ,	TM_WIRE_DISCARD,
	TM_WIRE_STAT, TM_WIRE_RESERVE, TM_WIRE_RELEASE, TM_WIRE_PING,
};

#define NR_REQUESTS (sizeof(types) / sizeof(types[0]))

static struct tm_request requests[NR_REQUESTS];
static unsigned int completed[NR_REQUESTS];
static u8 bytes[NR_REQUESTS][DATA_BYTES];
static struct tm_call calls[NR_REQUESTS + 1];

static void done(struct tm_request *request, int err)
{
	fuzz_check(err <= 0);
	completed[request - requests]++;
}

static void submit(struct tm_channel *channel)
{
	size_t i;

	for (i = 0; i < NR_REQUESTS; i++) {
		struct tm_request *r = &requests[i];
		bool stat = types[i] == TM_WIRE_STAT;

		completed[i] = 0;
		memset(r, 0, sizeof(*r));
		r->type = types[i];
		r->addr = i * DATA_BYTES;
		r->bytes = stat ? sizeof(struct tm_wire_stat) : DATA_BYTES;
		/* Two pieces, so that replies are scattered. */
		r->nr_iov = 2;
		r->iov[0].iov_base = bytes[i];
		r->iov[0].iov_len = 64;
		r->iov[1].iov_base = bytes[i] + 64;
		r->iov[1].iov_len = r->bytes - 64;
		r->done = done;
		fuzz_check(!tm_channel_submit(channel, r));
	}
}

static void lost(void *ctx, struct tm_session *session, const char *why)
{
}

static void drain(int fd)
{
	char sink[65536];

	while (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct tm_session_ops ops = {.lost = lost};
	static struct tm_session *session;
	const size_t memory = sizeof(*session) + sizeof(struct tm_channel);
	struct tm_channel *channel;
	size_t i, piece;
	int fd[2];

	if (!size)
		return 0;
	piece = data[0] ? data[0] : 65536;
	data++, size--;

	if (!session)
		session = malloc(memory);
	fuzz_check(session);
	memset(session, 0, memory);
	memset(calls, 0, sizeof(calls));
	tm_lock_init(&session->lock);
	session->nr_channels = 1;
	session->ops = &ops;
	session->timeout_ns = 1000000000;
	channel = session->channels;
	tm_channel_init(channel, session, 0, calls, NR_REQUESTS + 1);
	fuzz_check(!socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd));
	channel->dial.fd = fd[0];
	channel->dial.epoch = 1;
	tm_channel_up(channel, &channel->dial);
	submit(channel);
	tm_channel_flush(channel);
	drain(fd[1]);

	while (size && channel->state == TM_CHANNEL_UP) {
		ssize_t n = send(fd[1], data, size < piece ? size : piece,
				 MSG_NOSIGNAL);

		if (n < 0)
			break;
		data += n;
		size -= (size_t)n;
		tm_channel_process(channel);
	}
	tm_channel_fail_all(channel);
	for (i = 0; i < NR_REQUESTS; i++)
		fuzz_check(completed[i] == 1);
	tm_dial_cancel(&channel->dial);
	if (channel->fd >= 0)
		close(channel->fd);
	close(fd[1]);
	return 0;
}
