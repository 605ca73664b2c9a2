/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Where the other parts of Teramem are.
 */
#ifndef TM_COMMON_PATHS_H
#define TM_COMMON_PATHS_H

#include <limits.h>

/**
 * tm_path_find() - a part of Teramem: where it was installed, or next to this
 * program in a build folder; never by the working folder or $PATH
 * @part: "server/teramemd", "allocator/libteramalloc-preload.so", ... its
 *	place in the build folder
 *
 * Returns 0, or -ENOENT after it said so.
 */
int tm_path_find(const char *part, char path[PATH_MAX]);

#endif /* TM_COMMON_PATHS_H */
