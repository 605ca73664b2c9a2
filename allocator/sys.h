/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mapping system calls themselves, for the preload, which defines the C
 * library's names for them. Return values and errno as there.
 */
#ifndef TM_ALLOCATOR_SYS_H
#define TM_ALLOCATOR_SYS_H

#include <stddef.h>
#include <sys/types.h>

void *tm_sys_mmap(void *addr, size_t bytes, int prot, int flags, int fd,
		  off_t offset);
int tm_sys_munmap(void *addr, size_t bytes);
void *tm_sys_mremap(void *old, size_t old_bytes, size_t new_bytes, int flags,
		    void *target);
int tm_sys_mprotect(void *addr, size_t bytes, int prot);
int tm_sys_madvise(void *addr, size_t bytes, int advice);
int tm_sys_mlock2(const void *addr, size_t bytes, unsigned int flags);
int tm_sys_mlockall(int flags);

#endif /* TM_ALLOCATOR_SYS_H */
