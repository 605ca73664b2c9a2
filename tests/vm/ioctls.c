// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Hostile callers of teramem.ko: what it must refuse, and how, and then calls
 * at random. As root, in a VM, with the module loaded; under teramem run the
 * device of a region, too. Prints TAP.
 *
 *	ioctls [SEED]
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "include/teramem/uapi.h"

#define BLOCK 65536u
#define BAD_ADDRESS ((void *)-4096l)

static unsigned int checks, failures;

static void check(int got, int wanted, const char *name)
{
	checks++;
	failures += got != wanted;
	printf("%sok %u - %s\n", got == wanted ? "" : "not ", checks, name);
	if (got != wanted)
		printf("# got %d (%s), wanted %d (%s)\n", got, strerror(got),
		       wanted, strerror(wanted));
	fflush(stdout);
}

/* errno, or 0 */
static int call(int fd, unsigned long request, const void *argument)
{
	return ioctl(fd, request, argument) < 0 ? errno : 0;
}

static int control_open(void)
{
	int fd = open(TM_CONTROL_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0) {
		printf("Bail out! %s: %s\n", TM_CONTROL_DEVICE,
		       strerror(errno));
		exit(1);
	}
	return fd;
}

static struct tm_uapi_space space_good(void)
{
	return (struct tm_uapi_space){
		.version = TM_UAPI_VERSION,
		.block_bytes = BLOCK,
		.io_bytes = 4 * BLOCK,
		.readahead_bytes = 16 * BLOCK,
		.timeout_ms = 1000,
		.stall_ms = 1000,
		.nr_servers = 2,
		.nr_lanes = 2,
		.capacity_bytes = 64ul << 20,
		.local_bytes = 4ul << 20,
		.name = "hostile",
	};
}

static struct tm_uapi_attach attach_good(void)
{
	return (struct tm_uapi_attach){
		.epoch = 1,
		.extent_bytes = 32ul << 20,
		.io_max_bytes = 1u << 20,
		.grace_ms = 1000,
	};
}

#define REFUSES_SPACE(member, value)                                           \
	do {                                                                   \
		struct tm_uapi_space one = space_good();                       \
                                                                               \
		one.member = value;                                            \
		check(call(fd, TM_IOC_SPACE_CREATE, &one), EINVAL,             \
		      "create: " #member " = " #value);                        \
	} while (0)

static void test_create(void)
{
	static const char *const names[] = {"",		"a/b",	"..", "a b",
					    "\xc3\xa4", "a\nb", "%s"};
	struct tm_uapi_space space;
	int fd = control_open(), other;

	REFUSES_SPACE(version, 0);
	REFUSES_SPACE(version, TM_UAPI_VERSION + 1);
	REFUSES_SPACE(policy, 2);
	REFUSES_SPACE(placement, 2);
	REFUSES_SPACE(block_bytes, 0);
	REFUSES_SPACE(block_bytes, 2048);
	REFUSES_SPACE(block_bytes, 3 * 4096);
	REFUSES_SPACE(block_bytes, 4u << 20);
	REFUSES_SPACE(block_bytes, 1u << 31);
	REFUSES_SPACE(io_bytes, 0);
	REFUSES_SPACE(io_bytes, BLOCK / 2);
	REFUSES_SPACE(io_bytes, BLOCK + 4096);
	REFUSES_SPACE(io_bytes, (uint32_t)-BLOCK);
	REFUSES_SPACE(timeout_ms, 0);
	REFUSES_SPACE(timeout_ms, UINT32_MAX);
	REFUSES_SPACE(stall_ms, 0);
	REFUSES_SPACE(stall_ms, UINT32_MAX);
	REFUSES_SPACE(nr_servers, 0);
	REFUSES_SPACE(nr_servers, TM_UAPI_SERVERS_MAX + 1);
	REFUSES_SPACE(nr_servers, UINT32_MAX);
	REFUSES_SPACE(nr_lanes, 0);
	REFUSES_SPACE(nr_lanes, TM_UAPI_LANES_MAX + 1);
	REFUSES_SPACE(capacity_bytes, 0);
	REFUSES_SPACE(local_bytes, 0);
	REFUSES_SPACE(local_bytes, BLOCK);
	REFUSES_SPACE(local_bytes, UINT64_MAX);
	REFUSES_SPACE(uid, UINT32_MAX);
	REFUSES_SPACE(gid, UINT32_MAX);
	REFUSES_SPACE(reserved[3], 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
		space = space_good();
		strcpy(space.name, names[i]);
		check(call(fd, TM_IOC_SPACE_CREATE, &space), EINVAL,
		      "create: a bad name");
	}
	space = space_good();
	memset(space.name, 'a', sizeof(space.name));
	check(call(fd, TM_IOC_SPACE_CREATE, &space), EINVAL,
	      "create: a name without an end");
	check(call(fd, TM_IOC_SPACE_CREATE, BAD_ADDRESS), EFAULT,
	      "create: a bad address");
	/* More than any machine has. */
	space = space_good();
	space.block_bytes = space.io_bytes = 4096;
	space.local_bytes = 1ull << 43;
	check(call(fd, TM_IOC_SPACE_CREATE, &space), ENOMEM,
	      "create: far too much local memory");

	space = space_good();
	check(call(fd, TM_IOC_SPACE_CREATE, &space), 0, "create");
	check(call(fd, TM_IOC_SPACE_CREATE, &space), EBUSY,
	      "create: this descriptor has one");
	other = control_open();
	check(call(other, TM_IOC_SPACE_CREATE, &space), EEXIST,
	      "create: a space of that name");
	close(other);
	check(open(TM_SPACE_DEVICE_FOLDER "/hostile", O_RDWR) < 0 ? errno : 0,
	      ENXIO, "open: nothing is attached");
	check(call(fd, TM_IOC_SPACE_DESTROY, NULL), 0, "destroy");
	check(call(fd, TM_IOC_SPACE_DESTROY, NULL), ENODEV, "destroy again");
	close(fd);
}

static void test_without_space(void)
{
	struct tm_uapi_attach attach = attach_good();
	struct tm_uapi_lose lose = {.error = EIO};
	struct tm_uapi_query query = {.name = "nothing"};
	int fd = control_open();
	char event[sizeof(struct tm_uapi_event)];

	check(call(fd, TM_IOC_SPACE_ATTACH, &attach), ENODEV,
	      "attach: no space");
	check(call(fd, TM_IOC_SPACE_LOSE, &lose), ENODEV, "lose: no space");
	check(call(fd, TM_IOC_SPACE_DESTROY, NULL), ENODEV,
	      "destroy: no space");
	check(call(fd, TM_IOC_SPACE_QUERY, &query), ENODEV,
	      "query: no such space");
	memset(query.name, 'a', sizeof(query.name));
	check(call(fd, TM_IOC_SPACE_QUERY, &query), EINVAL,
	      "query: a name without an end");
	check(read(fd, event, sizeof(event)) < 0 ? errno : 0, ENODEV,
	      "read: no space");
	check(call(fd, TM_IOC_REGION, &query), ENOTTY, "an ioctl of a region");
	check(call(fd, _IO(TM_IOC_MAGIC, 0x7f), NULL), ENOTTY,
	      "an unknown ioctl");
	check(mmap(NULL, BLOCK, PROT_READ, MAP_SHARED, fd, 0) == MAP_FAILED
		      ? errno
		      : 0,
	      ENODEV, "mmap of the control device");
	close(fd);
}

#define REFUSES_ATTACH(member, value, error)                                   \
	do {                                                                   \
		struct tm_uapi_attach one = attach_good();                     \
                                                                               \
		one.fd = pair[0];                                              \
		one.member = value;                                            \
		check(call(fd, TM_IOC_SPACE_ATTACH, &one), error,              \
		      "attach: " #member " = " #value);                        \
	} while (0)

static void test_attach(void)
{
	struct tm_uapi_space space = space_good();
	struct tm_uapi_attach attach = attach_good();
	struct tm_uapi_lose lose = {.server = 2, .error = EIO};
	struct tm_uapi_event event;
	int fd = control_open(), null = open("/dev/null", O_RDWR);
	int udp = socket(AF_INET, SOCK_DGRAM, 0);
	int tcp = socket(AF_INET, SOCK_STREAM, 0), pair[2];

	socketpair(AF_UNIX, SOCK_STREAM, 0, pair);
	space.timeout_ms = 100000; /* nobody answers a ping */
	check(call(fd, TM_IOC_SPACE_CREATE, &space), 0, "a space to attach to");
	REFUSES_ATTACH(fd, -1, EBADF);
	REFUSES_ATTACH(fd, 100000, EBADF);
	REFUSES_ATTACH(fd, null, ENOTSOCK);
	REFUSES_ATTACH(fd, fd, ENOTSOCK);
	REFUSES_ATTACH(fd, udp, EPROTOTYPE);
	REFUSES_ATTACH(fd, tcp, ENOTCONN);
	REFUSES_ATTACH(server, 2, EINVAL);
	REFUSES_ATTACH(channel, 2, EINVAL);
	REFUSES_ATTACH(epoch, 0, EINVAL);
	REFUSES_ATTACH(extent_bytes, 0, EINVAL);
	REFUSES_ATTACH(extent_bytes, BLOCK + 4096, EINVAL);
	REFUSES_ATTACH(extent_bytes, UINT64_MAX, EINVAL);
	REFUSES_ATTACH(io_max_bytes, 0, EINVAL);
	REFUSES_ATTACH(io_max_bytes, BLOCK, EINVAL);
	REFUSES_ATTACH(io_max_bytes, UINT32_MAX, EINVAL);
	REFUSES_ATTACH(reserved[1], 1, EINVAL);
	check(call(fd, TM_IOC_SPACE_ATTACH, BAD_ADDRESS), EFAULT,
	      "attach: a bad address");

	attach.fd = pair[0];
	check(call(fd, TM_IOC_SPACE_ATTACH, &attach), 0, "attach");
	check(call(fd, TM_IOC_SPACE_ATTACH, &attach), EISCONN,
	      "attach: the channel has a connection");
	attach.channel = 1;
	attach.extent_bytes *= 2;
	check(call(fd, TM_IOC_SPACE_ATTACH, &attach), EINVAL,
	      "attach: extents of another size");

	check(call(fd, TM_IOC_SPACE_LOSE, &lose), EINVAL,
	      "lose: no such server");
	lose.server = 1;
	lose.error = 0;
	check(call(fd, TM_IOC_SPACE_LOSE, &lose), EINVAL, "lose: no error");
	lose.error = EIO;
	check(call(fd, TM_IOC_SPACE_LOSE, &lose), 0, "lose");
	check(read(fd, &event, sizeof(event)) < 0 ? errno : 0, 0, "read");
	check((int)event.kind, TM_EVENT_LOST, "the event: lost");
	check((int)event.server, 1, "the event: which");
	check(read(fd, &event, sizeof(event) - 1) < 0 ? errno : 0, EINVAL,
	      "read: less than an event");
	/* What is not the protocol: the connection is broken, and that is said.
	 */
	check(write(pair[1], space.name, sizeof(space.name)) < 0, 0,
	      "a server that talks nonsense");
	shutdown(pair[1], SHUT_WR);
	check(read(fd, &event, sizeof(event)) < 0 ? errno : 0, 0, "read");
	check((int)event.kind, TM_EVENT_BROKEN, "the event: broken");
	close(fd);
	close(null);
	close(udp);
	close(tcp);
	close(pair[0]);
	close(pair[1]);
}

/* Not root: neither of the devices. */
static void test_stranger(void)
{
	const char *device = getenv("TERAMEM_JOB_DEVICE");
	int status;

	if (!fork()) {
		if (setgid(65534) || setuid(65534))
			_exit(2);
		_exit(open(TM_CONTROL_DEVICE, O_RDWR) >= 0 ||
		      (device && open(device, O_RDWR) >= 0));
	}
	wait(&status);
	check(status, 0, "a stranger opens no device");
}

static int map_errno(int fd, size_t bytes, int flags, off_t offset)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, offset);

	if (at == MAP_FAILED)
		return errno;
	munmap(at, bytes);
	return 0;
}

#define REFUSES_RANGE(first, length, error)                                    \
	do {                                                                   \
		struct tm_uapi_range one = {first, length};                    \
                                                                               \
		check(call(fd, TM_IOC_DISCARD, &one), error,                   \
		      "discard: " #first ", " #length);                        \
	} while (0)

static void test_region(const char *device)
{
	struct tm_uapi_region region = {0};
	struct tm_uapi_query query = {0};
	int fd = open(device, O_RDWR);
	uint64_t block, n;

	check(fd >= 0, 1, "open a region");
	check(map_errno(fd, BLOCK, MAP_SHARED, 0), EINVAL,
	      "mmap: the region has no size");
	n = BLOCK;
	check(call(fd, TM_IOC_COMMIT, &n), EINVAL, "commit: no size");
	check(call(fd, TM_IOC_REGION, &region), EINVAL, "region: no bytes");
	region.bytes = UINT64_MAX;
	check(call(fd, TM_IOC_REGION, &region), ENOMEM,
	      "region: all address space");
	region.bytes = 1 << 20;
	region.reserved = 1;
	check(call(fd, TM_IOC_REGION, &region), EINVAL, "region: reserved");
	check(call(fd, TM_IOC_REGION, BAD_ADDRESS), EFAULT,
	      "region: a bad address");
	region.reserved = 0;
	check(call(fd, TM_IOC_REGION, &region), 0, "region");
	check(call(fd, TM_IOC_REGION, &region), EBUSY, "region: has one");
	block = region.block_bytes;

	check(map_errno(fd, region.bytes, MAP_PRIVATE, 0), EINVAL,
	      "mmap: private");
	check(map_errno(fd, region.bytes + block, MAP_SHARED, 0), EINVAL,
	      "mmap: too long");
	check(map_errno(fd, block, MAP_SHARED, (off_t)region.bytes), EINVAL,
	      "mmap: behind the end");
	check(map_errno(fd, 4096, MAP_SHARED, (off_t)region.bytes - 4096), 0,
	      "mmap: the last page");

	REFUSES_RANGE(1, block, EINVAL);
	REFUSES_RANGE(0, block - 1, EINVAL);
	REFUSES_RANGE(0, region.bytes + block, EINVAL);
	REFUSES_RANGE(region.bytes, block, EINVAL);
	REFUSES_RANGE(block, -block, EINVAL);
	REFUSES_RANGE(-block, 2 * block, EINVAL);
	REFUSES_RANGE(0, 0, 0);
	REFUSES_RANGE(0, region.bytes, 0);
	check(call(fd, TM_IOC_DISCARD, BAD_ADDRESS), EFAULT,
	      "discard: a bad address");

	n = block / 2;
	check(call(fd, TM_IOC_COMMIT, &n), EINVAL, "commit: half a block");
	n = -block;
	check(call(fd, TM_IOC_COMMIT, &n), ENOMEM, "commit: all there is");
	n = block;
	check(call(fd, TM_IOC_UNCOMMIT, &n), EINVAL,
	      "uncommit: more than was committed");
	check(call(fd, TM_IOC_COMMIT, &n), 0, "commit");
	check(call(fd, TM_IOC_UNCOMMIT, &n), 0, "uncommit");
	check(call(fd, TM_IOC_COMMIT, BAD_ADDRESS), EFAULT,
	      "commit: a bad address");
	check(call(fd, TM_IOC_SPACE_QUERY, &query), 0, "query");
	check(query.block_bytes == block, 1, "query: the space's numbers");
	check(call(fd, TM_IOC_SPACE_QUERY, BAD_ADDRESS), EFAULT,
	      "query: a bad address");
	check(call(fd, TM_IOC_SPACE_CREATE, &query), ENOTTY,
	      "an ioctl of the control device");
	close(fd);
}

static uint64_t next(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* Half of all words sane, some extreme, some any. */
static void scramble(void *what, size_t bytes, uint64_t *random)
{
	static const uint32_t extreme[] = {
		0, 1, 4095, 4096, 65536, 0x7fffffff, 0x80000000, 0xffffffff};
	uint32_t *word = what;

	for (size_t i = 0; i < bytes / sizeof(*word); i++) {
		uint64_t r = next(random);

		if (r % 16 == 0)
			word[i] = extreme[r >> 8 & 7];
		else if (r % 16 == 1)
			word[i] = (uint32_t)(r >> 8);
	}
}

static void calls_at_random(const char *device, uint64_t random, int n)
{
	static const unsigned long requests[] = {
		TM_IOC_SPACE_CREATE, TM_IOC_SPACE_ATTACH,  TM_IOC_SPACE_LOSE,
		TM_IOC_SPACE_QUERY,  TM_IOC_SPACE_DESTROY, TM_IOC_REGION,
		TM_IOC_DISCARD,	     TM_IOC_COMMIT,	   TM_IOC_UNCOMMIT};
	const unsigned int nr = sizeof(requests) / sizeof(*requests);
	union {
		struct tm_uapi_space space;
		struct tm_uapi_attach attach;
		struct tm_uapi_query query;
		struct tm_uapi_region region;
		struct tm_uapi_range range;
		uint64_t n;
	} arg;
	int fd = -1, pair[2] = {-1, -1};

	for (int i = 0; i < n; i++) {
		uint64_t r = next(&random);
		unsigned long request = requests[r % nr];

		if (r >> 8 & 31 || fd < 0) {
			/* it stays open */
		} else {
			close(fd);
			fd = -1;
		}
		if (fd < 0) {
			fd = open(device && r >> 16 & 1 ? device
							: TM_CONTROL_DEVICE,
				  O_RDWR | O_NONBLOCK);
			close(pair[0]);
			close(pair[1]);
			if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair))
				break;
		}
		memset(&arg, 0, sizeof(arg));
		if (request == TM_IOC_SPACE_CREATE)
			arg.space = space_good();
		else if (request == TM_IOC_SPACE_ATTACH)
			arg.attach = attach_good();
		else if (request == TM_IOC_REGION)
			arg.region.bytes = 1u << (r >> 20 & 31);
		else
			arg.range.bytes = r >> 40 & 0xff << 12;
		if (request == TM_IOC_SPACE_ATTACH)
			arg.attach.fd = pair[0];
		scramble(&arg, sizeof(arg), &random);
		/* A great local limit is legal, and takes its time. */
		if (request == TM_IOC_SPACE_CREATE)
			arg.space.local_bytes %= 1u << 30;
		call(fd, request, &arg);
		if (pair[1] >= 0 && r >> 48 & 1)
			send(pair[1], &arg, r >> 50 & 255,
			     MSG_DONTWAIT | MSG_NOSIGNAL);
		if (r >> 52 & 1) {
			void *at = mmap(NULL, 1u << 16, PROT_READ, MAP_SHARED,
					fd, (off_t)(r >> 32 & 0xff) << 12);
			if (at != MAP_FAILED)
				munmap(at, 1u << 16);
		}
	}
	close(fd);
	close(pair[0]);
	close(pair[1]);
	check(0, 0, "calls at random");
}

int main(int argc, char **argv)
{
	const char *device = getenv("TERAMEM_JOB_DEVICE");
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;

	test_stranger();
	test_without_space();
	test_create();
	test_attach();
	if (device)
		test_region(device);
	calls_at_random(device, seed * 0x9e3779b97f4a7c15 | 1, 20000);
	printf("1..%u\n", checks);
	return failures != 0;
}
