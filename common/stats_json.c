// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Statistics as JSON; see stats_json.h. Lock order: none.
 */
#include "common/stats_json.h"

#include <stdio.h>

static void add(struct json_object *object, const char *name,
		const char *suffix, uint64_t value)
{
	char key[64];

	snprintf(key, sizeof(key), "%s%s", name, suffix);
	json_object_object_add(object, key, json_object_new_uint64(value));
}

static void add_hist(struct json_object *object, const char *name,
		     const struct tm_hist *hist)
{
	add(object, name, "_count", hist->count);
	add(object, name, "_p50", tm_hist_percentile(hist, 500));
	add(object, name, "_p99", tm_hist_percentile(hist, 990));
	add(object, name, "_max", hist->max);
}

void tm_stats_json(const struct tm_stats *stats, struct json_object *object)
{
#define X(name, help) add(object, #name, "", stats->name);
	TM_STATS_COUNTERS(X)
#undef X
	add_hist(object, "fault_ns", &stats->fault_ns);
	add_hist(object, "fetch_ns", &stats->fetch_ns);
	add_hist(object, "store_ns", &stats->store_ns);
	add_hist(object, "fetch_bytes", &stats->fetch_bytes);
	add_hist(object, "store_bytes", &stats->store_bytes);
}
