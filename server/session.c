// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sessions: who holds extents, through which connections, and for how long
 * after the last one broke. Does no I/O; the connections are conn.c's.
 *
 * sessions.lock guards the table and every session in it. Extents change
 * hands under it, except when a session itself asks for one or gives one back.
 */
#include <stdlib.h>
#include <string.h>

#include "common/auth.h"
#include "common/log.h"
#include "server/server.h"

/*
 * A client that closed its connections may be about to open new ones; after
 * this time a full server may take its extents.
 */
#define RECLAIM_MS 500

int tm_sessions_init(struct tm_server *server)
{
	pthread_mutex_init(&server->sessions.lock, NULL);
	LIST_INIT(&server->sessions.list);
	server->sessions.none_since_ms = tm_now_ms();
	return 0;
}

static void destroy(struct tm_session *session)
{
	explicit_bzero(session->key, sizeof(session->key));
	free(session);
}

/* Out of the table; its extents are free. */
static void end(struct tm_server *server, struct tm_session *session)
{
	struct tm_sessions *sessions = &server->sessions;

	LIST_REMOVE(session, link);
	session->ended = true;
	session->loop->nr_sessions--;
	if (--sessions->nr == 0)
		sessions->none_since_ms = tm_now_ms();
	tm_store_return_all(&server->store, session->id);
	if (session->nr_conns == 0)
		destroy(session);
}

void tm_sessions_fini(struct tm_server *server)
{
	struct tm_session *session;

	/* All connections are closed by now. */
	while ((session = LIST_FIRST(&server->sessions.list)))
		end(server, session);
	pthread_mutex_destroy(&server->sessions.lock);
}

static struct tm_session *find(struct tm_sessions *sessions, uint64_t id)
{
	struct tm_session *session;

	LIST_FOREACH(session, &sessions->list, link)
	if (session->id == id)
		return session;
	return NULL;
}

static struct tm_loop *idlest_loop(struct tm_server *server)
{
	struct tm_loop *best = server->loop[0];
	unsigned int i;

	for (i = 1; i < server->nr_loops; i++)
		if (server->loop[i]->nr_sessions < best->nr_sessions)
			best = server->loop[i];
	return best;
}

uint16_t tm_sessions_create(struct tm_server *server,
			    const uint8_t key[TM_PROTO_KEY_BYTES],
			    struct tm_session **session)
{
	struct tm_sessions *sessions = &server->sessions;
	struct tm_session *s = calloc(1, sizeof(*s));

	if (!s)
		return TM_STATUS_INTERNAL;
	memcpy(s->key, key, sizeof(s->key));
	s->nr_conns = 1;
	s->epoch[0] = 1;

	pthread_mutex_lock(&sessions->lock);
	if (sessions->nr >= TM_SESSIONS_MAX ||
	    sessions->nr_conns >= TM_CONNECTIONS_MAX) {
		pthread_mutex_unlock(&sessions->lock);
		destroy(s);
		return TM_STATUS_BUSY;
	}
	/* Random, so that a server never takes a predecessor's for its own. */
	do {
		if (tm_auth_random(&s->id, sizeof(s->id)))
			abort();
	} while (s->id == 0 || find(sessions, s->id));
	s->loop = idlest_loop(server);
	s->loop->nr_sessions++;
	LIST_INSERT_HEAD(&sessions->list, s, link);
	sessions->nr++;
	sessions->had_one = true;
	sessions->nr_conns++;
	pthread_mutex_unlock(&sessions->lock);
	*session = s;
	return TM_STATUS_OK;
}

static uint16_t attach(struct tm_sessions *sessions, struct tm_session *session,
		       const struct tm_wire_attach *attach,
		       const uint8_t server_nonce[TM_PROTO_NONCE_BYTES],
		       const uint8_t client_nonce[TM_PROTO_NONCE_BYTES])
{
	uint32_t channel = tm_le32_to_cpu(attach->channel);
	uint32_t epoch = tm_le32_to_cpu(attach->epoch);
	uint8_t mac[TM_PROTO_MAC_BYTES];

	if (!session)
		return TM_STATUS_NO_SESSION;
	tm_auth_attach_mac(session->key, server_nonce, client_nonce,
			   session->id, channel, epoch, mac);
	if (!tm_auth_equal(mac, attach->mac, sizeof(mac)))
		return TM_STATUS_DENIED;
	if (channel >= TM_PROTO_CHANNELS_MAX)
		return TM_STATUS_BAD_MESSAGE;
	if (epoch <= session->epoch[channel])
		return TM_STATUS_STALE;
	if (sessions->nr_conns >= TM_CONNECTIONS_MAX)
		return TM_STATUS_BUSY;
	session->epoch[channel] = epoch;
	session->nr_conns++;
	sessions->nr_conns++;
	return TM_STATUS_OK;
}

uint16_t tm_sessions_attach(struct tm_server *server,
			    const struct tm_wire_attach *message,
			    const uint8_t server_nonce[TM_PROTO_NONCE_BYTES],
			    const uint8_t client_nonce[TM_PROTO_NONCE_BYTES],
			    struct tm_session **session)
{
	struct tm_sessions *sessions = &server->sessions;
	uint16_t status;

	pthread_mutex_lock(&sessions->lock);
	*session = find(sessions, tm_le64_to_cpu(message->session));
	status =
		attach(sessions, *session, message, server_nonce, client_nonce);
	pthread_mutex_unlock(&sessions->lock);
	return status;
}

void tm_sessions_leave(struct tm_server *server, struct tm_session *session,
		       bool closed)
{
	struct tm_sessions *sessions = &server->sessions;

	pthread_mutex_lock(&sessions->lock);
	sessions->nr_conns--;
	if (--session->nr_conns == 0) {
		session->empty_since_ms = tm_now_ms();
		session->closed = closed;
		if (session->ended)
			destroy(session);
	}
	pthread_mutex_unlock(&sessions->lock);
	tm_loop_wake(server->loop[0]); /* it keeps the time */
}

void tm_sessions_end(struct tm_server *server, struct tm_session *session)
{
	pthread_mutex_lock(&server->sessions.lock);
	if (!session->ended)
		end(server, session);
	pthread_mutex_unlock(&server->sessions.lock);
	tm_loop_wake(server->loop[0]); /* it keeps the time */
}

bool tm_sessions_reclaim(struct tm_server *server)
{
	struct tm_sessions *sessions = &server->sessions;
	struct tm_session *session, *oldest = NULL;

	pthread_mutex_lock(&sessions->lock);
	LIST_FOREACH(session, &sessions->list, link)
	if (session->nr_conns == 0 && session->closed &&
	    (!oldest || session->empty_since_ms < oldest->empty_since_ms))
		oldest = session;
	if (oldest && tm_now_ms() - oldest->empty_since_ms < RECLAIM_MS)
		oldest = NULL;
	if (oldest)
		end(server, oldest);
	pthread_mutex_unlock(&sessions->lock);
	return oldest;
}

int tm_sessions_expire(struct tm_server *server, uint64_t now_ms)
{
	struct tm_sessions *sessions = &server->sessions;
	struct tm_session *session, *next;
	uint64_t deadline;
	int wait = -1;

	pthread_mutex_lock(&sessions->lock);
	for (session = LIST_FIRST(&sessions->list); session; session = next) {
		next = LIST_NEXT(session, link);
		if (session->nr_conns)
			continue;
		deadline = session->empty_since_ms + server->options.grace_ms;
		if (now_ms >= deadline)
			end(server, session);
		else if (wait < 0 || deadline - now_ms < (uint64_t)wait)
			wait = (int)(deadline - now_ms);
	}
	pthread_mutex_unlock(&sessions->lock);
	return wait;
}
