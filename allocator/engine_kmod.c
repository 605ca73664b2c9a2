/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine in the kernel: teramem.ko pages the region, a shared mapping of
 * the job's device, and counts the job's capacity; see include/teramem/uapi.h.
 * Nothing runs in this process.
 *
 * Pages that the program protects or locks need no care here: the module leaves
 * alone what it cannot take, and no copy of ours reads the program's memory.
 *
 * A program may close or replace descriptors that it did not open: ours is
 * looked at before each use, and had again by way of the mapping. Lock order:
 * reopening.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "allocator/config.h"
#include "allocator/engine_ops.h"
#include "common/log.h"
#include "include/teramem/uapi.h"
#include "tm_port.h"

#define FD_MIN 500

struct tm_kmod_engine {
	struct tm_engine engine;
	int fd;
	struct stat device;
};

static struct tm_kmod_engine *kmod_engine_of(struct tm_engine *engine)
{
	return (struct tm_kmod_engine *)engine; /* its first member */
}

static bool fd_is_ours(const struct tm_kmod_engine *e)
{
	struct stat now;

	return !fstat(e->fd, &now) && now.st_dev == e->device.st_dev &&
	       now.st_ino == e->device.st_ino;
}

/* Out of the way of programs that count on low numbers. */
static int move_up(int fd)
{
	int high = fcntl(fd, F_DUPFD_CLOEXEC, FD_MIN);

	if (high < 0)
		return fd;
	close(fd);
	return high;
}

static int reopen(struct tm_kmod_engine *e)
{
	static pthread_mutex_t reopening = PTHREAD_MUTEX_INITIALIZER;
	__u64 addr = (uintptr_t)e->engine.base;
	int any, fd, err = 0;

	pthread_mutex_lock(&reopening);
	if (!fd_is_ours(e)) {
		any = open(tm_config_get()->device, O_RDWR | O_CLOEXEC);
		fd = any < 0 ? -1 : ioctl(any, TM_IOC_REGION_AT, &addr);
		if (fd < 0)
			err = -errno;
		else
			tm_store_relaxed(&e->fd, move_up(fd));
		if (any >= 0)
			close(any);
	}
	pthread_mutex_unlock(&reopening);
	return err;
}

static int call(struct tm_kmod_engine *e, unsigned long request, void *argument)
{
	int ret;

	ret = fd_is_ours(e) ? 0 : reopen(e);
	if (ret)
		return ret;
	do {
		ret = ioctl(e->fd, request, argument);
	} while (ret && errno == EINTR);
	return ret ? -errno : 0;
}

static void op_stop(struct tm_engine *engine)
{
	struct tm_kmod_engine *e = kmod_engine_of(engine);

	if (fd_is_ours(e))
		close(e->fd);
}

static int op_commit(struct tm_engine *engine, size_t bytes)
{
	__u64 argument = bytes;

	return call(kmod_engine_of(engine), TM_IOC_COMMIT, &argument) ? -ENOMEM
								      : 0;
}

static void op_uncommit(struct tm_engine *engine, size_t bytes)
{
	__u64 argument = bytes;

	call(kmod_engine_of(engine), TM_IOC_UNCOMMIT, &argument);
}

static void op_discard(struct tm_engine *engine, void *addr, size_t bytes)
{
	struct tm_uapi_range range = {
		.offset = (__u64)((char *)addr - engine->base),
		.bytes = bytes,
	};
	int err = call(kmod_engine_of(engine), TM_IOC_DISCARD, &range);

	if (!err)
		return;
	/* What is allocated there next must not find what was there before. */
	tm_err("free remote memory: %s (did the program close a descriptor "
	       "that it did not open?)",
	       strerror(-err));
	abort();
}

static int op_pin(struct tm_engine *engine, void *addr, size_t bytes)
{
	return 0;
}

static bool op_pins(const struct tm_engine *engine, const void *addr,
		    size_t bytes)
{
	return false;
}

static void op_unpin(struct tm_engine *engine, void *addr, size_t bytes)
{
}

static int op_stats(struct tm_engine *engine, struct teramalloc_stats *stats)
{
	struct tm_uapi_query q = {0};
	int err = call(kmod_engine_of(engine), TM_IOC_SPACE_QUERY, &q);

	if (err)
		return err;
	*stats = (struct teramalloc_stats){
		.allocated_bytes = q.committed_bytes,
		.resident_bytes = q.resident_bytes,
		.remote_bytes = q.remote_bytes,
		.limit_bytes = q.local_bytes,
		.capacity_bytes = q.capacity_bytes,
		.faults = q.faults,
		.bytes_in = q.bytes_in,
		.bytes_out = q.bytes_out,
		.dropped_clean = q.dropped_clean,
		.fault_ns_p50 = q.fault_ns_p50,
		.fault_ns_p99 = q.fault_ns_p99,
	};
	return 0;
}

static const struct tm_engine_ops kmod_ops = {
	.stop = op_stop,
	.fork_child = op_stop,
	.commit = op_commit,
	.uncommit = op_uncommit,
	.discard = op_discard,
	.pin = op_pin,
	.pins = op_pins,
	.unpin = op_unpin,
	.stats = op_stats,
};

static int open_device(struct tm_kmod_engine *e, const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC), err;

	if (fd < 0)
		return -errno;
	e->fd = move_up(fd);
	if (!fstat(e->fd, &e->device))
		return 0;
	err = -errno;
	close(e->fd);
	return err;
}

static int map_region(struct tm_kmod_engine *e)
{
	struct tm_uapi_region region = {0};
	struct tm_uapi_query q = {0};
	int err = call(e, TM_IOC_SPACE_QUERY, &q);

	if (!err)
		err = tm_engine_reserve(&e->engine, q.capacity_bytes);
	if (err)
		return err;
	region.bytes = e->engine.size;
	err = call(e, TM_IOC_REGION, &region);
	if (err)
		return err;
	e->engine.block = region.block_bytes;
	if (mmap(e->engine.base, e->engine.size, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_NORESERVE | MAP_FIXED, e->fd,
		 0) == MAP_FAILED)
		return -errno;
	/* A child must never share it; the parent's budget is not the child's.
	 */
	return madvise(e->engine.base, e->engine.size, MADV_DONTFORK) ? -errno
								      : 0;
}

static const char *remedy(int err)
{
	switch (err) {
	case -ENOENT:
	case -ENXIO:
		return " (the job's agent ended, or never got its servers: see "
		       "the kernel log)";
	case -EACCES:
	case -EPERM:
		return " (it is for the job's user only)";
	case -ENOTTY:
		return " (not a device of teramem.ko)";
	default:
		return "";
	}
}

int tm_kmod_engine_start(struct tm_engine **engine)
{
	const char *path = tm_config_get()->device;
	struct tm_kmod_engine *e = tm_alloc(sizeof(*e));
	int err;

	if (!e)
		return -ENOMEM;
	e->engine.ops = &kmod_ops;
	err = open_device(e, path);
	if (!err) {
		err = map_region(e);
		if (!err) {
			*engine = &e->engine;
			return 0;
		}
		tm_engine_stop(&e->engine);
	}
	tm_err("start engine: use %s: %s%s", path, strerror(-err), remedy(err));
	if (e->engine.base)
		munmap(e->engine.base, e->engine.size);
	tm_free(e, sizeof(*e));
	return err;
}
