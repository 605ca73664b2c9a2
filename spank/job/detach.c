// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What lives as long as the job: away from the step that started it, which must
 * neither wait for it nor count it as a child; in the job's cgroups; and on
 * record. Its messages go to the job's folder.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

static int open_log(uint32_t job)
{
	char path[PATH_MAX];
	int fd = open(tm_job_folder_path(job, "log", path),
		      O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
		      0644);

	if (fd >= 0)
		return fd;
	fd = -errno;
	tm_err("open %s: %s", path, strerror(errno));
	return fd;
}

int tm_detach(const struct tm_job_request *r, struct tm_detached *d)
{
	int err;
	pid_t pid;

	d->log = open_log(r->job);
	if (d->log < 0)
		return d->log;
	d->processes = tm_process_file(r->job);
	if (d->processes < 0)
		return d->processes;
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
	if (err)
		tm_err("job %u: join it: %s", r->job, strerror(-err));
	return err;
}
