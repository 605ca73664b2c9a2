/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Statistics as JSON, the same names wherever they are shown: those of
 * TM_STATS_COUNTERS, and percentiles of the histograms.
 */
#ifndef TM_COMMON_STATS_JSON_H
#define TM_COMMON_STATS_JSON_H

#include <json-c/json.h>

#include "core/stats.h"

/**
 * tm_stats_json() - add every counter, and count, p50, p99 and max of every
 * histogram ("fault_ns_p50", ...), to @object
 */
void tm_stats_json(const struct tm_stats *stats, struct json_object *object);

#endif /* TM_COMMON_STATS_JSON_H */
