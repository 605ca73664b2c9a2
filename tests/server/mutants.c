// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * That the mutants do what other tests take them to do: each kind damages
 * reads in its own way, at its rate, and the same ones for the same seed.
 */
#include <stdio.h>
#include <string.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define BLOCK 4096
#define BLOCKS 64

static struct server server;
static struct peer peer;
static uint64_t base;

static void start(const char *kind, const char *rate, const char *seed)
{
	uint8_t block[BLOCK];
	int version, i;

	server_start(&server, "--listen", unix_address("s"), "--capacity=1M",
		     "--extent=256K", kind, rate, seed, NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_reserve(&peer, &base), 0);
	for (version = 1; version <= 2; version++) {
		for (i = 0; i < BLOCKS; i++) {
			memset(block, version * 64 + i, sizeof(block));
			assert_int_equal(peer_write(&peer, base + i * BLOCK,
						    block, BLOCK),
					 0);
		}
	}
}

static void stop(void)
{
	peer_close(&peer);
	server_stop(&server);
}

/* Bits that differ from what block @i holds; @first its first byte. */
static unsigned int read_block(int i, uint8_t *first)
{
	unsigned int wrong = 0, j;
	uint8_t block[BLOCK];

	assert_int_equal(peer_read(&peer, base + i * BLOCK, block, BLOCK), 0);
	for (j = 0; j < BLOCK; j++)
		wrong += __builtin_popcount(block[j] ^ (uint8_t)(128 + i));
	*first = block[0];
	return wrong;
}

static void test_zero(void **state)
{
	uint8_t first;
	int i;

	start("--mutant=zero", NULL, NULL);
	for (i = 0; i < BLOCKS; i++) {
		assert_true(read_block(i, &first) > 0);
		assert_int_equal(first, 0);
	}
	stop();
}

static void test_stale(void **state)
{
	uint8_t first;
	int i;

	start("--mutant=stale", NULL, NULL);
	for (i = 0; i < BLOCKS; i++) {
		assert_true(read_block(i, &first) > 0);
		assert_int_equal(first, 64 + i);
	}
	stop();
}

static void test_misdirect(void **state)
{
	uint8_t first;
	int i;

	start("--mutant=misdirect", NULL, NULL);
	for (i = 0; i < BLOCKS; i++) {
		assert_true(read_block(i, &first) > 0);
		assert_int_not_equal(first, 128 + i);
		assert_in_range(first, 128, 128 + BLOCKS - 1);
	}
	stop();
}

static void test_flip(void **state)
{
	uint8_t first;
	int i;

	start("--mutant=flip", NULL, NULL);
	for (i = 0; i < BLOCKS; i++)
		assert_int_equal(read_block(i, &first), 1);
	stop();
}

static uint64_t damaged_blocks(const char *seed)
{
	uint64_t mask = 0;
	uint8_t first;
	char expected[64];
	int i;

	start("--mutant=flip", "--mutant-rate=1/4", seed);
	for (i = 0; i < BLOCKS; i++)
		mask |= (uint64_t)(read_block(i, &first) != 0) << i;
	stop();
	snprintf(expected, sizeof(expected), "%d lies in %d",
		 __builtin_popcountll(mask), BLOCKS);
	assert_non_null(strstr(server.err, expected));
	return mask;
}

static void test_rate_and_seed(void **state)
{
	uint64_t first = damaged_blocks("--seed=7");

	assert_in_range(__builtin_popcountll(first), 4, 32);
	assert_int_equal(damaged_blocks("--seed=7"), first);
	assert_int_not_equal(damaged_blocks("--seed=8"), first);
}

static void test_without_option(void **state)
{
	uint8_t first;
	int i;

	start(NULL, NULL, NULL);
	for (i = 0; i < BLOCKS; i++)
		assert_int_equal(read_block(i, &first), 0);
	stop();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_zero),
		cmocka_unit_test(test_stale),
		cmocka_unit_test(test_misdirect),
		cmocka_unit_test(test_flip),
		cmocka_unit_test(test_rate_and_seed),
		cmocka_unit_test(test_without_option),
	};

	return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
