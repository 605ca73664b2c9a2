// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * One connection: bytes to messages and replies to bytes. A payload is
 * received straight into the extent it is for, and sent straight from it. What
 * messages mean is request.c's and handshake.c's matter.
 *
 * A client that does not take its replies is not read any more once
 * TM_CONN_REPLIES are under way, so it costs a fixed amount of memory and no
 * one else's time. No locks: a connection belongs to its loop's thread.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "server/server.h"

/* Bytes that a connection may move before others have their turn. */
#define TURN_BYTES (2u << 20)
#define IOV_MAX_USED 64
/* How often silence is looked for. */
#define LOOK_MS 2000

static void conn_ready(struct tm_source *source, uint32_t events);

struct tm_conn *tm_conn_create(struct tm_loop *loop, int fd, bool local)
{
	struct tm_conn *conn = calloc(1, sizeof(*conn));

	if (!conn) {
		close(fd);
		return NULL;
	}
	conn->source.fd = fd;
	conn->source.ready = conn_ready;
	conn->loop = loop;
	conn->local = local;
	return conn;
}

void tm_conn_free(struct tm_conn *conn)
{
	free(conn);
}

void tm_conn_close(struct tm_conn *conn)
{
	struct tm_loop *loop = conn->loop;

	if (conn->dead)
		return;
	tm_conn_unwatch(conn);
	close(conn->source.fd);
	conn->dead = true;
	tm_request_forget(conn);
	if (conn->handshake)
		tm_handshake_forget(conn);
	if (conn->session) {
		if (conn->session->channel[conn->channel] == conn)
			conn->session->channel[conn->channel] = NULL;
		tm_sessions_leave(loop->server, conn->session, conn->closed);
	}
	STAILQ_INSERT_TAIL(&loop->dead, conn, link);
}

static bool has_room(const struct tm_conn *conn)
{
	return conn->nr_replies + conn->nr_parked < TM_CONN_REPLIES;
}

static bool wants_input(const struct tm_conn *conn)
{
	return conn->payload_left || has_room(conn);
}

/* Returns false when the connection had to be closed. */
static bool watch(struct tm_conn *conn)
{
	struct epoll_event event = {
		.events = (wants_input(conn) ? EPOLLIN : 0) |
			  (conn->nr_replies ? EPOLLOUT : 0),
		.data.ptr = &conn->source,
	};

	if (conn->watched && event.events == conn->events)
		return true;
	if (epoll_ctl(conn->loop->epoll_fd,
		      conn->watched ? EPOLL_CTL_MOD : EPOLL_CTL_ADD,
		      conn->source.fd, &event)) {
		tm_conn_close(conn);
		return false;
	}
	if (!conn->watched) {
		LIST_INSERT_HEAD(&conn->loop->conns, conn, all);
		conn->loop->due_ms = 0;
	}
	conn->watched = true;
	conn->events = event.events;
	return true;
}

void tm_conn_unwatch(struct tm_conn *conn)
{
	if (!conn->watched)
		return;
	epoll_ctl(conn->loop->epoll_fd, EPOLL_CTL_DEL, conn->source.fd, NULL);
	LIST_REMOVE(conn, all);
	conn->watched = false;
}

struct tm_reply *tm_conn_reply(struct tm_conn *conn, const struct tm_msg *msg,
			       const void *small, uint32_t length)
{
	unsigned int i =
		(conn->reply_first + conn->nr_replies) % TM_CONN_REPLIES;
	struct tm_reply *reply = &conn->replies[i];

	TM_BUG_ON(conn->nr_replies >= TM_CONN_REPLIES);
	conn->nr_replies++;
	tm_msg_encode(msg, &reply->header);
	reply->length = length;
	reply->data = NULL;
	if (small) {
		TM_BUG_ON(length > sizeof(reply->small));
		memcpy(reply->small, small, length);
		reply->data = reply->small;
	}
	return reply;
}

/* ---- sending ------------------------------------------------------------ */

/* Nobody reads replies any more; what was sent to us still counts. */
static void go_deaf(struct tm_conn *conn)
{
	conn->deaf = true;
	conn->nr_replies = 0;
	conn->reply_sent = 0;
	tm_request_forget(conn);
}

static int gather(struct tm_conn *conn, struct iovec *iov, size_t *bytes)
{
	uint64_t skip = conn->reply_sent;
	struct tm_reply *reply;
	unsigned int i;
	int n = 0;

	*bytes = 0;
	for (i = 0; i < conn->nr_replies && n + 2 <= IOV_MAX_USED &&
		    *bytes < TURN_BYTES;
	     i++) {
		reply = &conn->replies[(conn->reply_first + i) %
				       TM_CONN_REPLIES];
		if (skip < sizeof(reply->header)) {
			iov[n].iov_base = (uint8_t *)&reply->header + skip;
			iov[n].iov_len = sizeof(reply->header) - skip;
			*bytes += iov[n++].iov_len;
			skip = 0;
		} else {
			skip -= sizeof(reply->header);
		}
		if (reply->length) {
			iov[n].iov_base = (uint8_t *)reply->data + skip;
			iov[n].iov_len = reply->length - skip;
			*bytes += iov[n++].iov_len;
		}
		skip = 0;
	}
	return n;
}

static void sent(struct tm_conn *conn, size_t bytes)
{
	const struct tm_reply *reply;
	uint64_t left;

	while (bytes) {
		reply = &conn->replies[conn->reply_first];
		left = sizeof(reply->header) + reply->length - conn->reply_sent;
		if (bytes < left) {
			conn->reply_sent += bytes;
			return;
		}
		bytes -= left;
		conn->reply_sent = 0;
		conn->reply_first = (conn->reply_first + 1) % TM_CONN_REPLIES;
		conn->nr_replies--;
	}
}

void tm_conn_flush(struct tm_conn *conn)
{
	size_t turn = TURN_BYTES, bytes;
	struct iovec iov[IOV_MAX_USED];
	struct msghdr message = {.msg_iov = iov};
	ssize_t n;

	if (conn->deaf)
		go_deaf(conn);
	while (conn->nr_replies && turn) {
		message.msg_iovlen = gather(conn, iov, &bytes);
		n = sendmsg(conn->source.fd, &message,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			go_deaf(conn);
		if (n < 0)
			return;
		sent(conn, n);
		if ((size_t)n < bytes)
			return;
		turn -= (size_t)n < turn ? (size_t)n : turn;
	}
}

/* ---- receiving ---------------------------------------------------------- */

/* The message is complete; false when the connection is not ours any more. */
static bool finish(struct tm_conn *conn)
{
	return conn->handshake ? tm_handshake_finish(conn)
			       : tm_request_finish(conn);
}

static bool start(struct tm_conn *conn)
{
	struct tm_wire_header wire;
	const char *why;

	/* After a payload of odd length it is not aligned. */
	memcpy(&wire, conn->input + conn->input_pos, sizeof(wire));
	conn->input_pos += sizeof(wire);
	conn->sink = NULL;
	tm_msg_decode(&wire, !conn->handshake, &conn->msg, &why);
	conn->payload_left = conn->msg.length;
	return conn->handshake ? tm_handshake_start(conn, why)
			       : tm_request_start(conn, why);
}

/* Payload that was received ahead goes where it belongs. */
static void move_payload(struct tm_conn *conn)
{
	uint32_t n = conn->input_len - conn->input_pos;

	if (n > conn->payload_left)
		n = conn->payload_left;
	if (conn->sink) {
		memcpy(conn->sink, conn->input + conn->input_pos, n);
		conn->sink += n;
	}
	conn->input_pos += n;
	conn->payload_left -= n;
}

static bool has_message(const struct tm_conn *conn)
{
	return !conn->payload_left && conn->input_len - conn->input_pos >=
					      sizeof(struct tm_wire_header);
}

/* Messages in the input buffer; false as for finish(). */
static bool process(struct tm_conn *conn)
{
	for (;;) {
		if (conn->payload_left) {
			move_payload(conn);
		} else {
			if (!has_room(conn) || !has_message(conn))
				return true;
			if (!start(conn))
				return false;
			move_payload(conn);
		}
		if (conn->payload_left)
			return true;
		if (!finish(conn))
			return false;
	}
}

/* Where the next bytes go: the payload, then the input buffer. */
static int spread(struct tm_conn *conn, struct iovec iov[2], size_t *bytes)
{
	uint32_t left = conn->payload_left;
	int n = 0;

	if (conn->input_pos) {
		conn->input_len -= conn->input_pos;
		memmove(conn->input, conn->input + conn->input_pos,
			conn->input_len);
		conn->input_pos = 0;
	}
	if (left && !conn->sink) {
		iov[n].iov_base = conn->loop->scratch;
		iov[n++].iov_len = left < TM_LOOP_SCRATCH_BYTES
					   ? left
					   : TM_LOOP_SCRATCH_BYTES;
	} else if (left) {
		iov[n].iov_base = conn->sink;
		iov[n++].iov_len = left;
	}
	*bytes = n ? iov[0].iov_len : 0;
	if (*bytes == left) {
		iov[n].iov_base = conn->input + conn->input_len;
		iov[n].iov_len = TM_CONN_INPUT_BYTES - conn->input_len;
		*bytes += iov[n++].iov_len;
	}
	return n;
}

static void received(struct tm_conn *conn, size_t n)
{
	uint32_t payload = conn->payload_left;

	if (payload > n)
		payload = n;
	if (payload && conn->sink)
		conn->sink += payload;
	conn->payload_left -= payload;
	conn->input_len += n - payload;
}

/* The client is gone. */
static void lost(struct tm_conn *conn, int err)
{
	/* Nothing lies between the ends of a unix socket. */
	conn->closed = err == 0 || (conn->local && err == ECONNRESET);
	tm_conn_close(conn);
}

/* False as for finish(). */
static bool receive(struct tm_conn *conn)
{
	size_t turn = TURN_BYTES, bytes;
	struct msghdr message = {0};
	struct iovec iov[2];
	bool payload;
	ssize_t n;

	if (!process(conn))
		return false;
	while (wants_input(conn) && turn) {
		message.msg_iov = iov;
		message.msg_iovlen = spread(conn, iov, &bytes);
		n = recvmsg(conn->source.fd, &message, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return true;
		if (n <= 0) {
			lost(conn, n ? errno : 0);
			return false;
		}
		payload = conn->payload_left;
		received(conn, n);
		if (payload && !conn->payload_left && !finish(conn))
			return false;
		if (!process(conn))
			return false;
		if ((size_t)n < bytes)
			return true;
		turn -= (size_t)n < turn ? (size_t)n : turn;
	}
	return true;
}

void tm_conn_work(struct tm_conn *conn)
{
	if (conn->nr_replies)
		tm_conn_flush(conn);
	if (!receive(conn))
		return;
	tm_conn_flush(conn);
	/* What was put off for want of room, and no event will bring back. */
	while (has_message(conn) && has_room(conn)) {
		if (!process(conn))
			return;
		tm_conn_flush(conn);
	}
	if (conn->handshake && !tm_handshake_flushed(conn))
		return;
	watch(conn);
}

static void conn_ready(struct tm_source *source, uint32_t events)
{
	struct tm_conn *conn = (struct tm_conn *)source;

	if (conn->dead)
		return;
	if (events & (EPOLLERR | EPOLLHUP))
		conn->deaf = true;
	tm_conn_work(conn);
}

/*
 * Nobody acknowledges what was sent. TCP_USER_TIMEOUT would find that, too, but
 * would also end the connection of a client that is only stopped: its machine
 * does acknowledge, though it takes nothing more.
 */
static bool is_silent(const struct tm_conn *conn)
{
	struct tcp_info info = {0};
	socklen_t len = sizeof(info);

	return !conn->local &&
	       !getsockopt(conn->source.fd, IPPROTO_TCP, TCP_INFO, &info,
			   &len) &&
	       info.tcpi_unacked && info.tcpi_retransmits &&
	       info.tcpi_last_ack_recv >= TM_SILENCE_S * 1000;
}

int tm_conn_expire(struct tm_loop *loop, uint64_t now_ms)
{
	struct tm_conn *conn, *next;

	if (now_ms >= loop->look_ms) {
		loop->look_ms = now_ms + LOOK_MS;
		for (conn = LIST_FIRST(&loop->conns); conn; conn = next) {
			next = LIST_NEXT(conn, all);
			if (is_silent(conn))
				tm_conn_close(conn);
		}
	}
	return LIST_EMPTY(&loop->conns) ? -1 : (int)(loop->look_ms - now_ms);
}

void tm_conn_arrive(struct tm_conn *conn)
{
	struct tm_session *session = conn->session;
	struct tm_conn *older;

	if (conn->handshake) {
		tm_handshake_verified(conn);
		return;
	}
	/*
	 * The older connection of the channel goes before the client hears
	 * that it has a new one: nothing that it sent there can land after.
	 */
	older = session->channel[conn->channel];
	if (older)
		tm_conn_close(older);
	if (session->ended) {
		tm_conn_close(conn);
		return;
	}
	session->channel[conn->channel] = conn;
	tm_conn_work(conn);
}
