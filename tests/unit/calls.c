// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The table of requests under way, and whose reply is whose (core/calls.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "core/calls.h"

#define NR 4
#define HEADER sizeof(struct tm_wire_header)

static struct tm_call call[NR];
static int request[NR];

static struct tm_calls calls_of(u32 epoch)
{
	struct tm_calls calls = {0};

	memset(call, 0, sizeof(call));
	tm_calls_init(&calls, call, NR);
	tm_calls_rewind(&calls, epoch);
	return calls;
}

/* As the server got it. */
static struct tm_msg on_wire(const struct tm_call *c)
{
	struct tm_msg msg;
	const char *why;

	assert_int_equal(tm_msg_decode(&c->header, true, &msg, &why), 0);
	return msg;
}

/* NULL if it is taken for the call's, else why not. */
static const char *refused(const struct tm_calls *calls, struct tm_msg msg,
			   const struct tm_call *whose)
{
	struct tm_wire_header header;
	struct tm_call *found;
	const char *why;

	tm_msg_encode(&msg, &header);
	found = tm_calls_reply(calls, &header, &msg, &why);
	assert_int_equal(!found, !!why);
	if (found)
		assert_ptr_equal(found, whose);
	return why;
}

static struct tm_msg answer(const struct tm_call *c)
{
	struct tm_msg msg = on_wire(c);

	msg.reply = true;
	msg.length = msg.type == TM_WIRE_READ ? msg.argument : 0;
	msg.argument = 0;
	return msg;
}

static void test_order(void **state)
{
	struct tm_calls calls = calls_of(1);
	u64 id;
	u32 i;

	for (i = 0; i < NR; i++)
		tm_calls_add(&calls, &request[i], TM_WIRE_PING, 0, 0);
	assert_int_equal(calls.under_way, NR);
	assert_int_equal(calls.free, TM_CALL_NONE);
	id = on_wire(&call[NR - 1]).id;
	/* The middle, then both ends. */
	assert_ptr_equal(tm_calls_remove(&calls, &call[1]), &request[1]);
	assert_ptr_equal(tm_calls_remove(&calls, &call[0]), &request[0]);
	assert_int_equal(calls.unsent, 2);
	assert_ptr_equal(tm_calls_remove(&calls, &call[3]), &request[3]);
	assert_int_equal(calls.head, 2);
	assert_int_equal(calls.tail, 2);
	tm_calls_add(&calls, &request[0], TM_WIRE_RESERVE, 0, 0);
	assert_int_equal(calls.under_way, 2);
	assert_int_equal(calls.reserves, 1);
	assert_int_equal(call[2].next, calls.tail);
	assert_true(on_wire(&call[calls.tail]).id > id);
	tm_calls_remove(&calls, &call[calls.tail]);
	tm_calls_remove(&calls, &call[2]);
	assert_int_equal(calls.head, TM_CALL_NONE);
	assert_int_equal(calls.tail, TM_CALL_NONE);
	assert_int_equal(calls.unsent, TM_CALL_NONE);
	assert_int_equal(calls.under_way + calls.reserves, 0);
}

static void test_headers(void **state)
{
	struct tm_calls calls = calls_of(7);
	struct tm_msg msg;

	tm_calls_add(&calls, &request[0], TM_WIRE_READ, 4096, 100);
	tm_calls_add(&calls, &request[1], TM_WIRE_WRITE, 8192, 200);
	tm_calls_add(&calls, &request[2], TM_WIRE_RESERVE, 1, 2);
	tm_calls_add(&calls, &request[3], TM_WIRE_STAT, 0,
		     sizeof(struct tm_wire_stat));
	msg = on_wire(&call[0]);
	assert_int_equal(msg.type, TM_WIRE_READ);
	assert_int_equal(msg.epoch, 7);
	assert_int_equal(msg.addr, 4096);
	assert_int_equal(msg.argument, 100);
	assert_int_equal(msg.length, 0);
	msg = on_wire(&call[1]);
	assert_int_equal(msg.addr, 8192);
	assert_int_equal(msg.argument, 0);
	assert_int_equal(msg.length, 200);
	assert_int_equal(on_wire(&call[2]).addr, 0);
	assert_int_equal(call[0].in, 100);
	assert_int_equal(call[1].in, 0);
	assert_int_equal(call[3].in, sizeof(struct tm_wire_stat));
}

static void test_sent(void **state)
{
	struct tm_calls calls = calls_of(1);

	tm_calls_add(&calls, &request[0], TM_WIRE_WRITE, 0, 100);
	tm_calls_add(&calls, &request[1], TM_WIRE_READ, 0, 100);
	tm_calls_sent(&calls, HEADER + 99);
	assert_false(call[0].sent);
	assert_int_equal(calls.unsent, 0);
	tm_calls_sent(&calls, 1 + HEADER - 1);
	assert_true(call[0].sent);
	assert_false(call[1].sent);
	assert_int_equal(calls.unsent, 1);
	assert_int_equal(calls.tx_done, HEADER - 1);
	tm_calls_sent(&calls, 1);
	assert_true(call[1].sent);
	assert_int_equal(calls.unsent, TM_CALL_NONE);
	assert_int_equal(calls.tx_done, 0);
}

static void test_rewind(void **state)
{
	struct tm_calls calls = calls_of(1);
	u64 id;

	tm_calls_add(&calls, &request[0], TM_WIRE_PING, 0, 0);
	tm_calls_add(&calls, &request[1], TM_WIRE_RELEASE, 64, 32);
	tm_calls_sent(&calls, HEADER + 1);
	id = on_wire(&call[1]).id;
	tm_calls_rewind(&calls, 2);
	assert_int_equal(calls.unsent, 0);
	assert_int_equal(calls.tx_done, 0);
	assert_false(call[0].sent);
	assert_int_equal(on_wire(&call[1]).id, id);
	assert_int_equal(on_wire(&call[1]).epoch, 2);
	assert_int_equal(on_wire(&call[1]).addr, 64);
}

static void test_replies(void **state)
{
	struct tm_calls calls = calls_of(1);
	struct tm_msg msg;

	tm_calls_add(&calls, &request[0], TM_WIRE_READ, 0, 100);
	msg = answer(&call[0]);
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply to no request");
	tm_calls_sent(&calls, HEADER);
	assert_null(refused(&calls, msg, &call[0]));
	msg.length = 99;
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply of another length than the request's");
	msg.length = 0;
	msg.status = TM_STATUS_BAD_ADDRESS;
	assert_null(refused(&calls, msg, &call[0]));
	msg.status = TM_STATUS_STALE;
	assert_string_equal(refused(&calls, msg, NULL),
			    tm_status_text(TM_STATUS_STALE));
	msg = answer(&call[0]);
	msg.epoch = 2;
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply with another epoch");
	msg = answer(&call[0]);
	msg.type = TM_WIRE_PING;
	msg.length = 0;
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply of another type than the request");
	assert_string_equal(refused(&calls, on_wire(&call[0]), NULL),
			    "a request from the server");
	msg = answer(&call[0]);
	msg.id += NR; /* beyond the table */
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply to no request");
	/* The same place, but one request later. */
	msg = answer(&call[0]);
	tm_calls_remove(&calls, &call[0]);
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply to no request");
	tm_calls_add(&calls, &request[1], TM_WIRE_READ, 0, 100);
	tm_calls_sent(&calls, HEADER);
	assert_string_equal(refused(&calls, msg, NULL),
			    "a reply to no request");
	assert_null(refused(&calls, answer(&call[0]), &call[0]));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_order),	cmocka_unit_test(test_headers),
		cmocka_unit_test(test_sent),	cmocka_unit_test(test_rewind),
		cmocka_unit_test(test_replies),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
