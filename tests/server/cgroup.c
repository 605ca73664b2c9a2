// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A memory cgroup smaller than the capacity: the server refuses in time, and
 * lives.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define LIMIT "134217728" /* 32 extents */

static struct server server;
static char group[96];

static int write_in_group(const char *file, const char *text)
{
	char path[160];

	snprintf(path, sizeof(path), "%s/%s", group, file);
	return write_text(path, text);
}

/* Version 1, or version 2 where the controller is on. */
static bool make_group(void)
{
	static const char *const kinds[][2] = {
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	};
	int i;

	for (i = 0; i < 2; i++) {
		snprintf(group, sizeof(group), "%s/teramem-test-%d",
			 kinds[i][0], getpid());
		if (mkdir(group, 0755))
			continue;
		if (!write_in_group(kinds[i][1], LIMIT))
			return true;
		rmdir(group);
	}
	return false;
}

static int remove_group(void **state)
{
	return rmdir(group) | teardown_folder(state);
}

static void test_limit(void **state)
{
	struct peer peer;
	uint64_t addr;
	char pid[16];
	int i, status;

	server_start(&server, "--listen", unix_address("s"), "--capacity=1G",
		     NULL);
	snprintf(pid, sizeof(pid), "%d", server.pid);
	assert_int_equal(write_in_group("cgroup.procs", pid), 0);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	for (i = 0; i < 32; i++) {
		status = peer_reserve(&peer, &addr);
		if (status)
			break;
	}
	assert_int_equal(status, TM_STATUS_NO_MEMORY);
	assert_in_range(i, 8, 31);
	/* What was given back can be had again. */
	assert_int_equal(peer_release(&peer, addr), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	peer_close(&peer);
	server_stop(&server);
	assert_non_null(strstr(server.err, "is left on this machine"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
	};

	if (!make_group())
		return skip_all("no memory cgroup can be made here");
	return cmocka_run_group_tests(tests, setup_folder, remove_group);
}
