// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a run paged, for people (stderr) and for programs (JSON).
 */
#include <errno.h>
#include <inttypes.h>
#include <json-c/json.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/size.h"
#include "common/stats_json.h"
#include "tools/tool.h"

/* Room for the texts of one line. */
struct texts {
	char text[4][32];
};

static const char *size_text(uint64_t bytes, char *buf)
{
	return tm_size_format(bytes, buf, 32);
}

static const char *time_text(uint64_t ns, char *buf)
{
	double t = (double)ns;

	if (ns < 1000000)
		snprintf(buf, 32, "%.0f us", t / 1e3);
	else if (ns < 1000000000)
		snprintf(buf, 32, "%.1f ms", t / 1e6);
	else
		snprintf(buf, 32, "%.1f s", t / 1e9);
	return buf;
}

static const char *rate_text(uint64_t bytes, double wall_s, char *buf)
{
	return size_text(wall_s > 0 ? (uint64_t)((double)bytes / wall_s) : 0,
			 buf);
}

static void print_transfers(const struct tm_outcome *out)
{
	const struct tm_stats *s = &out->totals.stats;
	struct texts t;

	tm_info("  read     %s in %" PRIu64 " requests, %s/s; %" PRIu64
		" of %" PRIu64 " blocks ahead of a fault",
		size_text(s->bytes_in, t.text[0]), s->fetch_requests,
		rate_text(s->bytes_in, out->wall_s, t.text[1]), s->prefetched,
		s->fetched_blocks);
	tm_info("  written  %s in %" PRIu64 " requests, %s/s; %" PRIu64
		" of %" PRIu64 " evictions (%.0f %%) needed no transfer",
		size_text(s->bytes_out, t.text[0]), s->store_requests,
		rate_text(s->bytes_out, out->wall_s, t.text[1]),
		s->dropped_clean, s->evicted,
		s->evicted
			? 100.0 * (double)s->dropped_clean / (double)s->evicted
			: 0.0);
}

void tm_summary_print(const struct tm_run_options *o, const struct tm_map *map,
		      const struct tm_outcome *out)
{
	const struct tm_job_totals *totals = &out->totals;
	const struct tm_stats *s = &totals->stats;
	struct texts t;

	tm_info("%s: exit status %d after %.2f s", o->command[0],
		out->exit_status, out->wall_s);
	if (!totals->processes_all) {
		tm_info("  no remote memory was used: no allocation reached %s "
			"(see --threshold and --mmap)",
			o->threshold ? o->threshold : "1M");
		return;
	}
	tm_info("  memory   remote at most %s of %s, local at most %s of %s, "
		"by %u process%s",
		size_text(totals->gauges.remote_peak_bytes, t.text[0]),
		size_text(map->size_bytes, t.text[1]),
		size_text(totals->gauges.resident_peak_bytes, t.text[2]),
		size_text(map->local_bytes, t.text[3]), totals->processes_all,
		totals->processes_all == 1 ? "" : "es");
	tm_info("  faults   %" PRIu64 ": %" PRIu64 " first touches, %" PRIu64
		" remote, %" PRIu64 " cached; median %s, p99 %s",
		s->faults, s->faults_zero, s->faults_remote, s->faults_cached,
		time_text(out->fault_ns_p50, t.text[0]),
		time_text(out->fault_ns_p99, t.text[1]));
	print_transfers(out);
	if (s->checksum_errors || s->lost || s->reconnects)
		tm_info("  trouble  %" PRIu64
			" blocks came back damaged, %" PRIu64
			" were lost, %" PRIu64 " connections were renewed",
			s->checksum_errors, s->lost, s->reconnects);
}

static void add_u64(struct json_object *object, const char *key, uint64_t value)
{
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_text(struct json_object *object, const char *key,
		     const char *value)
{
	json_object_object_add(object, key, json_object_new_string(value));
}

uint64_t tm_block_bytes(const struct tm_map *map,
			const struct tm_job_totals *totals)
{
	return totals->block_bytes ? totals->block_bytes : map->block_bytes;
}

static struct json_object *config_json(const struct tm_run_options *o,
				       const struct tm_map *map,
				       const struct tm_job_totals *totals)
{
	struct json_object *config = json_object_new_object();

	add_text(config, "engine",
		 o->engine == TM_ENGINE_KMOD ? "kmod" : "uffd");
	add_u64(config, "size_bytes", map->size_bytes);
	add_u64(config, "local_bytes", map->local_bytes);
	add_u64(config, "block_bytes", tm_block_bytes(map, totals));
	add_u64(config, "block_auto", map->block_auto);
	add_u64(config, "prefetch_bytes", map->prefetch_bytes);
	add_u64(config, "timeout_s", map->timeout_s);
	add_text(config, "policy", map->fifo ? "fifo" : "lru");
	add_text(config, "placement", map->rr ? "rr" : "simple");
	add_u64(config, "servers", map->nr_servers);
	if (o->map_file)
		add_text(config, "map", o->map_file);
	else
		add_text(config, "transport", o->tcp ? "tcp" : "unix");
	json_object_object_add(config, "mmap",
			       json_object_new_boolean(o->mmap));
	add_text(config, "threshold", o->threshold ? o->threshold : "1M");
	return config;
}

static struct json_object *outcome_json(const struct tm_run_options *o,
					const struct tm_map *map,
					const struct tm_outcome *out)
{
	const struct tm_job_totals *totals = &out->totals;
	struct json_object *root = json_object_new_object();
	struct json_object *command = json_object_new_array();
	char **arg, wall[32];

	for (arg = o->command; *arg; arg++)
		json_object_array_add(command, json_object_new_string(*arg));
	add_text(root, "version", TM_VERSION);
	json_object_object_add(root, "command", command);
	json_object_object_add(root, "config", config_json(o, map, totals));
	json_object_object_add(root, "exit_status",
			       json_object_new_int(out->exit_status));
	snprintf(wall, sizeof(wall), "%.3f", out->wall_s);
	json_object_object_add(root, "wall_s",
			       json_object_new_double_s(out->wall_s, wall));
	add_u64(root, "processes", totals->processes_all);
	add_u64(root, "processes_max", totals->processes_max);
	add_u64(root, "remote_peak_bytes", totals->gauges.remote_peak_bytes);
	add_u64(root, "resident_peak_bytes",
		totals->gauges.resident_peak_bytes);
	add_u64(root, "capacity_peak_bytes", totals->capacity_peak_bytes);
	tm_stats_json(&totals->stats, root);
	add_u64(root, "fault_ns_p50", out->fault_ns_p50);
	add_u64(root, "fault_ns_p99", out->fault_ns_p99);
	return root;
}

int tm_summary_write(int fd, const struct tm_run_options *o,
		     const struct tm_map *map, const struct tm_outcome *out)
{
	struct json_object *root = outcome_json(o, map, out);
	int err = json_object_to_fd(fd, root,
				    JSON_C_TO_STRING_PRETTY |
					    JSON_C_TO_STRING_SPACED |
					    JSON_C_TO_STRING_NOSLASHESCAPE)
			  ? -EIO
			  : 0;

	if (!err && write(fd, "\n", 1) != 1)
		err = -EIO;
	json_object_put(root);
	return err;
}
