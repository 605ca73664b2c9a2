// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The rules of core/heartbeat.h, with times made up.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/heartbeat.h"

#define S 1000000000ull
#define TIMEOUT (8 * S)
#define START (1000 * S)

static int look(struct tm_heartbeat *h, u64 at, unsigned int requests,
		unsigned int reserves)
{
	const char *why = NULL;
	int err = tm_heartbeat_look(h, START + at, requests, reserves, &why);

	assert_int_equal(why != NULL, err < 0);
	return err;
}

static struct tm_heartbeat heartbeat(void)
{
	struct tm_heartbeat h = {.timeout = TIMEOUT};

	tm_heartbeat_up(&h, START);
	return h;
}

static void test_silence(void **state)
{
	struct tm_heartbeat h = heartbeat();

	assert_int_equal(tm_heartbeat_due(&h), START + 2 * S);
	assert_int_equal(look(&h, 2 * S, 0, 0), 0);
	assert_int_equal(look(&h, 2 * S + 1, 0, 0), 1);
	assert_int_equal(look(&h, 2 * S + 2, 0, 0), 0);
	assert_int_equal(tm_heartbeat_due(&h), START + 4 * S + 1);
	assert_int_equal(look(&h, 4 * S + 1, 0, 0), 0);
	assert_int_equal(look(&h, 4 * S + 2, 0, 0), -ETIMEDOUT);
}

static void test_sign_of_life(void **state)
{
	struct tm_heartbeat h = heartbeat();

	assert_int_equal(look(&h, 3 * S, 0, 0), 1);
	h.heard = START + 4 * S;
	assert_int_equal(look(&h, 8 * S, 0, 0), 0);
	h.ping_under_way = false;
	assert_int_equal(look(&h, 8 * S, 0, 0), 1);
}

/* We slept: the server gets the time that it would have had. */
static void test_slept(void **state)
{
	struct tm_heartbeat h = heartbeat();

	assert_int_equal(look(&h, 100 * S, 0, 0), 1);
	assert_int_equal(look(&h, 102 * S, 0, 0), 0);
	assert_int_equal(look(&h, 102 * S + 1, 0, 0), -ETIMEDOUT);
}

static void test_unanswered(void **state)
{
	struct tm_heartbeat h = heartbeat();

	h.heard = START + 8 * S;
	assert_int_equal(look(&h, 8 * S, 2, 1), 0);
	assert_int_equal(look(&h, 8 * S + 1, 2, 1), -EPROTO);
	assert_int_equal(look(&h, 8 * S + 1, 0, 0), 0);
	/* A RESERVE may take longer. */
	assert_int_equal(look(&h, 8 * S + 1, 1, 1), 0);
	h.heard = START + 10 * S;
	assert_int_equal(look(&h, 10 * S, 1, 1), 0);
	assert_int_equal(look(&h, 10 * S + 1, 1, 1), -EPROTO);
}

static void test_broke(void **state)
{
	struct tm_heartbeat h = heartbeat();

	tm_heartbeat_broke(&h, START, -ECONNRESET);
	assert_int_equal(h.give_up, START + TIMEOUT);
	/* The next ones brought nothing. */
	tm_heartbeat_broke(&h, START + S, -EPROTO);
	tm_heartbeat_broke(&h, START + 2 * S, -ETIMEDOUT);
	assert_int_equal(h.give_up, START + TIMEOUT);
	assert_int_equal(h.violations, 1);
	/* Half of the timeout went by in silence before. */
	h.barren = 0;
	tm_heartbeat_broke(&h, START + 9 * S, -ETIMEDOUT);
	assert_int_equal(h.give_up, START + 9 * S + TIMEOUT / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_silence),
		cmocka_unit_test(test_sign_of_life),
		cmocka_unit_test(test_slept),
		cmocka_unit_test(test_unanswered),
		cmocka_unit_test(test_broke),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
