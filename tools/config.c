// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem config: every setting of a partition's jobs, and where its value
 * comes from.
 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "common/conf.h"
#include "common/log.h"
#include "tools/tool.h"

static void format_origin(const struct tm_conf *conf, enum tm_conf_key key,
			  const char *path, const char *partition, char *buf,
			  size_t len)
{
	switch (conf->origin[key]) {
	case TM_CONF_FROM_DEFAULT:
		snprintf(buf, len, "default");
		break;
	case TM_CONF_FROM_FILE:
		snprintf(buf, len, "%s:%u", path, conf->line[key]);
		break;
	case TM_CONF_FROM_PARTITION:
		snprintf(buf, len, "%s:%u (Partition=%s)", path,
			 conf->line[key], partition);
		break;
	case TM_CONF_FROM_ENVIRONMENT:
		snprintf(buf, len, "environment (%s)", tm_conf_variable(key));
		break;
	case TM_CONF_FROM_COMMAND_LINE:
		snprintf(buf, len, "command line");
		break;
	}
}

static void print(const struct tm_conf *conf, const char *path,
		  const char *partition)
{
	char value[TM_CONF_NODES_MAX], origin[PATH_MAX + 128];
	enum tm_conf_key key;

	printf("%-15s %-12s %-21s %s\n", "SETTING", "VALUE", "OPTION",
	       "ORIGIN");
	for (key = 0; key < TM_CONF_NR_KEYS; key++) {
		const char *option = tm_conf_option(key);
		char dashed[32] = "-";

		if (option)
			snprintf(dashed, sizeof(dashed), "--%s", option);
		tm_conf_format(conf, key, value, sizeof(value));
		format_origin(conf, key, path, partition, origin,
			      sizeof(origin));
		printf("%-15s %-12s %-21s %s\n", tm_conf_name(key),
		       *value ? value : "-", dashed, origin);
	}
}

int tm_config_main(int argc, char **argv)
{
	static const struct option options[] = {
		{"partition", required_argument, NULL, 'p'},
		{"conf", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	const char *path = TM_CONF_FILE, *partition = NULL;
	struct tm_conf conf;
	char error[512];
	int key;

	opterr = 0;
	while ((key = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		switch (key) {
		case 'p':
			partition = optarg;
			break;
		case 'c':
			path = optarg;
			break;
		case 'h':
			puts("Usage: teramem config [--partition=NAME] "
			     "[--conf=FILE]\n"
			     "Show what a job of the partition is given, and "
			     "each value's origin.\n"
			     "The default file is " TM_CONF_FILE
			     "; see teramem.conf(5).");
			return 0;
		default:
			tm_option_unknown(key, argv, "config");
			return TM_EXIT_FAILURE;
		}
	}
	if (tm_option_rest(argc, argv, "config"))
		return TM_EXIT_FAILURE;
	tm_conf_init(&conf);
	if (tm_conf_load(&conf, path, partition, error, sizeof(error)) ||
	    tm_conf_environment(&conf, error, sizeof(error))) {
		tm_err("%s", error);
		return 1;
	}
	print(&conf, path, partition);
	return tm_written("config", 0);
}
