/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * userfaultfd(2), thin: opening one that serves the kernel's accesses too, and
 * its ioctls with 0 or -errno. Knows nothing of blocks. Lock order: none.
 */
#ifndef TM_ALLOCATOR_UFFD_H
#define TM_ALLOCATOR_UFFD_H

#include <linux/userfaultfd.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Newer than the headers of some systems that this is built on. */
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
struct uffdio_move {
	__u64 dst;
	__u64 src;
	__u64 len;
	__u64 mode;
	__s64 move;
};
#define UFFDIO_MOVE _IOWR(UFFDIO, 0x05, struct uffdio_move)
#endif

#define TM_PAGE 4096ul

/**
 * struct tm_userfaultfd - an open userfaultfd
 * @features: what the kernel has (UFFD_FEATURE_*)
 * @limited: system calls into absent memory fail with EFAULT
 */
struct tm_userfaultfd {
	int fd;
	uint64_t features;
	bool limited;
};

/**
 * tm_uffd_open() - non-blocking, close-on-exec
 * @allow_limited: take one for user-mode faults only where nothing better is
 *	to be had
 *
 * Tries a descriptor of /dev/userfaultfd that was inherited (TERAMEM_UFFD_FD),
 * /dev/userfaultfd itself, and the system call. Returns 0 or -errno after
 * one line that tells the remedies.
 */
int tm_uffd_open(bool allow_limited, struct tm_userfaultfd *uffd);

/** tm_uffd_register() - serve faults there; @mode: UFFDIO_REGISTER_MODE_* */
int tm_uffd_register(int fd, void *addr, size_t len, uint64_t mode);
int tm_uffd_unregister(int fd, void *addr, size_t len);

/** tm_uffd_wake() - whoever waits for a page there tries again */
void tm_uffd_wake(int fd, void *addr, size_t len);

/** tm_uffd_zero() - make an absent page present, all zeros, and wake */
void tm_uffd_zero(int fd, void *addr);

/**
 * tm_uffd_copy() - make absent pages present with a copy of @src, and wake
 * @done: bytes for which that was done, also on failure
 */
int tm_uffd_copy(int fd, void *dst, const void *src, size_t len, size_t *done);

/**
 * tm_uffd_pages_open() - get ready to look at this process's pages; in the
 * descriptor table of whoever is going to
 */
int tm_uffd_pages_open(void);

/** tm_uffd_page_there() - the page is in memory or swapped out */
bool tm_uffd_page_there(const void *addr);

/** tm_uffd_pages_there() - how many bytes of pages are, before one is not */
size_t tm_uffd_pages_there(const void *addr, size_t len);

/**
 * tm_uffd_move() - move pages from @src, where they vanish, to @dst, where
 * none may be present, and wake
 * @done: bytes for which that was done, also on failure
 */
int tm_uffd_move(int fd, void *dst, void *src, size_t len, size_t *done);

/**
 * tm_uffd_moves_huge() - whether huge pages may be moved, and in parts
 *
 * They are there (transparent huge pages are not switched off), and Linux is
 * 6.14 or later: before, moving a part of one could wait for ever for its lock.
 */
bool tm_uffd_moves_huge(void);

/** tm_uffd_protect() - deny (or allow, waking who waits) writing */
int tm_uffd_protect(int fd, void *addr, size_t len, bool protect);

#endif /* TM_ALLOCATOR_UFFD_H */
