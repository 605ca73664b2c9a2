// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A memory server that lies; see peer.h. One thread per connection, blocking.
 * The lie and the counters are atomic; the memory is written by connection
 * threads only, one channel at a time in the tests.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/auth.h"
#include "core/proto.h"
#include "tests/net/peer.h"

#define BATCH_MAX 64
#define REFUSED_ONE_IN 7

/* Set-up that cannot fail on a sane machine. */
#define must(cond)                                                             \
	do {                                                                   \
		if (!(cond)) {                                                 \
			fprintf(stderr, "%s:%d: %s: %m\n", __FILE__, __LINE__, \
				#cond);                                        \
			abort();                                               \
		}                                                              \
	} while (0)

struct connection {
	struct peer *peer;
	int fd;
	unsigned int seed;
	size_t sent_bytes;
	uint8_t server_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t client_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t payload[TM_PROTO_IO_MAX];
};

static bool recv_all(struct connection *c, void *buf, size_t len)
{
	uint8_t *to = buf;

	while (len > 0) {
		struct pollfd p[2] = {
			{.fd = c->fd, .events = POLLIN},
			{.fd = c->peer->stop_fd, .events = POLLIN},
		};
		ssize_t n;

		poll(p, 2, -1);
		if (p[1].revents)
			return false;
		n = recv(c->fd, to, len, 0);
		if (n <= 0)
			return false;
		to += n;
		len -= n;
	}
	return true;
}

static bool send_all(struct connection *c, const void *buf, size_t len)
{
	enum peer_lie lie = c->peer->lie;
	const uint8_t *from = buf;

	while (len > 0) {
		size_t chunk = len;
		ssize_t n;

		if (lie == PEER_CHUNKS && chunk > 97)
			chunk = 1 + rand_r(&c->seed) % 97;
		if (lie == PEER_CUTS) {
			if (c->sent_bytes >= c->peer->cut_bytes)
				return false;
			if (chunk > c->peer->cut_bytes - c->sent_bytes)
				chunk = c->peer->cut_bytes - c->sent_bytes;
		}
		n = send(c->fd, from, chunk, MSG_NOSIGNAL);
		if (n <= 0)
			return false;
		from += n;
		len -= n;
		c->sent_bytes += n;
	}
	return true;
}

static bool send_msg(struct connection *c, const struct tm_msg *msg,
		     const void *payload)
{
	struct tm_wire_header wire;

	tm_msg_encode(msg, &wire);
	switch ((enum peer_lie)atomic_load(&c->peer->lie)) {
	case PEER_MAGIC:
		if (msg->type > TM_WIRE_WELCOME)
			wire.magic ^= 0xff;
		break;
	case PEER_RESERVED:
		if (msg->type > TM_WIRE_WELCOME)
			wire.reserved[7] = 1;
		break;
	case PEER_HELLO_GARBAGE:
		memset(&wire, 'H', sizeof(wire));
		break;
	default:
		break;
	}
	return send_all(c, &wire, sizeof(wire)) &&
	       send_all(c, payload, msg->length);
}

static bool handshake_hello(struct connection *c)
{
	enum peer_lie lie = c->peer->lie;
	struct tm_wire_header wire;
	struct tm_wire_hello hello;
	struct tm_msg msg;
	const char *why;

	if (!recv_all(c, &wire, sizeof(wire)))
		return false;
	must(tm_msg_decode(&wire, false, &msg, &why) == 0);
	must(msg.type == TM_WIRE_HELLO && !msg.reply);
	if (!recv_all(c, &hello, sizeof(hello)))
		return false;
	must(tm_le64_to_cpu(hello.job) == PEER_JOB);
	memcpy(c->client_nonce, hello.nonce, sizeof(c->client_nonce));
	must(tm_auth_random(c->server_nonce, sizeof(c->server_nonce)) == 0);
	memcpy(hello.nonce, c->server_nonce, sizeof(c->server_nonce));
	hello.auth = tm_cpu_to_le32(1u << TM_AUTH_PEERCRED);
	if (lie == PEER_HELLO_JOB)
		hello.job = tm_cpu_to_le64(PEER_JOB + 1);
	if (lie == PEER_HELLO_VERSION) {
		hello.version_min = tm_cpu_to_le16(2);
		hello.version_max = tm_cpu_to_le16(3);
		msg.status = TM_STATUS_VERSION;
	}
	msg.reply = true;
	if (lie == PEER_HELLO_SILENT)
		return recv_all(c, &hello, sizeof(hello));
	return send_msg(c, &msg, &hello);
}

static bool handshake_prove(struct connection *c)
{
	struct peer *peer = c->peer;
	enum peer_lie lie = peer->lie;
	struct tm_wire_welcome welcome = {
		.session = tm_cpu_to_le64(99),
		.capacity_bytes = tm_cpu_to_le64(PEER_MEMORY_BYTES),
		.extent_bytes = tm_cpu_to_le64(PEER_EXTENT_BYTES),
		.grace_ms = tm_cpu_to_le32(10000),
		.io_max_bytes = tm_cpu_to_le32(TM_PROTO_IO_MAX),
		.channels_max = tm_cpu_to_le32(8),
		.epoch = tm_cpu_to_le32(1),
	};
	const struct tm_wire_attach *attach = (void *)c->payload;
	const struct tm_wire_auth *auth = (void *)c->payload;
	uint8_t mac[TM_PROTO_MAC_BYTES];
	struct tm_wire_header wire;
	struct tm_msg msg;
	const char *why;
	uint32_t channel = 0;

	if (!recv_all(c, &wire, sizeof(wire)))
		return false;
	must(tm_msg_decode(&wire, false, &msg, &why) == 0);
	if (!recv_all(c, c->payload, msg.length))
		return false;
	if (msg.type == TM_WIRE_AUTH) {
		must(msg.length == sizeof(*auth));
		must(!memcmp(auth->server_nonce, c->server_nonce, 32));
		must(!memcmp(auth->client_nonce, c->client_nonce, 32));
		must(!strcmp(auth->address, peer->address));
		memcpy(peer->key, auth->key, sizeof(peer->key));
	} else {
		channel = tm_le32_to_cpu(attach->channel);
		welcome.epoch = attach->epoch;
		tm_auth_attach_mac(peer->key, c->server_nonce, c->client_nonce,
				   99, channel, tm_le32_to_cpu(attach->epoch),
				   mac);
		must(tm_auth_equal(mac, attach->mac, sizeof(mac)));
		if (peer->no_session)
			msg.status = TM_STATUS_NO_SESSION;
	}
	tm_auth_attach_mac(peer->key, c->server_nonce, c->client_nonce, 99,
			   channel | TM_WELCOME_CHANNEL,
			   tm_le32_to_cpu(welcome.epoch), welcome.mac);
	if (lie == PEER_WELCOME_MAC)
		welcome.mac[31] ^= 1;
	if (lie == PEER_WELCOME_DENIED)
		msg.status = TM_STATUS_DENIED;
	if (lie == PEER_WELCOME_CLOSE)
		return false;
	msg.type = TM_WIRE_WELCOME;
	msg.reply = true;
	msg.length = msg.status ? 0 : sizeof(welcome);
	return send_msg(c, &msg, &welcome);
}

/* Do what is asked and make the reply of it. */
static void serve(struct connection *c, struct tm_msg *msg)
{
	bool shuffle = c->peer->lie == PEER_SHUFFLE;
	uint64_t bytes = msg->argument;

	must(msg->type == TM_WIRE_PING || msg->type == TM_WIRE_RESERVE ||
	     (msg->addr < PEER_MEMORY_BYTES &&
	      bytes <= PEER_MEMORY_BYTES - msg->addr));
	msg->reply = true;
	msg->length = 0;
	msg->argument = 0;
	switch (msg->type) {
	case TM_WIRE_READ:
		if (shuffle && rand_r(&c->seed) % REFUSED_ONE_IN == 0)
			msg->status = TM_STATUS_BAD_ADDRESS;
		else
			msg->length = bytes;
		break;
	case TM_WIRE_DISCARD:
		memset(c->peer->memory + msg->addr, 0, bytes);
		break;
	case TM_WIRE_RESERVE:
		msg->addr = PEER_EXTENT_BYTES;
		msg->argument = PEER_EXTENT_BYTES;
		break;
	default:
		break;
	}
}

static bool reply(struct connection *c, struct tm_msg *msg)
{
	const uint8_t *data = c->peer->memory + msg->addr;
	enum peer_lie lie = c->peer->lie;

	switch (lie) {
	case PEER_ID:
		msg->id += 1 << 16;
		break;
	case PEER_ID_HUGE:
		msg->id = ~0ull;
		break;
	case PEER_TYPE:
		msg->type = msg->type == TM_WIRE_PING ? TM_WIRE_WRITE
						      : TM_WIRE_PING;
		msg->length = 0;
		break;
	case PEER_EPOCH:
		msg->epoch--;
		break;
	case PEER_LONGER:
		msg->length += 64;
		break;
	case PEER_SHORTER:
		msg->length -= msg->length ? 64 : 0;
		break;
	case PEER_EXTENT:
		if (msg->type == TM_WIRE_RESERVE)
			msg->argument *= 2;
		break;
	case PEER_TWICE:
		if (!send_msg(c, msg, data))
			return false;
		break;
	case PEER_REQUEST:
		msg->reply = false;
		msg->type = TM_WIRE_PING;
		msg->length = 0;
		break;
	case PEER_STATUS:
		msg->status = 77;
		msg->length = 0;
		break;
	case PEER_SILENT:
		return true;
	case PEER_PINGS_ONLY:
		if (msg->type != TM_WIRE_PING)
			return true;
		break;
	case PEER_CLOSES:
		return false;
	default:
		break;
	}
	return send_msg(c, msg, data);
}

static bool more(struct connection *c)
{
	struct pollfd p = {.fd = c->fd, .events = POLLIN};

	return poll(&p, 1, 5) > 0;
}

static bool serve_batch(struct connection *c)
{
	struct tm_msg batch[BATCH_MAX], msg;
	struct tm_wire_header wire;
	unsigned int nr = 0, i, j;
	const char *why;

	do {
		if (!recv_all(c, &wire, sizeof(wire)))
			return false;
		must(tm_msg_decode(&wire, true, &msg, &why) == 0);
		if (msg.type == TM_WIRE_BYE) {
			c->peer->byes++;
			return false;
		}
		if (msg.type == TM_WIRE_WRITE) {
			must(msg.addr + msg.length <= PEER_MEMORY_BYTES);
			if (!recv_all(c, c->peer->memory + msg.addr,
				      msg.length))
				return false;
		}
		serve(c, &msg);
		batch[nr++] = msg;
	} while (c->peer->lie == PEER_SHUFFLE && nr < BATCH_MAX && more(c));

	for (i = 0; i < nr; i++) {
		if (c->peer->lie == PEER_SHUFFLE) {
			j = i + rand_r(&c->seed) % (nr - i);
			msg = batch[i];
			batch[i] = batch[j];
			batch[j] = msg;
		}
		if (!reply(c, &batch[i]))
			return false;
	}
	return true;
}

static void *connection_run(void *arg)
{
	struct connection *c = arg;

	if (handshake_hello(c) && handshake_prove(c)) {
		c->sent_bytes = 0;
		while (serve_batch(c))
			;
	}
	close(c->fd);
	c->peer->threads--;
	free(c);
	return NULL;
}

static void *peer_run(void *arg)
{
	struct peer *peer = arg;

	for (;;) {
		struct pollfd p[2] = {
			{.fd = peer->listen_fd, .events = POLLIN},
			{.fd = peer->stop_fd, .events = POLLIN},
		};
		struct connection *c;
		pthread_t thread;

		poll(p, 2, -1);
		if (p[1].revents)
			return NULL;
		c = calloc(1, sizeof(*c));
		must(c);
		c->peer = peer;
		c->seed = ++peer->connections;
		c->fd = accept(peer->listen_fd, NULL, NULL);
		must(c->fd >= 0);
		peer->threads++;
		must(!pthread_create(&thread, NULL, connection_run, c));
		pthread_detach(thread);
	}
}

void peer_start(struct peer *peer, enum peer_lie lie)
{
	struct sockaddr_un un = {.sun_family = AF_UNIX};

	memset(peer, 0, sizeof(*peer));
	peer->lie = lie;
	peer->memory = calloc(1, PEER_MEMORY_BYTES + TM_PROTO_IO_MAX);
	must(peer->memory);
	strcpy(peer->dir, "/tmp/tm-peer-XXXXXX");
	must(mkdtemp(peer->dir));
	snprintf(peer->address, sizeof(peer->address), "unix:%s/s", peer->dir);
	strcpy(un.sun_path, peer->address + 5);
	peer->stop_fd = eventfd(0, EFD_CLOEXEC);
	peer->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	must(peer->listen_fd >= 0);
	must(!bind(peer->listen_fd, (struct sockaddr *)&un, sizeof(un)));
	must(!listen(peer->listen_fd, 64));
	must(!pthread_create(&peer->thread, NULL, peer_run, peer));
}

void peer_stop(struct peer *peer)
{
	uint64_t one = 1;

	must(write(peer->stop_fd, &one, sizeof(one)) == sizeof(one));
	pthread_join(peer->thread, NULL);
	close(peer->listen_fd);
	while (peer->threads)
		usleep(1000);
	close(peer->stop_fd);
	unlink(peer->address + 5);
	rmdir(peer->dir);
	free(peer->memory);
}
