// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Encoding, decoding and checking of wire messages: what can be said about a
 * header without knowing the session. Whether an address, an id or an epoch is
 * right is for the two ends to judge. No I/O, no state, no locks.
 */
#include "core/proto.h"

/* Payloads stay 64-byte aligned in a buffer that holds message after message.
 */
_Static_assert(sizeof(struct tm_wire_header) == 64, "wire layout");
_Static_assert(sizeof(struct tm_wire_hello) == 64, "wire layout");
_Static_assert(sizeof(struct tm_wire_auth) == 256, "wire layout");
_Static_assert(sizeof(struct tm_wire_attach) == 64, "wire layout");
_Static_assert(sizeof(struct tm_wire_welcome) == 128, "wire layout");
_Static_assert(sizeof(struct tm_wire_stat) == 128, "wire layout");

_Static_assert(offsetof(struct tm_wire_header, id) == 8, "wire layout");
_Static_assert(offsetof(struct tm_wire_header, addr) == 24, "wire layout");
_Static_assert(offsetof(struct tm_wire_hello, nonce) == 16, "wire layout");
_Static_assert(offsetof(struct tm_wire_auth, job) == 96, "wire layout");
_Static_assert(offsetof(struct tm_wire_auth, role) == 212, "wire layout");
_Static_assert(offsetof(struct tm_wire_attach, mac) == 16, "wire layout");
_Static_assert(offsetof(struct tm_wire_welcome, grace_ms) == 24, "wire layout");

/*
 * Payload lengths of each type, as a request and as a successful reply. A
 * maximum below the minimum: there is no such message.
 */
struct length {
	u32 min, max;
};

#define LENGTH(n)                                                              \
	{                                                                      \
		(n), (n)                                                       \
	}
#define EMPTY LENGTH(0)
#define NEVER                                                                  \
	{                                                                      \
		1, 0                                                           \
	}

static const struct rule {
	struct length request, reply;
	bool handshake; /* only before authentication, the others only after */
} rules[] = {
	[0] = {NEVER, NEVER, false},
	[TM_WIRE_HELLO] = {LENGTH(sizeof(struct tm_wire_hello)),
			   LENGTH(sizeof(struct tm_wire_hello)), true},
	[TM_WIRE_AUTH] = {{1, TM_PROTO_HANDSHAKE_MAX}, NEVER, true},
	[TM_WIRE_ATTACH] = {LENGTH(sizeof(struct tm_wire_attach)), NEVER, true},
	[TM_WIRE_WELCOME] = {NEVER, LENGTH(sizeof(struct tm_wire_welcome)),
			     true},
	[TM_WIRE_RESERVE] = {EMPTY, EMPTY, false},
	[TM_WIRE_RELEASE] = {EMPTY, EMPTY, false},
	[TM_WIRE_READ] = {EMPTY, {1, TM_PROTO_IO_MAX}, false},
	[TM_WIRE_WRITE] = {{1, TM_PROTO_IO_MAX}, EMPTY, false},
	[TM_WIRE_DISCARD] = {EMPTY, EMPTY, false},
	[TM_WIRE_PING] = {EMPTY, EMPTY, false},
	[TM_WIRE_STAT] = {EMPTY, LENGTH(sizeof(struct tm_wire_stat)), false},
	[TM_WIRE_BYE] = {EMPTY, NEVER, false},
};

#define NR_RULES (sizeof(rules) / sizeof(rules[0]))

static const struct status {
	int err;
	const char *text;
} statuses[] = {
	[TM_STATUS_OK] = {0, "ok"},
	[TM_STATUS_VERSION] = {-EPROTO, "no protocol version in common"},
	[TM_STATUS_DENIED] = {-EACCES, "access denied"},
	[TM_STATUS_NO_MEMORY] = {-ENOMEM, "the server's capacity is used up"},
	[TM_STATUS_BAD_ADDRESS] = {-EFAULT, "address outside the session"},
	[TM_STATUS_BAD_MESSAGE] = {-EPROTO, "malformed message"},
	[TM_STATUS_STALE] = {-ESTALE, "epoch out of date"},
	[TM_STATUS_NO_SESSION] = {-ENOENT, "unknown or expired session"},
	[TM_STATUS_BUSY] = {-EBUSY, "too many connections"},
	[TM_STATUS_INTERNAL] = {-EREMOTEIO,
				"error inside the server, see its log"},
};

#define NR_STATUSES (sizeof(statuses) / sizeof(statuses[0]))

void tm_msg_encode(const struct tm_msg *msg, struct tm_wire_header *wire)
{
	memset(wire, 0, sizeof(*wire));
	wire->magic = tm_cpu_to_le32(TM_PROTO_MAGIC);
	wire->type = msg->type | (msg->reply ? TM_WIRE_REPLY : 0);
	wire->status = tm_cpu_to_le16(msg->status);
	wire->id = tm_cpu_to_le64(msg->id);
	wire->epoch = tm_cpu_to_le32(msg->epoch);
	wire->length = tm_cpu_to_le32(msg->length);
	wire->addr = tm_cpu_to_le64(msg->addr);
	wire->argument = tm_cpu_to_le64(msg->argument);
}

static const char *check_length(const struct rule *rule,
				const struct tm_msg *msg)
{
	const struct length *length =
		msg->reply ? &rule->reply : &rule->request;

	if (length->min > length->max)
		return msg->reply ? "a reply that does not exist"
				  : "a request that does not exist";
	if (msg->status != TM_STATUS_OK && msg->type != TM_WIRE_HELLO)
		return msg->length ? "payload in a refusal" : NULL;
	if (msg->length < length->min || msg->length > length->max)
		return "payload length out of bounds";
	return NULL;
}

/* Ranges of remote memory: not empty, no wrap, within what one message may. */
static const char *check_range(const struct tm_msg *msg)
{
	u64 bytes = msg->argument;

	if (msg->reply) {
		if (msg->type != TM_WIRE_RESERVE || msg->status)
			return NULL;
	} else if (msg->type == TM_WIRE_WRITE) {
		bytes = msg->length;
	} else if (msg->type == TM_WIRE_READ) {
		if (bytes > TM_PROTO_IO_MAX)
			return "read larger than the limit";
	} else if (msg->type != TM_WIRE_DISCARD &&
		   msg->type != TM_WIRE_RELEASE) {
		return NULL;
	}
	if (bytes == 0)
		return "empty range";
	return msg->addr + bytes < msg->addr ? "range wraps around" : NULL;
}

static const char *check(const struct tm_wire_header *wire, bool authenticated,
			 const struct tm_msg *msg)
{
	static const u8 zeros[sizeof(wire->reserved)];
	const char *why;

	if (tm_le32_to_cpu(wire->magic) != TM_PROTO_MAGIC)
		return "not a Teramem message";
	if (msg->type >= NR_RULES || msg->type == 0)
		return "unknown message type";
	if (wire->flags || memcmp(wire->reserved, zeros, sizeof(zeros)))
		return "reserved bytes in use";
	if (msg->status >= NR_STATUSES)
		return "unknown status";
	if (msg->status && !msg->reply)
		return "status in a request";
	if (rules[msg->type].handshake && authenticated)
		return "handshake message after authentication";
	if (!rules[msg->type].handshake && !authenticated)
		return "message before authentication";
	why = check_length(&rules[msg->type], msg);
	return why ? why : check_range(msg);
}

int tm_msg_decode(const struct tm_wire_header *wire, bool authenticated,
		  struct tm_msg *msg, const char **why)
{
	msg->type = wire->type & ~TM_WIRE_REPLY;
	msg->reply = wire->type & TM_WIRE_REPLY;
	msg->status = tm_le16_to_cpu(wire->status);
	msg->id = tm_le64_to_cpu(wire->id);
	msg->epoch = tm_le32_to_cpu(wire->epoch);
	msg->length = tm_le32_to_cpu(wire->length);
	msg->addr = tm_le64_to_cpu(wire->addr);
	msg->argument = tm_le64_to_cpu(wire->argument);

	*why = check(wire, authenticated, msg);
	return *why ? -EPROTO : 0;
}

int tm_status_errno(u16 status)
{
	return status < NR_STATUSES ? statuses[status].err : -EPROTO;
}

const char *tm_status_text(u16 status)
{
	return status < NR_STATUSES ? statuses[status].text : "unknown status";
}
