// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * userfaultfd(2), thin; see uffd.h.
 */
#include "allocator/uffd.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

#define OPEN_FLAGS (O_CLOEXEC | O_NONBLOCK)

/*
 * EAGAIN means that the kernel met a page in passing (being migrated, locked).
 * It goes on for as long as something else holds the page.
 */
#define TRIES_BUSY 64
#define TRIES_MAX 20000

static int open_inherited(void)
{
	const char *text = secure_getenv("TERAMEM_UFFD_FD");
	char *end;
	long fd;

	if (!text || !*text)
		return -1;
	fd = strtol(text, &end, 10);
	if (*end || fd < 0 || fd > 1 << 20)
		return -1;
	return ioctl((int)fd, USERFAULTFD_IOC_NEW, OPEN_FLAGS);
}

static int open_device(void)
{
	int device, fd;

	device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	if (device < 0)
		return -1;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, OPEN_FLAGS);
	close(device);
	return fd;
}

static int open_any(bool allow_limited, bool *limited)
{
	int fd;

	*limited = false;
	fd = open_inherited();
	if (fd < 0)
		fd = open_device();
	if (fd < 0)
		fd = (int)syscall(SYS_userfaultfd, OPEN_FLAGS);
	if (fd < 0 && allow_limited) {
		fd = (int)syscall(SYS_userfaultfd,
				  OPEN_FLAGS | UFFD_USER_MODE_ONLY);
		*limited = fd >= 0;
	}
	return fd < 0 ? -errno : fd;
}

static int handshake(int fd, uint64_t *features)
{
	struct uffdio_api api = {.api = UFFD_API, .features = *features};

	if (ioctl(fd, UFFDIO_API, &api))
		return -errno;
	*features = api.features;
	return 0;
}

int tm_uffd_open(bool allow_limited, struct tm_userfaultfd *uffd)
{
	uint64_t wanted;
	int err;

	/* The handshake can be done once: ask with one, use another. */
	uffd->fd = open_any(allow_limited, &uffd->limited);
	if (uffd->fd < 0) {
		err = uffd->fd;
		tm_err("open userfaultfd: %s; let this user open "
		       "/dev/userfaultfd (chgrp and chmod it, or a udev rule), "
		       "or as root: sysctl vm.unprivileged_userfaultfd=1; or "
		       "set TERAMALLOC_UFFD=limited if no system call ever "
		       "gets remote memory",
		       strerror(-err));
		return err;
	}
	uffd->features = 0;
	err = handshake(uffd->fd, &uffd->features);
	close(uffd->fd);
	if (err)
		goto failed;
	uffd->fd = open_any(allow_limited, &uffd->limited);
	if (uffd->fd < 0) {
		err = uffd->fd;
		goto failed;
	}
	wanted = uffd->features & (UFFD_FEATURE_THREAD_ID | UFFD_FEATURE_MOVE |
				   UFFD_FEATURE_PAGEFAULT_FLAG_WP);
	err = handshake(uffd->fd, &wanted);
	if (err) {
		close(uffd->fd);
		goto failed;
	}
	if (uffd->limited)
		tm_warn("open userfaultfd: limited: system calls with remote "
			"memory may fail with EFAULT "
			"(TERAMALLOC_UFFD=limited)");
	return 0;

failed:
	tm_err("open userfaultfd: %s; this kernel's is not usable",
	       strerror(-err));
	return err;
}

int tm_uffd_register(int fd, void *addr, size_t len, uint64_t mode)
{
	struct uffdio_register r = {
		.range = {(uintptr_t)addr, len},
		.mode = mode,
	};

	return ioctl(fd, UFFDIO_REGISTER, &r) ? -errno : 0;
}

int tm_uffd_unregister(int fd, void *addr, size_t len)
{
	struct uffdio_range r = {(uintptr_t)addr, len};

	return ioctl(fd, UFFDIO_UNREGISTER, &r) ? -errno : 0;
}

void tm_uffd_wake(int fd, void *addr, size_t len)
{
	struct uffdio_range r = {(uintptr_t)addr, len};

	ioctl(fd, UFFDIO_WAKE, &r);
}

/* Whether to try once more after @err without progress, @tries before. */
static bool again(int err, unsigned int tries)
{
	const struct timespec pause = {.tv_nsec = 50000};

	if ((err != EAGAIN && err != EINTR) || tries >= TRIES_MAX)
		return false;
	if (tries < TRIES_BUSY)
		sched_yield();
	else
		nanosleep(&pause, NULL);
	return true;
}

void tm_uffd_zero(int fd, void *addr)
{
	struct uffdio_zeropage z = {.range = {(uintptr_t)addr, TM_PAGE}};
	unsigned int tries = 0;

	while (ioctl(fd, UFFDIO_ZEROPAGE, &z))
		if (!again(errno, tries++))
			return;
}

int tm_uffd_copy(int fd, void *dst, const void *src, size_t len, size_t *done)
{
	unsigned int tries = 0;
	struct uffdio_copy c;

	*done = 0;
	for (;;) {
		c = (struct uffdio_copy){
			.dst = (uintptr_t)dst + *done,
			.src = (uintptr_t)src + *done,
			.len = len - *done,
		};
		if (!ioctl(fd, UFFDIO_COPY, &c)) {
			*done = len;
			return 0;
		}
		if (c.copy > 0) {
			*done += (size_t)c.copy;
			tries = 0;
		} else if (!again(errno, tries++)) {
			return -errno;
		}
	}
}

static int pagemap_fd = -1;

#define PAGEMAP_THERE (3ull << 62) /* present, or swapped out */
#define PAGEMAP_MAX 512		   /* pages looked at in one go */

int tm_uffd_pages_open(void)
{
	pagemap_fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
	return pagemap_fd < 0 ? -errno : 0;
}

/* Returns for how many pages @entry was filled in. */
static size_t pagemap(const void *addr, size_t pages, uint64_t *entry)
{
	ssize_t len;

	if (pages > PAGEMAP_MAX)
		pages = PAGEMAP_MAX;
	len = pread(pagemap_fd, entry, pages * sizeof(*entry),
		    (off_t)((uintptr_t)addr / TM_PAGE * sizeof(*entry)));
	return len > 0 ? (size_t)len / sizeof(*entry) : 0;
}

size_t tm_uffd_pages_there(const void *addr, size_t len)
{
	uint64_t entry[PAGEMAP_MAX];
	size_t at = 0, pages;

	while (at < len) {
		pages = pagemap((const char *)addr + at, (len - at) / TM_PAGE,
				entry);
		if (!pages)
			return at;
		for (size_t i = 0; i < pages; i++, at += TM_PAGE)
			if (!(entry[i] & PAGEMAP_THERE))
				return at;
	}
	return at;
}

bool tm_uffd_page_there(const void *addr)
{
	return tm_uffd_pages_there(addr, TM_PAGE) == TM_PAGE;
}

/* How much of @src's first pages is at @dst and not at @src any more. */
static size_t moved_already(const char *dst, const char *src, size_t len)
{
	size_t there = tm_uffd_pages_there(dst, len), at = 0;

	while (at < there && !tm_uffd_page_there(src + at))
		at += TM_PAGE;
	return at;
}

int tm_uffd_move(int fd, void *dst, void *src, size_t len, size_t *done)
{
	unsigned int tries = 0;
	struct uffdio_move m;
	size_t moved;

	*done = 0;
	for (;;) {
		/* .move is not written on each way out: start from zero. */
		m = (struct uffdio_move){
			.dst = (uintptr_t)dst + *done,
			.src = (uintptr_t)src + *done,
			.len = len - *done,
		};
		if (!ioctl(fd, UFFDIO_MOVE, &m)) {
			*done = len;
			return 0;
		}
		if (m.move > 0) {
			*done += (size_t)m.move;
			tries = 0;
			continue;
		}
		/*
		 * Linux 6.18's move_pages() keeps the -EAGAIN of a page that
		 * changed under it (the program was writing there) over the
		 * next, successful try: it moves a batch of pages, does not
		 * count them, meets them at the destination and says EEXIST.
		 * So ask where the pages are.
		 */
		if (errno == EEXIST) {
			moved = moved_already((char *)dst + *done,
					      (char *)src + *done, len - *done);
			if (!moved)
				return -EEXIST;
			tm_uffd_wake(fd, (char *)dst + *done, moved);
			*done += moved;
			if (*done == len)
				return 0;
			tries = 0;
		} else if (!again(errno, tries++)) {
			return -errno;
		}
	}
}

bool tm_uffd_moves_huge(void)
{
	unsigned int major = 0, minor = 0;
	struct utsname name;
	char mode[64] = "";
	int fd;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	if (major < 6 || (major == 6 && minor < 14))
		return false;
	fd = open("/sys/kernel/mm/transparent_hugepage/enabled",
		  O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	if (read(fd, mode, sizeof(mode) - 1) < 0)
		*mode = 0;
	close(fd);
	return *mode && !strstr(mode, "[never]");
}

int tm_uffd_protect(int fd, void *addr, size_t len, bool protect)
{
	struct uffdio_writeprotect w = {
		.range = {(uintptr_t)addr, len},
		.mode = protect ? UFFDIO_WRITEPROTECT_MODE_WP : 0,
	};
	unsigned int tries = 0;

	while (ioctl(fd, UFFDIO_WRITEPROTECT, &w))
		if (!again(errno, tries++))
			return -errno;
	return 0;
}
