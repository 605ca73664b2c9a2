// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Finds a job's servers and waits for them. A child does it as the job's user:
 * that a server is the right one shows when a session with it comes about,
 * which needs the user's MUNGE credential.
 *
 * A server listens at the first free one of a few ports that follow from the
 * job's number, so that nobody needs to pass its address on.
 */
#include <errno.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/session.h"
#include "core/proto.h"
#include "spank/job/job.h"

#define DIAL_MS 1000
#define PAUSE_NS 10000000L
#define ALL_PORTS_ROUNDS 16
#define LOOK_MS 1000 /* for the job itself */

unsigned int tm_port(const struct tm_conf *conf, uint32_t leader,
		     unsigned int tried)
{
	uint64_t nr = conf->port_last - conf->port_first + 1;

	return (unsigned int)(conf->port_first +
			      ((uint64_t)leader * TM_PORTS_TRIED + tried) % nr);
}

int tm_become_user(uid_t uid, gid_t gid)
{
	if (setgroups(0, NULL) || setresgid(gid, gid, gid) ||
	    setresuid(uid, uid, uid))
		return -errno;
	return 0;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void ignore_lost(void *ctx, struct tm_session *session, const char *why)
{
}

static void ignore_renewed(void *ctx, struct tm_session *session)
{
}

/*
 * Where nobody listens, the server would have been the first to do so, and is
 * not there yet; unless somebody did and went: so now and then all are tried,
 * but not at first, when there is none yet as a rule.
 *
 * Returns 0 when it serves this job; @why: of the last port that was tried.
 */
static int try_donor(const struct tm_job_request *r, const struct tm_node *node,
		     bool all_ports, struct tm_map_server *server, char *why,
		     size_t len)
{
	static const struct tm_session_ops ops = {
		.lost = ignore_lost,
		.renewed = ignore_renewed,
	};
	struct tm_session_config config = {
		.server = server,
		.job = r->leader,
		.timeout_ms = DIAL_MS,
		.nr_channels = 1,
		.depth = 1,
	};
	struct tm_session *session;
	char cause[128];
	unsigned int i;
	int err = -EAGAIN;

	server->auth = TM_MAP_AUTH_MUNGE;
	for (i = 0; i < TM_PORTS_TRIED && err; i++) {
		if (err == -ECONNREFUSED && !all_ports)
			break;
		snprintf(server->address, sizeof(server->address), "tcp:%s:%u",
			 node->address, tm_port(&r->conf, r->leader, i));
		err = tm_session_open(&config, &ops, NULL, &session, cause,
				      sizeof(cause));
		/* Nobody at a port is what is to be expected. */
		if (err && err != -ECONNREFUSED)
			snprintf(why, len, "%s: %s", server->address, cause);
	}
	if (err)
		return err;
	server->capacity_bytes =
		tm_le64_to_cpu(tm_session_welcome(session)->capacity_bytes);
	/* Not closed: so the server waits a while for the next one to come. */
	return 0;
}

static void say_missing(const struct tm_cluster_job *job, const bool *ready,
			const char *why, char *error, size_t len)
{
	unsigned int i, nr = 0;
	size_t used;

	for (i = 0; i < job->nr_donors; i++)
		nr += ready[i];
	used = (size_t)snprintf(error, len, "%u/%u donors ready, missing", nr,
				job->nr_donors);
	for (i = 0; i < job->nr_donors && used < len; i++)
		if (!ready[i])
			used += (size_t)snprintf(error + used, len - used,
						 " %s", job->donor[i].name);
	if (used < len && *why)
		snprintf(error + used, len - used, " (%s)", why);
	else if (used < len)
		snprintf(error + used, len - used,
			 " (see the logs of slurmd and of the system there)");
}

/* What the child finds out, in memory that it shares with its parent. */
struct result {
	struct tm_map_server server[TM_NODES_MAX];
	char error[512];
};

static int poll_donors(const struct tm_job_request *r,
		       const struct tm_cluster_job *job, unsigned int wait_ms,
		       struct result *result)
{
	const struct timespec pause = {0, PAUSE_NS};
	uint64_t deadline = now_ms() + wait_ms;
	bool ready[TM_NODES_MAX] = {false};
	unsigned int left = job->nr_donors, round = 0, i;
	char why[256] = "";

	for (;;) {
		for (i = 0; i < job->nr_donors; i++) {
			if (ready[i] ||
			    try_donor(r, &job->donor[i],
				      round % ALL_PORTS_ROUNDS ==
					      ALL_PORTS_ROUNDS - 1,
				      &result->server[i], why, sizeof(why)))
				continue;
			ready[i] = true;
			left--;
		}
		if (!left)
			return 0;
		if (now_ms() >= deadline)
			break;
		nanosleep(&pause, NULL);
		round++;
	}
	say_missing(job, ready, why, result->error, sizeof(result->error));
	return -ETIMEDOUT;
}

/* Returns 0; -EIO when the child ended early; -ECANCELED when the job did. */
static int read_result(const struct tm_job_request *r, int fd,
		       struct result *result)
{
	struct pollfd in = {.fd = fd, .events = POLLIN};
	size_t got = 0;
	ssize_t n;

	while (got < sizeof(*result)) {
		if (!poll(&in, 1, LOOK_MS)) {
			if (!tm_cluster_wants(r))
				return -ECANCELED;
			continue;
		}
		n = read(fd, (char *)result + got, sizeof(*result) - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return -EIO;
		got += (size_t)n;
	}
	return 0;
}

static int child(const struct tm_job_request *r,
		 const struct tm_cluster_job *job, unsigned int wait_ms,
		 struct result *result, int fd)
{
	size_t done = 0;
	ssize_t n;
	int err = tm_become_user(r->uid, r->gid);

	if (err)
		snprintf(result->error, sizeof(result->error),
			 "become user %u: %s", r->uid, strerror(-err));
	else
		err = poll_donors(r, job, wait_ms, result);
	while (done < sizeof(*result)) {
		n = write(fd, (char *)result + done, sizeof(*result) - done);
		if (n < 0)
			return 1;
		done += (size_t)n;
	}
	return err ? 1 : 0;
}

int tm_wait_donors(const struct tm_job_request *r,
		   const struct tm_cluster_job *job, unsigned int wait_ms,
		   struct tm_map_server *servers, char *error, size_t len)
{
	static struct result result;
	int out[2], status = 0, err;
	pid_t pid;

	if (pipe(out))
		return -errno;
	pid = fork();
	if (!pid) {
		close(out[0]);
		_exit(child(r, job, wait_ms, &result, out[1]));
	}
	close(out[1]);
	err = pid < 0 ? -EAGAIN : read_result(r, out[0], &result);
	close(out[0]);
	if (err && pid > 0)
		kill(pid, SIGKILL);
	if (pid > 0)
		waitpid(pid, &status, 0);
	result.error[sizeof(result.error) - 1] = '\0';
	if (err == -ECANCELED)
		snprintf(error, len, "the job ended while its donors started");
	else if (err)
		snprintf(error, len, "the search for donors ended early");
	else if (status)
		snprintf(error, len, "%s", result.error);
	else
		memcpy(servers, result.server, sizeof(result.server));
	return err ? err : status ? -EIO : 0;
}
