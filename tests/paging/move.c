// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * tm_uffd_move() while threads write to the pages that it takes away: no write
 * is lost, and it always knows which pages are where. (Linux 6.18 may move
 * pages without counting them when one changes under it.)
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "allocator/uffd.h"
#include "common/log.h"

#define PAGES 64
#define BYTES (PAGES * TM_PAGE)
#define WRITERS 4
#define SECONDS 3

static uint64_t *app;
static bool stop;
static uint64_t wrong;

/* Each has a word of its own in each page. */
static void *writer(void *arg)
{
	size_t me = (size_t)arg, page = me;
	uint64_t count[PAGES] = {0}, *word;

	while (!__atomic_load_n(&stop, __ATOMIC_RELAXED)) {
		page = (page * 5 + 7 + me) % PAGES;
		word = app + page * TM_PAGE / sizeof(*word) + me;
		if (*word != count[page])
			__atomic_add_fetch(&wrong, 1, __ATOMIC_RELAXED);
		*word = ++count[page];
	}
	return NULL;
}

int main(void)
{
	struct tm_userfaultfd u;
	pthread_t thread[WRITERS];
	time_t end = time(NULL) + SECONDS;
	unsigned long rounds = 0;
	void *stage;
	size_t done;
	int err = 0;

	if (tm_uffd_open(false, &u) || !(u.features & UFFD_FEATURE_MOVE)) {
		printf("1..0 # SKIP no userfaultfd with UFFDIO_MOVE here\n");
		return 77;
	}
	app = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	stage = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	memset(app, 0, BYTES);
	if (tm_uffd_pages_open() ||
	    tm_uffd_register(u.fd, app, BYTES, UFFDIO_REGISTER_MODE_MISSING) ||
	    tm_uffd_register(u.fd, stage, BYTES, UFFDIO_REGISTER_MODE_MISSING))
		return 1;
	for (size_t i = 0; i < WRITERS; i++)
		pthread_create(&thread[i], NULL, writer, (void *)i);
	while (!err && time(NULL) < end) {
		err = tm_uffd_move(u.fd, stage, app, BYTES, &done);
		if (!err)
			err = tm_uffd_move(u.fd, app, stage, BYTES, &done);
		/* They wake up while the next move is on its way. */
		usleep(rounds++ % 200);
	}
	printf("1..1\n# %lu rounds, %s, %lu wrong\n", rounds, strerror(-err),
	       (unsigned long)wrong);
	err |= wrong || !rounds;
	printf("%sok 1 - pages that are written to can be moved\n",
	       err ? "not " : "");
	/* After a failure some writers wait for pages that never come. */
	fflush(stdout);
	_exit(err != 0);
}
