// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Calls at random of the devices of teramem.ko, and sockets on which a server
 * talks nonsense. Nothing is asked of the answers (device.c does): the kernel
 * lives on and does not complain. As root, in a VM, with the module loaded;
 * under teramem run the device of a region, too.
 *
 *	random SEED
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "include/teramem/uapi.h"

#define BLOCK 65536u
#define CALLS 10000

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

static uint64_t next(uint64_t *random)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random;
}

/* Most words stay, some become extreme, some anything. */
static void scramble(void *what, size_t bytes, uint64_t *random)
{
	static const uint32_t extreme[] = {
		0, 1, 4095, 4096, 65536, 0x7fffffff, 0x80000000, 0xffffffff};
	uint32_t *word = what;

	for (size_t i = 0; i < bytes / sizeof(*word); i++) {
		uint64_t r = next(random);

		if (r % 64 == 0)
			word[i] = extreme[r >> 8 & 7];
		else if (r % 64 == 1)
			word[i] = (uint32_t)(r >> 8);
	}
}

/* How many succeeded. */
static uint64_t calls_at_random(const char *device, uint64_t random)
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
	uint64_t done = 0;

	for (int i = 0; i < CALLS; i++) {
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
		done += ioctl(fd, request, &arg) >= 0;
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
	return done;
}

int main(int argc, char **argv)
{
	uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1;
	uint64_t done = calls_at_random(getenv("TERAMEM_JOB_DEVICE"),
					seed * 0x9e3779b97f4a7c15 | 1);

	printf("# seed %lu: %lu of %u calls had an effect\n", seed, done,
	       CALLS);
	/* Were all of them refused, nothing was tried. */
	return done < CALLS / 100;
}
