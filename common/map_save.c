// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The server map: writing; see map.h. Lock order: none.
 */
#include "common/map.h"

#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <unistd.h>

#include "common/size.h"

/* Exact always, short where that is possible. */
static struct json_object *size_json(uint64_t bytes)
{
	char text[32];
	uint64_t back;

	if (!tm_size_parse(tm_size_format(bytes, text, sizeof(text)), &back,
			   NULL) &&
	    back == bytes && bytes >= 1024)
		return json_object_new_string(text);
	return json_object_new_uint64(bytes);
}

static struct json_object *map_json(const struct tm_map *map)
{
	struct json_object *root = json_object_new_object();
	struct json_object *servers = json_object_new_array();
	unsigned int i;

	json_object_object_add(root, "version",
			       json_object_new_int(TM_MAP_VERSION));
	json_object_object_add(root, "job", json_object_new_uint64(map->job));
	json_object_object_add(root, "size", size_json(map->size_bytes));
	json_object_object_add(root, "local", size_json(map->local_bytes));
	json_object_object_add(root, "block",
			       map->block_auto ? json_object_new_string("auto")
					       : size_json(map->block_bytes));
	json_object_object_add(
		root, "policy",
		json_object_new_string(map->fifo ? "fifo" : "lru"));
	json_object_object_add(
		root, "placement",
		json_object_new_string(map->rr ? "rr" : "simple"));
	json_object_object_add(root, "prefetch",
			       size_json(map->prefetch_bytes));
	json_object_object_add(root, "timeout",
			       json_object_new_uint64(map->timeout_s));
	for (i = 0; i < map->nr_servers; i++) {
		const struct tm_map_server *s = &map->server[i];
		struct json_object *server = json_object_new_object();

		json_object_object_add(server, "address",
				       json_object_new_string(s->address));
		json_object_object_add(server, "capacity",
				       size_json(s->capacity_bytes));
		json_object_object_add(
			server, "auth",
			json_object_new_string(s->auth == TM_MAP_AUTH_MUNGE
						       ? "munge"
						       : "peercred"));
		json_object_array_add(servers, server);
	}
	json_object_object_add(root, "servers", servers);
	return root;
}

int tm_map_save(const char *path, const struct tm_map *map)
{
	struct json_object *root;
	const char *text;
	size_t len;
	int fd, err = 0;

	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		  0600);
	if (fd < 0)
		return -errno;
	root = map_json(map);
	text = json_object_to_json_string_length(
		root,
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			JSON_C_TO_STRING_NOSLASHESCAPE,
		&len);
	while (len) {
		ssize_t n = write(fd, text, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			err = n ? -errno : -EIO;
			break;
		}
		text += n;
		len -= (size_t)n;
	}
	json_object_put(root);
	if (close(fd) && !err)
		err = -errno;
	if (err)
		unlink(path);
	return err;
}
