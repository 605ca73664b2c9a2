// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The listening socket, and the address by which clients know the server. New
 * connections go to handshake.c. No locks; loop 0's.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/dial.h"
#include "common/log.h"
#include "server/server.h"

#define BACKLOG 128
#define ACCEPTS_PER_TURN 16

/* Without memory or descriptors for one more: try again after so long. */
#define PAUSE_MS 100

static int fail(const struct tm_server *server, int err, const char *remedy)
{
	tm_err("listen on %s: %s%s", server->options.listen,
	       strerrordesc_np(err), remedy);
	return -err;
}

/* ---- sockets' options --------------------------------------------------- */

/*
 * A client's machine that died without a word is noticed, so that its session
 * ends. A client that is only stopped keeps its connection.
 */
static void set_tcp_options(int fd)
{
	const int one = 1, interval = 2, count = 3;
	const int idle = TM_SILENCE_S - interval * count;

	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof(one));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval, sizeof(interval));
	setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof(count));
}

/* A unix socket's own; TCP tunes itself, and better. */
static void set_unix_options(int fd)
{
	const int bytes = 4 << 20;

	setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof(bytes));
}

/* ---- accepting ---------------------------------------------------------- */

static void pause_accepting(struct tm_listener *listener)
{
	struct tm_loop *loop = listener->server->loop[0];

	tm_warn("accept a connection: %s", strerrordesc_np(errno));
	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, listener->source.fd, NULL);
	listener->paused_until_ms = tm_now_ms() + PAUSE_MS;
	loop->due_ms = 0;
}

static void listener_ready(struct tm_source *source, uint32_t events)
{
	struct tm_listener *listener = (struct tm_listener *)source;
	bool local = listener->path[0];
	struct tm_conn *conn;
	int i, fd;

	for (i = 0; i < ACCEPTS_PER_TURN; i++) {
		fd = accept4(source->fd, NULL, NULL,
			     SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE ||
			    errno == ENOBUFS || errno == ENOMEM)
				pause_accepting(listener);
			return;
		}
		if (local)
			set_unix_options(fd);
		else
			set_tcp_options(fd);
		conn = tm_conn_create(listener->server->loop[0], fd, local);
		if (conn)
			tm_handshake_begin(conn);
	}
}

int tm_listener_resume(struct tm_server *server, uint64_t now_ms)
{
	struct tm_listener *listener = &server->listener;

	if (!listener->paused_until_ms)
		return -1;
	if (now_ms < listener->paused_until_ms)
		return (int)(listener->paused_until_ms - now_ms);
	if (tm_loop_add(server->loop[0], &listener->source))
		return PAUSE_MS;
	listener->paused_until_ms = 0;
	return -1;
}

/* ---- unix sockets ------------------------------------------------------- */

/* Is nobody serving at the path any more? Then it is ours to take. */
static int clear_path(const struct tm_server *server,
		      const struct tm_address *address)
{
	const char *path =
		((const struct sockaddr_un *)&address->sockaddr)->sun_path;
	struct stat st;
	int fd, err = 0;

	if (lstat(path, &st))
		return errno == ENOENT ? 0 : fail(server, errno, "");
	if (!S_ISSOCK(st.st_mode))
		return fail(server, EEXIST,
			    " and is no socket (remove it, or "
			    "use another path)");
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(server, errno, "");
	if (!connect(fd, (const struct sockaddr *)&address->sockaddr,
		     address->len) ||
	    errno != ECONNREFUSED)
		err = EADDRINUSE;
	close(fd);
	if (err)
		return fail(server, err, " (another server is alive there)");
	return unlink(path) && errno != ENOENT ? fail(server, errno, "") : 0;
}

static int own_path(struct tm_server *server, const char *path)
{
	struct tm_listener *listener = &server->listener;
	struct stat st;

	if (lstat(path, &st))
		return fail(server, errno, "");
	listener->dev = st.st_dev;
	listener->ino = st.st_ino;
	snprintf(listener->path, sizeof(listener->path), "%s", path);
	/* Started by root for somebody else: who must be able to connect. */
	if (server->options.owner != geteuid() &&
	    lchown(path, server->options.owner, (gid_t)-1))
		return fail(server, errno, "");
	return 0;
}

/* ---- starting ----------------------------------------------------------- */

static int bind_and_listen(struct tm_server *server,
			   const struct tm_address *address)
{
	bool local = address->sockaddr.ss_family == AF_UNIX;
	const int one = 1;
	mode_t mask;
	int fd, ret;

	fd = socket(address->sockaddr.ss_family,
		    SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(server, errno, "");
	server->listener.source.fd = fd;
	if (!local)
		setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	mask = umask(0177);
	ret = bind(fd, (const struct sockaddr *)&address->sockaddr,
		   address->len);
	umask(mask);
	if (ret)
		return fail(server, errno,
			    errno == EADDRINUSE
				    ? " (choose another port, or 0 for any)"
				    : "");
	return listen(fd, BACKLOG) ? fail(server, errno, "") : 0;
}

static int bound_port(int fd)
{
	struct sockaddr_storage address;
	socklen_t len = sizeof(address);

	if (getsockname(fd, (struct sockaddr *)&address, &len))
		return 0;
	if (address.ss_family == AF_INET6)
		return ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
	return ntohs(((struct sockaddr_in *)&address)->sin_port);
}

/* The address that clients dial: port 0 stands for the bound one. */
static int announce(struct tm_server *server)
{
	const struct tm_options *options = &server->options;
	struct tm_listener *listener = &server->listener;
	const char *text =
		options->address ? options->address : options->listen;
	size_t len = strlen(text);
	int n;

	if (strncmp(text, "tcp:", 4) == 0 && len > 2 &&
	    strcmp(text + len - 2, ":0") == 0)
		n = snprintf(listener->address, sizeof(listener->address),
			     "%.*s:%d", (int)len - 2, text,
			     bound_port(listener->source.fd));
	else
		n = snprintf(listener->address, sizeof(listener->address), "%s",
			     text);
	return n < (int)sizeof(listener->address)
		       ? 0
		       : fail(server, ENAMETOOLONG, "");
}

static bool is_wildcard(const struct tm_address *address)
{
	if (address->sockaddr.ss_family == AF_INET)
		return ((const struct sockaddr_in *)&address->sockaddr)
			       ->sin_addr.s_addr == htonl(INADDR_ANY);
	if (address->sockaddr.ss_family == AF_INET6)
		return IN6_IS_ADDR_UNSPECIFIED(
			&((const struct sockaddr_in6 *)&address->sockaddr)
				 ->sin6_addr);
	return false;
}

int tm_listener_init(struct tm_server *server)
{
	const struct tm_options *options = &server->options;
	struct tm_listener *listener = &server->listener;
	struct tm_address list[TM_ADDRESSES_MAX];
	char why[160];
	int ret;

	listener->server = server;
	listener->source.ready = listener_ready;
	TAILQ_INIT(&server->door.list);
	ret = tm_address_resolve(options->listen, list, why, sizeof(why));
	if (ret < 0) {
		tm_err("listen on %s: %s", options->listen, why);
		return ret;
	}
	if (is_wildcard(&list[0]) && !options->address) {
		tm_err("listen on %s: clients cannot dial that, and prove "
		       "themselves to the address that they dial (add "
		       "--address=tcp:HOST:0)",
		       options->listen);
		return -EINVAL;
	}
	ret = list[0].sockaddr.ss_family == AF_UNIX
		      ? clear_path(server, &list[0])
		      : 0;
	if (!ret)
		ret = bind_and_listen(server, &list[0]);
	if (!ret && list[0].sockaddr.ss_family == AF_UNIX)
		ret = own_path(server, options->listen + strlen("unix:"));
	if (!ret)
		ret = announce(server);
	if (!ret)
		ret = tm_loop_add(server->loop[0], &listener->source);
	return ret;
}

void tm_listener_fini(struct tm_server *server)
{
	struct tm_listener *listener = &server->listener;
	struct stat st;

	/* Only if it is still ours. */
	if (listener->path[0] && !lstat(listener->path, &st) &&
	    st.st_dev == listener->dev && st.st_ino == listener->ino)
		unlink(listener->path);
	if (listener->source.fd >= 0)
		close(listener->source.fd);
}
