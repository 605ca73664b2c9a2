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
#define EXTENT (4u << 20)

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

/* Extents until there is no memory for one more. */
static int reserve_all(struct peer *peer, uint64_t *addr)
{
	int i, status = 0;

	for (i = 0; i < 32 && !status; i++)
		status = peer_reserve(peer, &addr[i]);
	assert_int_equal(status, TM_STATUS_NO_MEMORY);
	return i - 1;
}

static int start(struct peer *peer, uint64_t *addr)
{
	char pid[16];
	int nr;

	server_start(&server, "--listen", unix_address("s"), "--capacity=1G",
		     NULL);
	snprintf(pid, sizeof(pid), "%d", server.pid);
	assert_int_equal(write_in_group("cgroup.procs", pid), 0);
	assert_int_equal(peer_open(peer, server.address, false), 0);
	nr = reserve_all(peer, addr);
	assert_in_range(nr, 8, 31);
	return nr;
}

static void test_limit(void **state)
{
	uint64_t all[32], addr;
	struct peer peer;

	addr = all[start(&peer, all) - 1];
	/* What was given back can be had again. */
	assert_int_equal(peer_release(&peer, addr), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	peer_close(&peer);
	server_stop(&server);
	assert_non_null(strstr(server.err, "is left on this machine"));
}

/* Others may have taken it by the time that it is needed again. */
static void test_discarded(void **state)
{
	static char data[4096];
	uint64_t first[32], second[32];
	struct tm_msg msg = {.type = TM_WIRE_DISCARD, .argument = EXTENT};
	struct tm_msg reply;
	int i, nr, more, status;
	uint64_t deadline;
	struct peer peer;

	nr = start(&peer, first);
	for (i = 0; i < nr; i++) {
		msg.addr = first[i];
		assert_int_equal(peer_call(&peer, msg, NULL, &reply, NULL, 0),
				 0);
	}
	more = reserve_all(&peer, second);
	assert_in_range(more, nr / 2, nr);
	for (i = 0, status = 0; i < nr && !status; i++)
		status = peer_write(&peer, first[i], data, sizeof(data));
	assert_int_equal(status, TM_STATUS_NO_MEMORY);
	for (i = 0; i < more; i++)
		assert_int_equal(peer_release(&peer, second[i]), 0);
	/* They are emptied in the background. */
	for (i = 0, deadline = now_ms() + 10000; i < nr / 2; i += !status) {
		status = peer_write(&peer, first[i], data, sizeof(data));
		assert_true(now_ms() < deadline);
	}
	peer_close(&peer);
	server_stop(&server);
	assert_non_null(strstr(server.err, "store in discarded memory"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limit),
		cmocka_unit_test(test_discarded),
	};

	if (!make_group())
		return skip_all("no memory cgroup can be made here");
	return cmocka_run_group_tests(tests, setup_folder, remove_group);
}
