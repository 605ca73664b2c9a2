/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The agent of a space of the kernel engine: makes it, connects it to its
 * servers, and renews connections that break, until it is told to stop. What
 * moves memory is teramem.ko; see include/teramem/uapi.h.
 *
 * Making a space needs root; connecting and serving it do not, and happen as
 * the user whom the servers belong to. The space ends when all who have it
 * (this is a descriptor, so forked children do) destroyed it or died, and no
 * program uses it.
 */
#ifndef TM_COMMON_SPACE_H
#define TM_COMMON_SPACE_H

#include <stddef.h>
#include <sys/types.h>

#include "common/map.h"
#include "include/teramem/uapi.h"

struct tm_space;

/**
 * tm_space_create() - load the module if need be, make the space and its device
 * @name: of both: TM_SPACE_DEVICE_FOLDER/@name
 * @map: outlives the space
 * @uid, @gid: who may use the device
 * @why: on failure one line for the log, with the remedy
 *
 * Returns 0 or -errno: -EPERM no root, -ENOENT no module, -EEXIST, ...
 */
int tm_space_create(const char *name, const struct tm_map *map, uid_t uid,
		    gid_t gid, struct tm_space **space, char *why,
		    size_t why_len);

/**
 * tm_space_connect() - to every server on every lane, within the timeout
 *
 * Returns 0, or -errno and @why as tm_space_create() does.
 */
int tm_space_connect(struct tm_space *space, char *why, size_t why_len);

/**
 * tm_space_serve() - renew what breaks, until @stop_fd is readable or hung up
 *
 * Says what is lost (tm_err()). Returns 0, or -errno after it said why.
 */
int tm_space_serve(struct tm_space *space, int stop_fd);

/** tm_space_query() - its counters; 0 or -errno */
int tm_space_query(const struct tm_space *space, struct tm_uapi_query *query);

/** tm_space_destroy() - for this process; frees @space */
void tm_space_destroy(struct tm_space *space);

#endif /* TM_COMMON_SPACE_H */
