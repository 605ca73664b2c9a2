// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who gets in: real credentials of a real munged, good and bad, and peer
 * credentials of a unix socket.
 */
#include <errno.h>
#include <munge.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

static struct server server;

static int start_munge(void **state)
{
	server_start(&server, "--listen=tcp:127.0.0.1:0", "--capacity=64M",
		     "--job=42", NULL);
	return 0;
}

static int start_unix(void **state)
{
	server_start(&server, "--listen", unix_address("s"), "--capacity=64M",
		     NULL);
	return 0;
}

static int stop(void **state)
{
	server_stop(&server);
	return 0;
}

static void hello(struct peer *peer)
{
	assert_int_equal(peer_connect(peer, server.address), 0);
	peer->munge = true;
	peer->job = 42;
	assert_int_equal(peer_hello(peer), 0);
}

static void send_credential(struct peer *peer, const char *cred)
{
	const struct tm_msg msg = {.type = TM_WIRE_AUTH,
				   .length = strlen(cred) + 1};

	assert_int_equal(peer_send(peer, msg, cred), 0);
}

/* AUTH as it should be, but for MUNGE's options. */
static char *encode(const struct tm_wire_auth *auth, munge_opt_t option,
		    int value)
{
	munge_ctx_t ctx = munge_ctx_create();
	char *cred = NULL;

	munge_ctx_set(ctx, MUNGE_OPT_SOCKET, getenv("TERAMEM_MUNGE_SOCKET"));
	munge_ctx_set(ctx, MUNGE_OPT_UID_RESTRICTION, getuid());
	assert_int_equal(munge_ctx_set(ctx, option, value), EMUNGE_SUCCESS);
	assert_int_equal(munge_encode(&cred, ctx, auth, sizeof(*auth)),
			 EMUNGE_SUCCESS);
	munge_ctx_destroy(ctx);
	return cred;
}

/* Refused with this word in the log; then the server closes. */
static void assert_refused(struct peer *peer, int status, const char *word)
{
	struct tm_msg msg;

	assert_int_equal(peer_welcome(peer, 0), status);
	assert_int_equal(peer_receive(peer, &msg, NULL, 0), PEER_EOF);
	peer_close(peer);
	server_stop(&server);
	if (!strstr(server.err, word))
		fail_msg("no '%s' in: %s", word, server.err);
	start_munge(NULL);
}

static void test_accepted(void **state)
{
	struct peer peer;
	struct tm_wire_auth auth;
	uint64_t addr;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	assert_int_equal(peer_send_auth(&peer, &auth), 0);
	assert_int_equal(peer_welcome(&peer, 0), 0);
	assert_int_equal(peer.epoch, 1);
	assert_int_equal(tm_le64_to_cpu(peer.welcome.capacity_bytes), 64 << 20);
	assert_int_equal(tm_le64_to_cpu(peer.welcome.extent_bytes), 4 << 20);
	assert_int_equal(tm_le32_to_cpu(peer.welcome.grace_ms), 30000);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(peer_bye(&peer), PEER_EOF);
}

static int as_nobody(const struct server *s)
{
	struct peer peer;
	struct tm_wire_auth auth;

	if (peer_connect(&peer, s->address))
		return 100;
	peer.munge = true;
	peer.job = 42;
	if (peer_hello(&peer))
		return 101;
	peer_fill_auth(&peer, &auth);
	if (peer_send_auth(&peer, &auth))
		return 102;
	return peer_welcome(&peer, 0);
}

static void test_another_user(void **state)
{
	require_root();
	assert_int_equal(as_user(NOBODY, as_nobody, &server), TM_STATUS_DENIED);
}

/* A server that root started for somebody: its owner and root get in. */
static void test_owner_and_root(void **state)
{
	struct peer peer;
	struct server theirs;

	require_root();
	server_start(&theirs, "--listen=tcp:127.0.0.1:0", "--capacity=64M",
		     "--job=42", "--owner=65534", NULL);
	assert_int_equal(as_user(NOBODY, as_nobody, &theirs), 0);
	assert_int_equal(as_user(NOBODY - 1, as_nobody, &theirs),
			 TM_STATUS_DENIED);
	assert_int_equal(peer_connect(&peer, theirs.address), 0);
	peer.munge = true;
	peer.job = 42;
	assert_int_equal(peer_hello(&peer), 0);
	struct tm_wire_auth auth;

	peer_fill_auth(&peer, &auth);
	assert_int_equal(peer_send_auth(&peer, &auth), 0);
	assert_int_equal(peer_welcome(&peer, 0), 0);
	peer_close(&peer);
	server_stop(&theirs);
}

static void test_forged(void **state)
{
	struct peer peer;

	hello(&peer);
	send_credential(&peer, "MUNGE:AwQDAAAAbm90IGEgY3JlZGVudGlhbA==:");
	assert_refused(&peer, TM_STATUS_DENIED, "munge credential");
}

static void test_not_munge_at_all(void **state)
{
	struct peer peer;
	struct tm_wire_auth auth;

	/* As over a unix socket: proves nothing over tcp. */
	hello(&peer);
	peer.munge = false;
	peer_fill_auth(&peer, &auth);
	assert_int_equal(peer_send_auth(&peer, &auth), 0);
	assert_refused(&peer, TM_STATUS_BAD_MESSAGE, "no credential");
}

static void test_tampered(void **state)
{
	struct peer peer;
	struct tm_wire_auth auth;
	char *cred, *middle;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	cred = encode(&auth, MUNGE_OPT_TTL, 60);
	/*
	 * In the middle: the encrypted part, guarded by the MAC. The letter
	 * stays one of base64's, or decoding fails before the MAC is seen.
	 */
	middle = cred + strlen(cred) / 2;
	*middle = *middle == 'A' ? 'B' : 'A';
	send_credential(&peer, cred);
	free(cred);
	assert_refused(&peer, TM_STATUS_DENIED, "nvalid credential");
}

static void test_replayed(void **state)
{
	struct peer peer, again;
	struct tm_wire_auth auth;
	char *cred;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	cred = encode(&auth, MUNGE_OPT_TTL, 60);
	send_credential(&peer, cred);
	assert_int_equal(peer_welcome(&peer, 0), 0);

	hello(&again);
	send_credential(&again, cred);
	free(cred);
	assert_refused(&again, TM_STATUS_DENIED, "eplayed");
	peer_close(&peer);
}

/* What MUNGE's own replay list does not stop: another host, another nonce. */
static void test_another_handshake(void **state)
{
	struct peer peer, other;
	struct tm_wire_auth auth;

	hello(&other);
	hello(&peer);
	peer_fill_auth(&other, &auth);
	assert_int_equal(peer_send_auth(&peer, &auth), 0);
	peer_close(&other);
	assert_refused(&peer, TM_STATUS_DENIED, "another handshake");
}

static void test_expired(void **state)
{
	struct peer peer;
	struct tm_wire_auth auth;
	char *cred;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	cred = encode(&auth, MUNGE_OPT_TTL, 1);
	sleep_ms(2100);
	send_credential(&peer, cred);
	free(cred);
	assert_refused(&peer, TM_STATUS_DENIED, "xpired");
}

static void test_not_encrypted(void **state)
{
	struct peer peer;
	struct tm_wire_auth auth;
	char *cred;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	cred = encode(&auth, MUNGE_OPT_CIPHER_TYPE, MUNGE_CIPHER_NONE);
	send_credential(&peer, cred);
	free(cred);
	assert_refused(&peer, TM_STATUS_DENIED, "not encrypted");
}

static void test_for_anyone(void **state)
{
	struct peer peer;
	struct tm_wire_auth auth;
	char *cred;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	cred = encode(&auth, MUNGE_OPT_UID_RESTRICTION, MUNGE_UID_ANY);
	send_credential(&peer, cred);
	free(cred);
	assert_refused(&peer, TM_STATUS_DENIED, "not restricted");
}

static void with_auth(void (*change)(struct tm_wire_auth *auth),
		      const char *word)
{
	struct peer peer;
	struct tm_wire_auth auth;

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	change(&auth);
	assert_int_equal(peer_send_auth(&peer, &auth), 0);
	assert_refused(&peer, TM_STATUS_DENIED, word);
}

static void other_job(struct tm_wire_auth *auth)
{
	auth->job = tm_cpu_to_le64(43);
}

static void other_address(struct tm_wire_auth *auth)
{
	memcpy(auth->address, "tcp:127.0.0.1:1", 16);
}

static void other_role(struct tm_wire_auth *auth)
{
	auth->role = 0;
}

static void test_another_job(void **state)
{
	with_auth(other_job, "another job");
}

static void test_another_address(void **state)
{
	with_auth(other_address, "another address");
}

static void test_another_role(void **state)
{
	with_auth(other_role, "unknown role");
}

static void test_wrong_version(void **state)
{
	const struct tm_msg msg = {.type = TM_WIRE_HELLO,
				   .length = sizeof(struct tm_wire_hello)};
	struct tm_wire_hello hello = {
		.version_min = tm_cpu_to_le16(TM_PROTO_VERSION + 1),
		.version_max = tm_cpu_to_le16(TM_PROTO_VERSION + 7),
	};
	struct peer peer;
	struct tm_msg reply;

	assert_int_equal(peer_connect(&peer, server.address), 0);
	assert_int_equal(
		peer_call(&peer, msg, &hello, &reply, &hello, sizeof(hello)),
		TM_STATUS_VERSION);
	/* It says what it does speak. */
	assert_int_equal(tm_le16_to_cpu(hello.version_min), TM_PROTO_VERSION);
	assert_int_equal(tm_le16_to_cpu(hello.version_max), TM_PROTO_VERSION);
	assert_int_equal(peer_receive(&peer, &reply, NULL, 0), PEER_EOF);
	peer_close(&peer);
}

static void test_munged_away(void **state)
{
	struct peer peer, other;
	struct tm_wire_auth auth;
	char path[96], aside[100];
	int status;

	assert_int_equal(peer_connect(&other, server.address), 0);
	other.munge = true;
	other.job = 42;
	assert_int_equal(peer_hello(&other), 0);
	peer_fill_auth(&other, &auth);
	assert_int_equal(peer_send_auth(&other, &auth), 0);
	assert_int_equal(peer_welcome(&other, 0), 0);

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	assert_int_equal(peer_send_auth(&peer, &auth), 0);
	assert_int_equal(peer_welcome(&peer, 0), 0);
	peer_close(&peer);

	hello(&peer);
	peer_fill_auth(&peer, &auth);
	char *cred = encode(&auth, MUNGE_OPT_TTL, 60);

	snprintf(path, sizeof(path), "%s/munge.socket", folder());
	snprintf(aside, sizeof(aside), "%s.off", path);
	assert_return_code(rename(path, aside), errno);
	send_credential(&peer, cred);
	free(cred);
	/* While that waits for munged, others are served. */
	uint64_t start = now_ms();

	assert_int_equal(peer_ping(&other), 0);
	assert_true(now_ms() - start < 2000);
	status = peer_welcome(&peer, 0);
	assert_return_code(rename(aside, path), errno);
	assert_int_equal(status, TM_STATUS_INTERNAL);
	peer_close(&peer);
	peer_close(&other);
	server_stop(&server);
	assert_non_null(strstr(server.err, "is munged running?"));
	start_munge(NULL);
}

static void test_unix_accepted(void **state)
{
	struct peer peer;
	struct stat st;

	assert_int_equal(stat(server.address + strlen("unix:"), &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(peer_open(&peer, server.address, false), 0);
	assert_int_equal(peer_ping(&peer), 0);
	assert_int_equal(peer_bye(&peer), PEER_EOF);
}

static int open_unix(const struct server *s)
{
	struct peer peer;
	int ret = peer_open(&peer, s->address, false);

	return ret < 0 ? -ret : ret;
}

static void test_unix_another_user(void **state)
{
	const char *path = server.address + strlen("unix:");

	require_root();
	assert_int_equal(as_user(NOBODY, open_unix, &server), EACCES);
	/* Even if somebody opens the file up: SO_PEERCRED decides. */
	assert_return_code(chmod(path, 0666), errno);
	assert_int_equal(as_user(NOBODY, open_unix, &server), TM_STATUS_DENIED);
}

static void test_unix_for_owner(void **state)
{
	struct server theirs;
	struct peer peer;

	require_root();
	server_start(&theirs, "--listen", unix_address("theirs"),
		     "--capacity=64M", "--owner=65534", NULL);
	assert_int_equal(as_user(NOBODY, open_unix, &theirs), 0);
	assert_int_equal(as_user(NOBODY - 1, open_unix, &theirs), EACCES);
	assert_int_equal(peer_open(&peer, theirs.address, false), 0);
	peer_close(&peer);
	server_stop(&theirs);
}

static void test_unix_munge_text(void **state)
{
	const struct tm_msg msg = {.type = TM_WIRE_AUTH, .length = 100};
	char text[100] = "MUNGE:";
	struct peer peer;

	assert_int_equal(peer_connect(&peer, server.address), 0);
	assert_int_equal(peer_hello(&peer), 0);
	assert_int_equal(peer_send(&peer, msg, text), 0);
	assert_int_equal(peer_welcome(&peer, 0), TM_STATUS_BAD_MESSAGE);
	peer_close(&peer);
}

#define with_munge(test)                                                       \
	cmocka_unit_test_setup_teardown(test, start_munge, stop)
#define with_unix(test) cmocka_unit_test_setup_teardown(test, start_unix, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_munge(test_accepted),
		with_munge(test_another_user),
		with_munge(test_owner_and_root),
		with_munge(test_forged),
		with_munge(test_not_munge_at_all),
		with_munge(test_tampered),
		with_munge(test_replayed),
		with_munge(test_another_handshake),
		with_munge(test_expired),
		with_munge(test_not_encrypted),
		with_munge(test_for_anyone),
		with_munge(test_another_job),
		with_munge(test_another_address),
		with_munge(test_another_role),
		with_munge(test_wrong_version),
		with_munge(test_munged_away),
		with_unix(test_unix_accepted),
		with_unix(test_unix_another_user),
		with_unix(test_unix_for_owner),
		with_unix(test_unix_munge_text),
	};

	return cmocka_run_group_tests(tests, setup_munged, teardown_munged);
}
