// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The memory servers of one run: children in sessions of their own, so that
 * what a terminal sends to the program (^C, ^Z, hang-up) does not reach them.
 * They end when the lease does, even if this process is killed.
 */
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "tools/tool.h"

#define READY_MS 15000
#define READY_LINE_MAX 1024
#define END_MS 5000

/* A server that was started and has not said yet that it serves. */
struct start {
	int fd; /* its stdout, -1: done */
	size_t got;
	char line[READY_LINE_MAX];
};

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void pause_ms(unsigned int ms)
{
	struct timespec ts = {0, (long)ms * 1000000};

	nanosleep(&ts, NULL);
}

static uint64_t capacity_per_server(const struct tm_run_options *o)
{
	uint64_t share = (o->map.size_bytes + o->donors - 1) / o->donors;

	return (share + TM_EXTENT_BYTES - 1) / TM_EXTENT_BYTES *
	       TM_EXTENT_BYTES;
}

/* Runs in the child. */
static void exec_server(const char *path, const char *folder,
			const struct tm_run_options *o, unsigned int index,
			int lease, int out)
{
	char listen[PATH_MAX + 16], capacity[48], lease_fd[32];
	char *const argv[] = {"teramemd", listen,	   capacity,
			      lease_fd,	  "--idle-exit=0", NULL};
	int null = open("/dev/null", O_RDONLY);
	sigset_t none;

	if (o->tcp)
		strcpy(listen, "--listen=tcp:127.0.0.1:0");
	else
		snprintf(listen, sizeof(listen), "--listen=unix:%s/s%u", folder,
			 index);
	snprintf(capacity, sizeof(capacity), "--capacity=%llu",
		 (unsigned long long)capacity_per_server(o));
	lease = dup(lease); /* without O_CLOEXEC */
	snprintf(lease_fd, sizeof(lease_fd), "--lease-fd=%d", lease);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	setsid();
	if (null < 0 || lease < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(out, STDOUT_FILENO) < 0 || chdir("/"))
		_exit(TM_EXIT_FAILURE);
	execv(path, argv);
	tm_err("start %s: %s", path, strerror(errno));
	_exit(TM_EXIT_FAILURE);
}

static int start_one(struct tm_servers *servers, const char *path,
		     const char *folder, const struct tm_run_options *o,
		     int lease, struct start *start)
{
	int out[2];
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0) {
		close(out[0]);
		close(out[1]);
		return -EAGAIN;
	}
	if (!pid)
		exec_server(path, folder, o, servers->nr, lease, out[1]);
	close(out[1]);
	start->fd = out[0];
	servers->pid[servers->nr++] = pid;
	return 0;
}

/* The line is {"address": "...", ...}; only the address is needed here. */
static int take_address(struct start *start, struct tm_map_server *server)
{
	struct json_object *root = json_tokener_parse(start->line), *value;
	int err = -EPROTO;

	if (json_object_object_get_ex(root, "address", &value) &&
	    json_object_is_type(value, json_type_string) &&
	    json_object_get_string_len(value) < TM_MAP_ADDRESS_MAX) {
		strcpy(server->address, json_object_get_string(value));
		err = 0;
	}
	json_object_put(root);
	return err;
}

/* Returns 0 when there was nothing more to do, 1 when it serves, -errno. */
static int read_ready(struct start *start, struct tm_map_server *server)
{
	ssize_t n = read(start->fd, start->line + start->got,
			 sizeof(start->line) - 1 - start->got);

	if (n < 0)
		return errno == EINTR ? 0 : -errno;
	start->got += (size_t)n;
	start->line[start->got] = '\0';
	if (!strchr(start->line, '\n'))
		return !n || start->got == sizeof(start->line) - 1 ? -EPROTO
								   : 0;
	close(start->fd);
	start->fd = -1;
	return take_address(start, server) ? -EPROTO : 1;
}

static void say_missing(const struct start *starts, unsigned int nr,
			unsigned int ready)
{
	char missing[256];
	size_t used = 0;
	unsigned int i;

	for (i = 0; i < nr && used < sizeof(missing); i++)
		if (starts[i].fd >= 0)
			used += (size_t)snprintf(missing + used,
						 sizeof(missing) - used,
						 "%ss%u", used ? ", " : "", i);
	tm_err("start servers: %u/%u ready after %d s, missing %s; is the "
	       "machine overloaded?",
	       ready, nr, READY_MS / 1000, missing);
}

static int wait_ready(struct start *starts, struct tm_map *map)
{
	struct pollfd fds[TM_DONORS_MAX];
	uint64_t deadline = now_ms() + READY_MS;
	unsigned int ready = 0, i, nr = map->nr_servers;

	while (ready < nr) {
		uint64_t now = now_ms();

		if (now >= deadline) {
			say_missing(starts, nr, ready);
			return -ETIMEDOUT;
		}
		for (i = 0; i < nr; i++)
			fds[i] = (struct pollfd){.fd = starts[i].fd,
						 .events = POLLIN};
		if (poll(fds, nr, (int)(deadline - now)) <= 0)
			continue;
		for (i = 0; i < nr; i++) {
			int ret;

			if (starts[i].fd < 0 || !fds[i].revents)
				continue;
			ret = read_ready(&starts[i], &map->server[i]);
			if (ret < 0) {
				tm_err("start server s%u: it ended, or did not "
				       "say that it serves; its own message is "
				       "above",
				       i);
				return ret;
			}
			ready += (unsigned int)ret;
		}
	}
	return 0;
}

int tm_servers_start(struct tm_servers *servers, const char *folder,
		     const struct tm_run_options *o, struct tm_map *map)
{
	static struct start starts[TM_DONORS_MAX];
	char path[PATH_MAX];
	unsigned int i;
	int lease[2], err;

	*servers = (struct tm_servers){.lease_fd = -1};
	err = tm_path_find("server/teramemd", path);
	if (err)
		return err;
	if (pipe2(lease, O_CLOEXEC))
		return -errno;
	servers->lease_fd = lease[1];
	map->nr_servers = o->donors;
	for (i = 0; i < o->donors; i++) {
		map->server[i].capacity_bytes = capacity_per_server(o);
		map->server[i].auth =
			o->tcp ? TM_MAP_AUTH_MUNGE : TM_MAP_AUTH_PEERCRED;
		starts[i].fd = -1;
	}
	for (i = 0; i < o->donors && !err; i++)
		err = start_one(servers, path, folder, o, lease[0], &starts[i]);
	close(lease[0]);
	if (err)
		tm_err("start servers: %s", strerror(-err));
	else
		err = wait_ready(starts, map);
	for (i = 0; i < o->donors; i++)
		if (starts[i].fd >= 0)
			close(starts[i].fd);
	if (err)
		tm_servers_end(servers);
	return err;
}

bool tm_servers_reaped(struct tm_servers *servers, pid_t pid, int status)
{
	unsigned int i;

	for (i = 0; i < servers->nr; i++) {
		if (servers->pid[i] != pid)
			continue;
		servers->pid[i] = 0;
		if (WIFSIGNALED(status))
			tm_warn("server s%u (pid %d) ended by signal %d (%s): "
				"accesses to what it held end in SIGBUS",
				i, pid, WTERMSIG(status),
				strsignal(WTERMSIG(status)));
		else
			tm_warn("server s%u (pid %d) ended with status %d: "
				"accesses to what it held end in SIGBUS",
				i, pid, WEXITSTATUS(status));
		return true;
	}
	return false;
}

/* Returns how many are left after at most @ms. */
static unsigned int wait_end(struct tm_servers *servers, unsigned int ms)
{
	uint64_t deadline = now_ms() + ms;
	unsigned int left, i;

	for (;;) {
		left = 0;
		for (i = 0; i < servers->nr; i++) {
			if (!servers->pid[i])
				continue;
			if (waitpid(servers->pid[i], NULL, WNOHANG))
				servers->pid[i] = 0;
			else
				left++;
		}
		if (!left || now_ms() >= deadline)
			return left;
		pause_ms(5);
	}
}

void tm_servers_end(struct tm_servers *servers)
{
	static const int insist[] = {SIGTERM, SIGKILL};
	unsigned int i, step;

	if (servers->lease_fd >= 0)
		close(servers->lease_fd);
	servers->lease_fd = -1;
	for (step = 0; step < 2 && wait_end(servers, END_MS); step++) {
		for (i = 0; i < servers->nr; i++) {
			if (!servers->pid[i])
				continue;
			tm_warn("end server s%u (pid %d): it goes on; sending "
				"%s",
				i, servers->pid[i], strsignal(insist[step]));
			kill(servers->pid[i], insist[step]);
		}
	}
	wait_end(servers, END_MS);
}
