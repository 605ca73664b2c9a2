// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The server map: what is accepted, what is refused and how it is said, and
 * that a written map reads back the same.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/map.h"

#define SERVER "{\"address\":\"unix:/run/a\",\"capacity\":\"4G\"}"
#define HEAD "{\"version\":1,\"size\":\"4G\",\"local\":\"1G\","
#define MINIMAL HEAD "\"servers\":[" SERVER "]}"

static struct tm_map map;

static void test_minimal(void **state)
{
	char error[200];

	assert_int_equal(tm_map_parse(MINIMAL, strlen(MINIMAL), &map, error,
				      sizeof(error)),
			 0);
	assert_int_equal(map.size_bytes, 4ULL << 30);
	assert_int_equal(map.local_bytes, 1ULL << 30);
	assert_true(map.block_auto);
	assert_int_equal(map.block_bytes, TM_MAP_AUTO_BLOCK);
	assert_int_equal(map.prefetch_bytes, 4 << 20);
	assert_int_equal(map.timeout_s, 10);
	assert_false(map.fifo);
	assert_false(map.rr);
	assert_int_equal(map.nr_servers, 1);
	assert_string_equal(map.server[0].address, "unix:/run/a");
	assert_int_equal(map.server[0].auth, TM_MAP_AUTH_PEERCRED);
}

static void test_full(void **state)
{
	static const char text[] =
		"{ \"version\": 1, \"job\": 4711, \"size\": \"8G\",\n"
		"  \"local\": 1073741824, \"block\": \"2M\",\n"
		"  \"policy\": \"fifo\", \"placement\": \"rr\",\n"
		"  \"prefetch\": 0, \"timeout\": 3, \"servers\": [\n"
		"  { \"address\": \"tcp:10.0.0.1:7000\", \"capacity\": \"4G\" "
		"},\n"
		"  { \"address\": \"tcp:[::1]:7000\", \"capacity\": \"3G\",\n"
		"    \"auth\": \"munge\" },\n"
		"  { \"address\": \"unix:/s\", \"capacity\": \"1G\",\n"
		"    \"auth\": \"munge\" } ] }\n";
	char error[200];

	assert_int_equal(
		tm_map_parse(text, strlen(text), &map, error, sizeof(error)),
		0);
	assert_int_equal(map.job, 4711);
	assert_int_equal(map.block_bytes, 2 << 20);
	assert_int_equal(map.prefetch_bytes, 0);
	assert_int_equal(map.timeout_s, 3);
	assert_true(map.fifo);
	assert_true(map.rr);
	assert_int_equal(map.nr_servers, 3);
	assert_int_equal(map.server[0].auth, TM_MAP_AUTH_MUNGE);
	assert_int_equal(map.server[2].auth, TM_MAP_AUTH_MUNGE);
	assert_int_equal(map.server[2].capacity_bytes, 1 << 30);
}

static void refuses(const char *text, const char *want)
{
	char error[200] = "";

	assert_int_equal(
		tm_map_parse(text, strlen(text), &map, error, sizeof(error)),
		-EINVAL);
	assert_string_equal(error, want);
}

/* What json-c calls the cause differs between its versions. */
static void refuses_json(const char *text)
{
	char error[200] = "";

	assert_int_equal(
		tm_map_parse(text, strlen(text), &map, error, sizeof(error)),
		-EINVAL);
	assert_memory_equal(error, "not JSON: ", 10);
}

static void test_not_json(void **state)
{
	char error[200], nul[sizeof(MINIMAL) + 1] = MINIMAL;

	refuses("", "not JSON: it ends too early");
	refuses(HEAD, "not JSON: it ends too early");
	refuses_json("{\"version\":1,}");
	refuses_json(MINIMAL "x");
	refuses_json("[[[[[[1]]]]]]");
	refuses("[1]", "not a JSON object");
	/* A NUL does not hide what follows it. */
	nul[sizeof(MINIMAL) - 1] = '\0';
	nul[sizeof(MINIMAL)] = '{';
	assert_int_equal(
		tm_map_parse(nul, sizeof(nul), &map, error, sizeof(error)),
		-EINVAL);
}

static void test_keys(void **state)
{
	refuses("{\"version\":2,\"size\":1}",
		"version: 2 (this Teramem reads 1)");
	refuses("{\"version\":\"1\"}", "version: not a whole number");
	refuses("{\"sise\":1}", "unknown key 'sise'");
	refuses("{\"a\\nb\":1}", "unknown key 'a?b'");
	refuses("{\"version\":1,\"size\":\"4G\",\"local\":\"1G\"}",
		"no \"servers\"");
	refuses("{\"size\":\"4G\",\"local\":\"1G\",\"servers\":[" SERVER "]}",
		"no \"version\"");
	refuses("{\"size\":\"1X\"}",
		"size: 1X: unknown unit 'X' (use K, M, G or T)");
	refuses("{\"size\":\"1\\u001b[2J\"}",
		"size: holds a control character");
	refuses("{\"size\":-1}", "size: negative");
	refuses("{\"size\":1.5}",
		"size: neither a number of bytes nor a text like \"8G\"");
	refuses("{\"policy\":\"mru\"}",
		"policy: unknown value 'mru' (use lru or fifo)");
	refuses("{\"placement\":1}", "placement: not a text");
	refuses("{\"job\":-4}", "job: negative");
}

static void test_limits(void **state)
{
	refuses(HEAD "\"block\":\"3K\",\"servers\":[" SERVER "]}",
		"block: 3072 bytes (a power of two from 4K to 2M)");
	refuses(HEAD "\"block\":\"4M\",\"servers\":[" SERVER "]}",
		"block: 4194304 bytes (a power of two from 4K to 2M)");
	refuses(HEAD "\"timeout\":0,\"servers\":[" SERVER "]}",
		"timeout: not in 1..3600 seconds");
	refuses(HEAD "\"timeout\":4294967297,\"servers\":[" SERVER "]}",
		"timeout: not in 1..3600 seconds");
	refuses(HEAD "\"prefetch\":\"2G\",\"servers\":[" SERVER "]}",
		"prefetch: 2147483648 bytes (at most 1G)");
	refuses("{\"version\":1,\"size\":\"5G\",\"local\":\"1G\","
		"\"servers\":[" SERVER "]}",
		"size: 5368709120 bytes, but the servers have 4294967296 "
		"together");
	refuses("{\"version\":1,\"size\":\"4G\",\"local\":1,"
		"\"servers\":[" SERVER "]}",
		"local: 1 bytes (at least 4096, at most 64T)");
	/* Capacities that would wrap around when summed. */
	refuses(HEAD "\"servers\":[" SERVER ",{\"address\":\"unix:/b\","
		     "\"capacity\":18446744073709551615}]}",
		"servers[1].capacity: 18446744073709551615 bytes (at least 1, "
		"at most 64T)");
}

/* The map of blocks takes an eighth of local memory at most. */
static void test_auto_block(void **state)
{
	struct tm_map map = {.size_bytes = 1ULL << 40};

	map.local_bytes = 1ULL << 36;
	assert_int_equal(tm_map_auto_block(&map, 32), 4096);
	map.local_bytes = (1ULL << 36) - 4096;
	assert_int_equal(tm_map_auto_block(&map, 32), 16384);
	map.local_bytes = 1ULL << 34;
	assert_int_equal(tm_map_auto_block(&map, 32), 16384);
	map.local_bytes = 1ULL << 33;
	assert_int_equal(tm_map_auto_block(&map, 32), 65536);
	map.local_bytes = 1ULL << 20;
	assert_int_equal(tm_map_auto_block(&map, 32), 65536);
	/* or 16 MiB */
	map.size_bytes = 1ULL << 31;
	assert_int_equal(tm_map_auto_block(&map, 32), 4096);
	map.size_bytes += 4096;
	assert_int_equal(tm_map_auto_block(&map, 32), 16384);
}

static void refuses_server(const char *server, const char *want)
{
	char text[600];

	snprintf(text, sizeof(text), HEAD "\"servers\":[%s]}", server);
	refuses(text, want);
}

static void test_servers(void **state)
{
	refuses_server("", "servers: 0 of them (1 to 256)");
	refuses_server("7", "servers[0]: not an object");
	refuses_server("{\"capacity\":1}", "servers[0]: no \"address\"");
	refuses_server("{\"address\":\"unix:/a\"}",
		       "servers[0]: no \"capacity\"");
	refuses_server(SERVER "," SERVER,
		       "servers[1].address: same as servers[0]'s");
	refuses_server("{\"address\":\"unix:a\",\"capacity\":\"4G\"}",
		       "servers[0].address: 'unix:a' is not an absolute path "
		       "(use unix:/PATH)");
	refuses_server("{\"address\":\"udp:a:1\",\"capacity\":\"4G\"}",
		       "servers[0].address: unknown form 'udp:a:1' (use "
		       "tcp:HOST:PORT or unix:/PATH)");
	refuses_server("{\"address\":\"tcp:a\",\"capacity\":\"4G\"}",
		       "servers[0].address: 'tcp:a' has no host and port (use "
		       "tcp:HOST:PORT, tcp:[V6ADDRESS]:PORT)");
	refuses_server("{\"address\":\"tcp:::1:70\",\"capacity\":\"4G\"}",
		       "servers[0].address: 'tcp:::1:70' has no host and port "
		       "(use tcp:HOST:PORT, tcp:[V6ADDRESS]:PORT)");
	refuses_server("{\"address\":\"tcp:a:0\",\"capacity\":\"4G\"}",
		       "servers[0].address: 'tcp:a:0' has no port in 1..65535");
	refuses_server(
		"{\"address\":\"tcp:a:65536\",\"capacity\":\"4G\"}",
		"servers[0].address: 'tcp:a:65536' has no port in 1..65535");
	refuses_server(
		"{\"address\":\"tcp:a:7x\",\"capacity\":\"4G\"}",
		"servers[0].address: 'tcp:a:7x' has no port in 1..65535");
	refuses_server(
		"{\"address\":\"tcp:a:7\",\"capacity\":\"4G\","
		"\"auth\":\"peercred\"}",
		"servers[0].auth: peercred needs a unix socket (use munge)");
	refuses_server("{\"address\":\"tcp:a:7\",\"capacity\":\"4G\","
		       "\"auth\":\"none\"}",
		       "servers[0].auth: unknown value 'none' (use peercred or "
		       "munge)");
	refuses_server(
		"{\"address\":\"tcp:a:7\",\"port\":7}",
		"servers[0]: unknown key 'port' (address, capacity, auth)");
}

static void test_long_address(void **state)
{
	char server[400];

	snprintf(server, sizeof(server),
		 "{\"address\":\"unix:/%0107d\",\"capacity\":\"4G\"}", 0);
	refuses_server(server,
		       "servers[0].address: longer than 107 characters");
}

static void test_save(void **state)
{
	char folder[] = "/tmp/teramem-unit-XXXXXX", path[64], error[200];
	struct tm_map *back = calloc(1, sizeof(*back));
	struct stat st;

	assert_non_null(back);
	assert_non_null(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/map", folder);
	memset(&map, 0, sizeof(map));
	map.job = UINT64_MAX;
	map.size_bytes = (3ULL << 30) + (1 << 20) + 4096;
	map.local_bytes = 1 << 20;
	map.block_bytes = 4096;
	map.timeout_s = 7;
	map.fifo = true;
	map.rr = true;
	map.nr_servers = 2;
	strcpy(map.server[0].address, "tcp:host-1.example:65535");
	map.server[0].capacity_bytes = 2ULL << 30;
	map.server[0].auth = TM_MAP_AUTH_MUNGE;
	strcpy(map.server[1].address, "unix:/run/teramem \"x\"/s0");
	map.server[1].capacity_bytes = (2ULL << 30) + 1;

	assert_int_equal(tm_map_save(path, &map), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	assert_int_equal(tm_map_load(path, back, error, sizeof(error)), 0);
	assert_memory_equal(&map, back, sizeof(map));
	assert_int_equal(tm_map_save(path, &map), -EEXIST);
	assert_int_equal(unlink(path), 0);

	map.block_auto = true;
	map.block_bytes = TM_MAP_AUTO_BLOCK;
	map.size_bytes = 3ULL << 30;
	assert_int_equal(tm_map_save(path, &map), 0);
	assert_int_equal(tm_map_load(path, back, error, sizeof(error)), 0);
	assert_memory_equal(&map, back, sizeof(map));
	assert_int_equal(unlink(path), 0);
	assert_int_equal(tm_map_load(path, back, error, sizeof(error)),
			 -ENOENT);
	assert_string_equal(error, "cannot open it: No such file or directory");
	assert_int_equal(tm_map_load(folder, back, error, sizeof(error)),
			 -EINVAL);
	assert_string_equal(error, "not a regular file");
	assert_int_equal(rmdir(folder), 0);
	free(back);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_minimal),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_not_json),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_limits),
		cmocka_unit_test(test_auto_block),
		cmocka_unit_test(test_servers),
		cmocka_unit_test(test_long_address),
		cmocka_unit_test(test_save),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
