// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The door: connections that have not proved who they are. All of them are
 * with loop 0, which hands them over once they have. A peer gets little here:
 * a place among TM_HANDSHAKES_MAX (the oldest gives way), TM_HANDSHAKE_MS, and
 * TM_PROTO_HANDSHAKE_MAX bytes of payload. No locks; a handshake with the
 * verifier is nobody else's until it comes back.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/auth.h"
#include "server/server.h"

#define ROLE_PAGING 1

static void log_refused(struct tm_server *server, const char *why)
{
	tm_quiet_warn(&server->quiet, "refuse connection", why);
}

/* ---- the list of handshakes under way ----------------------------------- */

static void enlist(struct tm_server *server, struct tm_handshake *hs)
{
	TAILQ_INSERT_TAIL(&server->door.list, hs, link);
	server->door.nr++;
}

void tm_handshake_forget(struct tm_conn *conn)
{
	struct tm_door *door = &conn->loop->server->door;
	struct tm_handshake *hs = conn->handshake;

	TAILQ_REMOVE(&door->list, hs, link);
	door->nr--;
	free(hs->payload);
	explicit_bzero(hs, sizeof(*hs));
	free(hs);
	conn->handshake = NULL;
}

/* Returns false when all are with the verifier. */
static bool make_room(struct tm_door *door)
{
	struct tm_handshake *hs;

	if (door->nr < TM_HANDSHAKES_MAX)
		return true;
	TAILQ_FOREACH(hs, &door->list, link)
	{
		if (hs->state == TM_HANDSHAKE_VERIFY)
			continue;
		log_refused(hs->conn->loop->server,
			    "too many handshakes, this was the oldest");
		tm_conn_close(hs->conn);
		return true;
	}
	return false;
}

void tm_handshake_begin(struct tm_conn *conn)
{
	struct tm_server *server = conn->loop->server;
	struct tm_handshake *hs;

	if (!make_room(&server->door)) {
		log_refused(server, "too many handshakes");
		tm_conn_close(conn);
		return;
	}
	hs = calloc(1, sizeof(*hs));
	if (!hs) {
		tm_conn_close(conn);
		return;
	}
	hs->conn = conn;
	hs->deadline_ms = tm_now_ms() + TM_HANDSHAKE_MS;
	conn->handshake = hs;
	enlist(server, hs);
	conn->loop->due_ms = 0;
	tm_conn_work(conn);
}

int tm_handshake_expire(struct tm_server *server, uint64_t now_ms)
{
	struct tm_handshake *hs, *next;

	for (hs = TAILQ_FIRST(&server->door.list); hs; hs = next) {
		next = TAILQ_NEXT(hs, link);
		/* munged's time is its own; libmunge limits it. */
		if (hs->state == TM_HANDSHAKE_VERIFY)
			continue;
		if (now_ms < hs->deadline_ms)
			return (int)(hs->deadline_ms - now_ms);
		if (hs->state != TM_HANDSHAKE_REFUSED)
			log_refused(server, "handshake took too long");
		tm_conn_close(hs->conn);
	}
	return -1;
}

/* ---- refusing ----------------------------------------------------------- */

static void hello_reply(struct tm_conn *conn, uint16_t status)
{
	const struct tm_options *options = &conn->loop->server->options;
	struct tm_wire_hello hello = {
		.version_min = tm_cpu_to_le16(TM_PROTO_VERSION),
		.version_max = tm_cpu_to_le16(TM_PROTO_VERSION),
		.auth = tm_cpu_to_le32(1u << options->auth),
		.job = tm_cpu_to_le64(options->job),
	};
	const struct tm_msg msg = {
		.type = TM_WIRE_HELLO,
		.reply = true,
		.status = status,
		.id = conn->msg.id,
		.length = sizeof(hello),
	};

	memcpy(hello.nonce, conn->handshake->server_nonce, sizeof(hello.nonce));
	tm_conn_reply(conn, &msg, &hello, sizeof(hello));
}

/*
 * Answer, then wait for the peer to close (or for the deadline), reading and
 * dropping, since closing with unread input could destroy the answer.
 */
static void refuse(struct tm_conn *conn, uint16_t status, const char *why)
{
	struct tm_server *server = conn->loop->server;
	const struct tm_msg msg = {
		.type = TM_WIRE_WELCOME,
		.reply = true,
		.status = status,
		.id = conn->msg.id,
	};

	tm_add_return(&server->loop[0]->counters.refused, 1);
	log_refused(server, why);
	if (conn->handshake->state == TM_HANDSHAKE_HELLO)
		hello_reply(conn, status);
	else
		tm_conn_reply(conn, &msg, NULL, 0);
	conn->handshake->state = TM_HANDSHAKE_REFUSED;
	conn->sink = NULL;
	conn->payload_left = UINT32_MAX;
}

bool tm_handshake_flushed(struct tm_conn *conn)
{
	if (conn->handshake->state != TM_HANDSHAKE_REFUSED)
		return true;
	conn->payload_left = UINT32_MAX;
	if (conn->nr_replies == 0)
		shutdown(conn->source.fd, SHUT_WR);
	return true;
}

/* ---- admitting ---------------------------------------------------------- */

static void welcome(struct tm_conn *conn)
{
	struct tm_server *server = conn->loop->server;
	struct tm_session *session = conn->session;
	struct tm_wire_welcome message = {
		.session = tm_cpu_to_le64(session->id),
		.capacity_bytes = tm_cpu_to_le64(server->store.capacity_bytes),
		.extent_bytes = tm_cpu_to_le64(server->store.extent_bytes),
		.grace_ms = tm_cpu_to_le32(server->options.grace_ms),
		.io_max_bytes = tm_cpu_to_le32(TM_PROTO_IO_MAX),
		.channels_max = tm_cpu_to_le32(TM_PROTO_CHANNELS_MAX),
		.epoch = tm_cpu_to_le32(conn->epoch),
	};
	const struct tm_msg msg = {
		.type = TM_WIRE_WELCOME,
		.reply = true,
		.id = conn->msg.id,
		.epoch = conn->epoch,
		.length = sizeof(message),
	};

	tm_auth_attach_mac(session->key, conn->handshake->server_nonce,
			   conn->handshake->client_nonce, session->id,
			   conn->channel | TM_WELCOME_CHANNEL, conn->epoch,
			   message.mac);
	tm_conn_reply(conn, &msg, &message, sizeof(message));
}

/* From now on it is its session's loop's. */
static void admit(struct tm_conn *conn)
{
	welcome(conn);
	tm_conn_unwatch(conn);
	tm_handshake_forget(conn);
	tm_loop_post(conn->session->loop, conn);
}

/* NULL, or why not. */
static const char *check_auth(const struct tm_conn *conn,
			      const struct tm_wire_auth *auth, uid_t uid)
{
	static const uint8_t zeros[sizeof(auth->reserved)];
	const struct tm_server *server = conn->loop->server;
	const struct tm_handshake *hs = conn->handshake;
	size_t len = strlen(server->listener.address);

	if (uid != server->options.owner && uid != 0)
		return "not the job's user";
	if (!tm_auth_equal(auth->server_nonce, hs->server_nonce,
			   TM_PROTO_NONCE_BYTES) ||
	    !tm_auth_equal(auth->client_nonce, hs->client_nonce,
			   TM_PROTO_NONCE_BYTES))
		return "proof made for another handshake";
	if (tm_le64_to_cpu(auth->job) != server->options.job)
		return "another job";
	if (strnlen(auth->address, sizeof(auth->address)) != len ||
	    memcmp(auth->address, server->listener.address, len) != 0)
		return "proof made for another address (see --address)";
	if (tm_le32_to_cpu(auth->role) != ROLE_PAGING)
		return "unknown role";
	if (memcmp(auth->reserved, zeros, sizeof(zeros)) != 0)
		return "reserved bytes in use";
	return NULL;
}

/* Returns false when the connection is not ours any more. */
static bool open_session(struct tm_conn *conn, const struct tm_wire_auth *auth,
			 uid_t uid)
{
	const char *why = check_auth(conn, auth, uid);
	char line[128];
	uint16_t status;

	if (why) {
		snprintf(line, sizeof(line), "uid %u: %s", (unsigned int)uid,
			 why);
		refuse(conn, TM_STATUS_DENIED, line);
		return true;
	}
	status = tm_sessions_create(conn->loop->server, auth->key,
				    &conn->session);
	if (status != TM_STATUS_OK) {
		refuse(conn, status, tm_status_text(status));
		return true;
	}
	conn->channel = 0;
	conn->epoch = 1;
	admit(conn);
	return false;
}

static bool attach(struct tm_conn *conn)
{
	const struct tm_wire_attach *message =
		(const void *)conn->handshake->payload;
	struct tm_session *session;
	uint16_t status;

	status = tm_sessions_attach(conn->loop->server, message,
				    conn->handshake->server_nonce,
				    conn->handshake->client_nonce, &session);
	if (status != TM_STATUS_OK) {
		refuse(conn, status, tm_status_text(status));
		return true;
	}
	conn->session = session;
	conn->channel = tm_le32_to_cpu(message->channel);
	conn->epoch = tm_le32_to_cpu(message->epoch);
	admit(conn);
	return false;
}

/* ---- messages ----------------------------------------------------------- */

bool tm_handshake_start(struct tm_conn *conn, const char *why)
{
	struct tm_handshake *hs = conn->handshake;
	uint8_t type = conn->msg.type;
	bool expected =
		hs->state == TM_HANDSHAKE_HELLO
			? type == TM_WIRE_HELLO
			: type == TM_WIRE_AUTH || type == TM_WIRE_ATTACH;

	if (!why && (conn->msg.reply || !expected))
		why = "message out of order";
	if (why) {
		refuse(conn, TM_STATUS_BAD_MESSAGE, why);
		return true;
	}
	free(hs->payload);
	/* Zeroed, and one more: a credential ends in NUL whatever was sent. */
	hs->payload = calloc(1, conn->msg.length + 1);
	if (!hs->payload) {
		tm_conn_close(conn);
		return false;
	}
	conn->sink = hs->payload;
	return true;
}

static void hello(struct tm_conn *conn)
{
	struct tm_handshake *hs = conn->handshake;
	const struct tm_wire_hello *hello = (const void *)hs->payload;

	if (tm_auth_random(hs->server_nonce, sizeof(hs->server_nonce))) {
		refuse(conn, TM_STATUS_INTERNAL, "no random bytes");
		return;
	}
	memcpy(hs->client_nonce, hello->nonce, sizeof(hs->client_nonce));
	if (tm_le16_to_cpu(hello->version_min) > TM_PROTO_VERSION ||
	    tm_le16_to_cpu(hello->version_max) < TM_PROTO_VERSION) {
		refuse(conn, TM_STATUS_VERSION,
		       tm_status_text(TM_STATUS_VERSION));
		return;
	}
	hello_reply(conn, TM_STATUS_OK);
	hs->state = TM_HANDSHAKE_PROOF;
}

static bool auth_by_peer(struct tm_conn *conn)
{
	struct tm_handshake *hs = conn->handshake;
	uid_t uid;

	if (conn->msg.length != sizeof(hs->auth)) {
		refuse(conn, TM_STATUS_BAD_MESSAGE,
		       "AUTH is not by peer credentials");
		return true;
	}
	if (tm_auth_peer(conn->source.fd, &uid)) {
		refuse(conn, TM_STATUS_DENIED, "no peer credentials");
		return true;
	}
	memcpy(&hs->auth, hs->payload, sizeof(hs->auth));
	return open_session(conn, &hs->auth, uid);
}

bool tm_handshake_finish(struct tm_conn *conn)
{
	struct tm_server *server = conn->loop->server;
	struct tm_handshake *hs = conn->handshake;

	if (hs->state == TM_HANDSHAKE_HELLO) {
		hello(conn);
		return true;
	}
	if (hs->state != TM_HANDSHAKE_PROOF)
		return true;
	if (conn->msg.type == TM_WIRE_ATTACH)
		return attach(conn);
	if (server->options.auth == TM_AUTH_PEERCRED)
		return auth_by_peer(conn);
	if (strlen((const char *)hs->payload) + 1 != conn->msg.length) {
		refuse(conn, TM_STATUS_BAD_MESSAGE, "AUTH is no credential");
		return true;
	}
	hs->state = TM_HANDSHAKE_VERIFY;
	tm_conn_unwatch(conn);
	tm_verifier_submit(server, hs);
	return false;
}

void tm_handshake_verified(struct tm_conn *conn)
{
	struct tm_handshake *hs = conn->handshake;

	hs->state = TM_HANDSHAKE_PROOF;
	if (hs->verdict == -EACCES)
		refuse(conn, TM_STATUS_DENIED, hs->why);
	else if (hs->verdict)
		refuse(conn, TM_STATUS_INTERNAL, hs->why);
	else if (!open_session(conn, &hs->auth, hs->uid))
		return;
	tm_conn_work(conn);
}
