// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Message headers: what decodes must encode to the same bytes, and be within
 * the limits that readers of it rely on.
 */
#include "core/proto.h"
#include "tests/fuzz/fuzz.h"

static void decode(const struct tm_wire_header *wire, bool authenticated)
{
	struct tm_wire_header again;
	const char *why = NULL;
	struct tm_msg msg;
	int err;

	err = tm_msg_decode(wire, authenticated, &msg, &why);
	if (err) {
		fuzz_check(err == -EPROTO && why && *why);
		return;
	}
	fuzz_check(msg.length <=
		   (authenticated ? TM_PROTO_IO_MAX : TM_PROTO_HANDSHAKE_MAX));
	tm_msg_encode(&msg, &again);
	fuzz_check(!memcmp(&again, wire, sizeof(again)));
	fuzz_check(tm_status_text(msg.status));
	fuzz_check(tm_status_errno(msg.status) <= 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tm_wire_header wire;

	for (; size >= sizeof(wire);
	     data += sizeof(wire), size -= sizeof(wire)) {
		memcpy(&wire, data, sizeof(wire));
		decode(&wire, false);
		decode(&wire, true);
	}
	return 0;
}
