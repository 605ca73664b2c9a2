/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The Teramem wire protocol: what a client (the paging engine of one compute
 * node process, or teramem.ko) and a memory server say to each other.
 *
 * Only the layout lives here. core/proto.c encodes, decodes and checks it;
 * doc/protocol.md tells the story. All integers are little-endian. Every
 * message is a 64-byte header, followed by `length` bytes of payload, so that
 * payloads keep 64-byte alignment in a receive buffer.
 *
 * Nothing here is secret except the key in struct tm_wire_auth, which crosses
 * a network only inside a MUNGE credential.
 */
#ifndef TERAMEM_PROTO_H
#define TERAMEM_PROTO_H

#ifdef __KERNEL__
#include <linux/types.h>
typedef __le16 tm_le16;
typedef __le32 tm_le32;
typedef __le64 tm_le64;
#else
#include <stdint.h>
typedef uint16_t tm_le16;
typedef uint32_t tm_le32;
typedef uint64_t tm_le64;
#endif

#define TM_PROTO_MAGIC 0x4d415254u /* "TRAM" */
#define TM_PROTO_VERSION 1
#define TM_PROTO_NONCE_BYTES 32
#define TM_PROTO_KEY_BYTES 32
#define TM_PROTO_MAC_BYTES 32 /* HMAC-SHA256 */

/* Limits, checked by both sides before anything is allocated. */
#define TM_PROTO_IO_MAX (8u << 20)	   /* payload of one READ or WRITE */
#define TM_PROTO_CONTROL_MAX (64u << 10)   /* payload of any other message */
#define TM_PROTO_HANDSHAKE_MAX (16u << 10) /* payload before authentication */
#define TM_PROTO_CHANNELS_MAX 64	   /* connections of one session */
#define TM_PROTO_RESERVES_MAX 8		   /* RESERVEs under way per channel */
#define TM_PROTO_ADDRESS_MAX 108

/**
 * enum tm_wire_type - what a message is; a reply carries TM_WIRE_REPLY too
 * @TM_WIRE_HELLO: first message each way; payload struct tm_wire_hello. The
 *	server's is the reply to the client's, and has its payload even when
 *	the status is TM_STATUS_VERSION
 * @TM_WIRE_AUTH: client proves its user; payload struct tm_wire_auth, or a
 *	MUNGE credential (NUL-terminated) whose payload is that struct
 * @TM_WIRE_ATTACH: a further or renewed connection of a session; payload
 *	struct tm_wire_attach
 * @TM_WIRE_WELCOME: the reply to AUTH and ATTACH, with their id; struct
 *	tm_wire_welcome
 * @TM_WIRE_RESERVE: give this session an extent; the reply's addr and argument
 *	hold its address and length in bytes. Sent again with the same id, over
 *	a renewed connection of the channel, it names the same extent
 * @TM_WIRE_RELEASE: take the extent at addr, argument bytes long, back. Sent
 *	again with the same id it does nothing, even where the extent has been
 *	given to this session anew
 * @TM_WIRE_READ: argument bytes from addr; the reply carries them
 * @TM_WIRE_WRITE: the payload goes to addr
 * @TM_WIRE_DISCARD: argument bytes from addr are no longer needed
 * @TM_WIRE_PING: heartbeat
 * @TM_WIRE_STAT: the reply carries struct tm_wire_stat
 * @TM_WIRE_BYE: the session ends, its extents are given up; no reply
 *
 * A reply with a status other than TM_STATUS_OK has no payload (HELLO aside).
 * A request is answered only after all of its payload was received.
 */
enum tm_wire_type {
	TM_WIRE_HELLO = 1,
	TM_WIRE_AUTH = 2,
	TM_WIRE_ATTACH = 3,
	TM_WIRE_WELCOME = 4,
	TM_WIRE_RESERVE = 5,
	TM_WIRE_RELEASE = 6,
	TM_WIRE_READ = 7,
	TM_WIRE_WRITE = 8,
	TM_WIRE_DISCARD = 9,
	TM_WIRE_PING = 10,
	TM_WIRE_STAT = 11,
	TM_WIRE_BYE = 12,
};
#define TM_WIRE_REPLY 0x80

/**
 * enum tm_wire_status - how a request ended, in every reply
 */
enum tm_wire_status {
	TM_STATUS_OK = 0,
	TM_STATUS_VERSION = 1,	 /* no protocol version in common */
	TM_STATUS_DENIED = 2,	 /* not the owner, bad or replayed credential */
	TM_STATUS_NO_MEMORY = 3, /* beyond the server's capacity */
	TM_STATUS_BAD_ADDRESS = 4, /* outside the session's extents */
	TM_STATUS_BAD_MESSAGE = 5, /* malformed, or out of order */
	TM_STATUS_STALE = 6,	   /* epoch older than the channel's */
	TM_STATUS_NO_SESSION = 7,  /* unknown, or its grace time is over */
	TM_STATUS_BUSY = 8,	   /* too many connections */
	TM_STATUS_INTERNAL = 9,	   /* the server's log says more */
};

/**
 * struct tm_wire_header - starts every message
 * @magic: TM_PROTO_MAGIC
 * @type: enum tm_wire_type, with TM_WIRE_REPLY in a reply
 * @flags: zero in version 1
 * @status: enum tm_wire_status in a reply, zero in a request
 * @id: chosen by the requester, repeated in the reply; completions come in any
 *	order. Those of a channel grow, over renewed connections too; what is
 *	sent again keeps its id, and goes out before what is new
 * @epoch: of the channel; a request with an older one is refused
 * @length: bytes of payload that follow
 * @addr: an address in the server's memory
 * @argument: a length in bytes, where @length is not it
 * @reserved: zero
 */
struct tm_wire_header {
	tm_le32 magic;
	uint8_t type;
	uint8_t flags;
	tm_le16 status;
	tm_le64 id;
	tm_le32 epoch;
	tm_le32 length;
	tm_le64 addr;
	tm_le64 argument;
	uint8_t reserved[24];
};

enum tm_wire_auth_method {
	TM_AUTH_PEERCRED = 1, /* unix socket, SO_PEERCRED */
	TM_AUTH_MUNGE = 2,
};

/**
 * struct tm_wire_hello - the first message each way
 * @version_min: lowest version spoken; in the server's, the one chosen
 * @version_max: highest version spoken; in the server's, the one chosen
 * @auth: bit mask (1 << enum tm_wire_auth_method); server: what it accepts
 * @job: the job served; a client that expects another one goes away
 * @nonce: fresh random bytes of the sender
 */
struct tm_wire_hello {
	tm_le16 version_min;
	tm_le16 version_max;
	tm_le32 auth;
	tm_le64 job;
	uint8_t nonce[TM_PROTO_NONCE_BYTES];
	uint8_t reserved[16];
};

/**
 * struct tm_wire_auth - who wants a session, bound to this very handshake
 * @server_nonce: of the server's HELLO on this connection
 * @client_nonce: of the client's HELLO on this connection
 * @key: fresh session key, chosen by the client
 * @job: as in HELLO
 * @address: the server's address as the client dialled it, NUL-padded
 *	("tcp:10.0.0.1:7000")
 * @role: 1 for a paging client
 */
struct tm_wire_auth {
	uint8_t server_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t client_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t key[TM_PROTO_KEY_BYTES];
	tm_le64 job;
	char address[TM_PROTO_ADDRESS_MAX];
	tm_le32 role;
	uint8_t reserved[40];
};

/**
 * struct tm_wire_attach - one more connection of a session, or a renewed one
 * @session: as in WELCOME
 * @channel: index of the connection within the session, 0 is the first
 * @epoch: higher than any that this channel had; the server closes the
 *	channel's older connection before it answers, so that no late write of
 *	it can land
 * @mac: HMAC-SHA256 with the session key over server nonce, client nonce and
 *	the three fields above
 */
struct tm_wire_attach {
	tm_le64 session;
	tm_le32 channel;
	tm_le32 epoch;
	uint8_t mac[TM_PROTO_MAC_BYTES];
	uint8_t reserved[16];
};

/**
 * struct tm_wire_welcome - what the session may count on
 * @session: id, needed to attach
 * @capacity_bytes: of the server, for all sessions together
 * @extent_bytes: size of every extent that RESERVE gives
 * @grace_ms: how long a session without connection keeps its extents
 * @io_max_bytes: largest READ or WRITE
 * @channels_max: connections that the session may have
 * @epoch: of the channel from now on: 1 after AUTH, else as in ATTACH
 * @mac: the server proves that it knows the key, so that nobody else can take
 *	its place: as in ATTACH, over @session, channel | TM_WELCOME_CHANNEL
 *	(the channel of AUTH is 0) and @epoch
 */
#define TM_WELCOME_CHANNEL 0x80000000u
struct tm_wire_welcome {
	tm_le64 session;
	tm_le64 capacity_bytes;
	tm_le64 extent_bytes;
	tm_le32 grace_ms;
	tm_le32 io_max_bytes;
	tm_le32 channels_max;
	tm_le32 epoch;
	uint8_t mac[TM_PROTO_MAC_BYTES];
	uint8_t reserved[56];
};

/**
 * struct tm_wire_stat - a server's counters
 */
struct tm_wire_stat {
	tm_le64 capacity_bytes;
	tm_le64 reserved_bytes;
	tm_le64 sessions;
	tm_le64 connections;
	tm_le64 reads;
	tm_le64 read_bytes;
	tm_le64 writes;
	tm_le64 written_bytes;
	tm_le64 discarded_bytes;
	tm_le64 refused; /* handshakes and requests that were refused */
	uint8_t pad[48];
};

#endif /* TERAMEM_PROTO_H */
