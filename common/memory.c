// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How much memory may still be populated: asked before memory is lent, because
 * populated memory that does not fit costs a process its life, not an errno.
 *
 * An estimate: others allocate at the same time. It errs on the safe side, and
 * counts page cache as free. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/memory.h"

/* Version 1 says LONG_MAX rounded down to a page where there is no limit. */
#define UNLIMITED_V1 (1ULL << 60)

/* Left to the rest of the machine or cgroup. */
#define MARGIN_BYTES (32u << 20)

/**
 * struct cgroup_files - where a hierarchy keeps its numbers
 */
struct cgroup_files {
	const char *root;
	const char *limit;
	const char *usage;
	const char *file_active;
	const char *file_inactive;
};

static const struct cgroup_files cgroup_v1 = {
	"/sys/fs/cgroup/memory", "memory.limit_in_bytes",
	"memory.usage_in_bytes", "total_active_file ",
	"total_inactive_file ",
};

static const struct cgroup_files cgroup_v2 = {
	"/sys/fs/cgroup", "memory.max",	    "memory.current",
	"active_file ",	  "inactive_file ",
};

/* Returns the length, or -1. */
static ssize_t read_text(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, len - 1);
	close(fd);
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* The number after @key at the start of a line, or 0. */
static uint64_t number_of(const char *text, const char *key)
{
	size_t len = strlen(key);
	const char *line = text;

	while (line) {
		if (strncmp(line, key, len) == 0)
			return strtoull(line + len, NULL, 10);
		line = strchr(line, '\n');
		if (line)
			line++;
	}
	return 0;
}

static uint64_t min_u64(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t room(uint64_t limit, uint64_t used)
{
	return limit > used ? limit - used : 0;
}

/* One cgroup's room; "max", or no such file, is no limit. */
static uint64_t cgroup_room(const struct cgroup_files *files, const char *dir)
{
	char path[PATH_MAX + 64], text[8192];
	uint64_t limit, used, cache;

	snprintf(path, sizeof(path), "%s/%s", dir, files->limit);
	if (read_text(path, text, sizeof(text)) <= 0 || text[0] == 'm')
		return UINT64_MAX;
	limit = strtoull(text, NULL, 10);
	if (limit >= UNLIMITED_V1)
		return UINT64_MAX;
	snprintf(path, sizeof(path), "%s/%s", dir, files->usage);
	if (read_text(path, text, sizeof(text)) <= 0)
		return UINT64_MAX;
	used = strtoull(text, NULL, 10);
	snprintf(path, sizeof(path), "%s/memory.stat", dir);
	if (read_text(path, text, sizeof(text)) <= 0)
		text[0] = '\0';
	cache = number_of(text, files->file_active) +
		number_of(text, files->file_inactive);
	return room(limit, room(used, cache));
}

/* The least room from the process's cgroup up to the root. */
static uint64_t cgroup_walk(const struct cgroup_files *files, const char *path)
{
	size_t root_len = strlen(files->root);
	uint64_t least = UINT64_MAX;
	char dir[PATH_MAX], *slash;

	if (snprintf(dir, sizeof(dir), "%s%s", files->root, path) >=
	    (int)sizeof(dir))
		return least;
	for (;;) {
		least = min_u64(least, cgroup_room(files, dir));
		slash = strrchr(dir, '/');
		if (!slash || (size_t)(slash - dir) < root_len)
			return least;
		*slash = '\0';
	}
}

/* Lines are "ID:CONTROLLERS:PATH"; version 2 has ID 0 and no controllers. */
uint64_t tm_memory_cgroup_headroom(void)
{
	uint64_t least = UINT64_MAX;
	char text[8192], *line, *rest, *path;

	if (read_text("/proc/self/cgroup", text, sizeof(text)) <= 0)
		return least;
	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		path = strchr(line, '/');
		if (!path)
			continue;
		if (strncmp(line, "0::", 3) == 0)
			least = min_u64(least, cgroup_walk(&cgroup_v2, path));
		else if (strstr(line, ":memory:") || strstr(line, ":memory,") ||
			 strstr(line, ",memory:"))
			least = min_u64(least, cgroup_walk(&cgroup_v1, path));
	}
	return least;
}

uint64_t tm_memory_headroom(void)
{
	uint64_t available = UINT64_MAX;
	char text[4096];

	if (read_text("/proc/meminfo", text, sizeof(text)) > 0)
		available = number_of(text, "MemAvailable:") << 10;
	return room(min_u64(available, tm_memory_cgroup_headroom()),
		    MARGIN_BYTES);
}
