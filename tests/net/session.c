// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The client's sessions against a peer that lies (peer.h): the right bytes
 * whatever order and pieces the replies come in, and a clear, bounded end
 * whatever the server does.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <time.h>
#include <unistd.h>

#include "common/session.h"
#include "tests/net/load.h"
#include "tests/net/peer.h"

#define DEPTH LOAD_DEPTH
#define TIMEOUT_MS 1500
/* Where a thread that does not run for a while must not look like silence. */
#define LONG_TIMEOUT_MS 6000

static unsigned int timeout_ms = TIMEOUT_MS;

static int try_open(struct peer *peer, unsigned int nr_channels,
		    struct load_outcome *o, struct tm_session **session)
{
	struct tm_map_server server = {.auth = TM_MAP_AUTH_PEERCRED};
	const struct tm_session_config config = {
		.server = &server,
		.job = PEER_JOB,
		.timeout_ms = timeout_ms,
		.nr_channels = nr_channels,
		.depth = DEPTH,
	};

	strcpy(server.address, peer->address);
	memset(o, 0, sizeof(*o));
	return tm_session_open(&config, &load_ops, o, session, o->why,
			       sizeof(o->why));
}

static struct tm_session *open_session(struct peer *peer,
				       unsigned int nr_channels,
				       struct load_outcome *o)
{
	struct tm_session *session;

	if (try_open(peer, nr_channels, o, &session))
		fail_msg("%s", o->why);
	return session;
}

static void content(enum peer_lie lie, unsigned int target)
{
	struct tm_session *session;
	struct load_outcome o = {0};
	struct load *load = load_create(0, &o);
	struct peer peer;

	peer_start(&peer, lie);
	session = open_session(&peer, 1, &o);
	load_run(load, tm_session_channel(session, 0), target);
	if (lie == PEER_SHUFFLE)
		assert_true(load->refused > 0);
	else
		assert_int_equal(load->refused, 0);
	assert_int_equal(o.lost, 0);
	assert_int_equal(o.renewed, 0);
	tm_session_close(session);
	assert_int_equal(peer.byes, 1);
	peer_stop(&peer);
	load_destroy(load);
}

static void content_in_order(void **state)
{
	content(PEER_HONEST, 3000);
}

static void content_shuffled(void **state)
{
	content(PEER_SHUFFLE, 3000);
}

static void content_in_pieces(void **state)
{
	content(PEER_CHUNKS, 300);
}

static void content_over_cuts(void **state)
{
	struct tm_session *session;
	struct load_outcome o = {0};
	struct load *load = load_create(0, &o);
	struct peer peer;

	peer_start(&peer, PEER_CUTS);
	peer.cut_bytes = 1234567;
	session = open_session(&peer, 1, &o);
	load_run(load, tm_session_channel(session, 0), 1500);
	assert_int_equal(o.lost, 0);
	assert_true(o.renewed > 10);
	tm_session_close(session);
	peer_stop(&peer);
	load_destroy(load);
}

static void reserve_and_discard(void **state)
{
	struct tm_request r = {.type = TM_WIRE_RESERVE};
	struct tm_channel *channel;
	struct tm_session *session;
	struct load_outcome o = {0};
	struct peer peer;

	peer_start(&peer, PEER_HONEST);
	session = open_session(&peer, 3, &o);
	assert_int_equal(le64toh(tm_session_welcome(session)->extent_bytes),
			 PEER_EXTENT_BYTES);
	channel = tm_session_channel(session, 2);
	assert_int_equal(tm_channel_call(channel, &r), 0);
	assert_int_equal(r.addr, PEER_EXTENT_BYTES);
	assert_int_equal(r.bytes, PEER_EXTENT_BYTES);

	memset(peer.memory, 0x55, 8192);
	r = (struct tm_request){
		.type = TM_WIRE_DISCARD,
		.addr = 4096,
		.bytes = 4096,
	};
	assert_int_equal(tm_channel_call(channel, &r), 0);
	assert_int_equal(peer.memory[4095], 0x55);
	assert_int_equal(peer.memory[4096], 0);
	r = (struct tm_request){.type = TM_WIRE_PING};
	assert_int_equal(tm_channel_call(channel, &r), 0);
	tm_session_close(session);
	peer_stop(&peer);
}

static void refused(enum peer_lie lie, int expected, const char *text)
{
	struct tm_session *session;
	struct load_outcome o = {0};
	struct peer peer;
	uint64_t start;

	peer_start(&peer, lie);
	start = load_now_ms();
	assert_int_equal(try_open(&peer, 2, &o, &session), expected);
	assert_true(load_now_ms() - start < 5 * TIMEOUT_MS);
	if (!strstr(o.why, text) || !strstr(o.why, peer.address))
		fail_msg("unclear: %s", o.why);
	peer_stop(&peer);
}

static void handshake_lies(void **state)
{
	refused(PEER_HELLO_VERSION, -EPROTO, "versions 2 to 3");
	refused(PEER_HELLO_JOB, -EACCES, "job 4712, not to 4711");
	refused(PEER_HELLO_GARBAGE, -EPROTO, "not a Teramem server");
	refused(PEER_HELLO_SILENT, -ETIMEDOUT, "no answer in time");
	refused(PEER_WELCOME_DENIED, -EACCES, "refused by the server");
	refused(PEER_WELCOME_MAC, -EACCES, "cannot prove");
	refused(PEER_WELCOME_CLOSE, -ECONNRESET, "closed by the server");
}

static void nobody_there(void **state)
{
	struct peer peer = {.address = "unix:/nonexistent/teramem"};
	struct tm_session *session;
	struct load_outcome o = {0};

	assert_int_equal(try_open(&peer, 1, &o, &session), -ECONNREFUSED);
	assert_non_null(strstr(o.why, "is the server running?"));
	strcpy(peer.address, "unix:relative");
	assert_int_equal(try_open(&peer, 1, &o, &session), -EINVAL);
	strcpy(peer.address, "rdma:somewhere");
	assert_int_equal(try_open(&peer, 1, &o, &session), -EINVAL);
	strcpy(peer.address, "tcp:127.0.0.1");
	assert_int_equal(try_open(&peer, 1, &o, &session), -EINVAL);
	strcpy(peer.address, "tcp:::1:80");
	assert_int_equal(try_open(&peer, 1, &o, &session), -EINVAL);
	strcpy(peer.address, "tcp:[::1]:1");
	assert_int_not_equal(try_open(&peer, 1, &o, &session), -EINVAL);
}

/* Once open, the peer begins to lie: everything ends with -EIO, in time. */
static void ends(enum peer_lie lie, unsigned int limit_ms, const char *text)
{
	struct tm_session *session;
	struct tm_channel *channel;
	struct tm_request r = {.type = TM_WIRE_PING};
	struct load_outcome o = {0};
	struct load *load = load_create(0, &o);
	struct peer peer;
	uint64_t start;
	int i;

	peer_start(&peer, PEER_HONEST);
	session = open_session(&peer, 1, &o);
	channel = tm_session_channel(session, 0);
	peer.lie = lie;
	start = load_now_ms();
	for (i = 0; i < 8; i++) {
		load->jobs[i].request.bytes = 4096;
		load_read(load, channel, &load->jobs[i]);
	}
	while (tm_channel_under_way(channel)) {
		tm_channel_wait(channel);
		if (load_now_ms() - start > limit_ms)
			fail_msg("lie %d: still waiting after %u ms", lie,
				 limit_ms);
	}
	assert_int_equal(o.lost, 1);
	if (!strstr(o.why, text) || !strstr(o.why, peer.address))
		fail_msg("unclear: %s", o.why);
	/* One that replies twice gets a few through until it is found out. */
	for (i = lie == PEER_TWICE ? 4 : 0; i < 8; i++)
		assert_int_equal(load->jobs[i].err, -EIO);
	assert_int_equal(tm_channel_call(channel, &r), -EIO);
	tm_session_close(session);
	peer_stop(&peer);
	load_destroy(load);
}

static void reply_lies(void **state)
{
	ends(PEER_MAGIC, 15000, "not a Teramem message");
	ends(PEER_RESERVED, 15000, "reserved bytes");
	ends(PEER_ID, 15000, "a reply to no request");
	ends(PEER_ID_HUGE, 15000, "a reply to no request");
	ends(PEER_TYPE, 15000, "another type");
	ends(PEER_EPOCH, 15000, "another epoch");
	ends(PEER_LONGER, 15000, "another length");
	ends(PEER_SHORTER, 15000, "another length");
	ends(PEER_TWICE, 15000, "a reply to no request");
	ends(PEER_REQUEST, 15000, "a request from the server");
	ends(PEER_STATUS, 15000, "unknown status");
	ends(PEER_CLOSES, 15000, "nothing got through within");
}

static void silence(void **state)
{
	uint64_t start = load_now_ms();

	ends(PEER_SILENT, 10 * TIMEOUT_MS, "no sign of life");
	assert_true(load_now_ms() - start > TIMEOUT_MS * 3 / 4);
	ends(PEER_PINGS_ONLY, 15 * TIMEOUT_MS, "requests unanswered");
}

static int turn(struct tm_channel *channel)
{
	struct pollfd p = {0};

	p.fd = tm_channel_fd(channel, &p.events);
	poll(&p, 1, tm_channel_wait_ms(channel));
	return tm_channel_process(channel);
}

/* An idle channel stays up, by pings, and notices a server that is gone. */
static void idle(void **state)
{
	struct tm_session *session;
	struct tm_channel *channel;
	struct load_outcome o = {0};
	struct peer peer;
	uint64_t start;

	peer_start(&peer, PEER_HONEST);
	session = open_session(&peer, 1, &o);
	channel = tm_session_channel(session, 0);
	for (start = load_now_ms(); load_now_ms() - start < timeout_ms;)
		assert_int_equal(turn(channel), 0);
	assert_int_equal(o.lost, 0);
	assert_int_equal(o.renewed, 0);

	peer_stop(&peer);
	for (start = load_now_ms();
	     !o.lost && load_now_ms() - start < 2 * timeout_ms;)
		turn(channel);
	assert_int_equal(o.lost, 1);
	assert_true(load_now_ms() - start < timeout_ms);
	tm_session_close(session);
}

static void grace_over(void **state)
{
	struct tm_request r = {.type = TM_WIRE_PING};
	struct tm_session *session;
	struct load_outcome o = {0};
	struct peer peer;
	uint64_t start;

	peer_start(&peer, PEER_HONEST);
	session = open_session(&peer, 1, &o);
	peer.no_session = true;
	peer.lie = PEER_CLOSES;
	start = load_now_ms();
	assert_int_equal(tm_channel_call(tm_session_channel(session, 0), &r),
			 -EIO);
	assert_true(load_now_ms() - start < timeout_ms);
	assert_int_equal(o.lost, 1);
	assert_non_null(strstr(o.why, "unknown or expired session"));
	tm_session_close(session);
	peer_stop(&peer);
}

struct lane {
	struct tm_channel *channel;
	pthread_t thread;
	unsigned int completed;
	int err;
};

static void *lane_run(void *arg)
{
	struct lane *lane = arg;
	struct tm_request r = {.type = TM_WIRE_PING};

	do {
		lane->err = tm_channel_call(lane->channel, &r);
		lane->completed++;
	} while (!lane->err);
	return NULL;
}

/* Each thread's requests end on its own channel; the loss is told once. */
static void lost_once(void **state)
{
	struct tm_session *session;
	struct lane lanes[4];
	struct load_outcome o = {0};
	struct peer peer;
	uint64_t start;
	int i;

	peer_start(&peer, PEER_HONEST);
	session = open_session(&peer, 4, &o);
	for (i = 0; i < 4; i++) {
		lanes[i] = (struct lane){
			.channel = tm_session_channel(session, i),
		};
		assert_int_equal(pthread_create(&lanes[i].thread, NULL,
						lane_run, &lanes[i]),
				 0);
	}
	usleep(100000);
	peer_stop(&peer);
	start = load_now_ms();
	for (i = 0; i < 4; i++) {
		pthread_join(lanes[i].thread, NULL);
		assert_int_equal(lanes[i].err, -EIO);
		assert_true(lanes[i].completed > 1);
	}
	assert_true(load_now_ms() - start < timeout_ms);
	assert_int_equal(o.lost, 1);
	tm_session_close(session);
}

static int long_timeout(void **state)
{
	timeout_ms = LONG_TIMEOUT_MS;
	return 0;
}

static int usual_timeout(void **state)
{
	timeout_ms = TIMEOUT_MS;
	return 0;
}

#define with_long_timeout(test)                                                \
	cmocka_unit_test_setup_teardown(test, long_timeout, usual_timeout)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(content_in_order),
		cmocka_unit_test(content_shuffled),
		cmocka_unit_test(content_in_pieces),
		cmocka_unit_test(content_over_cuts),
		cmocka_unit_test(reserve_and_discard),
		cmocka_unit_test(handshake_lies),
		cmocka_unit_test(nobody_there),
		cmocka_unit_test(reply_lies),
		cmocka_unit_test(silence),
		with_long_timeout(idle),
		with_long_timeout(grace_over),
		with_long_timeout(lost_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
