// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where the other parts of Teramem are. The working folder and $PATH say
 * nothing about that, so they are not asked.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "tools/tool.h"

/* As meson installs them; see meson.build. */
static const struct part {
	const char *built;
	const char *installed;
} parts[] = {
	{"server/teramemd", TM_SBINDIR "/teramemd"},
	{"allocator/libteramalloc-preload.so",
	 TM_LIBDIR "/libteramalloc-preload.so"},
	{"tools/bench-paging", TM_LIBEXECDIR "/bench-paging"},
};

/* The build folder that this program runs from: /SOMEWHERE/tools/teramem. */
static bool build_folder(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	static const char end[] = "/tools/teramem";
	size_t len = sizeof(end) - 1;

	if (n < (ssize_t)len)
		return false;
	path[n] = '\0';
	if (strcmp(path + n - len, end))
		return false;
	path[n - len] = '\0';
	return true;
}

int tm_path_find(const char *part, char path[PATH_MAX])
{
	const char *installed = NULL;
	char folder[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(parts) / sizeof(*parts); i++)
		if (!strcmp(parts[i].built, part))
			installed = parts[i].installed;
	if (build_folder(folder) &&
	    snprintf(path, PATH_MAX, "%s/%s", folder, part) < PATH_MAX &&
	    !access(path, R_OK))
		return 0;
	snprintf(path, PATH_MAX, "%s", installed);
	if (!access(path, R_OK))
		return 0;
	tm_err("find %s: %s; install Teramem (meson install) or build all of "
	       "it",
	       installed, strerror(errno));
	return -ENOENT;
}
