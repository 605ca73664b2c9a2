/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The `teramem` command's own declarations, grouped by the file that defines
 * them. One thread, so no locks.
 */
#ifndef TM_TOOLS_TOOL_H
#define TM_TOOLS_TOOL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/job.h"
#include "common/map.h"
#include "common/paths.h"

struct tm_space;

/* Exit statuses of our own, as env(1), nohup(1) and timeout(1) have them. */
#define TM_EXIT_FAILURE 125
#define TM_EXIT_NOT_EXECUTABLE 126
#define TM_EXIT_NOT_FOUND 127
#define TM_EXIT_SIGNAL 128

/* ---- run.c, check.c, bench.c, config.c, status.c, cleanup.c -------------- */

int tm_run_main(int argc, char **argv);
int tm_check_main(int argc, char **argv);
int tm_bench_main(int argc, char **argv);
int tm_config_main(int argc, char **argv);
int tm_status_main(int argc, char **argv);
int tm_cleanup_main(int argc, char **argv);

/* ---- options.c ---------------------------------------------------------- */

enum tm_engine_kind { TM_ENGINE_UFFD, TM_ENGINE_KMOD, TM_ENGINE_AUTO };

/**
 * struct tm_run_options - what `teramem run` was asked for
 * @map: everything that the program's engine reads; the servers are not filled
 *	in unless @map_file names them
 * @engine: AUTO is decided by tm_agent_choose()
 */
struct tm_run_options {
	struct tm_map map;
	const char *map_file;
	unsigned int donors;
	enum tm_engine_kind engine;
	bool tcp;
	bool mmap;
	bool overcommit;
	bool bind;
	bool quiet;
	const char *threshold; /* as given; NULL: the preload's default */
	const char *stats_file;
	char **command;
};

/**
 * tm_run_options_parse() - from the command line; reads and checks --map
 *
 * Returns 0; 1 when --help was served; -EINVAL after it said what is wrong.
 */
int tm_run_options_parse(int argc, char **argv, struct tm_run_options *options);

/* For every command: one line, and -EINVAL. */
int tm_option_bad(const char *name, const char *value, const char *why);
int tm_option_size(const char *name, const char *text, uint64_t *bytes);
int tm_option_block(const char *text, struct tm_map *map);
int tm_option_number(const char *name, const char *text, uint64_t min,
		     uint64_t max, uint64_t *number);
/** limits of what is in @options->map, which has the options' names */
int tm_option_map(const struct tm_run_options *options);
/** what getopt_long() ('?' or ':', opterr = 0) stumbled over */
int tm_option_unknown(int key, char **argv, const char *command);
/** what is left behind the options of a command that takes nothing else */
int tm_option_rest(int argc, char **argv, const char *command);
/**
 * tm_option_flag() - of a command that knows one flag and --help, nothing else
 *
 * Returns 0; 1 when --help was served; -EINVAL after it said what is wrong.
 */
int tm_option_flag(int argc, char **argv, const char *command, const char *flag,
		   const char *usage, bool *set);
/** tm_written() - all that went to stdout; @status, or TM_EXIT_FAILURE */
int tm_written(const char *command, int status);

/* ---- folder.c ----------------------------------------------------------- */

/**
 * tm_folder_create() - a private folder for one run
 *
 * Removes what earlier runs that were killed left behind. Returns the
 * descriptor that marks it as in use, or -errno after it said so.
 */
int tm_folder_create(char path[PATH_MAX]);

/** tm_folder_remove() - with what is in it */
void tm_folder_remove(const char *path, int fd);

/**
 * struct tm_run_files - what a program with remote memory is told, by path, and
 * the job file as seen from here
 */
struct tm_run_files {
	char map_path[PATH_MAX + 8];
	char job_path[PATH_MAX + 8];
	struct tm_job *job;
};

/** tm_folder_fill() - write them; 0, or -errno after it said so */
int tm_folder_fill(const char *folder, const struct tm_map *map,
		   struct tm_run_files *files);

/* ---- servers.c ---------------------------------------------------------- */

#define TM_DONORS_MAX 64
/* Servers give memory in whole extents, so that is how it is drawn. */
#define TM_EXTENT_BYTES (4ULL << 20)

/**
 * struct tm_servers - the memory servers of one run, children of this process
 * @lease_fd: while it is open they stay; when this process dies they go
 */
struct tm_servers {
	unsigned int nr;
	int lease_fd;
	pid_t pid[TM_DONORS_MAX]; /* 0: ended */
};

/**
 * tm_servers_start() - start them and wait until they serve
 * @map: its servers are filled in
 *
 * Returns 0, or -errno after it said why; none is left then.
 */
int tm_servers_start(struct tm_servers *servers, const char *folder,
		     const struct tm_run_options *options, struct tm_map *map);

/** tm_servers_reaped() - a child ended; true if it was one of these */
bool tm_servers_reaped(struct tm_servers *servers, pid_t pid, int status);

/** tm_servers_end() - end the lease, wait, insist */
void tm_servers_end(struct tm_servers *servers);

/* ---- uffd.c ------------------------------------------------------------- */

/**
 * enum tm_uffd_way - how this process may have a userfaultfd
 */
enum tm_uffd_way {
	TM_UFFD_NONE,
	TM_UFFD_LIMITED, /* faults of system calls end in EFAULT */
	TM_UFFD_DEVICE,	 /* full, by /dev/userfaultfd */
	TM_UFFD_SYSCALL, /* full */
};

/**
 * struct tm_uffd_probe - what is to be had
 * @features: UFFD_FEATURE_* of the kernel
 * @device_err: -errno of opening /dev/userfaultfd, 0 if it may be opened
 */
struct tm_uffd_probe {
	enum tm_uffd_way way;
	uint64_t features;
	int device_err;
};

void tm_uffd_probe(struct tm_uffd_probe *probe);

/** tm_uffd_remedy() - one line: how to get a full userfaultfd here */
const char *tm_uffd_remedy(const struct tm_uffd_probe *probe);

/** tm_uffd_device() - /dev/userfaultfd for a program to inherit; -errno */
int tm_uffd_device(void);

/* ---- agent.c ------------------------------------------------------------ */

/**
 * struct tm_agent - of the kernel engine's space of one run; a child serves it
 * @space: NULL: there is none
 * @stop_fd: while it is open the child serves
 */
struct tm_agent {
	struct tm_space *space;
	char device[64];
	pid_t pid;
	int stop_fd;
};

/**
 * tm_agent_choose() - the engine to use, where the user left it open
 *
 * Returns 0, or -errno after it said why that engine cannot be.
 */
int tm_agent_choose(enum tm_engine_kind *engine);

/** tm_agent_start() - the space, connected and served; -errno after it said so
 */
int tm_agent_start(struct tm_agent *agent, const struct tm_map *map);

struct tm_outcome;
/** tm_agent_outcome() - what the space's programs did so far */
void tm_agent_outcome(const struct tm_agent *agent, struct tm_outcome *out);

/** tm_agent_view() - the same by the device, for its user; 0 or -errno */
int tm_agent_view(const char *device, struct tm_job_totals *totals);

/** tm_agent_reaped() - a child ended; true if it was this one */
bool tm_agent_reaped(struct tm_agent *agent, pid_t pid);

void tm_agent_end(struct tm_agent *agent);

/* ---- summary.c ---------------------------------------------------------- */

/** tm_block_bytes() - the unit of paging; with auto at best, until it is used
 */
uint64_t tm_block_bytes(const struct tm_map *map,
			const struct tm_job_totals *totals);

/**
 * struct tm_outcome - how a run went
 * @exit_status: as passed on
 */
struct tm_outcome {
	struct tm_job_totals totals;
	uint64_t fault_ns_p50;
	uint64_t fault_ns_p99;
	double wall_s;
	int exit_status;
};

/** tm_summary_print() - a few lines on stderr */
void tm_summary_print(const struct tm_run_options *options,
		      const struct tm_map *map, const struct tm_outcome *out);

/** tm_summary_write() - the same and more as JSON; 0 or -errno */
int tm_summary_write(int fd, const struct tm_run_options *options,
		     const struct tm_map *map, const struct tm_outcome *out);

#endif /* TM_TOOLS_TOOL_H */
