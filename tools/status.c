// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem status: the remote memory of the job that this command runs in, as
 * its map and job file say.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/size.h"
#include "common/stats_json.h"
#include "tools/tool.h"

static void print_json(const struct tm_map *map,
		       const struct tm_job_totals *totals)
{
	struct json_object *root = json_object_new_object();
	struct json_object *servers = json_object_new_array();
	struct json_object *stats = json_object_new_object();
	unsigned int i;

#define ADD(name, value)                                                       \
	json_object_object_add(root, name, json_object_new_uint64(value))
	ADD("job", map->job);
	ADD("size_bytes", map->size_bytes);
	ADD("local_bytes", map->local_bytes);
	ADD("block_bytes", tm_block_bytes(map, totals));
	ADD("block_auto", map->block_auto);
	ADD("resident_bytes", totals->gauges.resident_bytes);
	ADD("remote_bytes", totals->gauges.remote_bytes);
	ADD("remote_peak_bytes", totals->gauges.remote_peak_bytes);
	ADD("capacity_drawn_bytes", totals->capacity_drawn_bytes);
	ADD("processes", totals->processes);
	ADD("processes_all", totals->processes_all);
#undef ADD
	for (i = 0; i < map->nr_servers; i++)
		json_object_array_add(servers, json_object_new_string(
						       map->server[i].address));
	json_object_object_add(root, "servers", servers);
	tm_stats_json(&totals->stats, stats);
	json_object_object_add(root, "stats", stats);
	puts(json_object_to_json_string_ext(
		root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			      JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

static void print_text(const struct tm_map *map,
		       const struct tm_job_totals *totals)
{
	const struct tm_stats *s = &totals->stats;
	char text[4][32];
	const char *block = "auto";
	unsigned int i;

#define SIZE(i, bytes) tm_size_format(bytes, text[i], sizeof(text[i]))
	/* with auto it is each process that knows, once it pages */
	if (totals->block_bytes || !map->block_auto)
		block = SIZE(2, tm_block_bytes(map, totals));
	printf("job %" PRIu64 ": %s remote, %s local, blocks of %s, %s, %s\n",
	       map->job, SIZE(0, map->size_bytes), SIZE(1, map->local_bytes),
	       block, map->fifo ? "fifo" : "lru", map->rr ? "rr" : "simple");
	for (i = 0; i < map->nr_servers; i++)
		printf("  server   %s, %s\n", map->server[i].address,
		       SIZE(0, map->server[i].capacity_bytes));
	printf("  in use   %s of %s by %u process%s (%u so far)\n",
	       SIZE(0, totals->capacity_drawn_bytes),
	       SIZE(1, totals->capacity_bytes), totals->processes,
	       totals->processes == 1 ? "" : "es", totals->processes_all);
	printf("  paged    %s in, %s out; %" PRIu64 " faults, %" PRIu64
	       " of %" PRIu64 " evictions without a transfer\n",
	       SIZE(0, s->bytes_in), SIZE(1, s->bytes_out), s->faults,
	       s->dropped_clean, s->evicted);
#undef SIZE
}

/* The kernel counts for its engine, processes count for themselves. */
static int read_totals(const char *path, const char *device,
		       struct tm_job_totals *totals)
{
	struct tm_job *job;
	int err;

	if (device && *device) {
		path = device;
		err = tm_agent_view(device, totals);
	} else {
		err = tm_job_view(path, &job);
		if (!err) {
			tm_job_totals(job, totals);
			tm_job_detach(job);
		}
	}
	if (err)
		tm_err("status: open %s: %s", path, strerror(-err));
	return err;
}

static int show(bool json)
{
	static struct tm_map map;
	static struct tm_job_totals totals;
	const char *map_path = getenv("TERAMEM_JOB_MAP");
	const char *job_path = getenv("TERAMEM_JOB_FILE");
	char error[256];

	if (!map_path || !*map_path || !job_path || !*job_path) {
		tm_err("status: no remote memory here: TERAMEM_JOB_MAP is not "
		       "set (run it within a job with --teramem, or under "
		       "teramem run)");
		return 1;
	}
	if (tm_map_load(map_path, &map, error, sizeof(error))) {
		tm_err("status: %s: %s", map_path, error);
		return 1;
	}
	if (read_totals(job_path, getenv("TERAMEM_JOB_DEVICE"), &totals))
		return 1;
	if (json)
		print_json(&map, &totals);
	else
		print_text(&map, &totals);
	return 0;
}

static const char usage[] =
	"Usage: teramem status [--json]\n"
	"Show the remote memory of the job that it runs in: servers, use, "
	"paging.\n";

int tm_status_main(int argc, char **argv)
{
	bool json = false;
	int err = tm_option_flag(argc, argv, "status", "json", usage, &json);

	if (err)
		return err > 0 ? 0 : TM_EXIT_FAILURE;
	return tm_written("status", show(json));
}
