// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The private folder of a run: sockets, map, job file. It lies in
 * $XDG_RUNTIME_DIR or /tmp, belongs to the user alone, and is locked (flock)
 * as long as its run lives, so that a later run can tell what a killed one
 * left behind.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "tools/tool.h"

#define PREFIX "teramem-run-"

static const char *base(void)
{
	const char *dir = secure_getenv("XDG_RUNTIME_DIR");

	return dir && *dir == '/' && !access(dir, W_OK | X_OK) ? dir : "/tmp";
}

static bool is_ours(int fd)
{
	struct stat st;

	return !fstat(fd, &st) && st.st_uid == geteuid() &&
	       (st.st_mode & 07777) == 0700;
}

/* The folder holds plain files and sockets only; anything else keeps it. */
static void empty(int fd)
{
	int dup_fd = dup(fd);
	struct dirent *entry;
	DIR *dir;

	dir = dup_fd < 0 ? NULL : fdopendir(dup_fd);
	if (!dir) {
		if (dup_fd >= 0)
			close(dup_fd);
		return;
	}
	while ((entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") && strcmp(entry->d_name, ".."))
			unlinkat(fd, entry->d_name, 0);
	closedir(dir);
}

static void sweep(const char *parent)
{
	DIR *dir = opendir(parent);
	struct dirent *entry;
	int fd;

	while (dir && (entry = readdir(dir))) {
		if (strncmp(entry->d_name, PREFIX, strlen(PREFIX)))
			continue;
		fd = openat(dirfd(dir), entry->d_name,
			    O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (is_ours(fd) && !flock(fd, LOCK_EX | LOCK_NB)) {
			empty(fd);
			unlinkat(dirfd(dir), entry->d_name, AT_REMOVEDIR);
		}
		close(fd);
	}
	if (dir)
		closedir(dir);
}

int tm_folder_create(char path[PATH_MAX])
{
	const char *parent = base();
	int fd, err;

	sweep(parent);
	/* A sweep may take it between mkdtemp and flock: then once more. */
	for (;;) {
		snprintf(path, PATH_MAX, "%s/" PREFIX "XXXXXX", parent);
		if (!mkdtemp(path)) {
			err = -errno;
			break;
		}
		fd = open(path,
			  O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (fd >= 0 && !flock(fd, LOCK_EX) && !access(path, W_OK))
			return fd;
		err = -errno;
		if (fd >= 0)
			close(fd);
		rmdir(path);
		if (err != -ENOENT)
			break;
	}
	tm_err("create a folder in %s: %s", parent, strerror(-err));
	return err;
}

void tm_folder_remove(const char *path, int fd)
{
	empty(fd);
	if (rmdir(path))
		tm_warn("remove %s: %s", path, strerror(errno));
	close(fd);
}

int tm_folder_fill(const char *folder, const struct tm_map *map,
		   struct tm_run_files *files)
{
	uint64_t extents =
		(map->size_bytes + TM_EXTENT_BYTES - 1) / TM_EXTENT_BYTES;
	int err;

	snprintf(files->map_path, sizeof(files->map_path), "%s/map", folder);
	snprintf(files->job_path, sizeof(files->job_path), "%s/job", folder);
	err = tm_map_save(files->map_path, map);
	if (!err)
		err = tm_job_create(files->job_path, extents * TM_EXTENT_BYTES,
				    map->local_bytes);
	if (!err)
		err = tm_job_view(files->job_path, &files->job);
	if (err)
		tm_err("write files in %s: %s", folder, strerror(-err));
	return err;
}
