// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The server map: reading and checking; see map.h. The file may come from
 * anyone, so everything in it is checked before it is believed, and no byte of
 * it reaches a terminal unchecked. Lock order: none.
 */
#include "common/map.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/size.h"

#define MAP_DEPTH_MAX 4		   /* the object, "servers", a server */
#define MAP_BYTES_MAX (1ULL << 46) /* what a process can address */
#define MAP_BLOCK_MIN (4ULL << 10)
#define MAP_BLOCK_MAX (2ULL << 20)
#define MAP_PREFETCH_MAX (1ULL << 30)
#define MAP_TIMEOUT_MAX_S 3600

/*
 * What a failed check says, and where in the file it was: @where is "" or
 * "servers[3]".
 */
struct context {
	char *error;
	size_t error_len;
	char where[24];
};

__attribute__((format(printf, 3, 4))) static int
complain(struct context *c, const char *key, const char *fmt, ...)
{
	size_t used = 0;
	va_list ap;
	char *p;

	if (!c->error_len)
		return -EINVAL;
	if (*c->where || *key)
		used = (size_t)snprintf(c->error, c->error_len,
					"%s%s%s: ", c->where,
					*c->where && *key ? "." : "", key);
	if (used < c->error_len) {
		va_start(ap, fmt);
		vsnprintf(c->error + used, c->error_len - used, fmt, ap);
		va_end(ap);
	}
	for (p = c->error; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return -EINVAL;
}

static int get_text(struct context *c, const char *key,
		    struct json_object *value, char *buf, size_t len)
{
	const char *text;
	size_t i, n;

	if (!json_object_is_type(value, json_type_string))
		return complain(c, key, "not a text");
	text = json_object_get_string(value);
	n = (size_t)json_object_get_string_len(value);
	for (i = 0; i < n; i++)
		if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
			return complain(c, key, "holds a control character");
	if (n >= len)
		return complain(c, key, "longer than %zu characters", len - 1);
	memcpy(buf, text, n + 1);
	return 0;
}

static int get_number(struct context *c, const char *key,
		      struct json_object *value, uint64_t *number)
{
	if (!json_object_is_type(value, json_type_int))
		return complain(c, key, "not a whole number");
	if (json_object_get_int64(value) < 0)
		return complain(c, key, "negative");
	*number = json_object_get_uint64(value);
	return 0;
}

static int get_size(struct context *c, const char *key,
		    struct json_object *value, uint64_t *bytes)
{
	char text[64];
	const char *why;
	int err;

	if (json_object_is_type(value, json_type_int))
		return get_number(c, key, value, bytes);
	if (!json_object_is_type(value, json_type_string))
		return complain(
			c, key,
			"neither a number of bytes nor a text like \"8G\"");
	err = get_text(c, key, value, text, sizeof(text));
	if (!err && tm_size_parse(text, bytes, &why))
		err = complain(c, key, "%s: %s", text, why);
	return err;
}

/* One of two words; *second tells which. */
static int get_choice(struct context *c, const char *key,
		      struct json_object *value, const char *first,
		      const char *other, bool *second)
{
	char text[64];
	int err = get_text(c, key, value, text, sizeof(text));

	if (err)
		return err;
	*second = !strcmp(text, other);
	if (!*second && strcmp(text, first))
		return complain(c, key, "unknown value '%s' (use %s or %s)",
				text, first, other);
	return 0;
}

static bool host_is_well_formed(const char *host, size_t len)
{
	char text[TM_MAP_ADDRESS_MAX];
	struct in6_addr v6;
	size_t i;

	if (!len || len >= sizeof(text))
		return false;
	if (host[0] == '[') {
		if (host[len - 1] != ']')
			return false;
		memcpy(text, host + 1, len - 2);
		text[len - 2] = '\0';
		return inet_pton(AF_INET6, text, &v6) == 1;
	}
	for (i = 0; i < len; i++)
		if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWX"
			    "YZ0123456789.-_",
			    host[i]))
			return false;
	return true;
}

static int check_address(struct context *c, const char *address)
{
	const char *port;
	unsigned long n;
	char *end;

	if (!strncmp(address, "unix:", 5)) {
		if (address[5] != '/')
			return complain(
				c, "address",
				"'%s' is not an absolute path (use unix:/PATH)",
				address);
		return 0;
	}
	if (strncmp(address, "tcp:", 4))
		return complain(
			c, "address",
			"unknown form '%s' (use tcp:HOST:PORT or unix:/PATH)",
			address);
	port = strrchr(address + 4, ':');
	if (!port ||
	    !host_is_well_formed(address + 4, (size_t)(port - address - 4)))
		return complain(c, "address",
				"'%s' has no host and port (use tcp:HOST:PORT, "
				"tcp:[V6ADDRESS]:PORT)",
				address);
	n = port[1] >= '0' && port[1] <= '9' ? strtoul(port + 1, &end, 10) : 0;
	if (!n || n > 65535 || *end)
		return complain(c, "address", "'%s' has no port in 1..65535",
				address);
	return 0;
}

static int parse_server(struct context *c, struct json_object *object,
			struct tm_map_server *server)
{
	bool has_address = false, has_capacity = false, has_auth = false;
	bool munge = false;
	int err = 0;

	if (!json_object_is_type(object, json_type_object))
		return complain(c, "", "not an object");
	json_object_object_foreach(object, key, value)
	{
		if (!strcmp(key, "address")) {
			err = get_text(c, key, value, server->address,
				       sizeof(server->address));
			has_address = true;
		} else if (!strcmp(key, "capacity")) {
			err = get_size(c, key, value, &server->capacity_bytes);
			has_capacity = true;
		} else if (!strcmp(key, "auth")) {
			err = get_choice(c, key, value, "peercred", "munge",
					 &munge);
			server->auth = munge ? TM_MAP_AUTH_MUNGE
					     : TM_MAP_AUTH_PEERCRED;
			has_auth = true;
		} else {
			err = complain(
				c, "",
				"unknown key '%s' (address, capacity, auth)",
				key);
		}
		if (err)
			return err;
	}
	if (!has_address)
		return complain(c, "", "no \"address\"");
	if (!has_capacity)
		return complain(c, "", "no \"capacity\"");
	if (!has_auth)
		server->auth = strncmp(server->address, "tcp:", 4)
				       ? TM_MAP_AUTH_PEERCRED
				       : TM_MAP_AUTH_MUNGE;
	return 0;
}

static int parse_servers(struct context *c, struct json_object *array,
			 struct tm_map *map)
{
	size_t i, n;
	int err = 0;

	if (!json_object_is_type(array, json_type_array))
		return complain(c, "servers", "not an array");
	n = json_object_array_length(array);
	if (!n || n > TM_MAP_SERVERS_MAX)
		return complain(c, "servers", "%zu of them (1 to %d)", n,
				TM_MAP_SERVERS_MAX);
	for (i = 0; i < n && !err; i++) {
		snprintf(c->where, sizeof(c->where), "servers[%zu]", i);
		err = parse_server(c, json_object_array_get_idx(array, i),
				   &map->server[i]);
	}
	c->where[0] = '\0';
	map->nr_servers = n;
	return err;
}

static int get_block(struct context *c, const char *key,
		     struct json_object *value, struct tm_map *map)
{
	map->block_auto = json_object_is_type(value, json_type_string) &&
			  !strcmp(json_object_get_string(value), "auto");
	map->block_bytes = TM_MAP_AUTO_BLOCK;
	return map->block_auto ? 0 : get_size(c, key, value, &map->block_bytes);
}

static int parse_key(struct context *c, const char *key,
		     struct json_object *value, struct tm_map *map)
{
	uint64_t number = 0;
	int err;

	if (!strcmp(key, "version")) {
		err = get_number(c, key, value, &number);
		if (!err && number != TM_MAP_VERSION)
			err = complain(c, key,
				       "%" PRIu64 " (this Teramem reads %d)",
				       number, TM_MAP_VERSION);
		return err;
	}
	if (!strcmp(key, "job"))
		return get_number(c, key, value, &map->job);
	if (!strcmp(key, "size"))
		return get_size(c, key, value, &map->size_bytes);
	if (!strcmp(key, "local"))
		return get_size(c, key, value, &map->local_bytes);
	if (!strcmp(key, "block"))
		return get_block(c, key, value, map);
	if (!strcmp(key, "prefetch"))
		return get_size(c, key, value, &map->prefetch_bytes);
	if (!strcmp(key, "policy"))
		return get_choice(c, key, value, "lru", "fifo", &map->fifo);
	if (!strcmp(key, "placement"))
		return get_choice(c, key, value, "simple", "rr", &map->rr);
	if (!strcmp(key, "timeout")) {
		err = get_number(c, key, value, &number);
		if (!err)
			map->timeout_s = number > MAP_TIMEOUT_MAX_S
						 ? MAP_TIMEOUT_MAX_S + 1
						 : (unsigned int)number;
		return err;
	}
	if (!strcmp(key, "servers"))
		return parse_servers(c, value, map);
	return complain(c, "", "unknown key '%s'", key);
}

static int parse_map(struct context *c, struct json_object *root,
		     struct tm_map *map)
{
	static const char *const required[] = {"version", "size", "local",
					       "servers"};
	size_t i;
	int err;

	if (!json_object_is_type(root, json_type_object))
		return complain(c, "", "not a JSON object");
	json_object_object_foreach(root, key, value)
	{
		err = parse_key(c, key, value, map);
		if (err)
			return err;
	}
	for (i = 0; i < sizeof(required) / sizeof(*required); i++)
		if (!json_object_object_get_ex(root, required[i], NULL))
			return complain(c, "", "no \"%s\"", required[i]);
	return 0;
}

/* Everything between start and end of the text is one JSON value. */
static struct json_object *parse_text(struct context *c, const char *text,
				      size_t len)
{
	struct json_tokener *tokener = json_tokener_new_ex(MAP_DEPTH_MAX);
	struct json_object *root;
	size_t at;

	if (!tokener) {
		complain(c, "", "%s", strerror(ENOMEM));
		return NULL;
	}
	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT |
						JSON_TOKENER_VALIDATE_UTF8);
	root = json_tokener_parse_ex(tokener, text, (int)len);
	at = json_tokener_get_parse_end(tokener);
	if (json_tokener_get_error(tokener) == json_tokener_continue)
		complain(c, "", "not JSON: it ends too early");
	else if (!root)
		complain(c, "", "not JSON: %s at byte %zu",
			 json_tokener_error_desc(
				 json_tokener_get_error(tokener)),
			 at);
	for (; root && at < len; at++) {
		if (text[at] && strchr(" \t\r\n", text[at]))
			continue;
		complain(c, "", "not JSON: more text at byte %zu", at);
		json_object_put(root);
		root = NULL;
	}
	json_tokener_free(tokener);
	return root;
}

void tm_map_init(struct tm_map *map)
{
	memset(map, 0, sizeof(*map));
	map->block_auto = true;
	map->block_bytes = TM_MAP_AUTO_BLOCK;
	map->prefetch_bytes = 4 << 20;
	map->timeout_s = 10;
}

uint64_t tm_map_auto_block(const struct tm_map *map, size_t entry_bytes)
{
	uint64_t block = TM_MAP_AUTO_BLOCK, most = map->local_bytes / 8;

	/* so little that nobody would miss it */
	if (most < 16 << 20)
		most = 16 << 20;
	while (block < 16 * TM_MAP_AUTO_BLOCK &&
	       map->size_bytes / block * entry_bytes > most)
		block *= 4;
	return block;
}

int tm_map_parse(const char *text, size_t len, struct tm_map *map, char *error,
		 size_t error_len)
{
	struct context c = {.error = error, .error_len = error_len};
	struct json_object *root;
	int err;

	tm_map_init(map);
	if (len > TM_MAP_FILE_MAX)
		return complain(&c, "", "larger than %u bytes",
				TM_MAP_FILE_MAX);
	root = parse_text(&c, text, len);
	if (!root)
		return -EINVAL;
	err = parse_map(&c, root, map);
	json_object_put(root);
	return err ? err : tm_map_check(map, error, error_len);
}

static int check_size(struct context *c, const char *key, uint64_t bytes,
		      uint64_t min)
{
	if (bytes < min || bytes > MAP_BYTES_MAX)
		return complain(c, key,
				"%" PRIu64 " bytes (at least %" PRIu64
				", at most 64T)",
				bytes, min);
	return 0;
}

static int check_servers(struct context *c, const struct tm_map *map)
{
	uint64_t sum = 0;
	unsigned int i, j;
	int err;

	if (!map->nr_servers || map->nr_servers > TM_MAP_SERVERS_MAX)
		return complain(c, "servers", "%u of them (1 to %d)",
				map->nr_servers, TM_MAP_SERVERS_MAX);
	for (i = 0; i < map->nr_servers; i++) {
		const struct tm_map_server *server = &map->server[i];

		snprintf(c->where, sizeof(c->where), "servers[%u]", i);
		err = check_address(c, server->address);
		if (!err)
			err = check_size(c, "capacity", server->capacity_bytes,
					 1);
		if (err)
			return err;
		if (server->auth == TM_MAP_AUTH_PEERCRED &&
		    strncmp(server->address, "unix:", 5))
			return complain(
				c, "auth",
				"peercred needs a unix socket (use munge)");
		for (j = 0; j < i; j++)
			if (!strcmp(server->address, map->server[j].address))
				return complain(c, "address",
						"same as servers[%u]'s", j);
		sum += server->capacity_bytes;
	}
	c->where[0] = '\0';
	if (map->size_bytes > sum)
		return complain(c, "size",
				"%" PRIu64
				" bytes, but the servers have %" PRIu64
				" together",
				map->size_bytes, sum);
	return 0;
}

int tm_map_check(const struct tm_map *map, char *error, size_t error_len)
{
	struct context c = {.error = error, .error_len = error_len};
	uint64_t block = map->block_bytes;
	int err;

	if (block < MAP_BLOCK_MIN || block > MAP_BLOCK_MAX ||
	    (block & (block - 1)))
		return complain(&c, "block",
				"%" PRIu64
				" bytes (a power of two from 4K to 2M)",
				block);
	err = check_size(&c, "size", map->size_bytes, block);
	if (!err)
		err = check_size(&c, "local", map->local_bytes, block);
	if (err)
		return err;
	if (map->prefetch_bytes > MAP_PREFETCH_MAX)
		return complain(&c, "prefetch",
				"%" PRIu64 " bytes (at most 1G)",
				map->prefetch_bytes);
	if (!map->timeout_s || map->timeout_s > MAP_TIMEOUT_MAX_S)
		return complain(&c, "timeout", "not in 1..%d seconds",
				MAP_TIMEOUT_MAX_S);
	return check_servers(&c, map);
}

int tm_map_load(const char *path, struct tm_map *map, char *error,
		size_t error_len)
{
	struct context c = {.error = error, .error_len = error_len};
	struct stat st;
	size_t got = 0;
	ssize_t n = 0;
	char *text;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 || fstat(fd, &st)) {
		err = -errno;
		complain(&c, "", "cannot open it: %s", strerror(-err));
		goto out;
	}
	if (!S_ISREG(st.st_mode)) {
		err = complain(&c, "", "not a regular file");
		goto out;
	}
	text = malloc(TM_MAP_FILE_MAX + 1);
	if (!text) {
		err = -ENOMEM;
		complain(&c, "", "%s", strerror(ENOMEM));
		goto out;
	}
	while (got < TM_MAP_FILE_MAX + 1) {
		n = read(fd, text + got, TM_MAP_FILE_MAX + 1 - got);
		if (n > 0)
			got += (size_t)n;
		else if (!n || errno != EINTR)
			break;
	}
	if (n < 0) {
		err = -errno;
		complain(&c, "", "cannot read it: %s", strerror(-err));
	} else {
		err = tm_map_parse(text, got, map, error, error_len);
	}
	free(text);
out:
	if (fd >= 0)
		close(fd);
	return err;
}
