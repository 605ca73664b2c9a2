// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opening and closing sessions with a memory server; see session.h. Once a
 * session is open, its channels are channel.c's and renew.c's.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel.h"
#include "common/connect.h"

#define DEPTH_MAX 8192
#define BYE_MS 1000

static int connect_all(struct tm_session *session, const char **why)
{
	u64 deadline = tm_channel_now() + session->timeout_ns;
	struct tm_channel *channel = &session->channels[0];
	unsigned int i, max;
	int err;

	*why = channel->dial.why;
	err = tm_connect_first(&channel->dial, &session->target, deadline);
	if (err)
		return err;
	session->welcome = channel->dial.welcome;
	tm_channel_up(channel, &channel->dial);

	max = tm_le32_to_cpu(session->welcome.channels_max);
	if (session->nr_channels > max) {
		snprintf(channel->dial.why, sizeof(channel->dial.why),
			 "it allows %u connections, not %u", max,
			 session->nr_channels);
		return -EUSERS;
	}
	for (i = 1; i < session->nr_channels; i++) {
		channel = &session->channels[i];
		*why = channel->dial.why;
		err = tm_connect(&channel->dial, &session->target, i, deadline);
		if (err)
			return err;
		tm_channel_up(channel, &channel->dial);
	}
	return 0;
}

static struct tm_session *allocate(const struct tm_session_config *config)
{
	size_t channels = config->nr_channels * sizeof(struct tm_channel);
	/* One more than asked for: the ping's. */
	u32 nr_calls = config->depth + 1;
	size_t bytes = sizeof(struct tm_session) + channels +
		       config->nr_channels * nr_calls * sizeof(struct tm_call);
	struct tm_session *session = tm_alloc(bytes);
	struct tm_call *call;
	unsigned int i;

	if (!session)
		return NULL;
	session->bytes = bytes;
	session->timeout_ns = config->timeout_ms * 1000000ull;
	session->nr_channels = config->nr_channels;
	tm_lock_init(&session->lock);
	call = (void *)((char *)session->channels + channels);
	for (i = 0; i < config->nr_channels; i++)
		tm_channel_init(&session->channels[i], session, i,
				call + i * nr_calls, nr_calls);
	return session;
}

static void destroy(struct tm_session *session)
{
	unsigned int i;

	for (i = 0; i < session->nr_channels; i++) {
		tm_dial_cancel(&session->channels[i].dial);
		if (session->channels[i].fd >= 0)
			close(session->channels[i].fd);
	}
	explicit_bzero(&session->target, sizeof(session->target));
	tm_free(session, session->bytes);
}

int tm_session_open(const struct tm_session_config *config,
		    const struct tm_session_ops *ops, void *ctx,
		    struct tm_session **result, char *why, size_t why_len)
{
	struct tm_session *session;
	const char *cause;
	int err;

	if (!config->nr_channels ||
	    config->nr_channels > TM_PROTO_CHANNELS_MAX || !config->depth ||
	    config->depth > DEPTH_MAX || config->timeout_ms < 100) {
		snprintf(why, why_len,
			 "connect to server %s: impossible configuration",
			 config->server->address);
		return -EINVAL;
	}
	session = allocate(config);
	if (!session) {
		snprintf(why, why_len, "connect to server %s: out of memory",
			 config->server->address);
		return -ENOMEM;
	}
	session->ops = ops;
	session->ctx = ctx;
	snprintf(session->name, sizeof(session->name), "%s",
		 config->server->address);
	err = tm_connect_prepare(&session->target, config->server, config->job,
				 config->timeout_ms);
	session->target.name = session->name;
	if (err)
		cause = "no random bytes";
	else
		err = connect_all(session, &cause);
	if (err) {
		snprintf(why, why_len, "connect to server %s: %s",
			 config->server->address, cause);
		destroy(session);
		return err;
	}
	*result = session;
	return 0;
}

/*
 * Wait until the server closes, as it does after a BYE: closing with unread
 * replies would reset the connection, and the BYE might be lost with it.
 */
static void drain(int fd)
{
	u64 deadline = tm_channel_now() + BYE_MS * 1000000ull;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char sink[4096];
	u64 now;

	shutdown(fd, SHUT_WR);
	while ((now = tm_channel_now()) < deadline &&
	       poll(&p, 1, (int)((deadline - now) / 1000000) + 1) > 0)
		if (recv(fd, sink, sizeof(sink), MSG_DONTWAIT) <= 0)
			return;
}

static bool say_bye(struct tm_channel *channel)
{
	const struct tm_msg msg = {
		.type = TM_WIRE_BYE,
		.epoch = channel->epoch,
	};
	struct tm_wire_header header;

	/* Not into the middle of another message. */
	if (channel->state != TM_CHANNEL_UP || channel->calls.tx_done)
		return false;
	tm_msg_encode(&msg, &header);
	if (send(channel->fd, &header, sizeof(header),
		 MSG_NOSIGNAL | MSG_DONTWAIT) != (ssize_t)sizeof(header))
		return false;
	drain(channel->fd);
	return true;
}

void tm_session_close(struct tm_session *session)
{
	unsigned int i;

	if (!tm_session_lost(session))
		for (i = 0; i < session->nr_channels; i++)
			if (say_bye(&session->channels[i]))
				break;
	destroy(session);
}

void tm_session_forget(struct tm_session *session)
{
	destroy(session);
}

const struct tm_wire_welcome *tm_session_welcome(const struct tm_session *s)
{
	return &s->welcome;
}

struct tm_channel *tm_session_channel(struct tm_session *session,
				      unsigned int index)
{
	return &session->channels[index];
}
