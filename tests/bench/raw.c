// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Raw transport figures as one JSON line: a channel against a running
 * teramemd, and next to it the simplest thing that could be faster, a blocking
 * request and reply loop over the same kind of socket.
 *
 * raw ADDRESS [BLOCK [DEPTH [MS]]]
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/rawbench.h"
#include "common/size.h"

#define SPAN_BYTES (64u << 20)

static void on_lost(void *ctx, struct tm_session *session, const char *why)
{
	fprintf(stderr, "raw: %s\n", why);
}

static const struct tm_session_ops ops = {.lost = on_lost};

static uint64_t clock_ns(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* Two ends of a connection of the given kind. */
static void connect_pair(bool tcp, int fd[2])
{
	struct sockaddr_in in = {.sin_family = AF_INET};
	socklen_t len = sizeof(in);
	const int one = 1, buffer = 4 << 20;
	int listener;

	if (!tcp) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd))
			die("socketpair");
		setsockopt(fd[0], SOL_SOCKET, SO_SNDBUF, &buffer,
			   sizeof(buffer));
		return;
	}
	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	listener = socket(AF_INET, SOCK_STREAM, 0);
	fd[1] = socket(AF_INET, SOCK_STREAM, 0);
	if (bind(listener, (struct sockaddr *)&in, sizeof(in)) ||
	    listen(listener, 1) ||
	    getsockname(listener, (struct sockaddr *)&in, &len) ||
	    connect(fd[1], (struct sockaddr *)&in, sizeof(in)))
		die("connect");
	fd[0] = accept(listener, NULL, NULL);
	setsockopt(fd[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	setsockopt(fd[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	close(listener);
}

static void serve(int fd, uint32_t block)
{
	uint8_t request[64], *memory = malloc(SPAN_BYTES + 64);
	uint64_t addr = 0;

	memset(memory, 1, SPAN_BYTES + 64);
	while (recv(fd, request, sizeof(request), MSG_WAITALL) > 0) {
		if (send(fd, memory + addr, block + 64, MSG_NOSIGNAL) < 0)
			break;
		addr = (addr + block) % (SPAN_BYTES - block);
	}
	_exit(0);
}

static double blocking_loop(bool tcp, uint32_t block, unsigned int depth,
			    unsigned int ms, struct tm_hist *hist,
			    double *cpu_s_per_gb)
{
	uint8_t request[64] = {0}, *buffer = malloc(block + 64);
	uint64_t cpu, start, bytes = 0, sent_ns = 0;
	int fd[2], status;
	unsigned int i;
	pid_t pid;

	connect_pair(tcp, fd);
	pid = fork();
	if (pid == 0) {
		close(fd[1]);
		serve(fd[0], block);
	}
	close(fd[0]);
	/* Its first reply says that the other side has its memory. */
	for (i = 0; i < depth; i++)
		send(fd[1], request, sizeof(request), 0);
	if (recv(fd[1], buffer, block + 64, MSG_WAITALL) < 0)
		die("blocking loop");
	cpu = clock_ns(CLOCK_THREAD_CPUTIME_ID);
	start = clock_ns(CLOCK_MONOTONIC);
	while (clock_ns(CLOCK_MONOTONIC) - start < ms * 1000000ull) {
		sent_ns = clock_ns(CLOCK_MONOTONIC);
		if (send(fd[1], request, sizeof(request), 0) < 0 ||
		    recv(fd[1], buffer, block + 64, MSG_WAITALL) < 0)
			die("blocking loop");
		tm_hist_record(hist, clock_ns(CLOCK_MONOTONIC) - sent_ns);
		bytes += block;
	}
	start = clock_ns(CLOCK_MONOTONIC) - start;
	*cpu_s_per_gb =
		(double)(clock_ns(CLOCK_THREAD_CPUTIME_ID) - cpu) / bytes;
	close(fd[1]);
	waitpid(pid, &status, 0);
	free(buffer);
	return bytes * 1e9 / start;
}

static void report(const char *name, double rate, double cpu_s_per_gb,
		   const struct tm_hist *hist)
{
	printf("\"%s\": {\"gb_s\": %.5f, \"cpu_s_per_gb\": %.3f, "
	       "\"p50_us\": %.1f, \"p99_us\": %.1f}",
	       name, rate / 1e9, cpu_s_per_gb,
	       tm_hist_percentile(hist, 500) / 1e3,
	       tm_hist_percentile(hist, 990) / 1e3);
}

int main(int argc, char **argv)
{
	struct tm_map_server server = {0};
	struct tm_session_config config = {
		.server = &server,
		.timeout_ms = 10000,
		.nr_channels = 1,
		.depth = 256,
	};
	struct tm_rawbench params = {
		.type = TM_WIRE_READ,
		.span_bytes = SPAN_BYTES,
	};
	static struct tm_rawbench_result result;
	static struct tm_hist hist;
	struct tm_session *session;
	uint64_t block = 256 << 10;
	const char *error;
	char why[640];
	double rate, cpu;
	bool tcp;
	int err;

	if (argc < 2 || (argc > 2 && tm_size_parse(argv[2], &block, &error))) {
		fprintf(stderr, "usage: raw ADDRESS [BLOCK [DEPTH [MS]]]\n");
		return 2;
	}
	snprintf(server.address, sizeof(server.address), "%s", argv[1]);
	tcp = strncmp(argv[1], "tcp:", 4) == 0;
	server.auth = tcp ? TM_MAP_AUTH_MUNGE : TM_MAP_AUTH_PEERCRED;
	params.block_bytes = block;
	params.depth = argc > 3 ? atoi(argv[3]) : 8;
	params.duration_ms = argc > 4 ? atoi(argv[4]) : 1000;

	rate = blocking_loop(tcp, block, params.depth, params.duration_ms,
			     &hist, &cpu);
	err = tm_session_open(&config, &ops, NULL, &session, why, sizeof(why));
	if (err) {
		fprintf(stderr, "raw: %s\n", why);
		return 1;
	}
	printf("{\"address\": \"%s\", \"block\": %u, \"depth\": %u, ",
	       strtok(argv[1], ":"), params.block_bytes, params.depth);
	report("blocking", rate, cpu, &hist);
	for (; params.type <= TM_WIRE_WRITE; params.type++) {
		err = tm_rawbench_run(session, tm_session_channel(session, 0),
				      &params, &result);
		if (err) {
			fprintf(stderr, "raw: %s\n", strerrordesc_np(-err));
			return 1;
		}
		printf(", ");
		report(params.type == TM_WIRE_READ ? "read" : "write",
		       tm_rawbench_rate(&result),
		       (double)result.cpu_ns / result.bytes,
		       &result.latency_ns);
	}
	printf("}\n");
	tm_session_close(session);
	return 0;
}
