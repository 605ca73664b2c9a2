// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The device interface of teramem.ko: every error that the ABI names, and what
 * the memory is to fork, GUP, madvise and mremap. Its server is a thread here,
 * so that it can be held up and cut off. Run as root, with the module loaded.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/proto.h"
#include "include/teramem/uapi.h"

#define BLOCK 65536u
#define LOCAL (16 * BLOCK)
#define REGION (128 * BLOCK)
#define EXTENT (1u << 20)
#define SERVER_BYTES (32u << 20)
#define NAME "device"
#define DEVICE TM_SPACE_DEVICE_FOLDER "/" NAME

static unsigned int nr_tests, nr_failed;

static void report(bool fine, const char *what)
{
	nr_failed += !fine;
	printf("%sok %u - %s\n", fine ? "" : "not ", ++nr_tests, what);
	fflush(stdout);
}

/* The call's result must be this error, or 0. */
static void expect(int ret, int err, const char *what)
{
	int got = ret < 0 ? errno : 0;

	report(got == err, what);
	if (got != err)
		printf("# %s, not %s\n", strerror(got), strerror(err));
}

/* A memory server at the other end of a socketpair. */
static char *memory;
static atomic_uint_fast64_t given;
static atomic_bool held;

static bool all(int fd, void *buf, size_t len, bool out)
{
	ssize_t n;

	for (char *p = buf; len; p += n, len -= (size_t)n) {
		n = out ? send(fd, p, len, MSG_NOSIGNAL) : recv(fd, p, len, 0);
		if (n <= 0)
			return false;
	}
	return true;
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct tm_wire_header header;
	struct tm_msg msg;
	const char *why;
	bool fine;

	while (all(fd, &header, sizeof(header), false) &&
	       !tm_msg_decode(&header, true, &msg, &why)) {
		while (held)
			usleep(1000);
		if (msg.type == TM_WIRE_BYE)
			break;
		if (msg.type == TM_WIRE_WRITE &&
		    !all(fd, memory + msg.addr, msg.length, false))
			break;
		msg.reply = true;
		msg.length = 0;
		if (msg.type == TM_WIRE_RESERVE) {
			msg.addr = atomic_fetch_add(&given, EXTENT);
			msg.argument = EXTENT;
			if (msg.addr + EXTENT > SERVER_BYTES)
				msg.status = TM_STATUS_NO_MEMORY;
		} else if (msg.type == TM_WIRE_READ) {
			msg.length = (u32)msg.argument;
		}
		tm_msg_encode(&msg, &header);
		fine = all(fd, &header, sizeof(header), true);
		if (!fine || !all(fd, memory + msg.addr, msg.length, true))
			break;
	}
	close(fd);
	return NULL;
}

static struct tm_uapi_space good_space = {
	.version = TM_UAPI_VERSION,
	.block_bytes = BLOCK,
	.io_bytes = 4 * BLOCK,
	.readahead_bytes = 0,
	.timeout_ms = 3000,
	.stall_ms = 3000,
	.nr_servers = 1,
	.nr_lanes = 2,
	.capacity_bytes = REGION,
	.local_bytes = LOCAL,
	.name = NAME,
};

static const struct tm_uapi_attach good_attach = {
	.epoch = 1,
	.extent_bytes = EXTENT,
	.io_max_bytes = 1 << 20,
	.grace_ms = 1000,
};

static int control_open(void)
{
	return open(TM_CONTROL_DEVICE, O_RDWR | O_CLOEXEC);
}

static int create(int fd, struct tm_uapi_space space)
{
	return ioctl(fd, TM_IOC_SPACE_CREATE, &space);
}

#define BAD_SPACE(what, ...)                                                   \
	do {                                                                   \
		struct tm_uapi_space space = good_space;                       \
		__VA_ARGS__;                                                   \
		expect(create(fd, space), EINVAL, "create: " what);            \
	} while (0)

static void create_refuses(int fd)
{
	BAD_SPACE("another version", space.version++);
	BAD_SPACE("no name", *space.name = 0);
	BAD_SPACE("a path for a name", strcpy(space.name, "../x"));
	BAD_SPACE("a name without end", memset(space.name, 'a', 32));
	BAD_SPACE("reserved is used", space.reserved[2] = 1);
	BAD_SPACE("less than a block around a fault",
		  space.around_bytes = BLOCK / 2);
	BAD_SPACE("256 blocks around a fault",
		  space.around_bytes = BLOCK * 256ull);
	BAD_SPACE("3 blocks around a fault", space.around_bytes = BLOCK * 3);
	BAD_SPACE("unknown policy", space.policy = 2);
	BAD_SPACE("unknown placement", space.placement = 2);
	BAD_SPACE("block of 2 KiB", space.block_bytes = 2048);
	BAD_SPACE("block of 4 MiB",
		  space.block_bytes = space.io_bytes = 4 << 20);
	BAD_SPACE("block no power of two", space.block_bytes = 3 * 4096);
	BAD_SPACE("block of 0", space.block_bytes = 0);
	BAD_SPACE("requests below a block", space.io_bytes = BLOCK / 2);
	BAD_SPACE("requests of half blocks", space.io_bytes = BLOCK * 3 / 2);
	BAD_SPACE("requests of 1 GiB", space.io_bytes = 1 << 30);
	BAD_SPACE("no timeout", space.timeout_ms = 0);
	BAD_SPACE("endless stall", space.stall_ms = ~0u);
	BAD_SPACE("no servers", space.nr_servers = 0);
	BAD_SPACE("257 servers", space.nr_servers = 257);
	BAD_SPACE("no lanes", space.nr_lanes = 0);
	BAD_SPACE("17 lanes", space.nr_lanes = 17);
	BAD_SPACE("no capacity", space.capacity_bytes = 0);
	BAD_SPACE("local memory for one block", space.local_bytes = BLOCK);
	BAD_SPACE("endless local memory", space.local_bytes = ~0ull);
	BAD_SPACE("nobody's", space.uid = ~0u);
	expect(ioctl(fd, TM_IOC_SPACE_CREATE, 8), EFAULT,
	       "create: bad pointer");
	expect(ioctl(fd, _IO(TM_IOC_MAGIC, 0x7f)), ENOTTY, "unknown call");
	expect(ioctl(fd, TM_IOC_SPACE_DESTROY), ENODEV, "destroy: no space");
	expect((int)read(fd, &(struct tm_uapi_event){0}, 16), ENODEV,
	       "read: no space");
}

static int attach(int fd, struct tm_uapi_attach a)
{
	return ioctl(fd, TM_IOC_SPACE_ATTACH, &a);
}

#define BAD_ATTACH(err, what, ...)                                             \
	do {                                                                   \
		struct tm_uapi_attach a = good_attach;                         \
		a.fd = pair[0];                                                \
		__VA_ARGS__;                                                   \
		expect(attach(fd, a), err, "attach: " what);                   \
	} while (0)

static void attach_refuses(int fd)
{
	int pair[2], datagrams[2], lonely = socket(AF_UNIX, SOCK_STREAM, 0);

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) ||
	    socketpair(AF_UNIX, SOCK_DGRAM, 0, datagrams))
		exit(1);
	BAD_ATTACH(EBADF, "no descriptor", a.fd = -1);
	BAD_ATTACH(ENOTSOCK, "no socket", a.fd = fd);
	BAD_ATTACH(EPROTOTYPE, "datagrams", a.fd = datagrams[0]);
	BAD_ATTACH(ENOTCONN, "not connected", a.fd = lonely);
	BAD_ATTACH(EINVAL, "no such server", a.server = 1);
	BAD_ATTACH(EINVAL, "no such lane", a.channel = 2);
	BAD_ATTACH(EINVAL, "extents of no block", a.extent_bytes = 4096);
	BAD_ATTACH(EINVAL, "odd extents", a.extent_bytes = EXTENT + 1);
	BAD_ATTACH(EINVAL, "small requests", a.io_max_bytes = BLOCK);
	BAD_ATTACH(EINVAL, "reserved is used", a.reserved[1] = 1);
	expect(ioctl(fd, TM_IOC_SPACE_ATTACH, 8), EFAULT,
	       "attach: bad pointer");
	close(lonely);
	close(pair[0]);
	close(pair[1]);
	close(datagrams[0]);
	close(datagrams[1]);
}

static int servers[2];

static void connect_all(int fd)
{
	pthread_t thread;
	int pair[2];

	for (u32 i = 0; i < 2; i++) {
		struct tm_uapi_attach a = good_attach;

		if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
			exit(1);
		a.fd = pair[0];
		a.channel = i;
		expect(attach(fd, a), 0, "attach");
		expect(attach(fd, a), EISCONN, "attach: it has one");
		close(pair[0]);
		servers[i] = pair[1];
		pthread_create(&thread, NULL, serve, (void *)(intptr_t)pair[1]);
		pthread_detach(thread);
	}
}

static struct tm_uapi_query query(int fd)
{
	struct tm_uapi_query q = {0};

	if (ioctl(fd, TM_IOC_SPACE_QUERY, &q))
		report(false, "query");
	return q;
}

static int region_of(int fd, uint64_t bytes)
{
	return ioctl(fd, TM_IOC_REGION,
		     &(struct tm_uapi_region){.bytes = bytes});
}

static int discard(int fd, uint64_t offset, uint64_t bytes)
{
	return ioctl(fd, TM_IOC_DISCARD,
		     &(struct tm_uapi_range){offset, bytes});
}

static int commit(int fd, unsigned long call, uint64_t bytes)
{
	return ioctl(fd, call, &bytes);
}

static void *map(int fd, size_t bytes, off_t offset, int flags)
{
	return mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);
}

#define NO_MAP(err, what, ...)                                                 \
	expect(map(__VA_ARGS__) == MAP_FAILED ? -1 : 0, err, "mmap: " what)

static void region_refuses(int fd)
{
	struct tm_uapi_region r = {.bytes = REGION, .reserved = 1};

	NO_MAP(EINVAL, "before there is a region", fd, 4096, 0, MAP_SHARED);
	expect(commit(fd, TM_IOC_COMMIT, BLOCK), EINVAL, "commit: no region");
	expect(region_of(fd, 0), EINVAL, "region: of nothing");
	expect(ioctl(fd, TM_IOC_REGION, &r), EINVAL,
	       "region: reserved is used");
	expect(region_of(fd, ~0ull), ENOMEM, "region: endless");
	expect(ioctl(fd, TM_IOC_REGION, 8), EFAULT, "region: bad pointer");
	expect(region_of(fd, REGION - 1), 0, "region");
	expect(region_of(fd, REGION), EBUSY, "region: has one");
	NO_MAP(EINVAL, "private", fd, REGION, 0, MAP_PRIVATE);
	NO_MAP(EINVAL, "too long", fd, REGION + 4096, 0, MAP_SHARED);
	NO_MAP(EINVAL, "beyond its end", fd, 8192, REGION - 4096, MAP_SHARED);
	expect(commit(fd, TM_IOC_COMMIT, 1), EINVAL, "commit: not blocks");
	expect(commit(fd, TM_IOC_COMMIT, REGION + BLOCK), ENOMEM,
	       "commit: too much");
	expect(commit(fd, TM_IOC_COMMIT, REGION), 0, "commit");
	expect(commit(fd, TM_IOC_COMMIT, BLOCK), ENOMEM, "commit: no more");
	expect(commit(fd, TM_IOC_UNCOMMIT, REGION + BLOCK), EINVAL,
	       "uncommit: never had");
	expect(commit(fd, TM_IOC_UNCOMMIT, BLOCK), 0, "uncommit");
	expect(discard(fd, 4096, BLOCK), EINVAL,
	       "discard: not from a block on");
	expect(discard(fd, 0, 4096), EINVAL, "discard: not blocks");
	expect(discard(fd, 0, REGION + BLOCK), EINVAL, "discard: too long");
	expect(discard(fd, -(uint64_t)BLOCK, BLOCK), EINVAL,
	       "discard: far away");
	expect(discard(fd, REGION, 0), 0, "discard: nothing");
	expect(ioctl(fd, TM_IOC_SPACE_CREATE, &good_space), ENOTTY,
	       "a call of the other device");
}

static void fill(uint64_t *at, uint64_t seed)
{
	for (size_t i = 0; i < REGION / 8; i += 64)
		at[i] = (i + 1) * (seed | 1);
}

static bool same(const uint64_t *at, uint64_t seed)
{
	for (size_t i = 0; i < REGION / 8; i += 64)
		if (at[i] != (i + 1) * (seed | 1))
			return false;
	return true;
}

/* What a child that does this ends with; a signal is negative. */
static int in_child(void (*what)(char *at), char *at)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		what(at);
		_exit(0);
	}
	waitpid(pid, &status, 0);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void touch(char *at)
{
	(void)*(volatile char *)at;
}

static void open_it(char *at)
{
	if (setgid(4711) || setuid(4711))
		_exit(1);
	if (open(at, O_RDWR) >= 0 || errno != EACCES)
		_exit(2);
}

static void memory_is_memory(int fd, char *at)
{
	static char copy[BLOCK];
	int self = open("/proc/self/mem", O_RDWR), pipes[2];
	struct tm_uapi_query q;
	struct iovec iov;
	char *there;

	fill((uint64_t *)at, 1);
	report(same((uint64_t *)at, 1), "eight times local memory");
	q = query(fd);
	report(q.bytes_out >= REGION / 2 && q.bytes_in >= REGION / 2 &&
		       q.resident_bytes <= LOCAL && !q.lost_bytes,
	       "it was paged");
	for (int i = 0; i < 2; i++)
		for (size_t k = 0; k < REGION; k += 4096)
			touch(at + k);
	report(query(fd).dropped_clean > q.dropped_clean + REGION / BLOCK / 2,
	       "what was only read is dropped");

	report(pread(self, copy, BLOCK, (off_t)(uintptr_t)at) == BLOCK &&
		       !memcmp(copy, at, BLOCK),
	       "read by way of /proc/self/mem");
	memset(copy, 'x', BLOCK);
	report(pwrite(self, copy, BLOCK, (off_t)(uintptr_t)at) == BLOCK &&
		       at[BLOCK - 1] == 'x',
	       "written by way of /proc/self/mem");
	close(self);

	/* Pages in a pipe: eviction must pass by them. */
	iov = (struct iovec){at, 8192};
	if (pipe(pipes) || vmsplice(pipes[1], &iov, 1, 0) != 8192)
		report(false, "vmsplice");
	for (size_t k = BLOCK; k < REGION; k += 4096)
		touch(at + k);
	at[1] = 'y';
	report(read(pipes[0], copy, 8192) == 8192 && copy[1] == 'y' &&
		       copy[2] == 'x',
	       "pinned pages stay the program's");
	close(pipes[0]);
	close(pipes[1]);

	fill((uint64_t *)at, 2);
	report(!madvise(at, REGION, MADV_DONTNEED) && same((uint64_t *)at, 2),
	       "MADV_DONTNEED loses nothing");
	NO_MAP(0, "another address", fd, REGION, 0, MAP_SHARED);
	there = map(fd, REGION, 0, MAP_SHARED);
	there = mremap(there, REGION, REGION, MREMAP_MAYMOVE | MREMAP_FIXED,
		       there + (1ul << 32));
	report(there != MAP_FAILED && same((uint64_t *)there, 2),
	       "moved by mremap, the same memory");
	munmap(there, REGION);
	report(mremap(at, BLOCK, 2 * BLOCK, MREMAP_MAYMOVE) == MAP_FAILED,
	       "mremap does not grow it");
	report(in_child(touch, at) == -SIGSEGV,
	       "a child has no zeros, but SIGSEGV");
	report(!mprotect(at, BLOCK, PROT_READ) &&
		       !mprotect(at, BLOCK, PROT_READ | PROT_WRITE) &&
		       same((uint64_t *)at, 2),
	       "mprotect");
	report(!mlock(at, BLOCK) && !munlock(at, BLOCK), "mlock");

	expect(discard(fd, 0, 64 * BLOCK), 0, "discard");
	for (size_t k = 0; k < 64 * BLOCK; k += 8)
		if (*(uint64_t *)(at + k)) {
			report(false, "zeros after a discard");
			return;
		}
	report(at[64 * BLOCK + 512] != 0, "zeros after a discard, not beyond");
}

static void second_region(char *first)
{
	int fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	char *at;

	expect(region_of(fd, REGION), 0, "a second region");
	at = map(fd, REGION, 0, MAP_SHARED);
	fill((uint64_t *)first, 3);
	report(!*(uint64_t *)at && !*(uint64_t *)(at + REGION - 8),
	       "it is empty");
	fill((uint64_t *)at, 4);
	report(same((uint64_t *)first, 3) && same((uint64_t *)at, 4),
	       "each has its own");
	close(fd);
	report(same((uint64_t *)at, 4), "it outlives its descriptor");
	munmap(at, REGION);
}

static char *slow;
static int patience = 1;

static void *toucher(void *arg)
{
	touch(slow + 100 * BLOCK);
	return arg;
}

/* The server says nothing; whoever waits for it can be killed. */
static void killed_at_once(int fd)
{
	struct timespec a, b;
	pid_t pid;
	int status;

	held = true;
	pid = fork();
	if (!pid) {
		slow = map(fd, REGION, 0, MAP_SHARED);
		toucher(NULL);
		_exit(0);
	}
	usleep(500000);
	clock_gettime(CLOCK_MONOTONIC, &a);
	kill(pid, SIGKILL);
	waitpid(pid, &status, 0);
	clock_gettime(CLOCK_MONOTONIC, &b);
	held = false;
	report(WIFSIGNALED(status) && b.tv_sec - a.tv_sec < 2 * patience,
	       "killed while it waits for a block");
}

static void server_lost(int control, int fd, char *at)
{
	struct tm_uapi_event event = {0};
	struct pollfd poller = {.fd = control, .events = POLLIN};
	struct tm_uapi_lose lose = {.server = 0, .error = ECONNREFUSED};
	bool broken = false, lost = false;

	lose.server = 1;
	expect(ioctl(control, TM_IOC_SPACE_LOSE, &lose), EINVAL,
	       "lose: no such server");
	lose.server = 0;
	for (u32 i = 0; i < 2; i++)
		shutdown(servers[i], SHUT_RDWR);
	broken = poll(&poller, 1, 10000) == 1 &&
		 read(control, &event, sizeof(event)) == sizeof(event) &&
		 event.kind == TM_EVENT_BROKEN;
	report(broken, "a connection broke: the agent hears of it");
	expect(ioctl(control, TM_IOC_SPACE_LOSE, &lose), 0, "lose");
	while (!lost && poll(&poller, 1, 10000) == 1 &&
	       read(control, &event, sizeof(event)) == sizeof(event))
		lost = event.kind == TM_EVENT_LOST;
	report(lost && event.server == 0, "lost: the agent hears of it");
	for (size_t k = 0, bus = 0; k < REGION; k += BLOCK) {
		/* A fork would have no mapping: by way of a system call. */
		int zero = open("/dev/zero", O_RDONLY);

		bus += read(zero, at + k, 1) != 1;
		close(zero);
		if (k + BLOCK == REGION)
			report(bus >= (REGION - 2 * LOCAL) / BLOCK,
			       "what only it had cannot be had");
	}
	report(query(fd).nr_servers_lost == 1 && query(fd).lost_bytes > 0,
	       "lost: the query says so");
	expect(discard(fd, 0, REGION), 0, "discard what is lost");
	report(!*(volatile uint64_t *)at && !*(volatile uint64_t *)(at + BLOCK),
	       "and use it anew");
}

/* device [PATIENCE]: how many times as slow a kernel may be */
int main(int argc, char **argv)
{
	struct tm_uapi_query q = {.name = NAME};
	int control = control_open(), other = control_open(), fd;
	char *at;

	if (argc > 1)
		patience = atoi(argv[1]);
	good_space.timeout_ms *= patience;
	good_space.stall_ms *= patience;
	alarm(240 * patience);
	memory = mmap(NULL, SERVER_BYTES, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	create_refuses(control);
	expect(create(control, good_space), 0, "create");
	expect(create(control, good_space), EBUSY, "create: has one");
	expect(create(other, good_space), EEXIST, "create: the name is taken");
	expect(open(DEVICE, O_RDWR), ENXIO, "open: not connected");
	attach_refuses(control);
	connect_all(control);
	report(!in_child(open_it, (char *)DEVICE), "open: another user");
	report(!in_child(open_it, (char *)TM_CONTROL_DEVICE),
	       "open the control device: another user");
	expect(ioctl(other, TM_IOC_SPACE_QUERY, &q), 0, "query by name");
	report(q.block_bytes == BLOCK && q.local_bytes == LOCAL, "it is right");

	fd = open(DEVICE, O_RDWR | O_CLOEXEC);
	expect(fd, 0, "open");
	region_refuses(fd);
	at = map(fd, REGION, 0, MAP_SHARED);
	memory_is_memory(fd, at);
	second_region(at);
	killed_at_once(fd);
	report(same((uint64_t *)at, 3), "and nothing is lost by that");
	expect(ioctl(control, TM_IOC_SPACE_DESTROY), EBUSY,
	       "destroy: a region is open");
	server_lost(control, fd, at);

	close(control);
	expect(open(DEVICE, O_RDWR), ENOENT, "the agent has gone: no device");
	at[0] = 1;
	report(at[0] == 1, "the program goes on");
	munmap(at, REGION);
	close(fd);
	strcpy(q.name, NAME);
	memset(q.reserved, 0, sizeof(q.reserved));
	expect(ioctl(other, TM_IOC_SPACE_QUERY, &q), ENODEV,
	       "no space is left");
	expect(create(other, good_space), 0, "its name is free");
	expect(ioctl(other, TM_IOC_SPACE_DESTROY), 0, "destroy");
	expect(ioctl(other, TM_IOC_SPACE_DESTROY), ENODEV, "destroy: again");
	close(other);
	printf("1..%u\n", nr_tests);
	return nr_failed ? 1 : 0;
}
