// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What jobs left behind that ended while slurmd was not there to tell us:
 * before the next job of ours on this node, and when an administrator asks for
 * it (teramem cleanup). A job is gone only by the controller's word.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

/**
 * struct sweep - one of them
 * @tell: each thing found, on stdout; else only what was removed, as a warning
 */
struct sweep {
	int folder;
	bool dry_run, tell;
	unsigned int found, left;
};

static bool dry;

static void tell_process(uint32_t job, pid_t pid, const char *name)
{
	printf("job %" PRIu32 ": %s process %d, %s\n", job,
	       dry ? "would end" : "ended", (int)pid, name);
}

static void tell_cgroup(uint32_t job, const char *path)
{
	if (dry)
		printf("job %" PRIu32 ": would remove %s\n", job, path);
	else if (access(path, F_OK))
		printf("job %" PRIu32 ": removed %s\n", job, path);
	else
		printf("job %" PRIu32 ": left %s, which is in use\n", job,
		       path);
}

/* Where the job's prolog ran; a node's name in Slurm need not be the host's. */
static void read_node(int folder, char node[TM_CONF_NAME_MAX])
{
	int fd = openat(folder, "node",
			O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, node, TM_CONF_NAME_MAX - 1);

	if (fd >= 0)
		close(fd);
	/* None while a prolog has only just begun: then it is anywhere. */
	node[n > 0 ? n : 0] = '\0';
}

static void remove_job(struct sweep *s, uint32_t job, const char *name, int fd)
{
	tm_process_end_all(job, fd, s->dry_run, s->tell ? tell_process : NULL);
	tm_cgroup_remove(job, fd, s->dry_run, s->tell ? tell_cgroup : NULL);
	s->found++;
	if (!s->dry_run) {
		tm_companion_end(job);
		tm_job_folder_empty(fd);
		if (unlinkat(s->folder, name, AT_REMOVEDIR))
			tm_err("remove " TM_RUN_FOLDER "/%s: %s", name,
			       strerror(errno));
		else if (!s->tell)
			tm_warn("job %" PRIu32 " is gone: removed what it left",
				job);
	}
	if (s->tell)
		printf("job %" PRIu32 ": %s " TM_RUN_FOLDER "/%s\n", job,
		       s->dry_run ? "would remove" : "removed", name);
}

static void look_at(struct sweep *s, uint32_t job, const char *name)
{
	int fd = tm_job_folder_open(s->folder, name), there;
	char node[TM_CONF_NAME_MAX];

	if (fd == -ENOENT)
		return;
	if (fd < 0) {
		if (s->tell)
			printf("left " TM_RUN_FOLDER
			       "/%s, which is not root's alone\n",
			       name);
		return;
	}
	read_node(fd, node);
	there = tm_cluster_has(job, node);
	if (!there)
		remove_job(s, job, name, fd);
	else if (there < 0)
		s->left++;
	if (there < 0 && s->tell)
		printf("job %" PRIu32 ": left alone, since the controller does "
		       "not answer\n",
		       job);
	close(fd);
}

static void sweep(struct sweep *s, uint32_t but)
{
	struct dirent *entry;
	char *end;
	DIR *dir;
	unsigned long job;

	s->folder = tm_job_folder_open(AT_FDCWD, TM_RUN_FOLDER);
	dir = s->folder < 0 ? NULL : fdopendir(s->folder);
	while (dir && (entry = readdir(dir))) {
		job = strtoul(entry->d_name, &end, 10);
		if (*entry->d_name >= '1' && *entry->d_name <= '9' && !*end &&
		    job <= UINT32_MAX && job != but)
			look_at(s, (uint32_t)job, entry->d_name);
	}
	if (dir)
		closedir(dir);
	rmdir(TM_RUN_FOLDER);
}

void tm_sweep(uint32_t job)
{
	struct sweep s = {.tell = false};

	sweep(&s, job);
}

int tm_cleanup(struct tm_job_request *r)
{
	struct sweep s = {.tell = true, .dry_run = r->dry_run};

	dry = r->dry_run;
	sweep(&s, 0);
	if (s.folder == -EPERM || s.folder == -ENOTDIR || s.folder == -ELOOP) {
		tm_err("cleanup: use " TM_RUN_FOLDER
		       ": others than root may write there; remove it");
		return -EPERM;
	}
	if (!s.found && !s.left)
		puts("nothing is left of jobs that are gone");
	return s.left || fflush(stdout) ? -EIO : 0;
}
