// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The processes that a job has from us on this node: in its cgroups, with their
 * messages in its folder, and written down so that they can be ended by whoever
 * finds the job gone. A number alone says nothing, it
 * may be another process's by now: so its start time is kept with it, and what
 * it runs is looked at.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <syslog.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

#define END_MS 5000

static int read_birth(pid_t pid, uint64_t *birth)
{
	char path[64], text[1024];
	const char *field;
	FILE *file;
	int i;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	file = fopen(path, "re");
	field = file ? fgets(text, sizeof(text), file) : NULL;
	if (file)
		fclose(file);
	/* The name may hold anything; the start time is the 20th after it. */
	field = field ? strrchr(text, ')') : NULL;
	for (i = 0; field && i < 20; i++)
		field = strchr(field + 1, ' ');
	return field && sscanf(field, " %" SCNu64, birth) == 1 ? 0 : -ESRCH;
}

int tm_process_add(int processes, pid_t pid)
{
	uint64_t birth;
	char line[64];
	int len, err = read_birth(pid, &birth);

	if (err)
		return err;
	len = snprintf(line, sizeof(line), "%d %" PRIu64 "\n", (int)pid, birth);
	return write(processes, line, (size_t)len) == len ? 0 : -EIO;
}

/* Away from the step, which must neither wait for it nor count it as a child.
 */
int tm_process_detach(const struct tm_job_request *r, struct tm_detached *d)
{
	int err;
	pid_t pid;

	d->log = tm_job_folder_append(r->job, "log", 0644);
	if (d->log < 0)
		return d->log;
	d->processes = tm_job_folder_append(r->job, "processes", 0600);
	if (d->processes < 0)
		return d->processes;
	/* While the step waits: with us in them, it cannot remove them. */
	err = tm_cgroup_record(r->job);
	if (err) {
		tm_err("job %" PRIu32 ": write down its cgroups: %s", r->job,
		       strerror(-err));
		return err;
	}
	pid = fork();
	if (pid)
		return pid < 0 ? -EAGAIN : 1;
	setsid();
	openlog("teramem-job", LOG_PID, LOG_DAEMON);
	dup2(d->log, STDOUT_FILENO);
	dup2(d->log, STDERR_FILENO);
	err = tm_process_add(d->processes, getpid());
	if (!err)
		err = tm_cgroup_join(r->task, r->job);
	if (err && err != -ECANCELED)
		tm_err("job %" PRIu32 ": join it: %s", r->job, strerror(-err));
	return err;
}

/*
 * Only a program of ours is ever ended. Returns 1, 0, or -ENOENT for a process
 * that is ending by itself, which may take its time, with much memory to free.
 */
static int is_ours(pid_t pid, char name[TM_PROCESS_NAME_MAX])
{
	static const char *const ours[] = {"teramemd", "teramem-job"};
	char path[64], exe[PATH_MAX];
	const char *base;
	ssize_t n;
	size_t i;

	snprintf(path, sizeof(path), "/proc/%d/exe", (int)pid);
	n = readlink(path, exe, sizeof(exe) - 1);
	if (n <= 0)
		return -ENOENT;
	exe[n] = '\0';
	/* An upgrade may have replaced it meanwhile. */
	exe[strcspn(exe, " ")] = '\0';
	base = strrchr(exe, '/');
	for (i = 0; base && i < sizeof(ours) / sizeof(*ours); i++)
		if (!strcmp(base + 1, ours[i])) {
			snprintf(name, TM_PROCESS_NAME_MAX, "%s", ours[i]);
			return 1;
		}
	return 0;
}

/* Whether it had to be ended; when it is gone, so that its cgroups can go. */
static bool end(pid_t pid, uint64_t birth, bool dry_run,
		char name[TM_PROCESS_NAME_MAX])
{
	struct pollfd gone = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	uint64_t now = 0;
	int ours = 0;

	/* It cannot become another one any more. */
	if (gone.fd >= 0 && !read_birth(pid, &now) && now == birth)
		ours = is_ours(pid, name);
	if (ours > 0 && !dry_run)
		pidfd_send_signal(gone.fd, SIGKILL, NULL, 0);
	if (ours && !dry_run)
		poll(&gone, 1, END_MS);
	if (gone.fd >= 0)
		close(gone.fd);
	return ours > 0;
}

void tm_process_end_all(uint32_t job, int folder, bool dry_run,
			void (*ended)(uint32_t job, pid_t pid,
				      const char *name))
{
	int fd = openat(folder, "processes",
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char name[TM_PROCESS_NAME_MAX];
	uint64_t birth;
	int pid;

	while (file && fscanf(file, "%d %" SCNu64, &pid, &birth) == 2)
		if (pid > 1 && end(pid, birth, dry_run, name) && ended)
			ended(job, pid, name);
	if (file)
		fclose(file);
}
