// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The codec: every message against a frozen sample of the wire, so that a
 * change of the format cannot go unnoticed, and every check on what is refused.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>

#include "core/proto.h"

/* The first 40 bytes of a header in hex; the rest is zero. */
static const struct sample {
	const char *name;
	bool authenticated;
	struct tm_msg msg;
	const char *wire;
} samples[] = {
	{"hello",
	 false,
	 {.type = TM_WIRE_HELLO, .id = 1, .epoch = 1, .length = 64},
	 "5452414d01000000"
	 "0100000000000000"
	 "01000000"
	 "40000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"hello reply, no common version",
	 false,
	 {.type = TM_WIRE_HELLO,
	  .reply = true,
	  .status = TM_STATUS_VERSION,
	  .id = 1,
	  .epoch = 1,
	  .length = 64},
	 "5452414d81000100"
	 "0100000000000000"
	 "01000000"
	 "40000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"auth",
	 false,
	 {.type = TM_WIRE_AUTH, .id = 2, .epoch = 1, .length = 256},
	 "5452414d02000000"
	 "0200000000000000"
	 "01000000"
	 "00010000"
	 "0000000000000000"
	 "0000000000000000"},
	{"attach",
	 false,
	 {.type = TM_WIRE_ATTACH, .id = 3, .epoch = 0x1234, .length = 64},
	 "5452414d03000000"
	 "0300000000000000"
	 "34120000"
	 "40000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"welcome",
	 false,
	 {.type = TM_WIRE_WELCOME,
	  .reply = true,
	  .id = 2,
	  .epoch = 1,
	  .length = 128},
	 "5452414d84000000"
	 "0200000000000000"
	 "01000000"
	 "80000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"welcome, denied",
	 false,
	 {.type = TM_WIRE_WELCOME,
	  .reply = true,
	  .status = TM_STATUS_DENIED,
	  .id = 2,
	  .epoch = 1},
	 "5452414d84000200"
	 "0200000000000000"
	 "01000000"
	 "00000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"reserve",
	 true,
	 {.type = TM_WIRE_RESERVE, .id = 0x10001, .epoch = 1},
	 "5452414d05000000"
	 "0100010000000000"
	 "01000000"
	 "00000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"reserve reply",
	 true,
	 {.type = TM_WIRE_RESERVE,
	  .reply = true,
	  .id = 0x10001,
	  .epoch = 1,
	  .addr = 0x40000000,
	  .argument = 0x400000},
	 "5452414d85000000"
	 "0100010000000000"
	 "01000000"
	 "00000000"
	 "0000004000000000"
	 "0000400000000000"},
	{"release",
	 true,
	 {.type = TM_WIRE_RELEASE,
	  .id = 0x20000,
	  .epoch = 1,
	  .addr = 0x40000000,
	  .argument = 0x400000},
	 "5452414d06000000"
	 "0000020000000000"
	 "01000000"
	 "00000000"
	 "0000004000000000"
	 "0000400000000000"},
	{"read",
	 true,
	 {.type = TM_WIRE_READ,
	  .id = 0x8877665544332211,
	  .epoch = 0xddccbbaa,
	  .addr = 0x1122334455667788,
	  .argument = 0x40000},
	 "5452414d07000000"
	 "1122334455667788"
	 "aabbccdd"
	 "00000000"
	 "8877665544332211"
	 "0000040000000000"},
	{"read reply",
	 true,
	 {.type = TM_WIRE_READ,
	  .reply = true,
	  .id = 7,
	  .epoch = 2,
	  .length = 0x40000},
	 "5452414d87000000"
	 "0700000000000000"
	 "02000000"
	 "00000400"
	 "0000000000000000"
	 "0000000000000000"},
	{"read reply, bad address",
	 true,
	 {.type = TM_WIRE_READ,
	  .reply = true,
	  .status = TM_STATUS_BAD_ADDRESS,
	  .id = 7,
	  .epoch = 2},
	 "5452414d87000400"
	 "0700000000000000"
	 "02000000"
	 "00000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"write",
	 true,
	 {.type = TM_WIRE_WRITE,
	  .id = 8,
	  .epoch = 2,
	  .length = 8 << 20,
	  .addr = 4096},
	 "5452414d08000000"
	 "0800000000000000"
	 "02000000"
	 "00008000"
	 "0010000000000000"
	 "0000000000000000"},
	{"write reply",
	 true,
	 {.type = TM_WIRE_WRITE, .reply = true, .id = 8, .epoch = 2},
	 "5452414d88000000"
	 "0800000000000000"
	 "02000000"
	 "00000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"discard",
	 true,
	 {.type = TM_WIRE_DISCARD,
	  .id = 9,
	  .epoch = 2,
	  .addr = 4096,
	  .argument = 1ull << 40},
	 "5452414d09000000"
	 "0900000000000000"
	 "02000000"
	 "00000000"
	 "0010000000000000"
	 "0000000000010000"},
	{"ping",
	 true,
	 {.type = TM_WIRE_PING, .id = 10, .epoch = 2},
	 "5452414d0a000000"
	 "0a00000000000000"
	 "02000000"
	 "00000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"stat reply",
	 true,
	 {.type = TM_WIRE_STAT,
	  .reply = true,
	  .id = 11,
	  .epoch = 2,
	  .length = 128},
	 "5452414d8b000000"
	 "0b00000000000000"
	 "02000000"
	 "80000000"
	 "0000000000000000"
	 "0000000000000000"},
	{"bye",
	 true,
	 {.type = TM_WIRE_BYE, .epoch = 3},
	 "5452414d0c000000"
	 "0000000000000000"
	 "03000000"
	 "00000000"
	 "0000000000000000"
	 "0000000000000000"},
};

#define NR_SAMPLES (sizeof(samples) / sizeof(samples[0]))

static void from_hex(const char *hex, struct tm_wire_header *wire)
{
	unsigned int byte;
	u8 *to = (u8 *)wire;

	memset(wire, 0, sizeof(*wire));
	assert_int_equal(strlen(hex), 80);
	for (; *hex; hex += 2) {
		assert_int_equal(sscanf(hex, "%2x", &byte), 1);
		*to++ = byte;
	}
}

static void frozen_samples(void **state)
{
	struct tm_wire_header frozen, wire;
	struct tm_msg msg;
	const char *why;
	size_t i;

	for (i = 0; i < NR_SAMPLES; i++) {
		const struct sample *s = &samples[i];

		from_hex(s->wire, &frozen);
		tm_msg_encode(&s->msg, &wire);
		if (memcmp(&frozen, &wire, sizeof(wire)))
			fail_msg("%s: encoded otherwise", s->name);
		memset(&msg, 0, sizeof(msg));
		if (tm_msg_decode(&frozen, s->authenticated, &msg, &why))
			fail_msg("%s: refused: %s", s->name, why);
		assert_int_equal(msg.type, s->msg.type);
		assert_int_equal(msg.reply, s->msg.reply);
		assert_int_equal(msg.status, s->msg.status);
		assert_int_equal(msg.id, s->msg.id);
		assert_int_equal(msg.epoch, s->msg.epoch);
		assert_int_equal(msg.length, s->msg.length);
		assert_int_equal(msg.addr, s->msg.addr);
		assert_int_equal(msg.argument, s->msg.argument);
		/* Handshake and session never mix. */
		assert_int_equal(
			tm_msg_decode(&frozen, !s->authenticated, &msg, &why),
			-EPROTO);
	}
}

static void refused(const struct tm_wire_header *wire, bool authenticated,
		    const char *expected)
{
	const char *why = NULL;
	struct tm_msg msg;

	assert_int_equal(tm_msg_decode(wire, authenticated, &msg, &why),
			 -EPROTO);
	assert_non_null(why);
	assert_string_equal(why, expected);
}

static void refused_msg(struct tm_msg msg, bool authenticated,
			const char *expected)
{
	struct tm_wire_header wire;

	tm_msg_encode(&msg, &wire);
	refused(&wire, authenticated, expected);
}

static void refuses_garbage(void **state)
{
	const struct tm_msg ping = {.type = TM_WIRE_PING};
	struct tm_wire_header wire;
	size_t i;

	tm_msg_encode(&ping, &wire);
	wire.magic ^= 1;
	refused(&wire, true, "not a Teramem message");

	tm_msg_encode(&ping, &wire);
	wire.flags = 1;
	refused(&wire, true, "reserved bytes in use");

	for (i = 0; i < sizeof(wire.reserved); i++) {
		tm_msg_encode(&ping, &wire);
		wire.reserved[i] = 0x80;
		refused(&wire, true, "reserved bytes in use");
	}

	refused_msg((struct tm_msg){.type = 0}, true, "unknown message type");
	refused_msg((struct tm_msg){.type = 13}, true, "unknown message type");
	refused_msg((struct tm_msg){.type = 127}, true, "unknown message type");
	refused_msg((struct tm_msg){.type = TM_WIRE_PING, .status = 1}, true,
		    "status in a request");
	refused_msg((struct tm_msg){.type = TM_WIRE_PING,
				    .reply = true,
				    .status = TM_STATUS_INTERNAL + 1},
		    true, "unknown status");
}

static void refuses_lengths(void **state)
{
	static const struct {
		struct tm_msg msg;
		bool authenticated;
	} wrong[] = {
		{{.type = TM_WIRE_HELLO, .length = 63}, false},
		{{.type = TM_WIRE_HELLO, .length = 65}, false},
		{{.type = TM_WIRE_HELLO, .reply = true, .status = 1}, false},
		{{.type = TM_WIRE_AUTH}, false},
		{{.type = TM_WIRE_AUTH, .length = TM_PROTO_HANDSHAKE_MAX + 1},
		 false},
		{{.type = TM_WIRE_ATTACH, .length = 63}, false},
		{{.type = TM_WIRE_WELCOME, .reply = true, .length = 64}, false},
		{{.type = TM_WIRE_READ, .argument = 1, .length = 1}, true},
		{{.type = TM_WIRE_READ, .reply = true}, true},
		{{.type = TM_WIRE_READ,
		  .reply = true,
		  .length = TM_PROTO_IO_MAX + 1},
		 true},
		{{.type = TM_WIRE_WRITE}, true},
		{{.type = TM_WIRE_WRITE, .length = TM_PROTO_IO_MAX + 1}, true},
		{{.type = TM_WIRE_WRITE, .length = ~0u}, true},
		{{.type = TM_WIRE_WRITE, .reply = true, .length = 1}, true},
		{{.type = TM_WIRE_DISCARD, .argument = 1, .length = 1}, true},
		{{.type = TM_WIRE_PING, .length = 1}, true},
		{{.type = TM_WIRE_STAT, .reply = true, .length = 127}, true},
		{{.type = TM_WIRE_BYE, .length = 1}, true},
	};
	size_t i;

	for (i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		refused_msg(wrong[i].msg, wrong[i].authenticated,
			    "payload length out of bounds");
	refused_msg((struct tm_msg){.type = TM_WIRE_READ,
				    .reply = true,
				    .status = TM_STATUS_BAD_ADDRESS,
				    .length = 1},
		    true, "payload in a refusal");
}

static void refuses_directions(void **state)
{
	refused_msg((struct tm_msg){.type = TM_WIRE_WELCOME, .length = 128},
		    false, "a request that does not exist");
	refused_msg((struct tm_msg){.type = TM_WIRE_AUTH,
				    .reply = true,
				    .length = 256},
		    false, "a reply that does not exist");
	refused_msg((struct tm_msg){.type = TM_WIRE_BYE, .reply = true}, true,
		    "a reply that does not exist");
}

static void refuses_ranges(void **state)
{
	refused_msg((struct tm_msg){.type = TM_WIRE_READ,
				    .argument = TM_PROTO_IO_MAX + 1},
		    true, "read larger than the limit");
	refused_msg((struct tm_msg){.type = TM_WIRE_READ}, true, "empty range");
	refused_msg((struct tm_msg){.type = TM_WIRE_DISCARD, .addr = 1}, true,
		    "empty range");
	refused_msg((struct tm_msg){.type = TM_WIRE_RELEASE, .addr = 1}, true,
		    "empty range");
	refused_msg((struct tm_msg){.type = TM_WIRE_RESERVE, .reply = true},
		    true, "empty range");
	refused_msg((struct tm_msg){.type = TM_WIRE_READ,
				    .addr = ~0ull - 4095,
				    .argument = 4097},
		    true, "range wraps around");
	refused_msg((struct tm_msg){.type = TM_WIRE_WRITE,
				    .addr = ~0ull,
				    .length = 4096},
		    true, "range wraps around");
	refused_msg((struct tm_msg){.type = TM_WIRE_DISCARD,
				    .addr = 1,
				    .argument = ~0ull},
		    true, "range wraps around");
	refused_msg((struct tm_msg){.type = TM_WIRE_RESERVE,
				    .reply = true,
				    .addr = ~0ull,
				    .argument = 2},
		    true, "range wraps around");
}

static void statuses(void **state)
{
	u16 status;

	assert_int_equal(tm_status_errno(TM_STATUS_OK), 0);
	assert_int_equal(tm_status_errno(TM_STATUS_NO_MEMORY), -ENOMEM);
	assert_int_equal(tm_status_errno(TM_STATUS_BAD_ADDRESS), -EFAULT);
	assert_int_equal(tm_status_errno(TM_STATUS_DENIED), -EACCES);
	for (status = 1; status <= TM_STATUS_INTERNAL; status++) {
		assert_true(tm_status_errno(status) < 0);
		assert_string_not_equal(tm_status_text(status),
					"unknown status");
	}
	assert_int_equal(tm_status_errno(TM_STATUS_INTERNAL + 1), -EPROTO);
	assert_string_equal(tm_status_text(65535), "unknown status");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(frozen_samples),
		cmocka_unit_test(refuses_garbage),
		cmocka_unit_test(refuses_lengths),
		cmocka_unit_test(refuses_directions),
		cmocka_unit_test(refuses_ranges),
		cmocka_unit_test(statuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
