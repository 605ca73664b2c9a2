// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The client's sessions against teramemd: contents over unix sockets and TCP,
 * and every way in which the connection, the network or the server breaks.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/net/load.h"
#include "tests/net/world.h"

#define TIMEOUT_MS 4000
#define CAPACITY "32M"
#define EXTENT_BYTES (4u << 20)
#define NR_EXTENTS 8

static struct tm_session *open_session(struct world *world,
				       unsigned int nr_channels,
				       struct load_outcome *o)
{
	struct tm_map_server server = {0};
	const struct tm_session_config config = {
		.server = &server,
		.job = WORLD_JOB,
		.timeout_ms = TIMEOUT_MS,
		.nr_channels = nr_channels,
		.depth = LOAD_DEPTH,
	};
	struct tm_session *session;

	strcpy(server.address, world->address);
	server.auth = strncmp(world->address, "unix:", 5)
			      ? TM_MAP_AUTH_MUNGE
			      : TM_MAP_AUTH_PEERCRED;
	memset(o, 0, sizeof(*o));
	if (tm_session_open(&config, &load_ops, o, &session, o->why,
			    sizeof(o->why)))
		fail_msg("%s", o->why);
	return session;
}

static int reserve(struct tm_channel *channel, uint64_t *addr)
{
	struct tm_request r = {.type = TM_WIRE_RESERVE};
	int err = tm_channel_call(channel, &r);

	*addr = r.addr;
	if (!err)
		assert_int_equal(r.bytes, EXTENT_BYTES);
	return err;
}

static int release(struct tm_channel *channel, uint64_t addr)
{
	struct tm_request r = {
		.type = TM_WIRE_RELEASE,
		.addr = addr,
		.bytes = EXTENT_BYTES,
	};

	return tm_channel_call(channel, &r);
}

static int transfer(struct tm_channel *channel, enum tm_wire_type type,
		    uint64_t addr, void *buf, size_t len)
{
	struct tm_request r = {
		.type = type,
		.addr = addr,
		.bytes = len,
		.nr_iov = 1,
		.iov[0] = {buf, len},
	};

	return tm_channel_call(channel, &r);
}

static uint64_t reserved_bytes(struct tm_channel *channel)
{
	struct tm_wire_stat stat;

	assert_int_equal(
		transfer(channel, TM_WIRE_STAT, 0, &stat, sizeof(stat)), 0);
	return le64toh(stat.reserved_bytes);
}

/* All of the server's memory; its extents make one range. */
static uint64_t reserve_all(struct tm_channel *channel)
{
	uint64_t addr, low = UINT64_MAX;
	int i;

	for (i = 0; i < NR_EXTENTS; i++) {
		assert_int_equal(reserve(channel, &addr), 0);
		if (addr < low)
			low = addr;
	}
	return low;
}

static void operations(struct world *world)
{
	struct load_outcome o;
	struct tm_session *session = open_session(world, 3, &o);
	struct tm_channel *channel = tm_session_channel(session, 0);
	struct tm_channel *third = tm_session_channel(session, 2);
	uint64_t base = reserve_all(channel), addr;
	struct load *load = load_create(base, &o);
	char buf[4096];

	load_run(load, channel, 1000);
	load_run(load, third, 2000);
	assert_int_equal(load->refused, 0);
	assert_int_equal(reserved_bytes(channel), 32u << 20);
	assert_int_equal(reserve(channel, &addr), -ENOMEM);

	assert_int_equal(release(third, base), 0);
	assert_int_equal(transfer(channel, TM_WIRE_READ, base, buf, 4096),
			 -EFAULT);
	assert_int_equal(transfer(channel, TM_WIRE_WRITE, base, buf, 4096),
			 -EFAULT);
	assert_int_equal(release(third, base), -EFAULT);
	assert_int_equal(reserve(channel, &addr), 0);
	/* A new extent holds nothing of its former life. */
	memset(buf, 1, sizeof(buf));
	assert_int_equal(transfer(third, TM_WIRE_READ, addr, buf, 4096), 0);
	assert_int_equal(buf[0] | buf[4095], 0);
	assert_int_equal(o.lost + o.renewed, 0);
	tm_session_close(session);

	/* BYE gave everything back. */
	session = open_session(world, 1, &o);
	assert_int_equal(reserved_bytes(tm_session_channel(session, 0)), 0);
	tm_session_close(session);
	load_destroy(load);
}

static void unix_operations(void **state)
{
	struct world world;

	world_unix(&world, CAPACITY, "10");
	operations(&world);
	world_end(&world);
}

static void tcp_operations(void **state)
{
	struct world world;

	world_tcp(&world, CAPACITY, "10");
	operations(&world);
	world_end(&world);
}

/* What is done to the world while requests are under way. */
struct trouble {
	void (*make)(struct world *world);
	struct world *world;
	atomic_bool over;
};

static void *trouble_run(void *arg)
{
	struct trouble *trouble = arg;

	trouble->make(trouble->world);
	trouble->over = true;
	return NULL;
}

static void through(struct world *world, void (*make)(struct world *world),
		    unsigned int renewed_min, unsigned int renewed_max)
{
	struct trouble trouble = {.make = make, .world = world};
	struct load_outcome o;
	struct tm_session *session = open_session(world, 1, &o);
	struct tm_channel *channel = tm_session_channel(session, 0);
	struct load *load = load_create(reserve_all(channel), &o);
	pthread_t thread;

	pthread_create(&thread, NULL, trouble_run, &trouble);
	while (!trouble.over)
		load_run(load, channel, load->completed + 300);
	pthread_join(thread, NULL);
	load_run(load, channel, load->completed + 300);
	if (o.lost)
		fail_msg("%s", o.why);
	assert_int_equal(load->refused, 0);
	if (o.renewed < renewed_min || o.renewed > renewed_max)
		fail_msg("renewed %u times, not %u to %u", o.renewed,
			 renewed_min, renewed_max);
	tm_session_close(session);
	load_destroy(load);
}

static void make_resets(struct world *world)
{
	int i;

	for (i = 0; i < 10; i++) {
		usleep(50000 + i * 1000);
		world_command(world, i % 2 ? "reset" : "cut");
	}
}

static void make_reset_every(struct world *world)
{
	world_command(world, "reset-every 1111111");
	usleep(1000000);
	world_command(world, "reset-every 0");
}

static void make_stall(struct world *world)
{
	world_command(world, "stall 700");
	usleep(1000000);
}

static void make_half_open(struct world *world)
{
	world_command(world, "drop");
	usleep(2500000);
}

static void make_hole(struct world *world)
{
	world_command(world, "hole");
	usleep(2500000);
	world_command(world, "pass");
}

static void make_pause(struct world *world)
{
	kill(world->server, SIGSTOP);
	usleep(700000);
	kill(world->server, SIGCONT);
}

static void make_long_pause(struct world *world)
{
	kill(world->server, SIGSTOP);
	usleep(2500000);
	kill(world->server, SIGCONT);
}

/* One after the other, through the proxy: the same server survives it all. */
static void network_trouble(void **state)
{
	struct world world;

	world_proxy(&world, CAPACITY, "10");
	through(&world, make_resets, 1, 20);
	through(&world, make_reset_every, 1, 10000);
	through(&world, make_stall, 0, 0);
	through(&world, make_half_open, 1, 1);
	through(&world, make_hole, 1, 2);
	world_end(&world);
}

static void server_paused(void **state)
{
	struct world world;

	world_tcp(&world, CAPACITY, "10");
	through(&world, make_pause, 0, 0);
	through(&world, make_long_pause, 1, 1);
	world_end(&world);
}

/* With requests under way; returns the time until they had failed. */
static uint64_t until_lost(struct world *world,
			   void (*make)(struct world *world))
{
	struct load_outcome o;
	struct tm_session *session = open_session(world, 2, &o);
	struct tm_channel *channel = tm_session_channel(session, 0);
	struct tm_channel *other = tm_session_channel(session, 1);
	struct load *load = load_create(reserve_all(channel), &o);
	struct tm_request r = {.type = TM_WIRE_PING};
	uint64_t start;
	int i;

	load_run(load, channel, 200);
	start = load_now_ms();
	make(world);
	for (i = 0; i < LOAD_DEPTH; i++) {
		load->jobs[i].request.bytes = 4096;
		load_read(load, channel, &load->jobs[i]);
	}
	while (tm_channel_under_way(channel))
		tm_channel_wait(channel);
	start = load_now_ms() - start;
	assert_int_equal(o.lost, 1);
	assert_non_null(strstr(o.why, world->address));
	for (i = 0; i < LOAD_DEPTH; i++)
		assert_int_equal(load->jobs[i].err, -EIO);
	/* The other channel hears of it at once. */
	assert_int_equal(tm_channel_call(other, &r), -EIO);
	assert_int_equal(o.lost, 1);
	tm_session_close(session);
	load_destroy(load);
	return start;
}

static void make_refusal(struct world *world)
{
	world_command(world, "refuse");
}

static void make_lasting_hole(struct world *world)
{
	world_command(world, "hole");
}

static void server_killed(void **state)
{
	struct world world;

	world_unix(&world, CAPACITY, "10");
	assert_in_range(until_lost(&world, world_kill_server), 0,
			TIMEOUT_MS * 3 / 4);
	world_end(&world);
	world_tcp(&world, CAPACITY, "10");
	assert_in_range(until_lost(&world, world_kill_server), 0,
			TIMEOUT_MS * 3 / 4);
	world_end(&world);
}

static void network_gone(void **state)
{
	struct world world;

	world_proxy(&world, CAPACITY, "10");
	assert_in_range(until_lost(&world, make_refusal), 0,
			TIMEOUT_MS * 3 / 4);
	world_end(&world);
	world_proxy(&world, CAPACITY, "10");
	assert_in_range(until_lost(&world, make_lasting_hole),
			TIMEOUT_MS * 3 / 4, TIMEOUT_MS * 5);
	world_end(&world);
}

static void make_too_long(struct world *world)
{
	world_command(world, "refuse");
	usleep(1500000);
	world_command(world, "pass");
}

/* The server forgot the session: no new one may take its place unseen. */
static void grace_over(void **state)
{
	struct tm_request r = {.type = TM_WIRE_PING};
	struct load_outcome o;
	struct tm_session *session;
	struct tm_channel *channel;
	struct world world;

	world_proxy(&world, CAPACITY, "1");
	session = open_session(&world, 1, &o);
	channel = tm_session_channel(session, 0);
	reserve_all(channel);
	make_too_long(&world);
	assert_int_equal(tm_channel_call(channel, &r), -EIO);
	assert_int_equal(o.lost, 1);
	assert_non_null(strstr(o.why, "unknown or expired session"));
	tm_session_close(session);
	world_end(&world);
}

/* A forked child's end does not touch the parent's session. */
static void forked_child(void **state)
{
	struct load_outcome o;
	struct tm_session *session;
	struct tm_channel *channel;
	struct world world;
	struct load *load;
	int status;
	pid_t pid;

	world_unix(&world, CAPACITY, "10");
	session = open_session(&world, 2, &o);
	channel = tm_session_channel(session, 0);
	load = load_create(reserve_all(channel), &o);
	pid = fork();
	if (pid == 0) {
		tm_session_forget(session);
		_exit(0);
	}
	load_run(load, channel, 300);
	waitpid(pid, &status, 0);
	assert_int_equal(status, 0);
	load_run(load, channel, 600);
	assert_int_equal(o.lost + o.renewed + load->refused, 0);
	tm_session_close(session);
	load_destroy(load);
	world_end(&world);
}

/* However often the connection breaks, an extent is reserved once. */
static void reserve_once(void **state)
{
	struct load_outcome o;
	struct tm_session *session;
	struct tm_channel *channel;
	struct world world;
	uint64_t addr;
	int i;

	world_proxy(&world, CAPACITY, "10");
	session = open_session(&world, 1, &o);
	channel = tm_session_channel(session, 0);
	for (i = 1; i <= NR_EXTENTS; i++) {
		world_command(&world, "swallow");
		assert_int_equal(reserve(channel, &addr), 0);
		assert_int_equal(reserved_bytes(channel), i * EXTENT_BYTES);
		assert_int_equal(o.renewed, i);
	}
	tm_session_close(session);
	world_end(&world);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unix_operations),
		cmocka_unit_test(forked_child),
		cmocka_unit_test(tcp_operations),
		cmocka_unit_test(server_killed),
		cmocka_unit_test(server_paused),
		cmocka_unit_test(network_trouble),
		cmocka_unit_test(network_gone),
		cmocka_unit_test(grace_over),
		cmocka_unit_test(reserve_once),
	};

	if (!world_has_munge()) {
		printf("1..0 # SKIP munged is not installed (apt-get install "
		       "munge)\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
