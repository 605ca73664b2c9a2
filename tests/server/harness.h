/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Processes that the server's tests run: teramemd (the path comes in
 * TERAMEMD), and a munged of the test's own. Each test program works in a
 * temporary folder of its own.
 */
#ifndef TM_TESTS_HARNESS_H
#define TM_TESTS_HARNESS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <sys/types.h>
#include <cmocka.h>

#include "core/proto.h"

#define NOBODY 65534

/**
 * struct server - a teramemd under test
 * @out: its stdout, at the end once it is gone
 * @err: what it said on stderr, see server_stop()
 */
struct server {
	pid_t pid;
	int out;
	int err_fd;
	char address[TM_PROTO_ADDRESS_MAX];
	char err[4096];
};

/** folder() - the test's temporary folder */
const char *folder(void);
/** setup_folder(), teardown_folder() - for cmocka's group fixtures */
int setup_folder(void **state);
int teardown_folder(void **state);
/** setup_munged() - the same with a munged, TERAMEM_MUNGE_SOCKET is set */
int setup_munged(void **state);
int teardown_munged(void **state);

/**
 * server_start() - run teramemd with these arguments (NULL-terminated), wait
 * until it is ready; the test fails if it is not within 10 seconds
 */
void server_start(struct server *server, ...);

/** server_run() - run it to its end; returns the exit status */
int server_run(struct server *server, ...);

/** server_wait() - until it ends, at most @ms; exit status or -1 */
int server_wait(struct server *server, unsigned int ms);

/** server_stop() - SIGTERM; asserts that it ends with 0 */
void server_stop(struct server *server);

/** unix_address() - "unix:FOLDER/NAME" in a static buffer */
const char *unix_address(const char *name);

void sleep_ms(unsigned int ms);
uint64_t now_ms(void);

/** as_user() - run @test in a child with that uid; its exit status */
int as_user(uid_t uid, int (*test)(const struct server *server),
	    const struct server *server);

/* cmocka's own skip() is a failure in TAP. */
#define require_root()                                                         \
	do {                                                                   \
		if (geteuid() != 0) {                                          \
			print_message("# %s needs root\n", __func__);          \
			return;                                                \
		}                                                              \
	} while (0)

/** write_text() - into a file that exists; 0 or -1 */
int write_text(const char *path, const char *text);

/** skip_all() - what TAP knows as a test that this machine cannot run */
int skip_all(const char *why);

#endif /* TM_TESTS_HARNESS_H */
