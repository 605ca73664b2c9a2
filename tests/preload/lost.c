// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A program that survives the loss of a server: it leaves its SIGBUS handler by
 * siglongjmp(3). Neither an access nor a call on the lost memory may leave a
 * lock behind that a later call waits for.
 *
 *	lost FIFO
 *
 * Says "ready" when most of its memory is remote, and opens FIFO to read: that
 * waits for a writer, and by then the server is gone.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SIZE ((size_t)32 << 20)
#define STEP ((size_t)64 << 10)

static sigjmp_buf survived;
static volatile unsigned int errors;

static void on_bus(int sig)
{
	errors++;
	siglongjmp(survived, 1);
}

int main(int argc, char **argv)
{
	struct sigaction act = {.sa_handler = on_bus};
	char *area = mmap(NULL, SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	volatile unsigned int refused = 0, wrong = 0;
	volatile size_t at;

	if (argc != 2 || area == MAP_FAILED)
		return 1;
	memset(area, 1, SIZE);
	puts("ready");
	fflush(stdout);
	if (open(argv[1], O_RDONLY) < 0)
		return 1;
	sigaction(SIGBUS, &act, NULL);
	alarm(60);
	for (at = 0; at < SIZE / 2; at += STEP)
		if (!sigsetjmp(survived, 1))
			wrong += *(volatile char *)(area + at) != 1;
	printf("lost %u, wrong %u\n", errors, wrong);
	errors = 0;
	/* The other half, untouched: what cannot be had is found out here. */
	for (at = SIZE / 2; at < SIZE / 2 + 16 * STEP; at += STEP)
		if (!sigsetjmp(survived, 1))
			refused += mprotect(area + at, STEP, PROT_READ) != 0;
	printf("raised in calls %u, refused %u\n", errors, refused);
	return 0;
}
