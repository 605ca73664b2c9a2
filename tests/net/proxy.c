// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A network that breaks on demand: a TCP proxy on the loopback interface.
 *
 *	proxy tcp:127.0.0.1:PORT TARGET     (port 0: any; TARGET as in a map)
 *
 * prints "tcp:127.0.0.1:PORT" once it listens, then obeys lines on standard
 * input, each answered by "ok", and ends with it:
 *
 *	pass		everything goes through (also ends hole and refuse)
 *	reset		reset all connections
 *	cut		close all connections in order
 *	reset-every N	reset each connection after N bytes to the client; 0:
 *off stall MS	nothing moves for so long drop		connections of now are
 *half-open from now on: what is sent disappears, nothing comes, nobody is told
 *	hole		nothing moves, new connections do not either, until pass
 *	refuse		reset all connections and refuse new ones, until pass
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "common/dial.h"

#define PAIRS_MAX 128
#define BUFFER_BYTES (256 << 10)

struct flow {
	int from, to;
	size_t start, end;
	char buffer[BUFFER_BYTES];
};

struct pair {
	struct flow up, down;
	size_t down_bytes;
	bool dropped; /* half-open */
};

static struct pair *pairs[PAIRS_MAX];
static struct tm_address listen_address, target_address;
static int listen_fd = -1;
static size_t reset_every;
static bool hole, swallow;
static long long stalled_until_ms;

static long long now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000ll + t.tv_nsec / 1000000;
}

static void die(const char *what)
{
	fprintf(stderr, "proxy: %s: %m\n", what);
	exit(1);
}

static void start_listening(void)
{
	struct sockaddr *sa = (struct sockaddr *)&listen_address.sockaddr;
	const int one = 1;

	if (listen_fd >= 0)
		return;
	listen_fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	setsockopt(listen_fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(listen_fd, sa, listen_address.len) || listen(listen_fd, 128) ||
	    getsockname(listen_fd, sa, &listen_address.len))
		die("listen");
}

static void close_pair(unsigned int i, bool reset)
{
	const struct linger linger = {.l_onoff = 1};
	struct pair *pair = pairs[i];

	if (!pair)
		return;
	if (reset) {
		setsockopt(pair->up.from, SOL_SOCKET, SO_LINGER, &linger,
			   sizeof(linger));
		setsockopt(pair->up.to, SOL_SOCKET, SO_LINGER, &linger,
			   sizeof(linger));
	}
	close(pair->up.from);
	close(pair->up.to);
	free(pair);
	pairs[i] = NULL;
}

static void close_all(bool reset)
{
	unsigned int i;

	for (i = 0; i < PAIRS_MAX; i++)
		close_pair(i, reset);
}

static void accept_one(void)
{
	int client = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK);
	int server = socket(target_address.sockaddr.ss_family, SOCK_STREAM, 0);
	struct pair *pair = calloc(1, sizeof(*pair));
	unsigned int i = 0;

	if (client < 0 || server < 0 || !pair)
		die("accept");
	while (i < PAIRS_MAX && pairs[i])
		i++;
	if (i == PAIRS_MAX)
		die("too many connections");
	pair->up.from = pair->down.to = client;
	pair->up.to = pair->down.from = server;
	pairs[i] = pair;
	if (connect(server, (struct sockaddr *)&target_address.sockaddr,
		    target_address.len))
		close_pair(i, true);
	else
		fcntl(server, F_SETFL, O_NONBLOCK);
}

/* Returns false when the connection is at its end. */
static bool move_bytes(struct flow *flow, size_t *bytes)
{
	ssize_t n;

	if (flow->start == flow->end) {
		n = recv(flow->from, flow->buffer, sizeof(flow->buffer), 0);
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		flow->start = 0;
		flow->end = n;
	}
	n = send(flow->to, flow->buffer + flow->start, flow->end - flow->start,
		 MSG_NOSIGNAL);
	if (n < 0)
		return errno == EAGAIN;
	flow->start += n;
	*bytes += n;
	return true;
}

/* Returns false at the end of the connection. */
static bool relay_down(struct pair *pair)
{
	struct flow *down = &pair->down;

	if (!swallow)
		return move_bytes(down, &pair->down_bytes);
	/* Not what waits in the buffer, but what the server sends from now. */
	if (recv(down->from, down->buffer, 1, 0) < 0)
		return errno == EAGAIN;
	swallow = false;
	return false;
}

static void relay(unsigned int i)
{
	struct pair *pair = pairs[i];
	size_t up_bytes = 0;

	if (!move_bytes(&pair->up, &up_bytes))
		close_pair(i, false);
	else if (!relay_down(pair))
		close_pair(i, false);
	else if (reset_every && pair->down_bytes >= reset_every)
		close_pair(i, true);
}

static void command(const char *line)
{
	unsigned int i;
	long number;

	if (!strcmp(line, "pass")) {
		hole = false;
		start_listening();
	} else if (!strcmp(line, "reset")) {
		close_all(true);
	} else if (!strcmp(line, "cut")) {
		close_all(false);
	} else if (sscanf(line, "reset-every %ld", &number) == 1) {
		reset_every = number;
	} else if (!strcmp(line, "swallow")) {
		swallow = true;
	} else if (sscanf(line, "stall %ld", &number) == 1) {
		stalled_until_ms = now_ms() + number;
	} else if (!strcmp(line, "drop")) {
		for (i = 0; i < PAIRS_MAX; i++)
			if (pairs[i])
				pairs[i]->dropped = true;
	} else if (!strcmp(line, "hole")) {
		hole = true;
	} else if (!strcmp(line, "refuse")) {
		close(listen_fd);
		listen_fd = -1;
		close_all(true);
	} else {
		fprintf(stderr, "proxy: what is '%s'?\n", line);
		exit(2);
	}
	printf("ok\n");
	fflush(stdout);
}

/* Lines that are complete; returns false at the end of the input. */
static bool read_commands(void)
{
	static char buffer[256];
	static size_t len;
	char *newline;
	ssize_t n = read(0, buffer + len, sizeof(buffer) - 1 - len);

	if (n <= 0)
		return false;
	len += n;
	while ((newline = memchr(buffer, '\n', len))) {
		*newline = '\0';
		command(buffer);
		len -= newline + 1 - buffer;
		memmove(buffer, newline + 1, len);
	}
	return true;
}

static unsigned int watch(struct pollfd *p, unsigned int nr,
			  const struct flow *in, const struct flow *out)
{
	p[nr].fd = in->from;
	p[nr].events = (in->start == in->end ? POLLIN : 0) |
		       (out->start < out->end ? POLLOUT : 0);
	p[nr].revents = 0;
	return nr + 1;
}

static void serve(void)
{
	struct pollfd p[2 + 2 * PAIRS_MAX];
	unsigned int index[2 + 2 * PAIRS_MAX];
	unsigned int i, nr;
	long long stalled;

	for (;;) {
		stalled = stalled_until_ms - now_ms();
		p[0] = (struct pollfd){.fd = 0, .events = POLLIN};
		p[1] = (struct pollfd){.fd = listen_fd, .events = POLLIN};
		if (stalled > 0 || hole)
			p[1].fd = -1;
		nr = 2;
		for (i = 0; i < PAIRS_MAX && stalled <= 0 && !hole; i++) {
			if (!pairs[i] || pairs[i]->dropped)
				continue;
			index[nr] = index[nr + 1] = i;
			nr = watch(p, nr, &pairs[i]->up, &pairs[i]->down);
			nr = watch(p, nr, &pairs[i]->down, &pairs[i]->up);
		}
		if (poll(p, nr, stalled > 0 ? stalled : -1) < 0)
			die("poll");
		for (i = 2; i < nr; i++)
			if (p[i].revents && pairs[index[i]])
				relay(index[i]);
		if (p[1].revents)
			accept_one();
		if (p[0].revents && !read_commands())
			return;
	}
}

static void resolve(const char *text, struct tm_address *address)
{
	struct tm_address list[TM_ADDRESSES_MAX];
	char why[200];

	if (tm_address_resolve(text, list, why, sizeof(why)) < 0) {
		fprintf(stderr, "proxy: %s: %s\n", text, why);
		exit(2);
	}
	*address = list[0];
}

int main(int argc, char **argv)
{
	struct sockaddr_in *in = (void *)&listen_address.sockaddr;

	if (argc != 3) {
		fprintf(stderr, "usage: proxy tcp:127.0.0.1:PORT TARGET\n");
		return 2;
	}
	resolve(argv[1], &listen_address);
	resolve(argv[2], &target_address);
	start_listening();
	printf("tcp:127.0.0.1:%u\n", ntohs(in->sin_port));
	fflush(stdout);
	serve();
	close_all(false);
	return 0;
}
