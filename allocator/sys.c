/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mapping system calls, and the names (__wrap_…) by which the linker
 * (--wrap) lets everything inside the preload, jemalloc too, use them: the
 * program's calls come to preload_mmap.c, our own must not.
 */
#include "allocator/sys.h"

#include <stdarg.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *tm_sys_mmap(void *addr, size_t bytes, int prot, int flags, int fd,
		  off_t offset)
{
	return (void *)syscall(SYS_mmap, addr, bytes, prot, flags, fd, offset);
}

int tm_sys_munmap(void *addr, size_t bytes)
{
	return (int)syscall(SYS_munmap, addr, bytes);
}

void *tm_sys_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags,
		    void *target)
{
	return (void *)syscall(SYS_mremap, old, old_bytes, new_bytes, flags,
			       target);
}

int tm_sys_mprotect(void *addr, size_t bytes, int prot)
{
	return (int)syscall(SYS_mprotect, addr, bytes, prot);
}

int tm_sys_madvise(void *addr, size_t bytes, int advice)
{
	return (int)syscall(SYS_madvise, addr, bytes, advice);
}

int tm_sys_mlock2(const void *addr, size_t bytes, unsigned int flags)
{
	if (!flags)
		return (int)syscall(SYS_mlock, addr, bytes);
	return (int)syscall(SYS_mlock2, addr, bytes, flags);
}

int tm_sys_mlockall(int flags)
{
	return (int)syscall(SYS_mlockall, flags);
}

#define WRAP(name) __attribute__((alias("tm_sys_" #name)))

void *__wrap_mmap(void *addr, size_t bytes, int prot, int flags, int fd,
		  off_t offset) WRAP(mmap);
void *__wrap_mmap64(void *addr, size_t bytes, int prot, int flags, int fd,
		    off_t offset) WRAP(mmap);
int __wrap_munmap(void *addr, size_t bytes) WRAP(munmap);
int __wrap_mprotect(void *addr, size_t bytes, int prot) WRAP(mprotect);
int __wrap_madvise(void *addr, size_t bytes, int advice) WRAP(madvise);
