// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem bench: what the transport does by itself, and next to it what is left
 * of that when a program's memory is paged over it. One memory server on this
 * machine, one program thread.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/rawbench.h"
#include "common/size.h"
#include "tools/tool.h"

#define DEPTH 8
#define RANDOM_BLOCK_BYTES 4096

struct bench {
	struct tm_run_options options;
	struct tm_map map;
	struct tm_servers servers;
	char folder[PATH_MAX];
	int folder_fd;
	uint64_t duration_ms;
};

/*
 * A way to go through memory: by raw requests, and by a program. @block_bytes:
 * 0 is the one asked for.
 */
static const struct pair {
	const char *name;
	const char *mode; /* of bench-paging */
	enum tm_wire_type type;
	uint32_t block_bytes;
	unsigned int depth;
	bool random;
} pairs[] = {
	{"sequential read", "read", TM_WIRE_READ, 0, DEPTH, false},
	{"random read 4K", "random", TM_WIRE_READ, RANDOM_BLOCK_BYTES, 1, true},
	{"sequential write", "write", TM_WIRE_WRITE, 0, DEPTH, false},
};
#define NR_PAIRS (sizeof(pairs) / sizeof(*pairs))

/* What was measured in one way or the other. */
struct figures {
	double bytes_per_s;
	uint64_t p50_ns;
	uint64_t p99_ns;
};

struct result {
	struct figures raw;
	struct figures paging;
};

static void session_lost(void *ctx, struct tm_session *session, const char *why)
{
	tm_err("bench: %s", why);
}

static void session_renewed(void *ctx, struct tm_session *session)
{
}

/* Of raw requests; paging's largest, where they have several sizes. */
static uint32_t request_bytes(const struct bench *b, const struct pair *pair)
{
	const struct tm_map *map = &b->options.map;

	if (pair->block_bytes)
		return pair->block_bytes;
	return map->block_auto ? TM_MAP_AUTO_AROUND
			       : (uint32_t)map->block_bytes;
}

static int measure_raw(const struct bench *b, const struct pair *pair,
		       struct figures *figures)
{
	static const struct tm_session_ops ops = {session_lost,
						  session_renewed};
	static struct tm_rawbench_result result;
	const struct tm_session_config config = {
		.server = &b->map.server[0],
		.timeout_ms = b->map.timeout_s * 1000,
		.nr_channels = 1,
		.depth = DEPTH,
	};
	const struct tm_rawbench params = {
		.type = pair->type,
		.block_bytes = request_bytes(b, pair),
		.depth = pair->depth,
		.span_bytes = b->map.size_bytes,
		.random = pair->random,
		.duration_ms = (unsigned int)b->duration_ms,
	};
	struct tm_session *session;
	char why[256];
	int err;

	err = tm_session_open(&config, &ops, NULL, &session, why, sizeof(why));
	if (err) {
		tm_err("bench: %s", why);
		return err;
	}
	err = tm_rawbench_run(session, tm_session_channel(session, 0), &params,
			      &result);
	tm_session_close(session);
	if (err) {
		tm_err("bench: %s over the raw transport: %s", pair->name,
		       strerror(-err));
		return err;
	}
	*figures = (struct figures){
		.bytes_per_s = tm_rawbench_rate(&result),
		.p50_ns = tm_hist_percentile(&result.latency_ns, 500),
		.p99_ns = tm_hist_percentile(&result.latency_ns, 990),
	};
	return 0;
}

/* Runs the program and reads its line. */
static int run_paging(const struct bench *b, const struct pair *pair,
		      const struct tm_run_files *files, char *line, size_t len)
{
	char path[PATH_MAX], bytes[32], ms[32];
	int out[2], status;
	size_t got = 0;
	ssize_t n;
	pid_t pid;

	if (tm_path_find("tools/bench-paging", path))
		return -ENOENT;
	snprintf(bytes, sizeof(bytes), "%" PRIu64, b->map.size_bytes);
	snprintf(ms, sizeof(ms), "%" PRIu64, b->duration_ms);
	if (pipe2(out, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid) {
		setenv("TERAMEM_JOB_MAP", files->map_path, 1);
		setenv("TERAMEM_JOB_FILE", files->job_path, 1);
		dup2(out[1], STDOUT_FILENO);
		execl(path, "bench-paging", pair->mode, bytes, ms, NULL);
		tm_err("start %s: %s", path, strerror(errno));
		_exit(TM_EXIT_FAILURE);
	}
	close(out[1]);
	while (pid > 0 && got < len - 1) {
		n = read(out[0], line + got, len - 1 - got);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		got += (size_t)n;
	}
	line[got] = '\0';
	close(out[0]);
	if (pid < 0)
		return -EAGAIN;
	waitpid(pid, &status, 0);
	return status ? -EIO : 0;
}

static uint64_t field(struct json_object *root, const char *key)
{
	struct json_object *value;

	return json_object_object_get_ex(root, key, &value)
		       ? json_object_get_uint64(value)
		       : 0;
}

static int measure_paging(const struct bench *b, const struct pair *pair,
			  struct figures *figures)
{
	static struct tm_run_files files;
	struct tm_map map = b->map;
	struct json_object *root;
	char line[512];
	int err;

	if (pair->block_bytes) {
		map.block_auto = false;
		map.block_bytes = pair->block_bytes;
	}
	err = tm_folder_fill(b->folder, &map, &files);
	if (err)
		return err;
	err = run_paging(b, pair, &files, line, sizeof(line));
	tm_job_detach(files.job);
	unlink(files.map_path);
	unlink(files.job_path);
	root = err ? NULL : json_tokener_parse(line);
	if (!root) {
		tm_err("bench: %s with paging failed", pair->name);
		return err ? err : -EPROTO;
	}
	*figures = (struct figures){
		.bytes_per_s = (double)field(root, "bytes") * 1e9 /
			       (double)(field(root, "ns") + 1),
		.p50_ns = field(root, "p50_ns"),
		.p99_ns = field(root, "p99_ns"),
	};
	json_object_put(root);
	return 0;
}

/* How near paging comes to the raw transport; more is better in both. */
static double ratio(const struct pair *pair, const struct result *r)
{
	if (pair->random)
		return r->paging.p50_ns ? (double)r->raw.p50_ns /
						  (double)r->paging.p50_ns
					: 0;
	return r->raw.bytes_per_s > 0
		       ? r->paging.bytes_per_s / r->raw.bytes_per_s
		       : 0;
}

static void print_table(const struct bench *b, const struct result *results)
{
	char text[3][32];
	size_t i;

	printf("%s of memory, %s of it local, blocks of %s; one thread, one "
	       "server\n\n",
	       tm_size_format(b->map.size_bytes, text[0], sizeof(text[0])),
	       tm_size_format(b->map.local_bytes, text[1], sizeof(text[1])),
	       b->options.map.block_auto
		       ? "auto"
		       : tm_size_format(b->options.map.block_bytes, text[2],
					sizeof(text[2])));
	printf("%-18s %14s %14s %14s\n", "", "raw transport", "paging",
	       "paging/raw");
	for (i = 0; i < NR_PAIRS; i++) {
		const struct result *r = &results[i];

		if (pairs[i].random)
			printf("%-18s %11.1f us %11.1f us %14.2f  (median; p99 "
			       "%.1f and %.1f us)\n",
			       pairs[i].name, (double)r->raw.p50_ns / 1e3,
			       (double)r->paging.p50_ns / 1e3,
			       1 / ratio(&pairs[i], r),
			       (double)r->raw.p99_ns / 1e3,
			       (double)r->paging.p99_ns / 1e3);
		else
			printf("%-18s %9.0f MB/s %9.0f MB/s %14.2f\n",
			       pairs[i].name, r->raw.bytes_per_s / 1e6,
			       r->paging.bytes_per_s / 1e6,
			       ratio(&pairs[i], r));
	}
}

static struct json_object *figures_json(const struct figures *f)
{
	struct json_object *object = json_object_new_object();

	json_object_object_add(
		object, "bytes_per_s",
		json_object_new_uint64((uint64_t)f->bytes_per_s));
	json_object_object_add(object, "p50_ns",
			       json_object_new_uint64(f->p50_ns));
	json_object_object_add(object, "p99_ns",
			       json_object_new_uint64(f->p99_ns));
	return object;
}

static void print_json(const struct bench *b, const struct result *results)
{
	struct json_object *root = json_object_new_object();
	size_t i;

	json_object_object_add(root, "size_bytes",
			       json_object_new_uint64(b->map.size_bytes));
	json_object_object_add(root, "local_bytes",
			       json_object_new_uint64(b->map.local_bytes));
	json_object_object_add(
		root, "block_bytes",
		json_object_new_uint64(b->options.map.block_bytes));
	json_object_object_add(
		root, "block_auto",
		json_object_new_uint64(b->options.map.block_auto));
	for (i = 0; i < NR_PAIRS; i++) {
		struct json_object *one = json_object_new_object();

		json_object_object_add(one, "raw",
				       figures_json(&results[i].raw));
		json_object_object_add(one, "paging",
				       figures_json(&results[i].paging));
		json_object_object_add(root, pairs[i].mode, one);
	}
	puts(json_object_to_json_string_ext(
		root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED));
	json_object_put(root);
}

static int measure(struct bench *b, struct result *results)
{
	size_t i;
	int err;

	b->folder_fd = tm_folder_create(b->folder);
	if (b->folder_fd < 0)
		return b->folder_fd;
	b->map = b->options.map;
	err = tm_servers_start(&b->servers, b->folder, &b->options, &b->map);
	for (i = 0; !err && i < NR_PAIRS; i++) {
		err = measure_raw(b, &pairs[i], &results[i].raw);
		if (!err)
			err = measure_paging(b, &pairs[i], &results[i].paging);
	}
	tm_servers_end(&b->servers);
	tm_folder_remove(b->folder, b->folder_fd);
	return err;
}

static const char usage[] =
	"Usage: teramem bench [OPTION]...\n"
	"Measure the transport by itself, and paging over it.\n"
	"\n"
	"  --size=SIZE      memory to go through (256M)\n"
	"  --local=SIZE     local memory (an eighth of the size)\n"
	"  --block=SIZE     unit of paging in sequential work (auto)\n"
	"  --seconds=N      for each figure (2)\n"
	"  --json           for programs\n"
	"\n"
	"See teramem-bench(1).\n";

static int parse(int argc, char **argv, struct bench *b, bool *json)
{
	static const struct option options[] = {
		{"size", required_argument, NULL, 's'},
		{"local", required_argument, NULL, 'l'},
		{"block", required_argument, NULL, 'b'},
		{"seconds", required_argument, NULL, 't'},
		{"json", no_argument, NULL, 'j'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	struct tm_map *map = &b->options.map;
	int key, err = 0;

	tm_map_init(map);
	map->size_bytes = 256 << 20;
	opterr = 0;
	while (!err &&
	       (key = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (key) {
		case 's':
			err = tm_option_size("size", optarg, &map->size_bytes);
			break;
		case 'l':
			err = tm_option_size("local", optarg,
					     &map->local_bytes);
			break;
		case 'b':
			err = tm_option_block(optarg, map);
			break;
		case 't':
			err = tm_option_number("seconds", optarg, 1, 3600,
					       &b->duration_ms);
			b->duration_ms *= 1000;
			break;
		case 'j':
			*json = true;
			break;
		case 'h':
			fputs(usage, stdout);
			return 1;
		default:
			return tm_option_unknown(key, argv, "bench");
		}
	}
	if (!err)
		err = tm_option_rest(argc, argv, "bench");
	if (!map->local_bytes)
		map->local_bytes = map->size_bytes / 8;
	return err ? err : tm_option_map(&b->options);
}

int tm_bench_main(int argc, char **argv)
{
	static struct result results[NR_PAIRS];
	static struct bench b = {
		.options =
			{
				.donors = 1,
			},
		.servers.lease_fd = -1,
		.duration_ms = 2000,
	};
	bool json = false;
	int err = parse(argc, argv, &b, &json);

	if (err)
		return err > 0 ? 0 : TM_EXIT_FAILURE;
	if (measure(&b, results))
		return TM_EXIT_FAILURE;
	if (json)
		print_json(&b, results);
	else
		print_table(&b, results);
	return tm_written("bench", 0);
}
