// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On a donor: starts the memory server as the job's user in the job's cgroup,
 * at the first port that is free, and keeps what it says. The server ends when
 * its lease does (the extern step's slurmstepd holds it), and with this
 * process.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <syslog.h>
#include <unistd.h>

#include "common/log.h"
#include "common/paths.h"
#include "spank/job/job.h"

#define LOG_MAX_BYTES (64u << 10)
/* Without any session, since its compute nodes hold one all the time. */
#define IDLE_S 5

/* As prepare.c wrote it. */
struct donor {
	uint32_t leader;
	uid_t uid;
	gid_t gid;
	uint64_t capacity_bytes;
	char address[TM_CONF_NAME_MAX];
	struct tm_conf conf; /* ports and times */
	char server[PATH_MAX];
};

static int read_donor(uint32_t job, struct donor *d)
{
	char path[PATH_MAX];
	FILE *file = fopen(tm_job_folder_path(job, "donor", path), "re");
	int nr = 0;

	if (file) {
		nr = fscanf(file,
			    "%" SCNu32 " %u %u %" SCNu64 " %" SCNu64 " %" SCNu64
			    " %" SCNu64 " %" SCNu64 " %63s",
			    &d->leader, &d->uid, &d->gid, &d->capacity_bytes,
			    &d->conf.port_first, &d->conf.port_last,
			    &d->conf.wait_s, &d->conf.timeout_s, d->address);
		fclose(file);
	}
	if (nr == 9)
		return 0;
	tm_err("donor of job %" PRIu32 ": cannot read %s", job, path);
	return -EINVAL;
}

static void exec_server(const struct donor *d, unsigned int port)
{
	char listen[48], address[TM_CONF_NAME_MAX + 32], capacity[48], job[32],
		owner[32], lease[32], grace[32], idle[32], wait[32];
	char *const argv[] = {"teramemd", listen, address, capacity, job, owner,
			      lease,	  grace,  idle,	   wait,     NULL};

	snprintf(listen, sizeof(listen), "--listen=tcp:0.0.0.0:%u", port);
	snprintf(address, sizeof(address), "--address=tcp:%s:%u", d->address,
		 port);
	snprintf(capacity, sizeof(capacity), "--capacity=%" PRIu64,
		 d->capacity_bytes);
	snprintf(job, sizeof(job), "--job=%" PRIu32, d->leader);
	snprintf(owner, sizeof(owner), "--owner=%u", d->uid);
	snprintf(lease, sizeof(lease), "--lease-fd=%d", TM_LEASE_FD);
	/* A client gives the server up after the timeout, and no earlier. */
	snprintf(grace, sizeof(grace), "--grace=%" PRIu64, d->conf.timeout_s);
	snprintf(idle, sizeof(idle), "--idle-exit=%d", IDLE_S);
	snprintf(wait, sizeof(wait), "--wait=%" PRIu64,
		 d->conf.wait_s + IDLE_S);
	/* Before anything can have ended the parent. */
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	execv(d->server, argv);
	tm_err("start %s: %s", d->server, strerror(errno));
	_exit(127);
}

/*
 * To the system's log, which outlives the job, and to the job's folder: so much
 * and no more there, since it is in memory.
 */
static void keep_log(int from, int log)
{
	FILE *messages = fdopen(from, "r");
	size_t room = LOG_MAX_BYTES, len;
	char line[1024];

	while (messages && fgets(line, sizeof(line), messages)) {
		syslog(LOG_WARNING, "%s", line);
		len = strlen(line);
		if (len <= room && write(log, line, len) == (ssize_t)len)
			room -= len;
	}
	if (messages)
		fclose(messages);
	else
		close(from);
}

/* Returns the server's exit status when it has ended, or -errno. */
static int run_server(const struct donor *d, unsigned int port,
		      const struct tm_detached *detached)
{
	int out[2], status, null;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		null = open("/dev/null", O_RDWR);
		dup2(null, STDIN_FILENO);
		dup2(null, STDOUT_FILENO);
		dup2(out[1], STDERR_FILENO);
		close(null);
		exec_server(d, port);
	}
	close(out[1]);
	if (pid < 0) {
		close(out[0]);
		return -EAGAIN;
	}
	tm_process_add(detached->processes, pid);
	keep_log(out[0], detached->log);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

static int supervise(const struct donor *d, uint32_t job,
		     const struct tm_detached *detached)
{
	const struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};
	unsigned int i;
	int ret = -EADDRINUSE;

	/* What is lent is never swapped; the cgroup is the limit. */
	setrlimit(RLIMIT_MEMLOCK, &unlimited);
	ret = tm_become_user(d->uid, d->gid);
	if (ret) {
		tm_err("donor of job %" PRIu32 ": become user %u: %s", job,
		       d->uid, strerror(-ret));
		return ret;
	}
	/* 1: it could not start; the port is the likely reason. */
	for (i = 0, ret = 1; i < TM_PORTS_TRIED && ret == 1; i++)
		ret = run_server(d, tm_port(&d->conf, d->leader, i), detached);
	return ret;
}

int tm_donor(struct tm_job_request *r)
{
	struct donor donor = {.leader = 0};
	struct tm_detached detached;
	int err;

	err = read_donor(r->job, &donor);
	if (!err)
		err = tm_path_find("server/teramemd", donor.server);
	if (!err)
		err = tm_process_detach(r, &detached);
	if (err)
		return err < 0 ? err : 0;
	return supervise(&donor, r->job, &detached);
}
