// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A header of 64 bytes: what the codec takes, it would also have sent.
 */
#include "core/proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tm_wire_header wire, again;
	struct tm_msg msg;
	const char *why;

	if (size < sizeof(wire) + 1)
		return 0;
	memcpy(&wire, data + 1, sizeof(wire));
	if (tm_msg_decode(&wire, data[0] & 1, &msg, &why)) {
		TM_BUG_ON(!why || !*why);
		return 0;
	}
	TM_BUG_ON(msg.length > TM_PROTO_IO_MAX);
	tm_msg_encode(&msg, &again);
	TM_BUG_ON(memcmp(&wire, &again, sizeof(wire)));
	return 0;
}
