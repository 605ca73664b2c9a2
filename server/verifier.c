// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The thread that decodes MUNGE credentials. munged may be slow, stopped or
 * restarting; then new sessions wait here, and nobody else does.
 *
 * verifier.lock guards the queue; nothing is taken under it.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/auth.h"
#include "common/log.h"
#include "server/server.h"

static void verify(struct tm_handshake *hs)
{
	size_t got;

	hs->verdict = tm_auth_munge_decode((const char *)hs->payload, &hs->auth,
					   sizeof(hs->auth), &got, &hs->uid,
					   hs->why, sizeof(hs->why));
	if (!hs->verdict && got != sizeof(hs->auth)) {
		snprintf(hs->why, sizeof(hs->why),
			 "munge credential: not made for Teramem");
		hs->verdict = -EACCES;
	}
}

static void *verifier_main(void *arg)
{
	struct tm_server *server = arg;
	struct tm_verifier *verifier = &server->verifier;
	struct tm_handshake *hs;

	pthread_mutex_lock(&verifier->lock);
	while (!verifier->stop) {
		hs = STAILQ_FIRST(&verifier->queue);
		if (!hs) {
			pthread_cond_wait(&verifier->cond, &verifier->lock);
			continue;
		}
		STAILQ_REMOVE_HEAD(&verifier->queue, next);
		pthread_mutex_unlock(&verifier->lock);
		verify(hs);
		tm_loop_post(server->loop[0], hs->conn);
		pthread_mutex_lock(&verifier->lock);
	}
	pthread_mutex_unlock(&verifier->lock);
	return NULL;
}

void tm_verifier_submit(struct tm_server *server, struct tm_handshake *hs)
{
	struct tm_verifier *verifier = &server->verifier;

	pthread_mutex_lock(&verifier->lock);
	STAILQ_INSERT_TAIL(&verifier->queue, hs, next);
	pthread_cond_signal(&verifier->cond);
	pthread_mutex_unlock(&verifier->lock);
}

int tm_verifier_init(struct tm_server *server)
{
	struct tm_verifier *verifier = &server->verifier;
	int err;

	if (server->options.auth != TM_AUTH_MUNGE)
		return 0;
	pthread_mutex_init(&verifier->lock, NULL);
	pthread_cond_init(&verifier->cond, NULL);
	STAILQ_INIT(&verifier->queue);
	err = pthread_create(&verifier->thread, NULL, verifier_main, server);
	if (err) {
		tm_err("start a thread: %s", strerrordesc_np(err));
		return -err;
	}
	verifier->running = true;
	return 0;
}

void tm_verifier_fini(struct tm_server *server)
{
	struct tm_verifier *verifier = &server->verifier;
	struct tm_handshake *hs;

	if (!verifier->running)
		return;
	pthread_mutex_lock(&verifier->lock);
	verifier->stop = true;
	pthread_cond_signal(&verifier->cond);
	pthread_mutex_unlock(&verifier->lock);
	pthread_join(verifier->thread, NULL);
	/* Closed with the others, by loop 0's end. */
	while ((hs = STAILQ_FIRST(&verifier->queue))) {
		STAILQ_REMOVE_HEAD(&verifier->queue, next);
		tm_loop_post(server->loop[0], hs->conn);
	}
	pthread_cond_destroy(&verifier->cond);
	pthread_mutex_destroy(&verifier->lock);
}
