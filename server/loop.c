// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Event loops: wait for descriptors, connections handed over, and time. What
 * is done then is the sources' matter.
 *
 * A loop's lock guards its inbox only. Connections that die in a round are
 * freed at its end, since the round's remaining events may name them.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "server/server.h"

#define EVENTS_PER_ROUND 64

uint64_t tm_now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

void tm_loop_wake(struct tm_loop *loop)
{
	static const uint64_t one = 1;

	/* Fails only when the counter is full: then it rings anyway. */
	if (write(loop->bell.fd, &one, sizeof(one)) < 0)
		return;
}

static void bell_ready(struct tm_source *source, uint32_t events)
{
	struct tm_loop *loop =
		(struct tm_loop *)((char *)source -
				   offsetof(struct tm_loop, bell));
	uint64_t count;

	loop->due_ms = 0;
	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
}

int tm_loop_add(struct tm_loop *loop, struct tm_source *source)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = source};

	return epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, source->fd, &event)
		       ? -errno
		       : 0;
}

void tm_loop_post(struct tm_loop *loop, struct tm_conn *conn)
{
	pthread_mutex_lock(&loop->lock);
	conn->loop = loop;
	STAILQ_INSERT_TAIL(&loop->inbox, conn, link);
	pthread_mutex_unlock(&loop->lock);
	tm_loop_wake(loop);
}

static struct tm_conn *next_arrival(struct tm_loop *loop)
{
	struct tm_conn *conn;

	pthread_mutex_lock(&loop->lock);
	conn = STAILQ_FIRST(&loop->inbox);
	if (conn)
		STAILQ_REMOVE_HEAD(&loop->inbox, link);
	pthread_mutex_unlock(&loop->lock);
	return conn;
}

static void bury(struct tm_loop *loop)
{
	struct tm_conn *conn;

	while ((conn = STAILQ_FIRST(&loop->dead))) {
		STAILQ_REMOVE_HEAD(&loop->dead, link);
		tm_conn_free(conn);
	}
}

static int sooner(int a, int b)
{
	if (a < 0)
		return b;
	return b < 0 || a < b ? a : b;
}

/* Whatever is due; returns how long nothing else is, -1 for ever. */
static int keep_time(struct tm_loop *loop)
{
	struct tm_server *server = loop->server;
	uint64_t now_ms = tm_now_ms();
	int wait;

	if (now_ms < loop->due_ms)
		return loop->due_ms == UINT64_MAX
			       ? -1
			       : (int)(loop->due_ms - now_ms);
	wait = sooner(tm_request_retry(loop, now_ms),
		      tm_conn_expire(loop, now_ms));
	if (loop->index == 0) {
		wait = sooner(wait, tm_handshake_expire(server, now_ms));
		wait = sooner(wait, tm_sessions_expire(server, now_ms));
		wait = sooner(wait, tm_listener_resume(server, now_ms));
		wait = sooner(wait, tm_lease_expire(server, now_ms));
	}
	loop->due_ms = wait < 0 ? UINT64_MAX : now_ms + wait;
	return wait;
}

void tm_loop_run(struct tm_loop *loop)
{
	struct epoll_event events[EVENTS_PER_ROUND];
	struct tm_source *source;
	struct tm_conn *conn;
	int i, n;

	while (!tm_load_acquire(&loop->server->stopping)) {
		n = epoll_wait(loop->epoll_fd, events, EVENTS_PER_ROUND,
			       keep_time(loop));
		for (i = 0; i < n; i++) {
			source = events[i].data.ptr;
			source->ready(source, events[i].events);
		}
		while ((conn = next_arrival(loop)))
			tm_conn_arrive(conn);
		bury(loop);
	}
}

static void *thread_main(void *arg)
{
	tm_loop_run(arg);
	return NULL;
}

static void loop_destroy(struct tm_loop *loop)
{
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->bell.fd >= 0)
		close(loop->bell.fd);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static int loop_create(struct tm_server *server, struct tm_loop **result)
{
	struct tm_loop *loop = calloc(1, sizeof(*loop));
	int ret;

	if (!loop)
		return -ENOMEM;
	loop->server = server;
	loop->index = server->nr_loops;
	pthread_mutex_init(&loop->lock, NULL);
	STAILQ_INIT(&loop->inbox);
	STAILQ_INIT(&loop->dead);
	LIST_INIT(&loop->conns);
	TAILQ_INIT(&loop->parked);
	loop->bell.ready = bell_ready;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->bell.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->epoll_fd < 0 || loop->bell.fd < 0)
		ret = -errno;
	else
		ret = tm_loop_add(loop, &loop->bell);
	if (ret)
		loop_destroy(loop);
	else
		*result = loop;
	return ret;
}

int tm_loops_init(struct tm_server *server)
{
	int ret;

	while (server->nr_loops < server->options.threads) {
		ret = loop_create(server, &server->loop[server->nr_loops]);
		if (ret) {
			tm_err("make an event loop: %s", strerrordesc_np(-ret));
			return ret;
		}
		server->nr_loops++;
	}
	return 0;
}

void tm_loops_fini(struct tm_server *server)
{
	unsigned int i;

	for (i = 0; i < server->nr_loops; i++)
		loop_destroy(server->loop[i]);
}

int tm_threads_init(struct tm_server *server)
{
	int err;

	/* Loop 0 is run by main(). */
	for (; server->nr_threads + 1 < server->nr_loops;
	     server->nr_threads++) {
		struct tm_loop *loop = server->loop[server->nr_threads + 1];

		err = pthread_create(&loop->thread, NULL, thread_main, loop);
		if (err) {
			tm_err("start a thread: %s", strerrordesc_np(err));
			return -err;
		}
	}
	return 0;
}

void tm_threads_fini(struct tm_server *server)
{
	struct tm_conn *conn;
	unsigned int i;

	tm_server_stop(server);
	for (i = 1; i <= server->nr_threads; i++)
		pthread_join(server->loop[i]->thread, NULL);
	for (i = 0; i < server->nr_loops; i++) {
		while ((conn = next_arrival(server->loop[i])))
			tm_conn_close(conn);
		while ((conn = LIST_FIRST(&server->loop[i]->conns)))
			tm_conn_close(conn);
		bury(server->loop[i]);
	}
}
