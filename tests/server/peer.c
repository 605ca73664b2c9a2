// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A client under the test's full control; see peer.h.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "common/dial.h"
#include "tests/server/peer.h"

uid_t peer_server_uid;

int peer_connect(struct peer *peer, const char *address)
{
	const struct timeval patience = {.tv_sec = 30};
	struct tm_address list[TM_ADDRESSES_MAX];
	char why[160];
	int err;

	memset(peer, 0, sizeof(*peer));
	peer->address = address;
	err = tm_address_resolve(address, list, why, sizeof(why));
	if (err < 0)
		return err;
	peer->fd = socket(list[0].sockaddr.ss_family,
			  SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (peer->fd < 0)
		return -errno;
	setsockopt(peer->fd, SOL_SOCKET, SO_RCVTIMEO, &patience,
		   sizeof(patience));
	setsockopt(peer->fd, SOL_SOCKET, SO_SNDTIMEO, &patience,
		   sizeof(patience));
	if (!connect(peer->fd, (struct sockaddr *)&list[0].sockaddr,
		     list[0].len))
		return 0;
	err = -errno;
	close(peer->fd);
	return err;
}

void peer_close(struct peer *peer)
{
	close(peer->fd);
	peer->fd = -1;
}

int peer_send_raw(struct peer *peer, const void *data, size_t len)
{
	const char *p = data;

	while (len) {
		ssize_t n = send(peer->fd, p, len, MSG_NOSIGNAL);

		/* Closed already: receiving will tell. */
		if (n < 0)
			return errno == EPIPE || errno == ECONNRESET ? 0
								     : -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int peer_send(struct peer *peer, struct tm_msg msg, const void *payload)
{
	struct tm_wire_header header;
	int err;

	if (!msg.id)
		msg.id = ++peer->next_id;
	if (!msg.epoch)
		msg.epoch = peer->epoch;
	tm_msg_encode(&msg, &header);
	err = peer_send_raw(peer, &header, sizeof(header));
	return err || !payload ? err : peer_send_raw(peer, payload, msg.length);
}

static int receive(struct peer *peer, void *data, size_t len)
{
	char *p = data;

	while (len) {
		ssize_t n = recv(peer->fd, p, len, 0);

		if (n == 0 || (n < 0 && errno == ECONNRESET))
			return PEER_EOF;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int peer_receive(struct peer *peer, struct tm_msg *msg, void *payload,
		 size_t len)
{
	struct tm_wire_header header;
	const char *why;
	int err;

	err = receive(peer, &header, sizeof(header));
	if (err)
		return err;
	if (tm_msg_decode(&header,
			  (header.type & ~TM_WIRE_REPLY) >= TM_WIRE_RESERVE,
			  msg, &why)) {
		fprintf(stderr, "bad reply: %s\n", why);
		return -EPROTO;
	}
	if (!msg->reply || msg->length > len)
		return -EPROTO;
	err = receive(peer, payload, msg->length);
	return err ? err : msg->status;
}

int peer_call(struct peer *peer, struct tm_msg msg, const void *payload,
	      struct tm_msg *reply, void *data, size_t len)
{
	uint64_t id = msg.id ? msg.id : peer->next_id + 1;
	int ret = peer_send(peer, msg, payload);

	if (!ret)
		ret = peer_receive(peer, reply, data, len);
	if (ret >= 0 && (reply->id != id || reply->type != msg.type))
		return -EPROTO;
	return ret;
}

int peer_hello(struct peer *peer)
{
	const struct tm_msg msg = {
		.type = TM_WIRE_HELLO,
		.length = sizeof(struct tm_wire_hello),
	};
	struct tm_wire_hello hello = {
		.version_min = tm_cpu_to_le16(TM_PROTO_VERSION),
		.version_max = tm_cpu_to_le16(TM_PROTO_VERSION),
	};
	struct tm_msg reply;
	int ret;

	tm_auth_random(peer->client_nonce, sizeof(peer->client_nonce));
	memcpy(hello.nonce, peer->client_nonce, sizeof(hello.nonce));
	ret = peer_call(peer, msg, &hello, &reply, &hello, sizeof(hello));
	memcpy(peer->server_nonce, hello.nonce, sizeof(hello.nonce));
	return ret;
}

void peer_fill_auth(struct peer *peer, struct tm_wire_auth *auth)
{
	memset(auth, 0, sizeof(*auth));
	tm_auth_random(peer->key, sizeof(peer->key));
	memcpy(auth->server_nonce, peer->server_nonce,
	       sizeof(auth->server_nonce));
	memcpy(auth->client_nonce, peer->client_nonce,
	       sizeof(auth->client_nonce));
	memcpy(auth->key, peer->key, sizeof(auth->key));
	auth->job = tm_cpu_to_le64(peer->job);
	memcpy(auth->address, peer->address, strlen(peer->address));
	auth->role = tm_cpu_to_le32(1);
}

int peer_send_auth(struct peer *peer, const struct tm_wire_auth *auth)
{
	struct tm_msg msg = {.type = TM_WIRE_AUTH, .length = sizeof(*auth)};
	char *cred, why[200];
	int err;

	if (!peer->munge)
		return peer_send(peer, msg, auth);
	err = tm_auth_munge_encode(auth, sizeof(*auth), peer_server_uid, &cred,
				   why, sizeof(why));
	if (err) {
		fprintf(stderr, "%s\n", why);
		return err;
	}
	msg.length = strlen(cred) + 1;
	err = peer_send(peer, msg, cred);
	free(cred);
	return err;
}

int peer_welcome(struct peer *peer, uint32_t channel)
{
	uint8_t mac[TM_PROTO_MAC_BYTES];
	struct tm_msg reply;
	int ret;

	ret = peer_receive(peer, &reply, &peer->welcome, sizeof(peer->welcome));
	if (ret)
		return ret;
	if (reply.type != TM_WIRE_WELCOME)
		return -EPROTO;
	peer->epoch = tm_le32_to_cpu(peer->welcome.epoch);
	tm_auth_attach_mac(peer->key, peer->server_nonce, peer->client_nonce,
			   tm_le64_to_cpu(peer->welcome.session),
			   channel | TM_WELCOME_CHANNEL, peer->epoch, mac);
	return tm_auth_equal(mac, peer->welcome.mac, sizeof(mac)) ? 0 : -EPROTO;
}

int peer_open(struct peer *peer, const char *address, bool munge)
{
	struct tm_wire_auth auth;
	int ret = peer_connect(peer, address);

	peer->munge = munge;
	if (!ret)
		ret = peer_hello(peer);
	if (ret)
		return ret;
	peer_fill_auth(peer, &auth);
	ret = peer_send_auth(peer, &auth);
	return ret ? ret : peer_welcome(peer, 0);
}

int peer_attach(struct peer *peer, const struct peer *first, uint32_t channel,
		uint32_t epoch)
{
	const struct tm_msg msg = {
		.type = TM_WIRE_ATTACH,
		.length = sizeof(struct tm_wire_attach),
	};
	struct tm_wire_attach attach = {
		.session = first->welcome.session,
		.channel = tm_cpu_to_le32(channel),
		.epoch = tm_cpu_to_le32(epoch),
	};
	/* Ids of a channel grow, on the connection that renews it, too. */
	uint64_t next_id = first->next_id;
	int ret = peer_connect(peer, first->address);

	peer->next_id = next_id;
	memcpy(peer->key, first->key, sizeof(peer->key));
	if (!ret)
		ret = peer_hello(peer);
	if (ret)
		return ret;
	tm_auth_attach_mac(peer->key, peer->server_nonce, peer->client_nonce,
			   tm_le64_to_cpu(attach.session), channel, epoch,
			   attach.mac);
	ret = peer_send(peer, msg, &attach);
	return ret ? ret : peer_welcome(peer, channel);
}

int peer_reserve(struct peer *peer, uint64_t *addr)
{
	const struct tm_msg msg = {.type = TM_WIRE_RESERVE};
	struct tm_msg reply;
	int ret = peer_call(peer, msg, NULL, &reply, NULL, 0);

	if (!ret)
		*addr = reply.addr;
	return ret;
}

int peer_release(struct peer *peer, uint64_t addr)
{
	const struct tm_msg msg = {
		.type = TM_WIRE_RELEASE,
		.addr = addr,
		.argument = tm_le64_to_cpu(peer->welcome.extent_bytes),
	};
	struct tm_msg reply;

	return peer_call(peer, msg, NULL, &reply, NULL, 0);
}

int peer_write(struct peer *peer, uint64_t addr, const void *data,
	       uint32_t bytes)
{
	const struct tm_msg msg = {
		.type = TM_WIRE_WRITE,
		.addr = addr,
		.length = bytes,
	};
	struct tm_msg reply;

	return peer_call(peer, msg, data, &reply, NULL, 0);
}

int peer_read(struct peer *peer, uint64_t addr, void *data, uint32_t bytes)
{
	const struct tm_msg msg = {
		.type = TM_WIRE_READ,
		.addr = addr,
		.argument = bytes,
	};
	struct tm_msg reply;

	return peer_call(peer, msg, NULL, &reply, data, bytes);
}

int peer_ping(struct peer *peer)
{
	const struct tm_msg msg = {.type = TM_WIRE_PING};
	struct tm_msg reply;

	return peer_call(peer, msg, NULL, &reply, NULL, 0);
}

int peer_stat(struct peer *peer, struct tm_wire_stat *stat)
{
	const struct tm_msg msg = {.type = TM_WIRE_STAT};
	struct tm_msg reply;

	return peer_call(peer, msg, NULL, &reply, stat, sizeof(*stat));
}

int peer_bye(struct peer *peer)
{
	const struct tm_msg msg = {.type = TM_WIRE_BYE};
	struct tm_msg reply;
	int ret = peer_send(peer, msg, NULL);

	if (!ret)
		ret = peer_receive(peer, &reply, NULL, 0);
	peer_close(peer);
	return ret;
}
