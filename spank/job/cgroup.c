// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Into a job's cgroups, where its memory limit holds, and out of what is left
 * of them. Both versions: /proc says where.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

#define MOUNT "/sys/fs/cgroup"
#define PAUSE_MS 5
#define TRIES 2000

/* A line of /proc/PID/cgroup: "4:memory:/slurm/job_7/step_extern" */
struct entry {
	char *controllers, *path;
};

static bool next_entry(FILE *file, char line[PATH_MAX], struct entry *entry)
{
	if (!fgets(line, PATH_MAX, file))
		return false;
	line[strcspn(line, "\n")] = '\0';
	entry->controllers = strchr(line, ':');
	if (!entry->controllers)
		return false;
	entry->controllers++;
	entry->path = strchr(entry->controllers, ':');
	if (!entry->path)
		return false;
	*entry->path++ = '\0';
	return true;
}

/* Whether the job's memory limit holds for @pid. */
static bool is_in_job(pid_t pid, uint32_t job)
{
	char path[64], wanted[32], line[PATH_MAX];
	struct entry entry;
	bool found = false;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)pid);
	snprintf(wanted, sizeof(wanted), "/job_%" PRIu32 "/", job);
	file = fopen(path, "re");
	while (file && next_entry(file, line, &entry))
		found |= (!*entry.controllers ||
			  !strcmp(entry.controllers, "memory")) &&
			 strstr(entry.path, wanted);
	if (file)
		fclose(file);
	return found;
}

static int enter(const char *folder, const char *path)
{
	char procs[PATH_MAX + 64], self[16];
	int fd, err = 0, len;

	snprintf(procs, sizeof(procs), MOUNT "%s%s%s/cgroup.procs",
		 *folder ? "/" : "", folder, path);
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = snprintf(self, sizeof(self), "%d", getpid());
	if (write(fd, self, (size_t)len) != len)
		err = -errno;
	close(fd);
	return err;
}

/*
 * But for the freezer: as long as one is in there that takes a moment to die,
 * as a server does with its memory, slurmstepd sleeps for a whole second, and
 * holds up the job's end. The lease and the epilog end us as surely.
 */
static int join_all(pid_t task, uint32_t job)
{
	char path[64], wanted[32], line[PATH_MAX];
	struct entry entry;
	int err = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/cgroup", (int)task);
	snprintf(wanted, sizeof(wanted), "/job_%" PRIu32 "/", job);
	file = fopen(path, "re");
	if (!file)
		return -errno;
	/* Others than the job's say nothing about it. */
	while (!err && next_entry(file, line, &entry))
		if (strcmp(entry.controllers, "freezer") &&
		    strstr(entry.path, wanted))
			err = enter(entry.controllers, entry.path);
	fclose(file);
	return err;
}

/* The job's part of a path, "/job_7/step_extern" without the step's. */
static bool cut_to_job(char *path, uint32_t job)
{
	char wanted[32];
	size_t len =
		(size_t)snprintf(wanted, sizeof(wanted), "/job_%" PRIu32, job);
	char *end = strstr(path, wanted);

	if (!end || (end[len] && end[len] != '/') || strstr(path, "/../"))
		return false;
	end[len] = '\0';
	return true;
}

int tm_cgroup_record(uint32_t job)
{
	char line[PATH_MAX], text[8 * PATH_MAX];
	struct entry entry;
	size_t len = 0;
	FILE *file = fopen("/proc/self/cgroup", "re");

	*text = '\0';
	while (file && next_entry(file, line, &entry))
		if (cut_to_job(entry.path, job) && len < sizeof(text))
			len += (size_t)snprintf(text + len, sizeof(text) - len,
						MOUNT "%s%s%s\n",
						*entry.controllers ? "/" : "",
						entry.controllers, entry.path);
	if (file)
		fclose(file);
	return tm_job_folder_write(job, "cgroups", text);
}

int tm_cgroup_join(pid_t task, uint32_t job)
{
	struct pollfd lease = {.fd = TM_LEASE_FD, .events = POLLIN};
	unsigned int i;
	int err;

	for (i = 0; i < TRIES && !is_in_job(task, job); i++)
		if (poll(&lease, 1, PAUSE_MS) > 0)
			return -ECANCELED;
	err = join_all(task, job);
	if (!err && !is_in_job(getpid(), job))
		err = -ENOENT;
	if (!err)
		err = tm_cgroup_record(job);
	if (err)
		tm_err("donor of job %" PRIu32
		       ": join its memory cgroup: %s; are "
		       "TaskPlugin=task/cgroup and ConstrainRAMSpace=yes set?",
		       job, strerror(-err));
	return err;
}

static int remove_folder(const char *path, const struct stat *st, int type,
			 struct FTW *ftw)
{
	/* One that a process is in stays, and those above it. */
	if (type == FTW_DP)
		rmdir(path);
	return 0;
}

void tm_cgroup_remove(uint32_t job, int folder, bool dry_run,
		      void (*removed)(uint32_t job, const char *path))
{
	int fd = openat(folder, "cgroups", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "r");
	char path[PATH_MAX];

	while (file && fgets(path, sizeof(path), file)) {
		path[strcspn(path, "\n")] = '\0';
		if (access(path, F_OK))
			continue;
		if (!dry_run)
			nftw(path, remove_folder, 8, FTW_DEPTH | FTW_PHYS);
		if (removed)
			removed(job, path);
	}
	if (file)
		fclose(file);
}
