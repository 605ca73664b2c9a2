// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On a compute node: holds a session with each of the job's servers as long as
 * the job's extern step lives, whether the job pages or not. A server that no
 * node holds any more ends by itself, so that this node's crash frees the
 * donors without anybody's word. Nothing is stored over these sessions.
 *
 * Two processes, the job's user's: one that holds, one that starts it again.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/session.h"
#include "spank/job/job.h"

/* A session that is lost is soon replaced, since there is nothing in it. */
#define TIMEOUT_MS 2000
#define RETRY_MS 1000

struct held {
	struct tm_session *session; /* NULL: none at the moment */
	bool lost, told;
};

static struct tm_map map;
static struct held held[TM_MAP_SERVERS_MAX];

static void on_lost(void *ctx, struct tm_session *session, const char *why)
{
	struct held *h = ctx;

	h->lost = true;
	if (!h->told)
		syslog(LOG_WARNING, "job %llu: %s", (unsigned long long)map.job,
		       why);
	h->told = true;
}

static void on_renewed(void *ctx, struct tm_session *session)
{
}

static void open_session(unsigned int i)
{
	static const struct tm_session_ops ops = {
		.lost = on_lost,
		.renewed = on_renewed,
	};
	const struct tm_session_config config = {
		.server = &map.server[i],
		.job = map.job,
		.timeout_ms = TIMEOUT_MS,
		.nr_channels = 1,
		.depth = 1,
	};
	struct held *h = &held[i];
	char why[256];

	if (!tm_session_open(&config, &ops, h, &h->session, why, sizeof(why))) {
		h->lost = h->told = false;
		return;
	}
	h->session = NULL;
	if (!h->told)
		syslog(LOG_WARNING, "job %llu: %s", (unsigned long long)map.job,
		       why);
	h->told = true;
}

static void serve(struct held *h)
{
	tm_channel_process(tm_session_channel(h->session, 0));
	if (!h->lost)
		return;
	tm_session_forget(h->session);
	h->session = NULL;
}

/* Whether the extern step still lives. */
static bool is_leased(int wait_ms, struct pollfd *fds, unsigned int nr)
{
	char byte;

	if (poll(fds, nr, wait_ms) < 0)
		return errno == EINTR;
	return !fds[0].revents || read(fds[0].fd, &byte, 1) > 0;
}

static void hold(void)
{
	static struct pollfd fds[1 + TM_MAP_SERVERS_MAX];
	struct pollfd *lease = &fds[0];
	unsigned int i;
	int wait_ms;

	*lease = (struct pollfd){.fd = TM_LEASE_FD, .events = POLLIN};
	do {
		wait_ms = -1;
		for (i = 0; i < map.nr_servers; i++) {
			struct held *h = &held[i];
			int ms = RETRY_MS;

			/* Connecting may take its time. */
			if (!h->session && is_leased(0, lease, 1))
				open_session(i);
			if (h->session)
				serve(h);
			fds[1 + i].fd = -1;
			if (h->session) {
				struct tm_channel *channel =
					tm_session_channel(h->session, 0);

				fds[1 + i].fd = tm_channel_fd(
					channel, &fds[1 + i].events);
				ms = tm_channel_wait_ms(channel);
			}
			if (wait_ms < 0 || ms < wait_ms)
				wait_ms = ms;
		}
	} while (is_leased(wait_ms, fds, 1 + map.nr_servers));
	for (i = 0; i < map.nr_servers; i++)
		if (held[i].session)
			tm_session_close(held[i].session);
}

/* Until the one that holds ends by its own will. */
static int supervise(int processes)
{
	const struct timespec pause = {0, 100000000};
	int status;
	pid_t pid;

	for (;;) {
		pid = fork();
		if (!pid) {
			hold();
			_exit(0);
		}
		if (pid < 0)
			return -errno;
		tm_process_add(processes, pid);
		while (waitpid(pid, &status, 0) < 0)
			if (errno != EINTR)
				return -errno;
		if (WIFEXITED(status))
			return 0;
		nanosleep(&pause, NULL);
	}
}

int tm_keep(struct tm_job_request *r)
{
	char path[PATH_MAX], why[256];
	struct tm_detached detached;
	int err = tm_process_detach(r, &detached);

	if (err)
		return err < 0 ? err : 0;
	err = tm_become_user(r->uid, r->gid);
	if (!err)
		err = tm_map_load(tm_job_folder_path(r->job, "map", path), &map,
				  why, sizeof(why));
	else
		snprintf(why, sizeof(why), "become user %u: %s", r->uid,
			 strerror(-err));
	if (err) {
		syslog(LOG_ERR, "job %u: hold the donors: %s", r->job, why);
		return err;
	}
	return supervise(detached.processes);
}
