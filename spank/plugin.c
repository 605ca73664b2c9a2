// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Slurm's way in: only chooses by context what to do. A job must never harm a
 * node, so nothing but a submit or a task is ever failed here: a failing
 * prolog would drain the node.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spank/plugin.h"

SPANK_PLUGIN(teramem, 1)

struct tm_plugin tm_plugin = {
	.conf_path = TM_CONF_FILE,
	.helper_path = TM_HELPER,
};

static int argument(const char *text)
{
	char *to = NULL;

	if (!strncmp(text, "conf=/", 6))
		to = tm_plugin.conf_path;
	else if (!strncmp(text, "helper=/", 8))
		to = tm_plugin.helper_path;
	if (to && strlen(text) < PATH_MAX) {
		strcpy(to, strchr(text, '=') + 1);
		return 0;
	}
	slurm_error("teramem: plugstack.conf: '%s': unknown (use conf=/PATH, "
		    "helper=/PATH)",
		    text);
	return -1;
}

/* Scripts run no init, so each hook reads the arguments for itself. */
static int begin(int argc, char **argv)
{
	int i, ret = 0;

	for (i = 0; i < argc && !ret; i++)
		ret = argument(argv[i]);
	return ret;
}

#define HOOK(name) int slurm_spank_##name(spank_t spank, int argc, char **argv)

HOOK(init)
{
	if (begin(argc, argv))
		return -1;
	tm_conf_init(&tm_plugin.conf);
	switch (spank_context()) {
	case S_CTX_ALLOCATOR:
		tm_submit_init();
		tm_options_forget(true);
		return tm_options_register(spank);
	case S_CTX_LOCAL:
		tm_options_forget(!getenv("SLURM_JOB_ID"));
		return tm_options_register(spank);
	case S_CTX_REMOTE:
		return tm_options_register(spank);
	default:
		return 0;
	}
}

HOOK(init_post_opt)
{
	switch (spank_context()) {
	case S_CTX_ALLOCATOR:
		return tm_submit(spank);
	case S_CTX_LOCAL:
		return tm_submit_step(spank);
	default:
		return 0;
	}
}

HOOK(job_prolog)
{
	if (!begin(argc, argv))
		tm_script_prolog(spank);
	return 0;
}

HOOK(job_epilog)
{
	if (!begin(argc, argv))
		tm_script_epilog(spank);
	return 0;
}

HOOK(user_init)
{
	return spank_context() == S_CTX_REMOTE ? tm_step_user_init(spank) : 0;
}

HOOK(task_init_privileged)
{
	return tm_step_task_privileged(spank);
}

HOOK(task_init)
{
	return tm_step_task(spank);
}

HOOK(task_post_fork)
{
	return tm_step_forked(spank);
}
