/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The device interface of teramem.ko: what the job's agent (root) and the
 * allocator (the job's programs) say to the kernel engine. See teramem(7).
 *
 * /dev/teramem-control, root only. A descriptor on which TM_IOC_SPACE_CREATE
 * succeeded is the space's: it takes its connections, reads its events, and
 * its last close ends the space as soon as no program has a region open. So an
 * agent that is killed leaves nothing behind.
 *
 * /dev/teramem/NAME, the owner's, mode 0600. Each open file is one region of
 * its own, which only mappings of that file reach; what it holds is given up
 * with the last of them. MAP_SHARED only.
 *
 * Numbers are in CPU order; structures have no holes and the same layout on 32
 * and 64 bits. What is reserved must be zero (-EINVAL).
 */
#ifndef TERAMEM_UAPI_H
#define TERAMEM_UAPI_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define TM_UAPI_VERSION 1
#define TM_UAPI_NAME_MAX 32 /* with its NUL; [A-Za-z0-9_-], not empty */
#define TM_UAPI_SERVERS_MAX 256
#define TM_UAPI_LANES_MAX 16

#define TM_CONTROL_DEVICE "/dev/teramem-control"
#define TM_SPACE_DEVICE_FOLDER "/dev/teramem"

enum tm_uapi_policy { TM_UAPI_LRU = 0, TM_UAPI_FIFO = 1 };
enum tm_uapi_placement { TM_UAPI_SIMPLE = 0, TM_UAPI_ROUND_ROBIN = 1 };

/**
 * struct tm_uapi_space - TM_IOC_SPACE_CREATE
 * @version: TM_UAPI_VERSION
 * @uid, @gid: owner of the device file
 * @job: Slurm's job id, or any number; for logs
 * @capacity_bytes: what all regions together may commit
 * @local_bytes: local memory for blocks, all regions together
 * @block_bytes: 4 KiB..2 MiB, a power of two
 * @io_bytes: largest request, a multiple of the block or one block
 * @readahead_bytes: most that is fetched ahead of a stream; 0: none
 * @around_bytes: most that is brought around a fault that is part of no stream,
 *	a power of two of blocks up to 128; 0: the block only
 * @timeout_ms: a server without a sign of life for this long is lost
 * @stall_ms: a fault that finds no room for this long fails
 * @nr_servers: 1..TM_UAPI_SERVERS_MAX
 * @nr_lanes: kernel threads, and connections to each server
 *
 * The space cannot be used until every server has been attached on every lane:
 * opens wait for it up to @timeout_ms, then fail with -ENXIO.
 *
 * Errors: -EEXIST a space of that name, -EBUSY this descriptor has one,
 * -EINVAL, -ENOMEM, -EPERM.
 */
struct tm_uapi_space {
	__u32 version;
	__u32 uid;
	__u32 gid;
	__u32 policy;
	__u32 placement;
	__u32 block_bytes;
	__u32 io_bytes;
	__u32 readahead_bytes;
	__u32 timeout_ms;
	__u32 stall_ms;
	__u32 nr_servers;
	__u32 nr_lanes;
	__u64 job;
	__u64 capacity_bytes;
	__u64 local_bytes;
	char name[TM_UAPI_NAME_MAX];
	__u64 around_bytes;
	__u64 reserved[3];
};

/**
 * struct tm_uapi_attach - TM_IOC_SPACE_ATTACH: here is a connection
 * @fd: a connected stream socket (AF_INET, AF_INET6, AF_UNIX) on which WELCOME
 *	was the last byte read; the kernel keeps its own reference
 * @server: 0..nr_servers-1
 * @channel: the lane
 * @epoch: of the channel, as WELCOME said; higher than any before
 * @extent_bytes, @io_max_bytes, @grace_ms: as WELCOME said
 *
 * Errors: -ENOTSOCK, -EPROTOTYPE not a stream, -ENOTCONN, -EINVAL (a server
 * that lies about sizes, an old epoch), -EISCONN this channel has a connection
 * that works, -EIO the server was given up already.
 */
struct tm_uapi_attach {
	__s32 fd;
	__u32 server;
	__u32 channel;
	__u32 epoch;
	__u64 extent_bytes;
	__u32 io_max_bytes;
	__u32 grace_ms;
	__u64 reserved[2];
};

/**
 * enum tm_uapi_event_kind - what read() on the space's control descriptor tells
 * @TM_EVENT_BROKEN: the connection is gone: dial again and attach
 * @TM_EVENT_LOST: the kernel gave the server up; nothing to be done
 */
enum tm_uapi_event_kind { TM_EVENT_BROKEN = 1, TM_EVENT_LOST = 2 };

/**
 * struct tm_uapi_event - read() returns whole ones; poll() tells when; never
 * blocks under O_NONBLOCK
 * @error: errno, positive
 */
struct tm_uapi_event {
	__u32 kind;
	__u32 server;
	__u32 channel;
	__u32 error;
};

/**
 * struct tm_uapi_lose - TM_IOC_SPACE_LOSE: this server will not come back (it
 * refused the session, or nobody listens there any more)
 */
struct tm_uapi_lose {
	__u32 server;
	__u32 error; /* errno, positive; for the log */
};

/**
 * struct tm_uapi_query - TM_IOC_SPACE_QUERY, on any control descriptor (@name
 * says which space; empty: the descriptor's own), and on a region's (its own
 * space). Gauges are approximate while the space runs.
 */
struct tm_uapi_query {
	char name[TM_UAPI_NAME_MAX];
	__u32 block_bytes;
	__u32 nr_servers;
	__u32 nr_servers_lost;
	__u32 nr_regions;
	__u64 capacity_bytes;
	__u64 committed_bytes;
	__u64 local_bytes;    /* limit */
	__u64 resident_bytes; /* blocks in local memory */
	__u64 remote_bytes;   /* with a valid copy on a server */
	__u64 lost_bytes;
	__u64 faults;
	__u64 faults_zero;
	__u64 faults_remote;
	__u64 bytes_in;
	__u64 bytes_out;
	__u64 fetched_blocks;
	__u64 stored_blocks;
	__u64 evicted;
	__u64 dropped_clean;
	__u64 prefetched;
	__u64 prefetch_used;
	__u64 checksum_errors;
	__u64 reconnects;
	__u64 fault_ns_p50;
	__u64 fault_ns_p99;
	__u64 resident_peak_bytes;
	__u64 remote_peak_bytes;
	__u64 committed_peak_bytes;
	__u64 regions_opened; /* ever */
	__u64 faults_cached;
	__u64 fetch_requests;
	__u64 store_requests;
	__u64 lost_blocks;
	__u64 reserved[8];
};

/**
 * struct tm_uapi_region - TM_IOC_REGION, once per open file, before mmap()
 * @bytes: address space wanted; rounded up to whole blocks
 * @block_bytes: filled in
 *
 * Address space costs nothing; memory is promised by TM_IOC_COMMIT. Errors:
 * -EINVAL, -EBUSY the file has one, -ENOMEM no address space left.
 */
struct tm_uapi_region {
	__u64 bytes;
	__u32 block_bytes;
	__u32 reserved;
};

/**
 * struct tm_uapi_range - TM_IOC_DISCARD: freed; the next access finds zeros.
 * Bounds on whole blocks. Waits, killable, until the range holds nothing.
 */
struct tm_uapi_range {
	__u64 offset;
	__u64 bytes;
};

#define TM_IOC_MAGIC 0xB7
/* on /dev/teramem-control */
#define TM_IOC_SPACE_CREATE _IOW(TM_IOC_MAGIC, 0x00, struct tm_uapi_space)
#define TM_IOC_SPACE_ATTACH _IOW(TM_IOC_MAGIC, 0x01, struct tm_uapi_attach)
#define TM_IOC_SPACE_LOSE _IOW(TM_IOC_MAGIC, 0x02, struct tm_uapi_lose)
#define TM_IOC_SPACE_QUERY _IOWR(TM_IOC_MAGIC, 0x03, struct tm_uapi_query)
/* the space ends now: -EBUSY while a region is open */
#define TM_IOC_SPACE_DESTROY _IO(TM_IOC_MAGIC, 0x04)
/* on /dev/teramem/NAME */
#define TM_IOC_REGION _IOWR(TM_IOC_MAGIC, 0x20, struct tm_uapi_region)
#define TM_IOC_DISCARD _IOW(TM_IOC_MAGIC, 0x21, struct tm_uapi_range)
/* promise, or give back, whole blocks of capacity: bytes; -ENOMEM */
#define TM_IOC_COMMIT _IOW(TM_IOC_MAGIC, 0x22, __u64)
#define TM_IOC_UNCOMMIT _IOW(TM_IOC_MAGIC, 0x23, __u64)

/*
 * Returns another descriptor of the file of this space that the caller has
 * mapped at the address, for a program that lost its own; -ENOENT
 */
#define TM_IOC_REGION_AT _IOW(TM_IOC_MAGIC, 0x24, __u64)

#endif /* TERAMEM_UAPI_H */
