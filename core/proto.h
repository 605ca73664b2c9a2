/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Encoding, decoding and checking of wire messages. No I/O, no allocation.
 * Numbers here are in CPU order.
 */
#ifndef TM_CORE_PROTO_H
#define TM_CORE_PROTO_H

#include "include/teramem/proto.h"
#include "tm_port.h"

/**
 * struct tm_msg - a message header, decoded; see struct tm_wire_header
 */
struct tm_msg {
	u8 type; /* enum tm_wire_type */
	bool reply;
	u16 status;
	u64 id;
	u32 epoch;
	u32 length;
	u64 addr;
	u64 argument;
};

/** tm_msg_encode() - to its 64 bytes on the wire */
void tm_msg_encode(const struct tm_msg *msg, struct tm_wire_header *wire);

/**
 * tm_msg_decode() - from the wire, with every check that needs no state: magic,
 * known type, lengths within the limits for the type, reserved bytes zero
 * @authenticated: before authentication only HELLO, AUTH, ATTACH and WELCOME
 *	are allowed, with small payloads; afterwards only the others. WELCOME
 *	itself is decoded as a message before authentication.
 *
 * Returns 0 or -EPROTO; @why then points to a static text.
 */
int tm_msg_decode(const struct tm_wire_header *wire, bool authenticated,
		  struct tm_msg *msg, const char **why);

/** tm_status_errno() - 0 or -errno for an enum tm_wire_status */
int tm_status_errno(u16 status);
/** tm_status_text() - a few words for the log */
const char *tm_status_text(u16 status);

#endif /* TM_CORE_PROTO_H */
