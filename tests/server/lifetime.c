// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How the server begins and ends, how long sessions outlive their connections,
 * and that slow or silent peers cost others nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

static struct server server;

static void start(const char *option)
{
	server_start(&server, "--listen", unix_address("s"), "--capacity=64M",
		     option, NULL);
}

static bool exists(const char *address)
{
	struct stat st;

	return lstat(address + strlen("unix:"), &st) == 0;
}

/* One line, with this in it. */
static void assert_said(const char *word)
{
	const char *newline = strchr(server.err, '\n');

	if (!strstr(server.err, word) || !newline || newline[1])
		fail_msg("not one line with '%s': %s", word, server.err);
	assert_memory_equal(server.err, "teramemd: ", 10);
}

static void test_sigterm(void **state)
{
	struct peer peer;
	uint64_t addr;

	start(NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	server_stop(&server);
	assert_false(exists(server.address));
	assert_string_equal(server.err, "");
	peer_close(&peer);

	start(NULL);
	kill(server.pid, SIGINT);
	assert_int_equal(server_wait(&server, 10000), 0);
	assert_false(exists(server.address));
}

static void test_alive_already(void **state)
{
	struct server first;
	struct peer peer;

	start(NULL);
	first = server;
	assert_int_equal(server_run(&server, "--listen", unix_address("s"),
				    "--capacity=64M", NULL),
			 1);
	assert_said("another server is alive");
	/* The first one still serves. */
	assert_int_equal(peer_open(&peer, first.address, false), 0);
	peer_close(&peer);
	server_stop(&first);
}

static void test_left_over(void **state)
{
	start(NULL);
	kill(server.pid, SIGKILL);
	server_wait(&server, 10000);
	assert_true(exists(server.address));
	start(NULL);
	server_stop(&server);
	assert_false(exists(server.address));
}

static void test_not_a_socket(void **state)
{
	const char *address = unix_address("file");
	FILE *file = fopen(address + strlen("unix:"), "w");

	assert_non_null(file);
	fclose(file);
	assert_int_equal(server_run(&server, "--listen", address,
				    "--capacity=64M", NULL),
			 1);
	assert_said("is no socket");
	assert_true(exists(address));
}

static void test_port_in_use(void **state)
{
	struct server first;
	char listen[TM_PROTO_ADDRESS_MAX + 16];

	server_start(&first, "--listen=tcp:127.0.0.1:0", "--capacity=64M",
		     NULL);
	snprintf(listen, sizeof(listen), "--listen=%s", first.address);
	assert_int_equal(server_run(&server, listen, "--capacity=64M", NULL),
			 1);
	assert_said("choose another port");
	server_stop(&first);
}

static void test_bad_options(void **state)
{
	static const char *const bad[][3] = {
		{"--capacity=1X", "--listen=tcp:127.0.0.1:0", "unknown unit"},
		{"--capacity=1G", "--listen=udp:1.2.3.4:5", "not an address"},
		{"--capacity=1G", "--listen=tcp:127.0.0.1", "not an address"},
		{"--capacity=1G", "--listen=unix:relative", "path"},
		{"--capacity=1G", "--listen=tcp:0.0.0.0:0", "--address"},
		{"--capacity=0", "--listen=tcp:127.0.0.1:0", "--capacity"},
		{"--extent=3M", "--listen=tcp:127.0.0.1:0", "--capacity"},
		{"--nonsense", "--listen=tcp:127.0.0.1:0", "unknown option"},
		{"--capacity=1G", "stray", "not expected"},
		{"--capacity=1G", "--grace=-1", "--grace"},
		{"--capacity=1G", "--lease-fd=999", "--lease-fd"},
		{"--capacity=1G", "--auth=none", "unknown (use"},
		{"--capacity=1G", "--mlock=maybe", "unknown (use"},
		{"--capacity=1G", "--threads=0", "at least 1"},
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		int status = server_run(&server, "--listen=tcp:127.0.0.1:0",
					bad[i][0], bad[i][1], NULL);

		assert_in_range(status, 1, 2);
		assert_said(bad[i][2]);
	}
	assert_in_range(server_run(&server, "--listen=tcp:127.0.0.1:0",
				   "--capacity=1G", "--extent=3M", NULL),
			1, 2);
	assert_said("power of two");
	assert_in_range(server_run(&server, "--listen=tcp:127.0.0.1:0",
				   "--capacity=1G", "--auth=peercred", NULL),
			1, 2);
	assert_said("over tcp");
}

static void test_rounds_up(void **state)
{
	struct tm_wire_stat stat;
	struct peer peer;

	server_start(&server, "--listen", unix_address("s"), "--capacity=5M",
		     NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_stat(&peer, &stat), 0);
	assert_int_equal(tm_le64_to_cpu(stat.capacity_bytes), 8 << 20);
	peer_close(&peer);
	server_stop(&server);
}

static void test_idle_exit(void **state)
{
	struct peer peer;

	start("--idle-exit=1");
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(server_wait(&server, 2000), -1);
	assert_int_equal(peer_bye(&peer), PEER_EOF);
	assert_int_equal(server_wait(&server, 15000), 0);
	assert_false(exists(server.address));

	start("--idle-exit=1");
	assert_int_equal(server_wait(&server, 15000), 0);
}

/* A job may take longer to come than to be missed. */
static void test_wait(void **state)
{
	struct peer peer;

	server_start(&server, "--listen", unix_address("s"), "--capacity=64M",
		     "--idle-exit=1", "--wait=600", NULL);
	assert_int_equal(server_wait(&server, 2500), -1);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_bye(&peer), PEER_EOF);
	assert_int_equal(server_wait(&server, 5000), 0);

	server_start(&server, "--listen", unix_address("s"), "--capacity=64M",
		     "--idle-exit=600", "--wait=1", NULL);
	assert_int_equal(server_wait(&server, 5000), 0);
}

/* A session in its grace time keeps the server. */
static void test_idle_after_grace(void **state)
{
	struct peer peer;

	server_start(&server, "--listen", unix_address("s"), "--capacity=64M",
		     "--idle-exit=1", "--grace=3", NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	peer_close(&peer);
	assert_int_equal(server_wait(&server, 2000), -1);
	assert_int_equal(server_wait(&server, 15000), 0);
}

static void test_lease_fd(void **state)
{
	char option[32];
	int fds[2];

	assert_return_code(pipe(fds), errno);
	snprintf(option, sizeof(option), "--lease-fd=%d", fds[0]);
	/* Only the parent may hold the writing end. */
	assert_return_code(dup2(fds[1], 200), errno);
	close(fds[1]);
	fds[1] = 200;
	assert_return_code(fcntl(fds[1], F_SETFD, FD_CLOEXEC), errno);
	start(option);
	close(fds[0]);
	assert_int_equal(write(fds[1], "still here", 10), 10);
	assert_int_equal(server_wait(&server, 300), -1);
	close(fds[1]);
	assert_int_equal(server_wait(&server, 15000), 0);
	assert_false(exists(server.address));
}

static void test_grace(void **state)
{
	static char data[4096];
	struct peer peer, renewed;
	uint64_t addr;

	start("--grace=3");
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	strcpy(data, "still there");
	assert_int_equal(peer_write(&peer, addr, data, sizeof(data)), 0);
	peer_close(&peer);
	sleep_ms(300);
	assert_int_equal(peer_attach(&renewed, &peer, 0, 2), 0);
	memset(data, 0, sizeof(data));
	assert_int_equal(peer_read(&renewed, addr, data, sizeof(data)), 0);
	assert_string_equal(data, "still there");
	peer_close(&renewed);
	sleep_ms(4000);
	assert_int_equal(peer_attach(&renewed, &peer, 0, 3),
			 TM_STATUS_NO_SESSION);
	peer_close(&renewed);
	server_stop(&server);
}

static void test_handshake_deadline(void **state)
{
	struct peer silent, half;
	struct tm_msg msg;
	uint64_t start_ms;

	start(NULL);
	start_ms = now_ms();
	assert_int_equal(peer_connect(&silent, server.address), 0);
	assert_int_equal(peer_connect(&half, server.address), 0);
	assert_int_equal(peer_hello(&half), 0);
	assert_int_equal(peer_send_raw(&half, "TRAM", 4), 0);
	assert_int_equal(peer_receive(&silent, &msg, NULL, 0), PEER_EOF);
	assert_int_equal(peer_receive(&half, &msg, NULL, 0), PEER_EOF);
	assert_in_range(now_ms() - start_ms, 4000, 25000);
	peer_close(&silent);
	peer_close(&half);
	server_stop(&server);
	assert_non_null(strstr(server.err, "took too long"));
}

/* However many stand in the door, an honest client gets through. */
static void test_crowd_at_the_door(void **state)
{
	enum { CROWD = 300 };
	struct peer crowd[CROWD], peer;
	struct tm_wire_stat stat;
	int i;

	start(NULL);
	for (i = 0; i < CROWD; i++)
		assert_int_equal(peer_connect(&crowd[i], server.address), 0);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_stat(&peer, &stat), 0);
	assert_int_equal(tm_le64_to_cpu(stat.connections), 1);
	for (i = 0; i < CROWD; i++)
		peer_close(&crowd[i]);
	assert_int_equal(peer_bye(&peer), PEER_EOF);
	server_stop(&server);
	/* Not a line for each. */
	assert_true(strlen(server.err) < 30 * 80);
}

static void test_channels_cap(void **state)
{
	struct peer peer, all[TM_PROTO_CHANNELS_MAX + 1];
	uint32_t i;

	start(NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	for (i = 1; i < TM_PROTO_CHANNELS_MAX; i++)
		assert_int_equal(peer_attach(&all[i], &peer, i, 1), 0);
	assert_int_equal(peer_attach(&all[i], &peer, i, 1),
			 TM_STATUS_BAD_MESSAGE);
	assert_int_equal(peer_ping(&peer), 0);
	assert_int_equal(peer_ping(&all[TM_PROTO_CHANNELS_MAX - 1]), 0);
	/* BYE on one of them ends all. */
	assert_int_equal(peer_bye(&all[7]), PEER_EOF);
	assert_int_equal(peer_ping(&peer), PEER_EOF);
	for (i = 1; i <= TM_PROTO_CHANNELS_MAX; i++)
		peer_close(&all[i]);
	peer_close(&peer);
	server_stop(&server);
}

static void test_sessions_cap(void **state)
{
	enum { CAP = 1024 };
	static struct peer all[CAP + 1];
	struct rlimit files;
	int i;

	/* a login's limit is 1024, which may be raised */
	getrlimit(RLIMIT_NOFILE, &files);
	files.rlim_cur = files.rlim_max;
	setrlimit(RLIMIT_NOFILE, &files);
	start(NULL);
	for (i = 0; i < CAP; i++)
		assert_int_equal(peer_open(&all[i], server.address, false), 0);
	assert_int_equal(peer_open(&all[i], server.address, false),
			 TM_STATUS_BUSY);
	assert_int_equal(peer_ping(&all[0]), 0);
	for (i = 0; i <= CAP; i++)
		peer_close(&all[i]);
	server_stop(&server);
}

/* A client that asks and never reads holds up nobody, not even its session. */
static void test_slow_client(void **state)
{
	static uint8_t data[1 << 20];
	struct tm_msg msg = {.type = TM_WIRE_READ, .argument = sizeof(data)};
	struct peer slow, second, other;
	uint64_t start_ms;
	int i, requests;

	server_start(&server, "--listen", unix_address("s"), "--capacity=64M",
		     "--threads=1", NULL);
	assert_int_equal(peer_open(&slow, server.address, false), 0);
	assert_int_equal(peer_reserve(&slow, &msg.addr), 0);
	assert_int_equal(peer_attach(&second, &slow, 1, 1), 0);
	assert_int_equal(peer_open(&other, server.address, false), 0);
	/* More than it may have under way. */
	requests = 200;
	for (i = 0; i < requests; i++)
		assert_int_equal(peer_send(&slow, msg, NULL), 0);
	start_ms = now_ms();
	for (i = 0; i < 50; i++) {
		assert_int_equal(peer_ping(&other), 0);
		assert_int_equal(peer_ping(&second), 0);
	}
	assert_true(now_ms() - start_ms < 10000);
	/* And when it does read, all of it is there. */
	for (i = 0; i < requests; i++)
		assert_int_equal(peer_receive(&slow, &msg, data, sizeof(data)),
				 0);
	/* Gone in the middle of a write: the server is none the worse. */
	msg = (struct tm_msg){.type = TM_WIRE_WRITE,
			      .addr = msg.addr,
			      .length = sizeof(data),
			      .epoch = 1};
	assert_int_equal(peer_send(&slow, msg, NULL), 0);
	assert_int_equal(peer_send_raw(&slow, data, 1000), 0);
	peer_close(&slow);
	assert_int_equal(peer_ping(&second), 0);
	peer_close(&second);
	peer_close(&other);
	server_stop(&server);
}

/* ---- huge pages --------------------------------------------------------- */

static void test_no_huge_pages(void **state)
{
	/* More than any machine that runs this has reserved. */
	assert_int_equal(server_run(&server, "--listen=tcp:127.0.0.1:0",
				    "--capacity=32T", "--hugepages", NULL),
			 1);
	assert_said("vm.nr_hugepages");
}

/* ---- locked memory ------------------------------------------------------ */

static int without_lock(const struct server *s)
{
	const struct rlimit limit = {1 << 20, 1 << 20};

	setrlimit(RLIMIT_MEMLOCK, &limit);
	if (server_run(&server, "--listen=tcp:127.0.0.1:0", "--capacity=64M",
		       "--mlock=require", NULL) != 1)
		return 1;
	return strstr(server.err, "raise 'ulimit -l'") ? 0 : 2;
}

static void test_mlock_required(void **state)
{
	require_root();
	assert_int_equal(as_user(NOBODY, without_lock, NULL), 0);
	/* Where it is allowed, it serves. */
	start("--mlock=require");
	server_stop(&server);
	assert_string_equal(server.err, "");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sigterm),
		cmocka_unit_test(test_alive_already),
		cmocka_unit_test(test_left_over),
		cmocka_unit_test(test_not_a_socket),
		cmocka_unit_test(test_port_in_use),
		cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_rounds_up),
		cmocka_unit_test(test_idle_exit),
		cmocka_unit_test(test_wait),
		cmocka_unit_test(test_idle_after_grace),
		cmocka_unit_test(test_lease_fd),
		cmocka_unit_test(test_grace),
		cmocka_unit_test(test_handshake_deadline),
		cmocka_unit_test(test_crowd_at_the_door),
		cmocka_unit_test(test_channels_cap),
		cmocka_unit_test(test_sessions_cap),
		cmocka_unit_test(test_slow_client),
		cmocka_unit_test(test_no_huge_pages),
		cmocka_unit_test(test_mlock_required),
	};

	return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
