// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lanes must not keep a process alive. Where main() ended its thread only, the
 * C library ends the process with the last thread, and it counts lanes too; so
 * a lane looks now and then whether any thread of the program is left.
 *
 * At a usual exit nothing is done: the program's exit handlers may need its
 * memory to the end, and servers see the connections close.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocator/engine_internal.h"

/* The first thread has ended, which shows as long as others are left. */
static bool leader_gone(void)
{
	char path[64], text[256], *state;
	ssize_t len;
	int fd;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", (int)getpid());
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	len = read(fd, text, sizeof(text) - 1);
	close(fd);
	if (len <= 0)
		return false;
	text[len] = '\0';
	state = strrchr(text, ')');
	return state && state[1] == ' ' && state[2] == 'Z';
}

static void *end_process(void *arg)
{
	sigset_t none;

	/* Exit handlers are the program's, and may fault: not in a lane. */
	sigemptyset(&none);
	pthread_sigmask(SIG_SETMASK, &none, NULL);
	exit(EXIT_SUCCESS);
}

void tm_exit_check(struct tm_uffd_engine *e)
{
	struct stat st;
	pthread_t thread;

	/* A link for each thread, and two. */
	if (e->exiting || stat("/proc/self/task", &st) ||
	    st.st_nlink > 2 + 1 + e->nr_lanes || !leader_gone())
		return;
	e->exiting = !pthread_create(&thread, NULL, end_process, NULL);
}
