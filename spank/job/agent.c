// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel engine's part of a job on a compute node: a process that makes the
 * job's space as root and then, as the job's user, connects and serves it. It
 * ends when the job's folder is removed, and the space with it.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "common/module.h"
#include "common/space.h"
#include "spank/job/job.h"

#define END_TRIES 250
#define END_PAUSE_NS 20000000L

/* What the agent tells once the space is ready, or cannot be. */
struct report {
	int err;
	char why[512];
};

static char *space_name(uint32_t job, char name[TM_UAPI_NAME_MAX])
{
	snprintf(name, TM_UAPI_NAME_MAX, "job-%" PRIu32, job);
	return name;
}

static char *device_path(uint32_t job, char path[PATH_MAX])
{
	char name[TM_UAPI_NAME_MAX];

	snprintf(path, PATH_MAX, TM_SPACE_DEVICE_FOLDER "/%s",
		 space_name(job, name));
	return path;
}

/* Readable once the job's folder is gone. */
static int watch_folder(uint32_t job)
{
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK), err;
	char path[PATH_MAX];

	if (fd >= 0 && inotify_add_watch(fd, tm_job_folder_path(job, "", path),
					 IN_DELETE_SELF | IN_ONLYDIR) >= 0)
		return fd;
	err = -errno;
	if (fd >= 0)
		close(fd);
	return err;
}

/* Slurm waits for whoever has the prolog's output. */
static int redirect(uint32_t job)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int log = tm_job_folder_append(job, "log", 0644);

	if (log < 0)
		return log;
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 ||
	    dup2(null, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0 ||
	    setsid() < 0 || chdir("/"))
		return -errno;
	close(null);
	close(log);
	return 0;
}

static int set_up(const struct tm_job_request *r, const struct tm_map *map,
		  struct tm_space **space, int *gone, struct report *report)
{
	char name[TM_UAPI_NAME_MAX];
	int err = redirect(r->job);

	*gone = watch_folder(r->job);
	if (err || *gone < 0) {
		err = err ? err : *gone;
		snprintf(report->why, sizeof(report->why),
			 "start the agent: %s", strerror(-err));
		return err;
	}
	err = tm_space_create(space_name(r->job, name), map, r->uid, r->gid,
			      space, report->why, sizeof(report->why));
	if (err)
		return err;
	err = tm_become_user(r->uid, r->gid);
	if (err)
		snprintf(report->why, sizeof(report->why), "become user %u: %s",
			 r->uid, strerror(-err));
	return err ? err
		   : tm_space_connect(*space, report->why, sizeof(report->why));
}

__attribute__((noreturn)) static void agent(const struct tm_job_request *r,
					    const struct tm_map *map, int out)
{
	struct report report = {0};
	struct tm_space *space;
	int gone;

	report.err = set_up(r, map, &space, &gone, &report);
	if (write(out, &report, sizeof(report)) != sizeof(report) || report.err)
		_exit(1);
	close(out);
	_exit(tm_space_serve(space, gone) ? 1 : 0);
}

static int start(struct tm_job_request *r, const struct tm_map *map)
{
	struct report report = {.err = -EIO, .why = "its agent ended early"};
	int out[2];
	ssize_t n;
	pid_t pid;

	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		close(out[0]);
		agent(r, map, out[1]);
	}
	close(out[1]);
	do {
		n = pid < 0 ? 0 : read(out[0], &report, sizeof(report));
	} while (n < 0 && errno == EINTR);
	close(out[0]);
	report.why[sizeof(report.why) - 1] = '\0';
	snprintf(r->error, sizeof(r->error), "kernel engine: %.400s",
		 report.why);
	return report.err;
}

int tm_agent_start(struct tm_job_request *r, const struct tm_map *map,
		   char device[PATH_MAX])
{
	struct tm_module_probe probe;
	int err;

	*device = '\0';
	if (r->conf.engine != TM_CONF_ENGINE_KMOD) {
		tm_module_probe(&probe);
		if (r->conf.engine != TM_CONF_ENGINE_AUTO || probe.err)
			return 0;
	}
	err = start(r, map);
	if (!err) {
		device_path(r->job, device);
	} else if (r->conf.engine == TM_CONF_ENGINE_AUTO) {
		tm_warn("job %" PRIu32 ": %s; it pages in user space instead",
			r->job, r->error);
		*r->error = '\0';
		err = 0;
	}
	return err;
}

void tm_agent_ended(uint32_t job)
{
	const struct timespec pause = {0, END_PAUSE_NS};
	char device[PATH_MAX];
	unsigned int tries = END_TRIES;

	if (access(device_path(job, device), F_OK))
		return;
	/* The agent has seen that the folder is gone, or will at once. */
	while (--tries && !access(device, F_OK))
		nanosleep(&pause, NULL);
	if (tries)
		tm_module_unload();
	else
		tm_warn("job %" PRIu32 ": %s is still there: a process of the "
			"job uses it",
			job, device);
}
