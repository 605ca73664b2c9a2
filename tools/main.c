// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem: the command. Only chooses what to do.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "common/log.h"
#include "tools/tool.h"

static const struct command {
	const char *name;
	int (*main)(int argc, char **argv);
	const char *help;
} commands[] = {
	{"run", tm_run_main, "run a program with remote memory"},
	{"check", tm_check_main, "say what works on this machine"},
	{"bench", tm_bench_main, "measure transport and paging"},
	{"config", tm_config_main, "show settings and where they come from"},
	{"status", tm_status_main, "show this job's remote memory"},
	{"cleanup", tm_cleanup_main, "remove what jobs left that are gone"},
};
#define NR_COMMANDS (sizeof(commands) / sizeof(*commands))

static void usage(void)
{
	size_t i;

	puts("Usage: teramem COMMAND [OPTION]...\n"
	     "Remote memory for unmodified programs.\n");
	for (i = 0; i < NR_COMMANDS; i++)
		printf("  %-8s %s\n", commands[i].name, commands[i].help);
	puts("\n"
	     "teramem COMMAND --help lists a command's options; see "
	     "teramem(1).\n"
	     "Example: teramem run --size=8G --local=1G -- sort -S 3G FILE");
}

int main(int argc, char **argv)
{
	size_t i;

	tm_log_init("teramem", TM_LOG_INFO);
	if (argc < 2) {
		tm_err("no command (use run, check, bench, config, status or "
		       "cleanup; see teramem --help)");
		return TM_EXIT_FAILURE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h")) {
		usage();
		return 0;
	}
	if (!strcmp(argv[1], "--version")) {
		puts("teramem " TM_VERSION);
		return 0;
	}
	for (i = 0; i < NR_COMMANDS; i++)
		if (!strcmp(argv[1], commands[i].name))
			return commands[i].main(argc - 1, argv + 1);
	tm_err("%s: unknown command (use run, check, bench, config, status or "
	       "cleanup)",
	       argv[1]);
	return TM_EXIT_FAILURE;
}
