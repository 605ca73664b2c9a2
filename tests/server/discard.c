// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a session discards: the memory goes back to the system in pieces, reads
 * as zeros, and can be written again; all around it stays.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define MIB (1u << 20)
#define EXTENT (4 * MIB)
#define EXTENTS 8
#define BYTES (EXTENTS * EXTENT)
#define PIECE (2 * MIB)
/* what may come and go for other reasons */
#define SLACK (3 * MIB)

static struct server server;
static struct peer peer;
static uint64_t base; /* of all extents */
static uint8_t *data;

static uint64_t resident(void)
{
	unsigned long size = 0, pages = 0;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/statm", server.pid);
	file = fopen(path, "r");
	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return (uint64_t)pages * 4096;
}

static int discard(uint64_t addr, uint64_t bytes)
{
	struct tm_msg msg = {
		.type = TM_WIRE_DISCARD,
		.addr = addr,
		.argument = bytes,
	};
	struct tm_msg reply;

	return peer_call(&peer, msg, NULL, &reply, NULL, 0);
}

static void write_all(void)
{
	uint64_t at;

	for (at = 0; at < BYTES; at += MIB)
		assert_int_equal(peer_write(&peer, base + at, data + at, MIB),
				 0);
}

/* What is written, with zeros in between. */
static void assert_zeros_at(uint64_t from, uint64_t bytes)
{
	static uint8_t in[MIB];
	uint64_t at;

	memset(data + from, 0, bytes);
	for (at = 0; at < BYTES; at += MIB) {
		assert_int_equal(peer_read(&peer, base + at, in, MIB), 0);
		assert_memory_equal(in, data + at, MIB);
	}
}

static int start(void **state)
{
	uint64_t addr, before;
	unsigned int i;

	server_start(&server, "--listen", unix_address("s"), "--capacity=32M",
		     "--extent=4M", "--threads=1", NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	for (i = 0; i < EXTENTS; i++) {
		assert_int_equal(peer_reserve(&peer, &addr), 0);
		base = i ? base : addr;
		assert_int_equal(addr, base + i * EXTENT);
	}
	before = resident();
	assert_true(before >= BYTES);
	data = malloc(BYTES);
	for (i = 0; i < BYTES; i++)
		data[i] = (uint8_t)(i * 31 + i / 4096 + 1);
	write_all();
	return 0;
}

static int stop(void **state)
{
	free(data);
	peer_close(&peer);
	server_stop(&server);
	return 0;
}

static void test_all(void **state)
{
	uint64_t before = resident();

	assert_int_equal(discard(base, BYTES), 0);
	assert_in_range(resident(), 0, before - BYTES + SLACK);
	write_all();
	assert_in_range(resident(), before - SLACK, before + SLACK);
	assert_zeros_at(0, 0);
}

/* Block by block, in any order: the last one of a piece frees it. */
static void test_blocks(void **state)
{
	const uint64_t block = 64 << 10, nr = BYTES / block;
	uint64_t before = resident(), i;

	for (i = 0; i < nr; i++)
		assert_int_equal(discard(base + i * 7 % nr * block, block), 0);
	assert_in_range(resident(), 0, before - BYTES + SLACK);
	/* read before it is written */
	assert_zeros_at(0, BYTES);
}

/* Neither whole pages, nor whole pieces: their neighbours stay. */
static void test_odd(void **state)
{
	const uint64_t from = PIECE - 777, bytes = 2 * EXTENT + 1234;
	const uint64_t pieces = 2 * EXTENT / PIECE;
	uint64_t before = resident();

	assert_int_equal(discard(base + from, bytes), 0);
	assert_in_range(resident(), 0, before - pieces * PIECE + SLACK);
	/* less than a piece: no memory goes, but zeros are read */
	assert_int_equal(discard(base + 6 * PIECE + 100, 5 * 4096), 0);
	memset(data + 6 * PIECE + 100, 0, 5 * 4096);
	assert_int_equal(discard(base + BYTES - 100, 50), 0);
	/* some of it comes into use again */
	memset(data + from, 0, bytes);
	memset(data + EXTENT + 5000, 7, 3000);
	assert_int_equal(peer_write(&peer, base + EXTENT + 5000,
				    data + EXTENT + 5000, 3000),
			 0);
	assert_zeros_at(BYTES - 100, 50);
	/* and is discarded with its neighbours once more */
	assert_int_equal(discard(base, BYTES), 0);
	assert_in_range(resident(), 0, before - BYTES + SLACK);
	assert_zeros_at(0, BYTES);
}

/* An extent with holes has none for its next holder. */
static void test_release(void **state)
{
	static uint8_t in[MIB], zeros[MIB];
	uint64_t before = resident(), addr;
	unsigned int i;

	assert_int_equal(discard(base, EXTENT / 2), 0);
	assert_int_equal(peer_release(&peer, base), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(addr, base);
	assert_in_range(resident(), before - SLACK, before + SLACK);
	for (i = 0; i < EXTENT / MIB; i++) {
		assert_int_equal(peer_read(&peer, addr + i * MIB, in, MIB), 0);
		assert_memory_equal(in, zeros, MIB);
	}
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_server(test_all),
		with_server(test_blocks),
		with_server(test_odd),
		with_server(test_release),
	};

	return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
