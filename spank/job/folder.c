// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The job's folder. Only root writes there, so nobody can have put a link in
 * the way.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

char *tm_job_folder_path(uint32_t job, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, TM_RUN_FOLDER "/%" PRIu32 "%s%s", job,
		 *name ? "/" : "", name);
	return path;
}

static bool is_roots(const char *path)
{
	struct stat st;

	return !lstat(path, &st) && S_ISDIR(st.st_mode) && !st.st_uid &&
	       !(st.st_mode & 022);
}

int tm_job_folder_make(uint32_t job)
{
	char path[PATH_MAX];
	int err;

	tm_job_folder_remove(job);
	tm_job_folder_path(job, "", path);
	do {
		err = mkdir(TM_RUN_FOLDER, 0755) && errno != EEXIST ? -errno
								    : 0;
		if (!err && !is_roots(TM_RUN_FOLDER))
			err = -EPERM;
		if (!err && mkdir(path, 0711))
			err = -errno;
		/* Another job's end may have removed the folder in between. */
	} while (err == -ENOENT);
	if (err == -EPERM)
		tm_err("use %s: others than root may write there; remove it",
		       TM_RUN_FOLDER);
	else if (err)
		tm_err("make %s: %s", path, strerror(-err));
	return err;
}

void tm_job_folder_remove(uint32_t job)
{
	char path[PATH_MAX];
	struct dirent *entry;
	DIR *dir = opendir(tm_job_folder_path(job, "", path));

	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(dirfd(dir), entry->d_name, 0);
	if (dir)
		closedir(dir);
	if (rmdir(path) && errno != ENOENT)
		tm_warn("remove %s: %s", path, strerror(errno));
	/* Leaves it while other jobs have theirs. */
	rmdir(TM_RUN_FOLDER);
}

int tm_job_folder_write(uint32_t job, const char *name, const char *text)
{
	char path[PATH_MAX], part[PATH_MAX];
	ssize_t len = (ssize_t)strlen(text), n;
	int fd, err = 0;

	tm_job_folder_path(job, name, path);
	tm_job_folder_path(job, "new", part);
	fd = open(part, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC,
		  0644);
	if (fd < 0)
		return -errno;
	n = write(fd, text, (size_t)len);
	if (n != len)
		err = n < 0 ? -errno : -ENOSPC;
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(part, path))
		err = -errno;
	if (err)
		unlink(part);
	return err;
}
