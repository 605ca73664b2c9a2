// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a session may do and may not: addresses, epochs, malformed and
 * out-of-order messages, the capacity, and what is left in memory that
 * changes hands.
 */
#include <errno.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define EXTENT (64u << 10)
#define EXTENTS 16

static struct server server;
static struct peer peer;

static int start(void **state)
{
	server_start(&server, "--listen", unix_address("s"), "--capacity=1M",
		     "--extent=64K", "--threads=2", NULL);
	return peer_open(&peer, server.address, false);
}

static int stop(void **state)
{
	peer_close(&peer);
	server_stop(&server);
	return 0;
}

static void fill(uint8_t *data, size_t len, unsigned int seed)
{
	size_t i;

	for (i = 0; i < len; i++)
		data[i] = (uint8_t)(seed = seed * 1103515245 + 12345) >> 3;
}

static void assert_zero(const uint8_t *data, size_t len)
{
	size_t i;

	for (i = 0; i < len; i++)
		assert_int_equal(data[i], 0);
}

static void test_write_read(void **state)
{
	static uint8_t out[EXTENT], in[EXTENT];
	uint64_t addr;

	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(peer_read(&peer, addr, in, EXTENT), 0);
	assert_zero(in, EXTENT);
	fill(out, sizeof(out), 1);
	assert_int_equal(peer_write(&peer, addr, out, EXTENT), 0);
	assert_int_equal(peer_read(&peer, addr, in, EXTENT), 0);
	assert_memory_equal(in, out, EXTENT);
	/* Unaligned, odd lengths. */
	assert_int_equal(peer_write(&peer, addr + 13, out, 1001), 0);
	assert_int_equal(peer_read(&peer, addr + 13, in, 1001), 0);
	assert_memory_equal(in, out, 1001);
}

static void test_across_extents(void **state)
{
	static uint8_t out[2 * EXTENT], in[2 * EXTENT];
	uint64_t a, b;

	assert_int_equal(peer_reserve(&peer, &a), 0);
	assert_int_equal(peer_reserve(&peer, &b), 0);
	assert_int_equal(b, a + EXTENT);
	fill(out, sizeof(out), 2);
	assert_int_equal(peer_write(&peer, a, out, sizeof(out)), 0);
	assert_int_equal(peer_read(&peer, a, in, sizeof(in)), 0);
	assert_memory_equal(in, out, sizeof(in));
}

static void test_bad_addresses(void **state)
{
	static uint8_t data[EXTENT];
	uint64_t a, b;

	assert_int_equal(peer_read(&peer, 0, data, 4096),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_reserve(&peer, &a), 0);
	assert_int_equal(peer_write(&peer, a + 1, data, EXTENT),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_read(&peer, a + EXTENT, data, 1),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_read(&peer, (uint64_t)1 << 60, data, 1),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_read(&peer, UINT64_MAX - 5, data, 5),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_read(&peer, 1 << 20, data, 1),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_release(&peer, a + 4096), TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_reserve(&peer, &b), 0);
	assert_int_equal(peer_release(&peer, a), 0);
	assert_int_equal(peer_release(&peer, a), TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_read(&peer, a, data, 1), TM_STATUS_BAD_ADDRESS);
	/* Refused writes are in step: the next message is understood. */
	assert_int_equal(peer_ping(&peer), 0);
}

static void test_other_session(void **state)
{
	static uint8_t data[EXTENT];
	struct peer other;
	uint64_t addr;

	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(peer_open(&other, server.address, false), 0);
	assert_int_equal(peer_read(&other, addr, data, 64),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_write(&other, addr, data, 64),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_release(&other, addr), TM_STATUS_BAD_ADDRESS);
	peer_close(&other);
}

static void test_capacity(void **state)
{
	struct tm_wire_stat stat;
	uint64_t addr, start;
	unsigned int i;

	for (i = 0; i < EXTENTS; i++)
		assert_int_equal(peer_reserve(&peer, &addr), 0);
	start = now_ms();
	assert_int_equal(peer_reserve(&peer, &addr), TM_STATUS_NO_MEMORY);
	assert_true(now_ms() - start < 15000);
	assert_int_equal(peer_stat(&peer, &stat), 0);
	assert_int_equal(tm_le64_to_cpu(stat.reserved_bytes), 1 << 20);
	assert_int_equal(tm_le64_to_cpu(stat.capacity_bytes), 1 << 20);
	assert_int_equal(tm_le64_to_cpu(stat.refused), 1);
	assert_int_equal(peer_release(&peer, 0), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(addr, 0);
}

/* A RESERVE that waits holds nothing else up, and is served in the end. */
static void test_reserve_waits(void **state)
{
	const struct tm_msg reserve = {.type = TM_WIRE_RESERVE, .id = 777};
	const struct tm_msg ping = {.type = TM_WIRE_PING, .id = 778};
	struct peer other;
	struct tm_msg msg;
	uint64_t addr;
	unsigned int i;

	assert_int_equal(peer_open(&other, server.address, false), 0);
	for (i = 0; i < EXTENTS; i++)
		assert_int_equal(peer_reserve(&other, &addr), 0);
	assert_int_equal(peer_send(&peer, reserve, NULL), 0);
	assert_int_equal(peer_send(&peer, ping, NULL), 0);
	assert_int_equal(peer_receive(&peer, &msg, NULL, 0), 0);
	assert_int_equal(msg.id, 778);
	assert_int_equal(peer_bye(&other), PEER_EOF);
	assert_int_equal(peer_receive(&peer, &msg, NULL, 0), 0);
	assert_int_equal(msg.id, 777);
	assert_int_equal(msg.argument, EXTENT);
}

/* A client that closed without BYE gives way to one that needs the room. */
static void test_reclaim(void **state)
{
	struct peer other;
	uint64_t addr;
	unsigned int i;

	assert_int_equal(peer_open(&other, server.address, false), 0);
	for (i = 0; i < EXTENTS; i++)
		assert_int_equal(peer_reserve(&other, &addr), 0);
	peer_close(&other);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(peer_attach(&other, &other, 0, 2),
			 TM_STATUS_NO_SESSION);
	peer_close(&other);
}

static void test_remanence(void **state)
{
	static uint8_t data[EXTENT];
	struct peer other;
	uint64_t addr;
	unsigned int i;

	assert_int_equal(peer_open(&other, server.address, false), 0);
	memset(data, 0x5a, sizeof(data));
	for (i = 0; i < EXTENTS; i++) {
		assert_int_equal(peer_reserve(&other, &addr), 0);
		assert_int_equal(peer_write(&other, addr, data, EXTENT), 0);
	}
	assert_int_equal(peer_bye(&other), PEER_EOF);
	for (i = 0; i < EXTENTS; i++) {
		assert_int_equal(peer_reserve(&peer, &addr), 0);
		assert_int_equal(peer_read(&peer, addr, data, EXTENT), 0);
		assert_zero(data, EXTENT);
	}
	memset(data, 0x5a, sizeof(data));
	assert_int_equal(peer_write(&peer, addr, data, EXTENT), 0);
	assert_int_equal(peer_release(&peer, addr), 0);
	assert_int_equal(peer_reserve(&peer, &addr), 0);
	assert_int_equal(peer_read(&peer, addr, data, EXTENT), 0);
	assert_zero(data, EXTENT);
}

/* An extent with a WRITE under way is not given to anybody else. */
static void test_release_under_way(void **state)
{
	struct tm_msg msg = {.type = TM_WIRE_WRITE, .length = EXTENT};
	static uint8_t data[EXTENT];
	struct tm_wire_header header;
	struct peer second;
	int unread;

	assert_int_equal(peer_reserve(&peer, &msg.addr), 0);
	assert_int_equal(peer_attach(&second, &peer, 1, 1), 0);
	msg.epoch = second.epoch;
	tm_msg_encode(&msg, &header);
	assert_int_equal(peer_send_raw(&second, &header, sizeof(header)), 0);
	assert_int_equal(peer_send_raw(&second, data, 1000), 0);
	/* It has come to the server. */
	do {
		sleep_ms(10);
		assert_return_code(ioctl(second.fd, SIOCOUTQ, &unread), errno);
	} while (unread);
	assert_int_equal(peer_release(&peer, msg.addr), TM_STATUS_BAD_MESSAGE);
	assert_int_equal(peer_send_raw(&second, data, EXTENT - 1000), 0);
	assert_int_equal(peer_receive(&second, &msg, NULL, 0), 0);
	assert_int_equal(peer_release(&peer, 0), 0);
	peer_close(&second);
}

/*
 * A RELEASE whose reply was lost comes again after the extent has been lent
 * anew over another channel: it stays lent.
 */
static void test_release_again(void **state)
{
	struct tm_msg release = {
		.type = TM_WIRE_RELEASE,
		.id = 1000,
		.argument = EXTENT,
	};
	struct peer second, renewed;
	struct tm_msg reply;
	uint64_t addr;
	uint8_t byte;
	unsigned int i;

	for (i = 0; i < EXTENTS; i++)
		assert_int_equal(peer_reserve(&peer, &release.addr), 0);
	assert_int_equal(peer_attach(&second, &peer, 1, 1), 0);
	assert_int_equal(peer_call(&peer, release, NULL, &reply, NULL, 0), 0);
	/* The only one that is free. */
	assert_int_equal(peer_reserve(&second, &addr), 0);
	assert_int_equal(addr, release.addr);
	assert_int_equal(peer_write(&second, addr, "x", 1), 0);

	assert_int_equal(peer_attach(&renewed, &peer, 0, 2), 0);
	assert_int_equal(peer_call(&renewed, release, NULL, &reply, NULL, 0),
			 0);
	assert_int_equal(peer_read(&second, addr, &byte, 1), 0);
	assert_int_equal(byte, 'x');
	/* A new one counts, and so does another channel's with an old id. */
	release.id++;
	assert_int_equal(peer_call(&renewed, release, NULL, &reply, NULL, 0),
			 0);
	assert_int_equal(peer_read(&second, addr, &byte, 1),
			 TM_STATUS_BAD_ADDRESS);
	release.addr = release.addr ? 0 : EXTENT;
	release.id = 999;
	assert_int_equal(peer_call(&second, release, NULL, &reply, NULL, 0), 0);
	assert_int_equal(peer_read(&renewed, release.addr, &byte, 1),
			 TM_STATUS_BAD_ADDRESS);
	peer_close(&second);
	peer_close(&renewed);
}

static void test_discard(void **state)
{
	struct tm_msg msg = {.type = TM_WIRE_DISCARD, .argument = 4096};
	struct tm_wire_stat stat;
	struct tm_msg reply;

	assert_int_equal(peer_call(&peer, msg, NULL, &reply, NULL, 0),
			 TM_STATUS_BAD_ADDRESS);
	assert_int_equal(peer_reserve(&peer, &msg.addr), 0);
	assert_int_equal(peer_call(&peer, msg, NULL, &reply, NULL, 0), 0);
	assert_int_equal(peer_stat(&peer, &stat), 0);
	assert_int_equal(tm_le64_to_cpu(stat.discarded_bytes), 4096);
	assert_int_equal(tm_le64_to_cpu(stat.sessions), 1);
	assert_int_equal(tm_le64_to_cpu(stat.connections), 1);
}

/* A channel's newer connection ends the older one before it is welcome. */
static void test_epochs(void **state)
{
	static uint8_t data[4096];
	struct peer renewed, late;
	struct tm_msg msg;
	uint64_t addr;

	assert_int_equal(peer_reserve(&peer, &addr), 0);
	memset(data, 1, sizeof(data));
	assert_int_equal(peer_write(&peer, addr, data, sizeof(data)), 0);
	assert_int_equal(peer_attach(&renewed, &peer, 0, 5), 0);
	assert_int_equal(renewed.epoch, 5);
	assert_int_equal(peer_receive(&peer, &msg, NULL, 0), PEER_EOF);
	memset(data, 2, sizeof(data));
	assert_int_equal(peer_write(&renewed, addr, data, sizeof(data)), 0);

	/* A late write with the old epoch is refused, and does not land. */
	memset(data, 3, sizeof(data));
	msg = (struct tm_msg){.type = TM_WIRE_WRITE,
			      .addr = addr,
			      .length = sizeof(data),
			      .epoch = 1};
	assert_int_equal(peer_call(&renewed, msg, data, &msg, NULL, 0),
			 TM_STATUS_STALE);
	assert_int_equal(peer_read(&renewed, addr, data, sizeof(data)), 0);
	assert_int_equal(data[0], 2);
	assert_int_equal(data[4095], 2);

	assert_int_equal(peer_attach(&late, &peer, 0, 5), TM_STATUS_STALE);
	peer_close(&late);
	assert_int_equal(peer_attach(&late, &peer, 0, 1), TM_STATUS_STALE);
	peer_close(&late);
	assert_int_equal(peer_attach(&late, &peer, TM_PROTO_CHANNELS_MAX, 1),
			 TM_STATUS_BAD_MESSAGE);
	peer_close(&late);
	assert_int_equal(peer_ping(&renewed), 0);
	peer_close(&renewed);
}

static void test_attach_proof(void **state)
{
	struct peer forger, first = peer;

	first.key[0] ^= 1;
	assert_int_equal(peer_attach(&forger, &first, 1, 1), TM_STATUS_DENIED);
	peer_close(&forger);
	first = peer;
	first.welcome.session ^= 1;
	assert_int_equal(peer_attach(&forger, &first, 1, 1),
			 TM_STATUS_NO_SESSION);
	peer_close(&forger);
	/* The session is none the worse. */
	assert_int_equal(peer_attach(&forger, &peer, 1, 1), 0);
	assert_int_equal(peer_ping(&forger), 0);
	peer_close(&forger);
}

/* Garbage after authentication: answered once, then the end. */
static void assert_hung_up(struct peer *p)
{
	struct tm_msg msg;

	assert_int_equal(peer_receive(p, &msg, NULL, 0), TM_STATUS_BAD_MESSAGE);
	assert_int_equal(peer_receive(p, &msg, NULL, 0), PEER_EOF);
	peer_close(p);
}

static void test_malformed(void **state)
{
	static const struct tm_msg bad[] = {
		{.type = TM_WIRE_READ, .argument = TM_PROTO_IO_MAX + 1},
		{.type = TM_WIRE_READ, .argument = 0},
		{.type = TM_WIRE_READ, .argument = 8, .addr = UINT64_MAX - 3},
		{.type = TM_WIRE_WRITE, .length = TM_PROTO_IO_MAX + 1},
		{.type = TM_WIRE_WRITE, .length = 0},
		{.type = TM_WIRE_PING, .length = 1},
		{.type = TM_WIRE_PING, .epoch = 2},
		{.type = TM_WIRE_PING, .reply = true},
		{.type = TM_WIRE_PING, .status = TM_STATUS_BUSY},
	};
	struct peer p;
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(peer_open(&p, server.address, false), 0);
		assert_int_equal(peer_send(&p, bad[i], NULL), 0);
		assert_hung_up(&p);
	}
	assert_int_equal(peer_ping(&peer), 0);
}

static void test_garbage(void **state)
{
	uint8_t noise[512];
	struct tm_msg msg;
	struct peer p;
	unsigned int i;
	int ret;

	for (i = 0; i < 32; i++) {
		fill(noise, sizeof(noise), i + 1);
		/* Before authentication, after HELLO, and after it. */
		assert_int_equal(peer_connect(&p, server.address), 0);
		assert_int_equal(peer_send_raw(&p, noise, 64 + i), 0);
		peer_close(&p);
		assert_int_equal(peer_connect(&p, server.address), 0);
		assert_int_equal(peer_hello(&p), 0);
		assert_int_equal(peer_send_raw(&p, noise, sizeof(noise)), 0);
		assert_int_equal(peer_receive(&p, &msg, NULL, 0),
				 TM_STATUS_BAD_MESSAGE);
		assert_int_equal(peer_receive(&p, &msg, NULL, 0), PEER_EOF);
		peer_close(&p);
		assert_int_equal(peer_open(&p, server.address, false), 0);
		assert_int_equal(peer_send_raw(&p, noise, sizeof(noise)), 0);
		ret = peer_receive(&p, &msg, NULL, 0);
		if (ret == TM_STATUS_BAD_MESSAGE)
			ret = peer_receive(&p, &msg, NULL, 0);
		assert_int_equal(ret, PEER_EOF);
		peer_close(&p);
	}
	assert_int_equal(peer_ping(&peer), 0);
}

static void test_out_of_order(void **state)
{
	const struct tm_msg read = {.type = TM_WIRE_READ, .argument = 64};
	const struct tm_msg hello = {.type = TM_WIRE_HELLO,
				     .length = sizeof(struct tm_wire_hello)};
	static const uint8_t zeros[TM_PROTO_HANDSHAKE_MAX];
	struct tm_wire_auth auth;
	struct tm_msg msg;
	struct peer p;

	/* A request before anything. */
	assert_int_equal(peer_connect(&p, server.address), 0);
	assert_int_equal(peer_send(&p, read, NULL), 0);
	assert_int_equal(peer_receive(&p, &msg, &auth, sizeof(auth)),
			 TM_STATUS_BAD_MESSAGE);
	peer_close(&p);
	/* AUTH before HELLO: there is no nonce yet to prove anything with. */
	assert_int_equal(peer_connect(&p, server.address), 0);
	peer_fill_auth(&p, &auth);
	assert_int_equal(peer_send_auth(&p, &auth), 0);
	assert_int_equal(peer_receive(&p, &msg, &auth, sizeof(auth)),
			 TM_STATUS_BAD_MESSAGE);
	peer_close(&p);
	/* HELLO twice. */
	assert_int_equal(peer_connect(&p, server.address), 0);
	assert_int_equal(peer_hello(&p), 0);
	assert_int_equal(peer_send(&p, hello, zeros), 0);
	assert_int_equal(peer_receive(&p, &msg, NULL, 0),
			 TM_STATUS_BAD_MESSAGE);
	peer_close(&p);
	/* A handshake after the handshake. */
	assert_int_equal(peer_open(&p, server.address, false), 0);
	assert_int_equal(peer_send(&p, hello, zeros), 0);
	assert_int_equal(peer_receive(&p, &msg, &auth, sizeof(auth)), PEER_EOF);
	peer_close(&p);
	assert_int_equal(peer_ping(&peer), 0);
}

/* Requests in one go, answered all, each by its id. */
static void test_pipelined(void **state)
{
	enum { N = 500 };
	static uint8_t data[4096];
	static bool seen[N];
	struct tm_msg msg;
	uint64_t addr;
	unsigned int i;
	int pid;

	assert_int_equal(peer_reserve(&peer, &addr), 0);
	/* A child sends, so that neither side can wait for the other. */
	pid = fork();
	assert_return_code(pid, errno);
	for (i = 0; i < N && pid == 0; i++) {
		msg = (struct tm_msg){.type = i % 3 ? TM_WIRE_READ
						    : TM_WIRE_WRITE,
				      .id = 1000 + i,
				      .addr = addr};
		if (i % 3)
			msg.argument = sizeof(data);
		else
			msg.length = sizeof(data);
		if (peer_send(&peer, msg, i % 3 ? NULL : data))
			_exit(1);
	}
	if (pid == 0)
		_exit(0);
	for (i = 0; i < N; i++) {
		assert_int_equal(peer_receive(&peer, &msg, data, sizeof(data)),
				 0);
		assert_in_range(msg.id, 1000, 1000 + N - 1);
		assert_false(seen[msg.id - 1000]);
		seen[msg.id - 1000] = true;
	}
}

#define with_server(test) cmocka_unit_test_setup_teardown(test, start, stop)

int main(void)
{
	const struct CMUnitTest tests[] = {
		with_server(test_write_read),
		with_server(test_across_extents),
		with_server(test_bad_addresses),
		with_server(test_other_session),
		with_server(test_capacity),
		with_server(test_reserve_waits),
		with_server(test_reclaim),
		with_server(test_remanence),
		with_server(test_release_under_way),
		with_server(test_release_again),
		with_server(test_discard),
		with_server(test_epochs),
		with_server(test_attach_proof),
		with_server(test_malformed),
		with_server(test_garbage),
		with_server(test_out_of_order),
		with_server(test_pipelined),
	};

	return cmocka_run_group_tests(tests, setup_folder, teardown_folder);
}
