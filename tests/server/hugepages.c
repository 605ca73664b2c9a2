// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Reserved huge pages. The test reserves a few for itself where it may, and
 * gives them back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define NR_HUGEPAGES "/proc/sys/vm/nr_hugepages"
#define NEEDED 4

static struct server server;
static unsigned long reserved_before;

static unsigned long number_in(const char *path, const char *key)
{
	unsigned long number = 0;
	char line[128], format[64];
	FILE *file = fopen(path, "r");

	snprintf(format, sizeof(format), "%s%%lu", key);
	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, format, &number) == 1)
			break;
	if (file)
		fclose(file);
	return number;
}

static unsigned long free_pages(void)
{
	return number_in("/proc/meminfo", "HugePages_Free: ");
}

static void reserve_pages(unsigned long nr)
{
	char text[24];

	snprintf(text, sizeof(text), "%lu", nr);
	/* Whether it worked, free_pages() tells. */
	write_text(NR_HUGEPAGES, text);
}

static int give_back(void **state)
{
	reserve_pages(reserved_before);
	return teardown_folder(state);
}

static void test_serves(void **state)
{
	static char data[4096], zeros[4096];
	struct peer peer;
	uint64_t addr;

	server_start(&server, "--listen", unix_address("s"), "--capacity=8M",
		     "--hugepages", NULL);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	memset(data, 1, sizeof(data));
	assert_int_equal(peer_write(&peer, addr, data, sizeof(data)), 0);
	assert_int_equal(peer_release(&peer, addr), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	/* The same pages again, wiped. */
	assert_int_equal(peer_read(&peer, 0, data, sizeof(data)), 0);
	assert_memory_equal(data, zeros, sizeof(data));
	peer_close(&peer);
	server_stop(&server);
}

/* All are reserved at the start, so that none is missing later. */
static void test_too_few(void **state)
{
	char capacity[64];

	snprintf(capacity, sizeof(capacity), "--capacity=%luM",
		 2 * free_pages() + 4);
	assert_int_equal(server_run(&server, "--listen", unix_address("s"),
				    capacity, "--hugepages", NULL),
			 1);
	assert_non_null(strstr(server.err, "vm.nr_hugepages"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serves),
		cmocka_unit_test(test_too_few),
	};

	reserved_before = number_in(NR_HUGEPAGES, "");
	if (free_pages() < NEEDED)
		reserve_pages(reserved_before + NEEDED);
	if (free_pages() < NEEDED) {
		reserve_pages(reserved_before);
		return skip_all("no huge pages can be reserved here");
	}
	return cmocka_run_group_tests(tests, setup_folder, give_back);
}
