// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How many requests besides the pager's I/O there may be (core/upkeep.c); the
 * pager that is told of their end is made up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/upkeep.h"
#include "include/teramem/proto.h"

#define SERVERS 2

static struct tm_upkeep upkeep;
static unsigned int reserved, discarded;
static int status;

void tm_pager_reserved(struct tm_lane *lane, unsigned int server, u64 addr,
		       u64 bytes, int err)
{
	reserved++;
	status = err;
	/* What it got and does not need any more it gives back at once. */
	assert_true(tm_upkeep_start(&upkeep, TM_WIRE_RELEASE));
	assert_false(upkeep.under_way == tm_upkeep_max(SERVERS) + 1 &&
		     tm_upkeep_start(&upkeep, TM_WIRE_RELEASE));
}

void tm_pager_discarded(struct tm_lane *lane, unsigned int server, u64 addr,
			u64 bytes)
{
	discarded++;
}

static unsigned int start_all(u8 type)
{
	unsigned int nr = 0;

	while (tm_upkeep_start(&upkeep, type))
		nr++;
	return nr;
}

static void test_limits(void **state)
{
	const unsigned int max = tm_upkeep_max(SERVERS);
	unsigned int discards, releases, reserves;

	upkeep = (struct tm_upkeep){.nr_servers = SERVERS};
	discards = start_all(TM_WIRE_DISCARD);
	releases = start_all(TM_WIRE_RELEASE);
	reserves = start_all(TM_WIRE_RESERVE);
	assert_true(discards > 0);
	assert_true(releases > 0);
	assert_int_equal(reserves, SERVERS * TM_PROTO_RESERVES_MAX);
	assert_int_equal(discards + releases + reserves, max);

	tm_upkeep_end(&upkeep, NULL, TM_WIRE_RESERVE, 0, 0, 0, false);
	assert_int_equal(reserved, 1);
	assert_int_equal(status, 0);
	assert_int_equal(upkeep.under_way, max);
	assert_false(tm_upkeep_start(&upkeep, TM_WIRE_RELEASE));
	tm_upkeep_end(&upkeep, NULL, TM_WIRE_RESERVE, 0, 0, 0, true);
	assert_int_equal(status, -ENOMEM);
	tm_upkeep_end(&upkeep, NULL, TM_WIRE_DISCARD, 0, 0, 0, true);
	assert_int_equal(discarded, 1);
	tm_upkeep_end(&upkeep, NULL, TM_WIRE_RELEASE, 0, 0, 0, false);
	assert_int_equal(reserved + discarded, 3);
	assert_int_equal(upkeep.under_way, max - 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_limits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
