/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The Slurm plugin's own declarations, grouped by the file that defines them.
 *
 * The plugin lives in other programs (sbatch, salloc, srun, slurmd's prolog,
 * slurmstepd), so it does little itself: what it can leave to the job helper
 * (spank/job), it does. One thread, no locks; no state outlives a process.
 */
#ifndef TM_SPANK_PLUGIN_H
#define TM_SPANK_PLUGIN_H

#include <limits.h>
#include <slurm/spank.h>
#include <stdbool.h>
#include <sys/types.h>

#include "common/conf.h"
#include "spank/shared.h"

/* Names, by its pid, the process that runs a command for the second time. */
#define TM_SUBMIT_GUARD "TERAMEM_SUBMIT"

/* ---- plugin.c ----------------------------------------------------------- */

/**
 * struct tm_plugin - what this process knows
 * @conf_path, @helper_path: from plugstack.conf, or as installed
 * @conf: the command line's values; submit.c adds the others
 * @given: an option of ours was given
 * @donor: this component of a heterogeneous job lends memory
 */
struct tm_plugin {
	char conf_path[PATH_MAX];
	char helper_path[PATH_MAX];
	struct tm_conf conf;
	bool given;
	bool donor;
};
extern struct tm_plugin tm_plugin;

/* ---- options.c ---------------------------------------------------------- */

/** tm_options_register() - so that commands and steps know them */
int tm_options_register(spank_t spank);

/**
 * tm_options_fetch() - where their callback never runs: job scripts
 * @argv: receives "--name=value" for each one given, malloc'd
 *
 * Returns how many there are, or -errno.
 */
int tm_options_fetch(spank_t spank, char **argv, unsigned int max);

/**
 * tm_options_forget() - what an outer command left in this one's environment
 * @all: else the role only
 *
 * A job's options hold for its steps, but not for the jobs that it submits;
 * and the role is its last component's alone.
 */
void tm_options_forget(bool all);
void tm_options_forget_role(spank_t spank);

/**
 * tm_options_give() - as if what the environment says had been typed
 *
 * Nodes and steps learn of options only. Returns 0 or -errno.
 */
int tm_options_give(spank_t spank, const struct tm_conf *conf);

/** tm_options_of_job() - what the job was given, as tm_conf_format(), or "" */
void tm_options_of_job(enum tm_conf_key key, char *text, size_t len);

/* ---- submit.c ----------------------------------------------------------- */

/** tm_submit() - sbatch and salloc, all options read; may not return */
int tm_submit(spank_t spank);

/** tm_submit_init() - as they start */
void tm_submit_init(void);

/** tm_submit_step() - srun: in a job or not */
int tm_submit_step(spank_t spank);

/** tm_submit_lenders() - tells the prolog which components lend; 0 or -errno */
int tm_submit_lenders(spank_t spank, const char *lenders);

/* ---- script.c ----------------------------------------------------------- */

int tm_script_prolog(spank_t spank);
int tm_script_epilog(spank_t spank);

/* ---- step.c ------------------------------------------------------------- */

int tm_step_user_init(spank_t spank);
int tm_step_task_privileged(spank_t spank);
int tm_step_task(spank_t spank);
int tm_step_forked(spank_t spank);

/* ---- helper.c ----------------------------------------------------------- */

/**
 * tm_helper_run() - the job helper, with a fixed environment
 * @argv: from argv[1] on, NULL at the end; argv[0] is filled in
 * @fd: stays open as its descriptor 3; -1: none
 *
 * Returns its exit status, or -errno.
 */
int tm_helper_run(char **argv, int fd);

#endif /* TM_SPANK_PLUGIN_H */
