// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Where the other parts of Teramem are; see paths.h. The working folder and
 * $PATH say nothing about that, so they are not asked.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/paths.h"

/* As meson installs them; see meson.build. */
static const struct part {
	const char *built;
	const char *installed;
} parts[] = {
	{"server/teramemd", TM_SBINDIR "/teramemd"},
	{"allocator/libteramalloc-preload.so",
	 TM_LIBDIR "/libteramalloc-preload.so"},
	{"tools/bench-paging", TM_LIBEXECDIR "/bench-paging"},
	{"spank/teramem-job", TM_LIBEXECDIR "/teramem-job"},
};

/* The programs that look for others, by their place in the build folder. */
static const char *const seekers[] = {"/tools/teramem", "/spank/teramem-job"};

/* The build folder that this program runs from, if it does. */
static bool build_folder(char path[PATH_MAX])
{
	ssize_t n = readlink("/proc/self/exe", path, PATH_MAX - 1);
	size_t i, len;

	for (i = 0; n > 0 && i < sizeof(seekers) / sizeof(*seekers); i++) {
		len = strlen(seekers[i]);
		path[n] = '\0';
		if ((size_t)n < len || strcmp(path + n - len, seekers[i]))
			continue;
		path[n - len] = '\0';
		return true;
	}
	return false;
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
