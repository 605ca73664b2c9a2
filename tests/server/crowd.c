// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Many clients that come, use all of the memory, and go in every way, on
 * several threads of one server: nobody ever sees another's bytes, or his own
 * from before, and in the end all memory is there again.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define CLIENTS 6
#define TEST_MS 2000
#define EXTENT (64u << 10)
#define HELD_MAX 5

static struct server server;

/* In the child, where no assertion of cmocka's has a place to go. */
static void check(bool ok, const char *what)
{
	if (ok)
		return;
	fprintf(stderr, "# client %d: %s\n", getpid(), what);
	_exit(1);
}

static bool all(const uint64_t *words, uint64_t value)
{
	size_t i;

	for (i = 0; i < EXTENT / sizeof(*words); i++)
		if (words[i] != value)
			return false;
	return true;
}

static void fill(uint64_t *words, uint64_t value)
{
	size_t i;

	for (i = 0; i < EXTENT / sizeof(*words); i++)
		words[i] = value;
}

/* One session: take, fill, look, give some back, take again, look. */
static void live(struct peer *peer, unsigned int *seed)
{
	static uint64_t words[EXTENT / sizeof(uint64_t)], mine;
	uint64_t addr[HELD_MAX], value[HELD_MAX];
	int round, nr = 0, i, status;

	for (round = 0; round < 40; round++) {
		i = rand_r(seed) % HELD_MAX;
		if (i < nr) {
			check(!peer_read(peer, addr[i], words, EXTENT), "read");
			check(all(words, value[i]), "wrong bytes");
			check(!peer_release(peer, addr[i]), "release");
			addr[i] = addr[--nr];
			value[i] = value[nr];
			continue;
		}
		status = peer_reserve(peer, &addr[nr]);
		if (status == TM_STATUS_NO_MEMORY)
			continue;
		check(!status, "reserve");
		check(!peer_read(peer, addr[nr], words, EXTENT), "first read");
		check(all(words, 0), "somebody's bytes");
		value[nr] = (uint64_t)getpid() << 32 | ++mine;
		fill(words, value[nr]);
		check(!peer_write(peer, addr[nr], words, EXTENT), "write");
		nr++;
	}
}

static void client(void)
{
	unsigned int seed = getpid();
	uint64_t end = now_ms() + TEST_MS;
	struct peer peer, second;

	while (now_ms() < end) {
		check(!peer_open(&peer, server.address, false), "open");
		live(&peer, &seed);
		switch (rand_r(&seed) % 4) {
		case 0:
			check(peer_bye(&peer) == PEER_EOF, "bye");
			break;
		case 1:
			/* The channel anew, then both of them away. */
			check(!peer_attach(&second, &peer, 0, 2), "attach");
			live(&second, &seed);
			peer_close(&second);
			peer_close(&peer);
			break;
		case 2:
			/* BYE over another channel. */
			check(!peer_attach(&second, &peer, 1, 1), "attach");
			check(peer_bye(&second) == PEER_EOF, "bye");
			peer_close(&peer);
			break;
		default:
			peer_close(&peer);
		}
	}
	_exit(0);
}

static void test_crowd(void **state)
{
	struct tm_wire_stat stat;
	struct peer peer;
	pid_t pid[CLIENTS];
	int i, status;

	server_start(&server, "--listen", unix_address("s"), "--capacity=2M",
		     "--extent=64K", "--threads=3", "--grace=1", NULL);
	for (i = 0; i < CLIENTS; i++) {
		pid[i] = fork();
		assert_return_code(pid[i], errno);
		if (pid[i] == 0)
			client();
	}
	for (i = 0; i < CLIENTS; i++) {
		assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
		assert_int_equal(status, 0);
	}
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	/* The last sessions' grace. */
	for (i = 0; i < 200; i++) {
		assert_int_equal(peer_stat(&peer, &stat), 0);
		if (tm_le64_to_cpu(stat.sessions) == 1)
			break;
		sleep_ms(100);
	}
	assert_int_equal(tm_le64_to_cpu(stat.sessions), 1);
	assert_int_equal(tm_le64_to_cpu(stat.connections), 1);
	assert_int_equal(tm_le64_to_cpu(stat.reserved_bytes), 0);
	assert_true(tm_le64_to_cpu(stat.writes) > CLIENTS * 5);
	peer_close(&peer);
	server_stop(&server);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_crowd),
	};

	return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
