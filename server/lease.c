// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * When the server ends: on SIGTERM or SIGINT, when the descriptor that stands
 * for its parent is at its end, or after too long without a session. No locks
 * of its own; loop 0's.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "common/log.h"
#include "server/server.h"

static struct tm_server *server_of_signals(struct tm_source *source)
{
	return ((struct tm_lease *)source)->server;
}

static void signals_ready(struct tm_source *source, uint32_t events)
{
	tm_server_stop(server_of_signals(source));
}

static void parent_ready(struct tm_source *source, uint32_t events)
{
	struct tm_lease *lease =
		(struct tm_lease *)((char *)source -
				    offsetof(struct tm_lease, parent));
	char drop[256];
	ssize_t n;

	/* One read a turn: the descriptor may be a blocking one. */
	n = read(source->fd, drop, sizeof(drop));
	if (n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN)))
		return;
	tm_server_stop(lease->server);
}

/* Also blocks them in every thread, since it comes before all of them. */
static int watch_signals(struct tm_lease *lease)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL))
		return -errno;
	lease->signals.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	lease->signals.ready = signals_ready;
	return lease->signals.fd < 0
		       ? -errno
		       : tm_loop_add(lease->server->loop[0], &lease->signals);
}

static int watch_parent(struct tm_lease *lease)
{
	lease->parent.fd = lease->server->options.lease_fd;
	lease->parent.ready = parent_ready;
	return lease->parent.fd < 0
		       ? 0
		       : tm_loop_add(lease->server->loop[0], &lease->parent);
}

int tm_lease_init(struct tm_server *server)
{
	struct tm_lease *lease = &server->lease;
	int ret;

	lease->server = server;
	ret = watch_signals(lease);
	if (ret) {
		tm_err("watch signals: %s", strerrordesc_np(-ret));
		return ret;
	}
	ret = watch_parent(lease);
	if (ret)
		tm_err("--lease-fd=%d: %s (use a pipe or a socket)",
		       lease->parent.fd, strerrordesc_np(-ret));
	return ret;
}

void tm_lease_fini(struct tm_server *server)
{
	if (server->lease.signals.fd >= 0)
		close(server->lease.signals.fd);
}

int tm_lease_expire(struct tm_server *server, uint64_t now_ms)
{
	const struct tm_options *options = &server->options;
	struct tm_sessions *sessions = &server->sessions;
	uint64_t limit, since, idle;

	pthread_mutex_lock(&sessions->lock);
	limit = sessions->nr	    ? 0
		: sessions->had_one ? options->idle_exit_ms
				    : options->wait_ms;
	since = sessions->none_since_ms;
	pthread_mutex_unlock(&sessions->lock);
	if (!limit)
		return -1;
	/* the last one may have ended after the loop looked at the clock */
	idle = now_ms > since ? now_ms - since : 0;
	if (idle < limit)
		return (int)(limit - idle);
	tm_info("exit: no session for %llu seconds",
		(unsigned long long)limit / 1000);
	tm_server_stop(server);
	return 0;
}
