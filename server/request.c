// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a session may ask for. Every address is checked against the extents
 * that the session holds, every epoch against the channel's. No locks of its
 * own; runs on the thread of the connection's loop.
 *
 * A RESERVE that does not fit waits a moment before it is refused: the client
 * that it competes with may have just gone, its goodbye still under way.
 */
#include <errno.h>
#include <string.h>

#include "server/server.h"

#define PATIENCE_MS 1000
#define RETRY_MS 50

static struct tm_store *store_of(const struct tm_conn *conn)
{
	return &conn->loop->server->store;
}

static void count(uint64_t *counter, uint64_t n)
{
	/* One writer; STAT reads from other threads. */
	tm_store_relaxed(counter, *counter + n);
}

static void answer(struct tm_conn *conn, uint64_t id, enum tm_wire_type type,
		   uint16_t status)
{
	const struct tm_msg msg = {
		.type = type,
		.reply = true,
		.status = status,
		.id = id,
		.epoch = conn->epoch,
	};

	if (status != TM_STATUS_OK)
		count(&conn->loop->counters.refused, 1);
	tm_conn_reply(conn, &msg, NULL, 0);
}

/* The stream cannot be trusted any more; say so if there is a way. */
static bool hang_up(struct tm_conn *conn, const char *why)
{
	tm_quiet_warn(&conn->loop->server->quiet, "hang up on a client", why);
	if (conn->msg.type >= TM_WIRE_RESERVE && conn->msg.type < TM_WIRE_BYE) {
		answer(conn, conn->msg.id, conn->msg.type,
		       TM_STATUS_BAD_MESSAGE);
		tm_conn_flush(conn);
	}
	tm_conn_close(conn);
	return false;
}

static bool owns(const struct tm_conn *conn, uint64_t bytes)
{
	return tm_store_owns(store_of(conn), conn->session->id, conn->msg.addr,
			     bytes);
}

static uint16_t check_use(const struct tm_conn *conn, uint32_t bytes)
{
	const struct tm_msg *msg = &conn->msg;

	if (!owns(conn, bytes))
		return TM_STATUS_BAD_ADDRESS;
	if (tm_store_use(conn->loop->server, msg->addr, bytes,
			 msg->type == TM_WIRE_WRITE))
		return TM_STATUS_NO_MEMORY;
	return TM_STATUS_OK;
}

static uint16_t check(const struct tm_conn *conn)
{
	const struct tm_msg *msg = &conn->msg;

	if (msg->epoch < conn->epoch)
		return TM_STATUS_STALE;
	switch (msg->type) {
	case TM_WIRE_WRITE:
		return check_use(conn, msg->length);
	case TM_WIRE_READ:
		return check_use(conn, (uint32_t)msg->argument);
	case TM_WIRE_DISCARD:
		return owns(conn, msg->argument) ? TM_STATUS_OK
						 : TM_STATUS_BAD_ADDRESS;
	default:
		return TM_STATUS_OK;
	}
}

bool tm_request_start(struct tm_conn *conn, const char *why)
{
	const struct tm_msg *msg = &conn->msg;

	if (!why && msg->reply)
		why = "a reply where a request is due";
	if (!why && msg->epoch > conn->epoch)
		why = "an epoch that it does not have";
	if (why)
		return hang_up(conn, why);
	conn->status = check(conn);
	if (msg->type == TM_WIRE_WRITE && conn->status == TM_STATUS_OK)
		conn->sink = tm_store_write_ptr(store_of(conn), msg->addr,
						msg->length);
	return true;
}

/* ---- RESERVE ------------------------------------------------------------ */

/* The extent that this very RESERVE was given before; false if none was. */
static bool find_grant(const struct tm_conn *conn, uint64_t id, uint64_t *addr)
{
	const struct tm_session *session = conn->session;
	const struct tm_grant *granted = session->granted[conn->channel];
	unsigned int i, nr = session->nr_granted[conn->channel];

	if (nr > TM_PROTO_RESERVES_MAX)
		nr = TM_PROTO_RESERVES_MAX;
	for (i = 0; i < nr; i++) {
		if (granted[i].id == id) {
			*addr = granted[i].addr;
			return true;
		}
	}
	return false;
}

static void remember_grant(struct tm_conn *conn, uint64_t id, uint64_t addr)
{
	struct tm_session *session = conn->session;
	unsigned int i =
		session->nr_granted[conn->channel]++ % TM_PROTO_RESERVES_MAX;

	session->granted[conn->channel][i] = (struct tm_grant){
		.id = id,
		.addr = addr,
	};
}

/* Returns false when there may be an extent later. */
static bool try_reserve(struct tm_conn *conn, uint64_t id, bool again,
			bool last)
{
	struct tm_server *server = conn->loop->server;
	struct tm_msg msg = {
		.type = TM_WIRE_RESERVE,
		.reply = true,
		.id = id,
		.epoch = conn->epoch,
		.argument = server->store.extent_bytes,
	};
	int ret;

	if (find_grant(conn, id, &msg.addr)) {
		tm_conn_reply(conn, &msg, NULL, 0);
		return true;
	}
	ret = tm_store_lend(&server->store, conn->session->id, again,
			    &msg.addr);
	if (ret == -ENOSPC && tm_sessions_reclaim(server))
		ret = -EAGAIN;
	if (ret == -EAGAIN || (ret == -ENOSPC && !last))
		return false;
	if (ret) {
		answer(conn, id, TM_WIRE_RESERVE, TM_STATUS_NO_MEMORY);
		return true;
	}
	remember_grant(conn, id, msg.addr);
	tm_conn_reply(conn, &msg, NULL, 0);
	return true;
}

static void reserve(struct tm_conn *conn)
{
	if (!conn->nr_parked && try_reserve(conn, conn->msg.id, false, false))
		return;
	if (!conn->nr_parked)
		TAILQ_INSERT_TAIL(&conn->loop->parked, conn, wait);
	conn->loop->due_ms = 0;
	conn->parked[conn->nr_parked++] = (struct tm_parked){
		.id = conn->msg.id,
		.deadline_ms = tm_now_ms() + PATIENCE_MS,
	};
}

/* As many as there are extents for; returns false if some still wait. */
static bool retry(struct tm_conn *conn, uint64_t now_ms)
{
	unsigned int done = 0;

	while (done < conn->nr_parked &&
	       try_reserve(conn, conn->parked[done].id, true,
			   now_ms >= conn->parked[done].deadline_ms))
		done++;
	conn->nr_parked -= done;
	memmove(conn->parked, conn->parked + done,
		conn->nr_parked * sizeof(conn->parked[0]));
	return !conn->nr_parked;
}

int tm_request_retry(struct tm_loop *loop, uint64_t now_ms)
{
	struct tm_conn *conn;

	/* First come, first served; who asks again is at the end. */
	while ((conn = TAILQ_FIRST(&loop->parked))) {
		if (!retry(conn, now_ms))
			return RETRY_MS;
		TAILQ_REMOVE(&loop->parked, conn, wait);
		tm_conn_work(conn);
	}
	return -1;
}

void tm_request_forget(struct tm_conn *conn)
{
	if (!conn->nr_parked)
		return;
	TAILQ_REMOVE(&conn->loop->parked, conn, wait);
	conn->nr_parked = 0;
}

/* ---- RELEASE ------------------------------------------------------------ */

static bool overlaps(const uint8_t *p, uint64_t bytes, const uint8_t *start,
		     uint64_t length)
{
	return p && p < start + length && start < p + bytes;
}

/* Is anything of the extent being received or sent on this connection? */
static bool in_use(const struct tm_conn *conn, const uint8_t *start,
		   uint64_t length)
{
	const struct tm_reply *reply;
	unsigned int i;

	if (conn->payload_left &&
	    overlaps(conn->sink, conn->payload_left, start, length))
		return true;
	for (i = 0; i < conn->nr_replies; i++) {
		reply = &conn->replies[(conn->reply_first + i) %
				       TM_CONN_REPLIES];
		if (overlaps(reply->data, reply->length, start, length))
			return true;
	}
	return false;
}

/*
 * The extent may be another session's a moment later, so nothing may be under
 * way in it, on any connection of this session. It may also be this session's
 * again, by way of another channel: what comes again must not take it then.
 */
static uint16_t release(struct tm_conn *conn)
{
	struct tm_store *store = store_of(conn);
	uint64_t addr = conn->msg.addr;
	uint64_t *done = &conn->session->released[conn->channel];
	struct tm_conn *other;
	unsigned int i;

	if (conn->msg.id <= *done)
		return TM_STATUS_OK;
	if (conn->msg.argument != store->extent_bytes ||
	    addr % store->extent_bytes || !owns(conn, conn->msg.argument))
		return TM_STATUS_BAD_ADDRESS;
	for (i = 0; i < TM_PROTO_CHANNELS_MAX; i++) {
		other = conn->session->channel[i];
		if (other &&
		    in_use(other, store->base + addr, store->extent_bytes))
			return TM_STATUS_BAD_MESSAGE;
	}
	tm_store_return(store, addr);
	*done = conn->msg.id;
	return TM_STATUS_OK;
}

/* ---- the others --------------------------------------------------------- */

static void stat_reply(struct tm_conn *conn, struct tm_msg *reply)
{
	struct tm_server *server = conn->loop->server;
	struct tm_counters sum = {0};
	struct tm_wire_stat stat = {0};
	const struct tm_counters *c;
	unsigned int i;

	for (i = 0; i < server->nr_loops; i++) {
		c = &server->loop[i]->counters;
		sum.reads += tm_load_relaxed(&c->reads);
		sum.read_bytes += tm_load_relaxed(&c->read_bytes);
		sum.writes += tm_load_relaxed(&c->writes);
		sum.written_bytes += tm_load_relaxed(&c->written_bytes);
		sum.discarded_bytes += tm_load_relaxed(&c->discarded_bytes);
		sum.refused += tm_load_relaxed(&c->refused);
	}
	stat.capacity_bytes = tm_cpu_to_le64(server->store.capacity_bytes);
	stat.reserved_bytes =
		tm_cpu_to_le64(tm_store_lent_bytes(&server->store));
	pthread_mutex_lock(&server->sessions.lock);
	stat.sessions = tm_cpu_to_le64(server->sessions.nr);
	stat.connections = tm_cpu_to_le64(server->sessions.nr_conns);
	pthread_mutex_unlock(&server->sessions.lock);
	stat.reads = tm_cpu_to_le64(sum.reads);
	stat.read_bytes = tm_cpu_to_le64(sum.read_bytes);
	stat.writes = tm_cpu_to_le64(sum.writes);
	stat.written_bytes = tm_cpu_to_le64(sum.written_bytes);
	stat.discarded_bytes = tm_cpu_to_le64(sum.discarded_bytes);
	stat.refused = tm_cpu_to_le64(sum.refused);
	reply->length = sizeof(stat);
	tm_conn_reply(conn, reply, &stat, sizeof(stat));
}

/* Closes all connections of the session, this one too. */
static void bye(struct tm_conn *conn)
{
	struct tm_conn *all[TM_PROTO_CHANNELS_MAX];
	unsigned int i;

	tm_sessions_end(conn->loop->server, conn->session);
	memcpy(all, conn->session->channel, sizeof(all));
	for (i = 0; i < TM_PROTO_CHANNELS_MAX; i++)
		if (all[i])
			tm_conn_close(all[i]);
}

static void read_reply(struct tm_conn *conn, struct tm_msg *reply)
{
	struct tm_counters *counters = &conn->loop->counters;
	uint32_t bytes = conn->msg.argument;
	struct tm_reply *queued;

	reply->length = bytes;
	queued = tm_conn_reply(conn, reply, NULL, bytes);
	queued->data = tm_store_read_ptr(store_of(conn), conn->msg.addr, bytes);
	count(&counters->reads, 1);
	count(&counters->read_bytes, bytes);
}

bool tm_request_finish(struct tm_conn *conn)
{
	struct tm_counters *counters = &conn->loop->counters;
	const struct tm_msg *msg = &conn->msg;
	struct tm_msg reply = {
		.type = msg->type,
		.reply = true,
		.id = msg->id,
		.epoch = conn->epoch,
	};

	if (conn->status == TM_STATUS_OK && msg->type == TM_WIRE_RELEASE)
		conn->status = release(conn);
	if (msg->type == TM_WIRE_BYE) {
		if (conn->status != TM_STATUS_OK)
			return hang_up(conn, "BYE with an old epoch");
		bye(conn);
		return false;
	}
	if (conn->status != TM_STATUS_OK) {
		answer(conn, msg->id, msg->type, conn->status);
		return true;
	}
	switch (msg->type) {
	case TM_WIRE_READ:
		read_reply(conn, &reply);
		return true;
	case TM_WIRE_STAT:
		stat_reply(conn, &reply);
		return true;
	case TM_WIRE_RESERVE:
		reserve(conn);
		return true;
	case TM_WIRE_WRITE:
		count(&counters->writes, 1);
		count(&counters->written_bytes, msg->length);
		break;
	case TM_WIRE_DISCARD:
		tm_store_discard(store_of(conn), msg->addr, msg->argument);
		count(&counters->discarded_bytes, msg->argument);
		break;
	}
	tm_conn_reply(conn, &reply, NULL, 0);
	return true;
}
