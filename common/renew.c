// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A channel whose connection broke, or is silent: heartbeat (whose rules are
 * core/heartbeat.h's), new connection, and the judgement that a server is lost.
 * Nothing here blocks. See channel.h for who may touch what.
 */
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/channel.h"

#define MS 1000000ull

/*
 * A server that was killed refuses a connection; so may one whose backlog is
 * full, for a moment.
 */
#define REFUSALS_MAX 2
#define REFUSED_PAUSE_NS (150 * MS)
#define FAILED_PAUSE_NS (200 * MS)

/* One more for each connection that brought nothing, up to a limit. */
#define BARREN_PAUSE_NS (20 * MS)
#define BARREN_PAUSES_MAX 10

static void set_fd(struct tm_channel *channel, int fd)
{
	struct tm_lock *lock = &channel->session->lock;
	int old = channel->fd;

	tm_lock_acquire(lock);
	channel->fd = fd;
	tm_lock_release(lock);
	if (old >= 0)
		close(old);
}

/* Let the other channels' threads notice: their sockets become readable. */
static void wake_others(const struct tm_channel *channel)
{
	struct tm_session *session = channel->session;
	unsigned int i;

	tm_lock_acquire(&session->lock);
	for (i = 0; i < session->nr_channels; i++)
		if (i != channel->index && session->channels[i].fd >= 0)
			shutdown(session->channels[i].fd, SHUT_RDWR);
	tm_lock_release(&session->lock);
}

static void lose(struct tm_channel *channel, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

static void lose(struct tm_channel *channel, const char *fmt, ...)
{
	struct tm_session *session = channel->session;
	char cause[320], why[800];
	va_list args;

	tm_dial_cancel(&channel->dial);
	channel->state = TM_CHANNEL_DOWN;
	if (!tm_cas(&session->state, TM_SESSION_ALIVE, TM_SESSION_LOSING))
		return;
	va_start(args, fmt);
	vsnprintf(cause, sizeof(cause), fmt, args);
	va_end(args);
	snprintf(why, sizeof(why), "use server %s: lost: %s; %s", session->name,
		 channel->why, cause);
	session->ops->lost(session->ctx, session, why);
	tm_store_release(&session->state, TM_SESSION_LOST);
	wake_others(channel);
}

void tm_channel_up(struct tm_channel *channel, struct tm_dial *dial)
{
	channel->epoch = dial->epoch;
	set_fd(channel, dial->fd);
	dial->fd = -1;
	channel->state = TM_CHANNEL_UP;
	tm_heartbeat_up(&channel->heart, tm_channel_now());
	tm_channel_rewind(channel);
}

void tm_channel_drop(struct tm_channel *channel, int err, const char *why)
{
	u64 now = tm_channel_now();
	unsigned int pauses = channel->heart.barren;

	if (pauses > BARREN_PAUSES_MAX)
		pauses = BARREN_PAUSES_MAX;
	set_fd(channel, -1);
	channel->state = TM_CHANNEL_DOWN;
	channel->refusals = 0;
	channel->retry_ns = now + pauses * BARREN_PAUSE_NS;
	tm_heartbeat_broke(&channel->heart, now, err);
	snprintf(channel->why, sizeof(channel->why), "%s", why);
}

/* Judge a failed attempt: try again, or is the server lost? */
static void failed(struct tm_channel *channel, int err, u64 now)
{
	const struct tm_dial *dial = &channel->dial;

	channel->state = TM_CHANNEL_DOWN;
	channel->retry_ns = now + FAILED_PAUSE_NS;
	if (err == -ECONNREFUSED) {
		channel->retry_ns = now + REFUSED_PAUSE_NS;
		if (++channel->refusals == REFUSALS_MAX)
			lose(channel, "no server there any more");
	} else if (err == -EACCES || dial->status == TM_STATUS_VERSION ||
		   dial->status == TM_STATUS_NO_SESSION) {
		lose(channel, "%s", dial->why);
	} else if (err == -EPROTO) {
		channel->heart.violations++;
		snprintf(channel->why, sizeof(channel->why), "%s", dial->why);
	}
}

static void dial(struct tm_channel *channel, u64 now)
{
	const struct tm_session *session = channel->session;
	int err = 0;

	if (channel->state == TM_CHANNEL_DOWN) {
		channel->state = TM_CHANNEL_DIALING;
		channel->retry_ns = now + session->timeout_ns / 4;
		err = tm_dial_start(&channel->dial, &session->target,
				    channel->index, ++channel->epoch);
	}
	if (!err)
		err = tm_dial_step(&channel->dial, &session->target);
	if (!err) {
		tm_channel_up(channel, &channel->dial);
		if (session->ops->renewed)
			session->ops->renewed(session->ctx, channel->session);
	} else if (err != -EAGAIN) {
		failed(channel, err, now);
	} else if (now >= channel->retry_ns) {
		tm_dial_cancel(&channel->dial);
		channel->state = TM_CHANNEL_DOWN;
	}
}

void tm_channel_renew(struct tm_channel *channel)
{
	u64 now = tm_channel_now();

	if (tm_session_lost(channel->session))
		return;
	if (channel->heart.violations >= TM_VIOLATIONS_MAX)
		lose(channel, "it broke the protocol %u times",
		     channel->heart.violations);
	else if (now >= channel->heart.give_up)
		lose(channel,
		     "nothing got through within the timeout of %llu ms",
		     (unsigned long long)(channel->session->timeout_ns / MS));
	else if (channel->state == TM_CHANNEL_DIALING ||
		 now >= channel->retry_ns)
		dial(channel, now);
}

static void ping_done(struct tm_request *request, int err)
{
	struct tm_channel *channel = request->cookie;

	channel->heart.ping_under_way = false;
}

void tm_channel_keep_time(struct tm_channel *channel)
{
	const char *why;
	int err;

	if (channel->state != TM_CHANNEL_UP)
		return;
	err = tm_heartbeat_look(&channel->heart, tm_channel_now(),
				tm_channel_under_way(channel),
				channel->calls.reserves, &why);
	if (err < 0)
		return tm_channel_drop(channel, err, why);
	if (err == 0)
		return;
	channel->ping.type = TM_WIRE_PING;
	channel->ping.done = ping_done;
	channel->ping.cookie = channel;
	tm_channel_enqueue(channel, &channel->ping);
	tm_channel_flush(channel);
}

int tm_channel_wait_ms(const struct tm_channel *channel)
{
	u64 now = tm_channel_now();
	u64 due;

	if (tm_session_lost(channel->session))
		return channel->calls.under_way ? 0 : 1000;
	if (channel->tx_err)
		return 0;
	due = channel->state == TM_CHANNEL_UP
		      ? tm_heartbeat_due(&channel->heart)
		      : channel->retry_ns;
	return due > now ? (due - now) / MS + 1 : 0;
}
