// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Starts the job helper: by absolute path, without a shell, with nothing of
 * the environment that a user could have set, and no descriptors but the
 * standard ones and the one that it is meant to have.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "spank/plugin.h"

static void become_helper(char **argv, int fd, int messages)
{
	const char *slurm_conf = getenv("SLURM_CONF");
	char where[PATH_MAX + 16];
	char *env[] = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C", NULL,
		       NULL};
	sigset_t none;
	int null = open("/dev/null", O_RDONLY);

	/* slurmd sets it for what it starts, if it is not the default. */
	if (slurm_conf && *slurm_conf == '/' &&
	    snprintf(where, sizeof(where), "SLURM_CONF=%s", slurm_conf) <
		    (int)sizeof(where))
		env[2] = where;
	dup2(null, STDIN_FILENO);
	dup2(messages, STDOUT_FILENO);
	dup2(messages, STDERR_FILENO);
	if (fd == TM_LEASE_FD)
		fcntl(fd, F_SETFD, 0);
	else if (fd >= 0)
		dup2(fd, TM_LEASE_FD);
	close_range(fd >= 0 ? TM_LEASE_FD + 1 : TM_LEASE_FD, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	argv[0] = "teramem-job";
	execve(tm_plugin.helper_path, argv, env);
	_exit(127);
}

/* What it says goes where the plugin's own messages go. */
static void pass_messages(int fd)
{
	FILE *messages = fdopen(fd, "r");
	char line[1024];

	while (messages && fgets(line, sizeof(line), messages)) {
		line[strcspn(line, "\n")] = '\0';
		slurm_error("%s", line);
	}
	if (messages)
		fclose(messages);
	else
		close(fd);
}

int tm_helper_run(char **argv, int fd)
{
	int status, messages[2];
	pid_t pid;

	if (pipe2(messages, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (!pid)
		become_helper(argv, fd, messages[1]);
	close(messages[1]);
	if (pid < 0) {
		close(messages[0]);
		return -EAGAIN;
	}
	pass_messages(messages[0]);
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	status = WIFEXITED(status) ? WEXITSTATUS(status) : 126;
	if (status == 127)
		slurm_error("teramem: cannot run %s: is Teramem installed on "
			    "this node?",
			    tm_plugin.helper_path);
	return status;
}
