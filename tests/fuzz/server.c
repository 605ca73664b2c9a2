// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A client's messages, as teramemd takes them: the whole server runs in a
 * thread, and each input is a connection to it. If the first byte is odd, the
 * connection has authenticated properly before the rest is sent. The server
 * must answer or close, and still serve the next one.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "core/proto.h"
#include "tests/fuzz/fuzz.h"

int teramemd_main(int argc, char **argv); /* server/main.c, renamed */

static char directory[] = "/tmp/teramem-fuzz-XXXXXX";
static char address[64];

static void remove_directory(void)
{
	unlink(address + strlen("unix:"));
	rmdir(directory);
}

static void *serve(void *arg)
{
	char listen[80];
	char *argv[] = {
		"teramemd",    listen,	    "--capacity=1M", "--extent=64K",
		"--threads=1", "--grace=0", "--idle-exit=0", "--mlock=no",
		"--job=7",     NULL};

	snprintf(listen, sizeof(listen), "--listen=%s", address);
	teramemd_main(sizeof(argv) / sizeof(argv[0]) - 1, argv);
	abort();
}

static void start(void)
{
	struct stat st;
	pthread_t thread;

	fuzz_check(mkdtemp(directory));
	snprintf(address, sizeof(address), "unix:%s/socket", directory);
	atexit(remove_directory);
	fuzz_check(!pthread_create(&thread, NULL, serve, NULL));
	while (stat(address + strlen("unix:"), &st))
		usleep(1000);
}

static int dial(void)
{
	struct sockaddr_un to = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(to.sun_path, sizeof(to.sun_path), "%s/socket", directory);
	fuzz_check(fd >= 0);
	while (connect(fd, (struct sockaddr *)&to, sizeof(to)))
		usleep(1000);
	return fd;
}

static void send_message(int fd, u8 type, const void *payload, u32 length)
{
	const struct tm_msg msg = {.type = type, .id = 1, .length = length};
	struct tm_wire_header header;

	tm_msg_encode(&msg, &header);
	fuzz_check(send(fd, &header, sizeof(header), 0) == sizeof(header));
	fuzz_check(send(fd, payload, length, 0) == length);
}

/* libFuzzer's timer interrupts. */
static ssize_t receive_some(int fd, void *data, size_t length)
{
	ssize_t n;

	do
		n = recv(fd, data, length, 0);
	while (n < 0 && errno == EINTR);
	return n;
}

static void receive(int fd, void *data, size_t length)
{
	char *p = data;
	ssize_t n;

	for (; length; p += n, length -= (size_t)n) {
		n = receive_some(fd, p, length);
		fuzz_check(n > 0);
	}
}

static void receive_message(int fd, void *payload, size_t length)
{
	struct tm_wire_header header;
	struct tm_msg msg;
	const char *why;

	receive(fd, &header, sizeof(header));
	fuzz_check(!tm_msg_decode(&header, false, &msg, &why));
	fuzz_check(msg.status == TM_STATUS_OK && msg.length == length);
	receive(fd, payload, length);
}

static void authenticate(int fd)
{
	struct tm_wire_hello hello = {
		.version_min = tm_cpu_to_le16(TM_PROTO_VERSION),
		.version_max = tm_cpu_to_le16(TM_PROTO_VERSION),
	};
	struct tm_wire_auth auth = {.job = tm_cpu_to_le64(7),
				    .role = tm_cpu_to_le32(1)};
	struct tm_wire_welcome welcome;

	send_message(fd, TM_WIRE_HELLO, &hello, sizeof(hello));
	receive_message(fd, &hello, sizeof(hello));
	memcpy(auth.server_nonce, hello.nonce, sizeof(auth.server_nonce));
	memcpy(auth.address, address, strlen(address));
	send_message(fd, TM_WIRE_AUTH, &auth, sizeof(auth));
	receive_message(fd, &welcome, sizeof(welcome));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char sink[65536];
	int fd;

	pthread_once(&once, start);
	if (!size || size > 65536)
		return 0;
	fd = dial();
	if (data[0] & 1)
		authenticate(fd);
	/* The server may have hung up already. */
	if (send(fd, data + 1, size - 1, MSG_NOSIGNAL) >= 0)
		shutdown(fd, SHUT_WR);
	while (receive_some(fd, sink, sizeof(sink)) > 0)
		;
	close(fd);
	return 0;
}
