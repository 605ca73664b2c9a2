// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Making one connection of a session; see dial.h. Knows sockets and the
 * handshake, nothing of requests. No locks.
 */
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/auth.h"
#include "common/dial.h"

/* A unix socket's own; TCP tunes itself, and better. */
#define UNIX_BUFFER_BYTES (4 << 20)

static int fail(struct tm_dial *dial, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct tm_dial *dial, int err, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(dial->why, sizeof(dial->why), fmt, args);
	va_end(args);
	return err;
}

static int fail_errno(struct tm_dial *dial, const char *action, int err)
{
	return fail(dial, -err, "%s: %s", action, strerrordesc_np(err));
}

/* "HOST:PORT" or "[HOST]:PORT" into two texts within buf. */
static int split(char *buf, char **host, char **port)
{
	char *colon = strrchr(buf, ':');

	if (!colon || colon == buf || !colon[1])
		return -EINVAL;
	*colon = '\0';
	*port = colon + 1;
	*host = buf;
	if (buf[0] == '[') {
		if (colon[-1] != ']')
			return -EINVAL;
		colon[-1] = '\0';
		*host = buf + 1;
	} else if (strchr(buf, ':')) {
		return -EINVAL;
	}
	return 0;
}

static int resolve_tcp(const char *text, struct tm_address *list, char *why,
		       size_t why_len)
{
	static const struct addrinfo hints = {
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV,
	};
	char buf[TM_PROTO_ADDRESS_MAX], *host, *port;
	struct addrinfo *all, *a;
	int nr = 0, err;

	if (snprintf(buf, sizeof(buf), "%s", text) >= (int)sizeof(buf) ||
	    split(buf, &host, &port)) {
		snprintf(why, why_len, "not an address (use tcp:HOST:PORT)");
		return -EINVAL;
	}
	err = getaddrinfo(host, port, &hints, &all);
	if (err) {
		snprintf(why, why_len, "cannot resolve '%s': %s", host,
			 gai_strerror(err));
		return -EHOSTUNREACH;
	}
	for (a = all; a && nr < TM_ADDRESSES_MAX; a = a->ai_next, nr++) {
		memcpy(&list[nr].sockaddr, a->ai_addr, a->ai_addrlen);
		list[nr].len = a->ai_addrlen;
	}
	freeaddrinfo(all);
	return nr;
}

static int resolve_unix(const char *path, struct tm_address *list, char *why,
			size_t why_len)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&list[0].sockaddr;

	if (path[0] != '/' || strlen(path) >= sizeof(un->sun_path)) {
		snprintf(why, why_len,
			 "not a path of at most %zu bytes (use unix:/PATH)",
			 sizeof(un->sun_path) - 1);
		return -EINVAL;
	}
	memset(un, 0, sizeof(*un));
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	list[0].len = sizeof(*un);
	return 1;
}

int tm_address_resolve(const char *text, struct tm_address *list, char *why,
		       size_t why_len)
{
	if (strncmp(text, "tcp:", 4) == 0)
		return resolve_tcp(text + 4, list, why, why_len);
	if (strncmp(text, "unix:", 5) == 0)
		return resolve_unix(text + 5, list, why, why_len);
	snprintf(why, why_len,
		 "not an address (use tcp:HOST:PORT or unix:/PATH)");
	return -EINVAL;
}

/* Put a request with its payload into the buffer; sent by push(). */
static void *put(struct tm_dial *dial, enum tm_wire_type type, u32 length)
{
	const struct tm_msg msg = {
		.type = type,
		.id = type,
		.epoch = dial->epoch,
		.length = length,
	};
	struct tm_wire_header *header = (void *)dial->out;

	tm_msg_encode(&msg, header);
	memset(header + 1, 0, length);
	dial->out_len = sizeof(*header) + length;
	dial->out_done = 0;
	dial->in_done = 0;
	return header + 1;
}

static int push(struct tm_dial *dial)
{
	while (dial->out_done < dial->out_len) {
		ssize_t n = send(dial->fd, dial->out + dial->out_done,
				 dial->out_len - dial->out_done,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN
				       ? -EAGAIN
				       : fail_errno(dial, "send", errno);
		dial->out_done += n;
	}
	return 0;
}

static int fill(struct tm_dial *dial, size_t len)
{
	while (dial->in_done < len) {
		ssize_t n = recv(dial->fd, dial->in + dial->in_done,
				 len - dial->in_done, MSG_DONTWAIT);

		if (n < 0)
			return errno == EAGAIN
				       ? -EAGAIN
				       : fail_errno(dial, "receive", errno);
		if (n == 0)
			return fail(dial, -ECONNRESET,
				    "closed by the server during the "
				    "handshake (its log says why)");
		dial->in_done += n;
	}
	return 0;
}

/*
 * Send what there is to send, then receive the reply to it: a header, then at
 * most a struct tm_wire_welcome. Returns 0, or as tm_dial_step() does.
 */
static int exchange(struct tm_dial *dial, enum tm_wire_type type, u64 id)
{
	const struct tm_wire_header *header = (void *)dial->in;
	const char *why;
	struct tm_msg msg;
	int err;

	err = push(dial);
	if (!err)
		err = fill(dial, sizeof(*header));
	if (err)
		return err;
	if (tm_msg_decode(header, false, &msg, &why))
		return fail(dial, -EPROTO, "not a Teramem server: %s", why);
	if (!msg.reply || msg.type != type || msg.id != id)
		return fail(dial, -EPROTO,
			    "not a Teramem server: unexpected message");
	err = fill(dial, sizeof(*header) + msg.length);
	if (err)
		return err;
	dial->status = msg.status;
	return 0;
}

static int refused(struct tm_dial *dial)
{
	const char *remedy = "";

	if (dial->status == TM_STATUS_DENIED)
		remedy = " (only the job's owner may use it; with MUNGE, both "
			 "ends need the same key and clocks)";
	return fail(dial, tm_status_errno(dial->status),
		    "refused by the server: %s%s", tm_status_text(dial->status),
		    remedy);
}

static int step_welcome(struct tm_dial *dial,
			const struct tm_dial_target *target)
{
	uint8_t mac[TM_PROTO_MAC_BYTES];
	u32 epoch;
	int err;

	err = exchange(dial, TM_WIRE_WELCOME,
		       target->session ? TM_WIRE_ATTACH : TM_WIRE_AUTH);
	if (err)
		return err;
	if (dial->status != TM_STATUS_OK)
		return refused(dial);
	memcpy(&dial->welcome, dial->in + sizeof(struct tm_wire_header),
	       sizeof(dial->welcome));
	epoch = tm_le32_to_cpu(dial->welcome.epoch);
	tm_auth_attach_mac(target->key, dial->server_nonce, dial->client_nonce,
			   tm_le64_to_cpu(dial->welcome.session),
			   dial->channel | TM_WELCOME_CHANNEL, epoch, mac);
	if (!tm_auth_equal(mac, dial->welcome.mac, sizeof(mac)))
		return fail(dial, -EACCES,
			    "the server cannot prove that it "
			    "holds the session's key");
	if (epoch != dial->epoch)
		return fail(dial, -EPROTO, "the server changed the epoch");
	return 0;
}

static int prove_attach(struct tm_dial *dial,
			const struct tm_dial_target *target)
{
	struct tm_wire_attach *attach =
		put(dial, TM_WIRE_ATTACH, sizeof(*attach));

	attach->session = tm_cpu_to_le64(target->session);
	attach->channel = tm_cpu_to_le32(dial->channel);
	attach->epoch = tm_cpu_to_le32(dial->epoch);
	tm_auth_attach_mac(target->key, dial->server_nonce, dial->client_nonce,
			   target->session, dial->channel, dial->epoch,
			   attach->mac);
	return 0;
}

static int prove_user(struct tm_dial *dial, const struct tm_dial_target *target)
{
	struct tm_wire_auth auth = {
		.job = tm_cpu_to_le64(target->job),
		.role = tm_cpu_to_le32(1),
	};
	char why[256], *cred;
	size_t len;
	int err;

	memcpy(auth.server_nonce, dial->server_nonce, TM_PROTO_NONCE_BYTES);
	memcpy(auth.client_nonce, dial->client_nonce, TM_PROTO_NONCE_BYTES);
	memcpy(auth.key, target->key, TM_PROTO_KEY_BYTES);
	memcpy(auth.address, target->name,
	       strnlen(target->name, sizeof(auth.address)));

	if (target->auth == TM_MAP_AUTH_PEERCRED) {
		memcpy(put(dial, TM_WIRE_AUTH, sizeof(auth)), &auth,
		       sizeof(auth));
		explicit_bzero(&auth, sizeof(auth));
		return 0;
	}
	/* The server runs as the job's user, as we do. */
	err = tm_auth_munge_encode(&auth, sizeof(auth), geteuid(), &cred, why,
				   sizeof(why));
	explicit_bzero(&auth, sizeof(auth));
	if (err)
		return fail(dial, err, "cannot make a MUNGE credential: %s",
			    why);
	len = strlen(cred) + 1;
	if (len <= TM_PROTO_HANDSHAKE_MAX)
		memcpy(put(dial, TM_WIRE_AUTH, len), cred, len);
	else
		err = fail(dial, -EMSGSIZE, "the MUNGE credential is too long");
	free(cred);
	return err;
}

static int check_hello(struct tm_dial *dial,
		       const struct tm_dial_target *target)
{
	const struct tm_wire_hello *hello =
		(void *)(dial->in + sizeof(struct tm_wire_header));
	unsigned int min = tm_le16_to_cpu(hello->version_min);
	unsigned int max = tm_le16_to_cpu(hello->version_max);
	u32 method = target->auth == TM_MAP_AUTH_MUNGE ? TM_AUTH_MUNGE
						       : TM_AUTH_PEERCRED;

	if (dial->status == TM_STATUS_VERSION ||
	    (dial->status == TM_STATUS_OK &&
	     (min != TM_PROTO_VERSION || max != TM_PROTO_VERSION)))
		return fail(dial, -EPROTO,
			    "the server speaks protocol versions %u to %u, "
			    "this program %u (update the older one)",
			    min, max, TM_PROTO_VERSION);
	if (dial->status != TM_STATUS_OK)
		return refused(dial);
	if (tm_le64_to_cpu(hello->job) != target->job)
		return fail(dial, -EACCES,
			    "the server belongs to job %llu, not to %llu (is "
			    "the server map up to date?)",
			    (unsigned long long)tm_le64_to_cpu(hello->job),
			    (unsigned long long)target->job);
	if (!(tm_le32_to_cpu(hello->auth) & (1u << method)))
		return fail(dial, -EACCES,
			    "the server does not accept %s (see \"auth\" in "
			    "the server map)",
			    method == TM_AUTH_MUNGE ? "munge" : "peercred");
	memcpy(dial->server_nonce, hello->nonce, sizeof(dial->server_nonce));
	return 0;
}

static int step_hello(struct tm_dial *dial, const struct tm_dial_target *target)
{
	int err = exchange(dial, TM_WIRE_HELLO, TM_WIRE_HELLO);

	if (!err)
		err = check_hello(dial, target);
	if (!err)
		err = target->session ? prove_attach(dial, target)
				      : prove_user(dial, target);
	if (err)
		return err;
	dial->step = step_welcome;
	return step_welcome(dial, target);
}

/* A session key goes over a unix socket only to the job's user or to root. */
static int check_peer(struct tm_dial *dial, const struct tm_dial_target *target)
{
	uid_t uid;
	int err;

	if (target->auth != TM_MAP_AUTH_PEERCRED)
		return 0;
	if (target->address.sockaddr.ss_family != AF_UNIX)
		return fail(dial, -EINVAL, "peercred needs a unix socket");
	err = tm_auth_peer(dial->fd, &uid);
	if (err)
		return fail_errno(dial, "ask who serves", -err);
	if (uid != geteuid() && uid != 0)
		return fail(dial, -EACCES,
			    "the server runs as user %u, not as user %u",
			    (unsigned int)uid, (unsigned int)geteuid());
	return 0;
}

static int step_connect(struct tm_dial *dial,
			const struct tm_dial_target *target)
{
	struct tm_wire_hello *hello;
	int err;

	if (connect(dial->fd,
		    (const struct sockaddr *)&target->address.sockaddr,
		    target->address.len) &&
	    errno != EISCONN) {
		err = errno;
		if (err == EINPROGRESS || err == EALREADY)
			return -EAGAIN;
		if (err == EAGAIN) /* a unix socket's backlog is full */
			err = EBUSY;
		if (err == ENOENT) /* a unix socket that was removed */
			err = ECONNREFUSED;
		return fail(dial, -err, "connect: %s%s", strerrordesc_np(err),
			    err == ECONNREFUSED ? " (is the server running?)"
						: "");
	}
	err = check_peer(dial, target);
	if (err)
		return err;
	err = tm_auth_random(dial->client_nonce, sizeof(dial->client_nonce));
	if (err)
		return fail_errno(dial, "get random bytes", -err);
	hello = put(dial, TM_WIRE_HELLO, sizeof(*hello));
	hello->version_min = tm_cpu_to_le16(TM_PROTO_VERSION);
	hello->version_max = tm_cpu_to_le16(TM_PROTO_VERSION);
	hello->auth = tm_cpu_to_le32(1u << (target->auth == TM_MAP_AUTH_MUNGE
						    ? TM_AUTH_MUNGE
						    : TM_AUTH_PEERCRED));
	hello->job = tm_cpu_to_le64(target->job);
	memcpy(hello->nonce, dial->client_nonce, sizeof(hello->nonce));
	dial->step = step_hello;
	return step_hello(dial, target);
}

static void set_options(int fd, const struct tm_dial_target *target)
{
	const int one = 1, buffer = UNIX_BUFFER_BYTES;

	/* Each only makes things better; none is worth failing for. */
	if (target->address.sockaddr.ss_family == AF_UNIX) {
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof(buffer));
		return;
	}
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &target->timeout_ms,
		   sizeof(target->timeout_ms));
}

int tm_dial_start(struct tm_dial *dial, const struct tm_dial_target *target,
		  u32 channel, u32 epoch)
{
	dial->channel = channel;
	dial->epoch = epoch;
	dial->status = TM_STATUS_OK;
	dial->out_len = dial->out_done = dial->in_done = 0;
	dial->step = step_connect;
	dial->fd = socket(target->address.sockaddr.ss_family,
			  SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (dial->fd < 0)
		return fail_errno(dial, "make a socket", errno);
	set_options(dial->fd, target);
	return 0;
}

int tm_dial_step(struct tm_dial *dial, const struct tm_dial_target *target)
{
	int err = dial->step(dial, target);

	if (err != -EAGAIN)
		explicit_bzero(dial->out, dial->out_len);
	if (err && err != -EAGAIN)
		tm_dial_cancel(dial);
	return err;
}

short tm_dial_events(const struct tm_dial *dial)
{
	return dial->step == step_connect || dial->out_done < dial->out_len
		       ? POLLOUT
		       : POLLIN;
}

void tm_dial_cancel(struct tm_dial *dial)
{
	if (dial->fd >= 0)
		close(dial->fd);
	dial->fd = -1;
}
