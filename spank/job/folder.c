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

int tm_job_folder_open(int at, const char *name)
{
	int fd = openat(at, name,
			O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0)
		return -errno;
	if (!fstat(fd, &st) && !st.st_uid && !(st.st_mode & 022))
		return fd;
	close(fd);
	return -EPERM;
}

int tm_job_folder_make(uint32_t job)
{
	char path[PATH_MAX];
	int err, fd;

	tm_job_folder_remove(job);
	tm_job_folder_path(job, "", path);
	do {
		err = mkdir(TM_RUN_FOLDER, 0755) && errno != EEXIST ? -errno
								    : 0;
		fd = err ? err : tm_job_folder_open(AT_FDCWD, TM_RUN_FOLDER);
		if (fd >= 0) {
			err = mkdir(path, 0711) ? -errno : 0;
			close(fd);
		} else {
			err = fd;
		}
		/* Another job's end may have removed the folder in between. */
	} while (err == -ENOENT);
	if (err == -EPERM || err == -ENOTDIR || err == -ELOOP)
		tm_err("use %s: others than root may write there; remove it",
		       TM_RUN_FOLDER);
	else if (err)
		tm_err("make %s: %s", path, strerror(-err));
	return err;
}

void tm_job_folder_empty(int fd)
{
	int copy = dup(fd);
	DIR *dir = copy < 0 ? NULL : fdopendir(copy);
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(fd, entry->d_name, 0);
	if (dir)
		closedir(dir);
	else if (copy >= 0)
		close(copy);
}

void tm_job_folder_remove(uint32_t job)
{
	char path[PATH_MAX];
	int fd =
		tm_job_folder_open(AT_FDCWD, tm_job_folder_path(job, "", path));

	if (fd >= 0) {
		tm_process_end_all(job, fd, false, NULL);
		tm_cgroup_remove(job, fd, false, NULL);
		tm_job_folder_empty(fd);
		close(fd);
	}
	if (rmdir(path) && errno != ENOENT)
		tm_warn("remove %s: %s", path, strerror(errno));
	/* Leaves it while other jobs have theirs. */
	rmdir(TM_RUN_FOLDER);
}

int tm_job_folder_append(uint32_t job, const char *name, mode_t mode)
{
	char path[PATH_MAX];
	int fd = open(tm_job_folder_path(job, name, path),
		      O_WRONLY | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC,
		      mode);

	if (fd >= 0)
		return fd;
	fd = -errno;
	tm_err("open %s: %s", path, strerror(-fd));
	return fd;
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
