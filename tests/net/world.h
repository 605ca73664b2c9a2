/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Real processes for tests of sessions: munged, teramemd, and the proxy that
 * breaks connections, all of them with their files in one temporary folder.
 * Programs are named by the environment: TEST_TERAMEMD, TEST_PROXY.
 */
#ifndef TM_TESTS_NET_WORLD_H
#define TM_TESTS_NET_WORLD_H

#include <stdbool.h>
#include <sys/types.h>

#define WORLD_JOB 4711

/**
 * struct world - what runs
 * @address: what the client dials: the server, or the proxy before it
 */
struct world {
	char dir[32];
	char address[108];
	pid_t munged, server, proxy;
	int proxy_in, proxy_out;
};

/** world_has_munge() - munged can be run here */
bool world_has_munge(void);

/** world_unix() - a server on a unix socket */
void world_unix(struct world *world, const char *capacity, const char *grace);

/** world_tcp() - a server on TCP and a munged */
void world_tcp(struct world *world, const char *capacity, const char *grace);

/** world_proxy() - a server and a munged behind the proxy, on TCP */
void world_proxy(struct world *world, const char *capacity, const char *grace);

/** world_command() - tell the proxy, and wait until it obeyed */
void world_command(struct world *world, const char *command);

/** world_kill_server() - SIGKILL */
void world_kill_server(struct world *world);

void world_end(struct world *world);

#endif /* TM_TESTS_NET_WORLD_H */
