/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Who is at the other end: MUNGE credentials, peer credentials of a unix
 * socket, and the HMAC that further connections of a session prove themselves
 * with. Both sides of the handshake use these; the messages are proto.h's.
 *
 * libmunge is loaded (dlopen) when it is first needed, so that programs on
 * peer credentials alone do not need it.
 */
#ifndef TM_COMMON_AUTH_H
#define TM_COMMON_AUTH_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "include/teramem/proto.h"

/** tm_auth_random() - fill with random bytes (getrandom); 0 or -errno */
int tm_auth_random(void *buf, size_t len);

/**
 * tm_auth_munge_encode() - a credential that only @server_uid can decode
 * @cred: malloc'd text on success
 *
 * Returns 0 or -errno; @why then says what to do ("is munged running?").
 * MUNGE's socket: TERAMEM_MUNGE_SOCKET (not under AT_SECURE) or the default.
 */
int tm_auth_munge_encode(const void *payload, size_t len, uid_t server_uid,
			 char **cred, char *why, size_t why_len);

/**
 * tm_auth_munge_decode() - check a credential
 * @payload: receives up to @len bytes; @got the length
 *
 * Returns 0; -EACCES (forged, expired, replayed, not for us), or -errno.
 */
int tm_auth_munge_decode(const char *cred, void *payload, size_t len,
			 size_t *got, uid_t *uid, char *why, size_t why_len);

/** tm_auth_peer() - uid of a unix socket's other end; 0 or -errno */
int tm_auth_peer(int fd, uid_t *uid);

/** tm_auth_attach_mac() - the mac of struct tm_wire_attach */
void tm_auth_attach_mac(const uint8_t key[TM_PROTO_KEY_BYTES],
			const uint8_t server_nonce[TM_PROTO_NONCE_BYTES],
			const uint8_t client_nonce[TM_PROTO_NONCE_BYTES],
			uint64_t session, uint32_t channel, uint32_t epoch,
			uint8_t mac[TM_PROTO_MAC_BYTES]);

/** tm_auth_equal() - constant-time comparison; 1 if equal */
int tm_auth_equal(const void *a, const void *b, size_t len);

#endif /* TM_COMMON_AUTH_H */
