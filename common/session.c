// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Opening and closing sessions with a memory server; see session.h. Once a
 * session is open, its channels are channel.c's and renew.c's.
 */
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/auth.h"
#include "common/channel.h"

#define DEPTH_MAX 4096
#define BYE_MS 1000

static int ms_until(u64 deadline)
{
	u64 now = tm_channel_now();

	return now < deadline ? (deadline - now) / 1000000 + 1 : 0;
}

/* Make one connection, blocking. */
static int connect_channel(struct tm_session *session,
			   struct tm_channel *channel, u64 deadline)
{
	struct tm_dial *dial = &channel->dial;
	int err;

	err = tm_dial_start(dial, &session->target, channel->index, 1);
	while (!err) {
		struct pollfd p = {.fd = dial->fd};
		int left = ms_until(deadline);

		err = tm_dial_step(dial, &session->target);
		if (!err) {
			tm_channel_up(channel, dial);
			return 0;
		}
		if (err != -EAGAIN)
			break;
		if (!left) {
			tm_dial_cancel(dial);
			snprintf(dial->why, sizeof(dial->why),
				 "no answer in time (is it reachable?)");
			return -ETIMEDOUT;
		}
		p.events = tm_dial_events(dial);
		poll(&p, 1, left);
		err = 0;
	}
	return err;
}

/* The first channel brings the session, on the first address that works. */
static int connect_first(struct tm_session *session, u64 deadline, char *why,
			 size_t why_len)
{
	struct tm_channel *channel = &session->channels[0];
	struct tm_address list[TM_ADDRESSES_MAX];
	int i, nr, err = 0;

	nr = tm_address_resolve(session->name, list, why, why_len);
	if (nr < 0)
		return nr;
	for (i = 0; i < nr; i++) {
		session->target.address = list[i];
		err = connect_channel(session, channel, deadline);
		if (!err || err == -ETIMEDOUT)
			break;
	}
	snprintf(why, why_len, "%s", channel->dial.why);
	return err;
}

static int connect_all(struct tm_session *session, char *why, size_t why_len)
{
	u64 deadline = tm_channel_now() + session->timeout_ns;
	unsigned int i, max;
	int err;

	err = connect_first(session, deadline, why, why_len);
	if (err)
		return err;
	session->welcome = session->channels[0].dial.welcome;
	session->target.session = tm_le64_to_cpu(session->welcome.session);

	max = tm_le32_to_cpu(session->welcome.channels_max);
	if (session->nr_channels > max) {
		snprintf(why, why_len, "it allows %u connections, not %u", max,
			 session->nr_channels);
		return -EUSERS;
	}
	for (i = 1; i < session->nr_channels; i++) {
		struct tm_channel *channel = &session->channels[i];

		err = connect_channel(session, channel, deadline);
		if (err) {
			snprintf(why, why_len, "%s", channel->dial.why);
			return err;
		}
	}
	return 0;
}

static struct tm_session *allocate(const struct tm_session_config *config)
{
	size_t channels = config->nr_channels * sizeof(struct tm_channel);
	/* One more than asked for: the ping's. */
	u32 nr_slots = config->depth + 1;
	size_t bytes = sizeof(struct tm_session) + channels +
		       config->nr_channels * nr_slots * sizeof(struct tm_slot);
	struct tm_session *session = tm_alloc(bytes);
	struct tm_slot *slots;
	unsigned int i;

	if (!session)
		return NULL;
	session->bytes = bytes;
	session->nr_channels = config->nr_channels;
	tm_lock_init(&session->lock);
	slots = (void *)((char *)session->channels + channels);
	for (i = 0; i < config->nr_channels; i++)
		tm_channel_init(&session->channels[i], session, i,
				slots + i * nr_slots, nr_slots);
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
	char cause[320];
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
	session->timeout_ns = config->timeout_ms * 1000000ull;
	snprintf(session->name, sizeof(session->name), "%s",
		 config->server->address);
	session->target.name = session->name;
	session->target.auth = config->server->auth;
	session->target.job = config->job;
	session->target.timeout_ms = config->timeout_ms;
	err = tm_auth_random(session->target.key, sizeof(session->target.key));
	if (err)
		snprintf(cause, sizeof(cause), "get random bytes: %s",
			 strerrordesc_np(-err));
	else
		err = connect_all(session, cause, sizeof(cause));
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

	shutdown(fd, SHUT_WR);
	while (poll(&p, 1, ms_until(deadline)) > 0)
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
	if (channel->state != TM_CHANNEL_UP || channel->tx_done)
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
