/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mapping calls of an unmodified program.
 *
 * With TERAMALLOC_MMAP=1 large private anonymous mappings come from the remote
 * heap. Stacks, executable, locked, huge-page and shared ones, those at an
 * address that the program asks for, and whatever is only reserved (PROT_NONE,
 * or MAP_NORESERVE beyond the capacity) are left to the kernel.
 *
 * Always: no call may pull pages of the remote heap away under the engine's
 * feet, wherever the program got the address from.
 *
 * Our own calls do not come here: the linker turns them into those of sys.c.
 * Lock order: none of its own.
 */
/* Or else the header makes mmap another name of mmap64. */
#undef _FILE_OFFSET_BITS
#include "allocator/preload.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <sys/mman.h>

#include "allocator/config.h"
#include "allocator/heap.h"
#include "allocator/mapping.h"
#include "allocator/sys.h"
#include "common/log.h"
#include "tm_port.h"

#define EXPORT __attribute__((visibility("default")))
#define PROT_RW (PROT_READ | PROT_WRITE)

static int result(int err)
{
	if (!err)
		return 0;
	errno = -err;
	return -1;
}

/* The heap, if [addr, addr + bytes) touches it. */
static struct tm_heap *heap_at(const void *addr, size_t bytes)
{
	struct tm_heap *h = tm_load_acquire(&tm_heap_live);

	if (!h || (uintptr_t)addr >= h->base + h->size ||
	    ((uintptr_t)addr < h->base && bytes <= h->base - (uintptr_t)addr))
		return NULL;
	return h;
}

static bool parents_at(const void *addr)
{
	return tm_heap_parents && tm_heap_parents_hold(addr);
}

static bool wanted(void *addr, size_t bytes, int prot, int flags)
{
	const int fine = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			 MAP_POPULATE | MAP_NONBLOCK;

	return !addr && prot == PROT_RW && !(flags & ~fine) &&
	       (flags & (MAP_PRIVATE | MAP_ANONYMOUS)) ==
		       (MAP_PRIVATE | MAP_ANONYMOUS) &&
	       tm_preload_job() && tm_config_get()->mmap &&
	       bytes >= tm_config_get()->threshold_bytes && !tm_heap_starting();
}

EXPORT void *mmap(void *addr, size_t bytes, int prot, int flags, int fd,
		  off_t offset)
{
	struct tm_heap *h = heap_at(addr, bytes);
	void *new;
	int err = -ENOMEM;

	if (tm_unlikely(h && flags & MAP_FIXED)) {
		if ((flags & MAP_TYPE) == MAP_PRIVATE && flags & MAP_ANONYMOUS)
			err = tm_mapping_replace(h, (uintptr_t)addr, bytes,
						 prot);
		return result(err) ? MAP_FAILED : addr;
	}
	if (wanted(addr, bytes, prot, flags) &&
	    tm_preload_maps(__builtin_return_address(0))) {
		h = tm_heap_get();
		new = h ? tm_mapping_create(h, bytes) : NULL;
		if (new)
			return new;
		if (!(flags & MAP_NORESERVE) && !tm_heap_fallback()) {
			errno = ENOMEM;
			return MAP_FAILED;
		}
	}
	return tm_sys_mmap(addr, bytes, prot, flags, fd, offset);
}

EXPORT void *mmap64(void *addr, size_t bytes, int prot, int flags, int fd,
		    off_t offset) __attribute__((alias("mmap")));

EXPORT int munmap(void *addr, size_t bytes)
{
	struct tm_heap *h = heap_at(addr, bytes);

	if (tm_unlikely(h != NULL))
		return result(tm_mapping_unmap(h, (uintptr_t)addr, bytes));
	/* Its place stays taken, so that nothing else is mistaken for it. */
	if (tm_unlikely(parents_at(addr)))
		return 0;
	return tm_sys_munmap(addr, bytes);
}

/* mremap(2) of a mapping of ours to another place. */
static void *move(struct tm_heap *h, void *old, size_t old_bytes,
		  size_t new_bytes, int flags, void *target)
{
	void *new;

	if (flags & MREMAP_FIXED)
		new = tm_sys_mmap(target, new_bytes, PROT_RW,
				  MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1,
				  0);
	else
		new = mmap(NULL, new_bytes, PROT_RW,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (new == MAP_FAILED)
		return new;
	memcpy(new, old, old_bytes < new_bytes ? old_bytes : new_bytes);
	tm_mapping_unmap(h, (uintptr_t)old, old_bytes);
	return new;
}

EXPORT void *mremap(void *old, size_t old_bytes, size_t new_bytes, int flags,
		    ...)
{
	struct tm_heap *h = heap_at(old, old_bytes);
	void *target = NULL;
	va_list args;
	int err;

	if (flags & MREMAP_FIXED) {
		va_start(args, flags);
		target = va_arg(args, void *);
		va_end(args);
	}
	if (tm_unlikely(parents_at(old) ||
			(target && heap_at(target, new_bytes)) ||
			(h && (!old_bytes || !new_bytes ||
			       flags & ~(MREMAP_MAYMOVE | MREMAP_FIXED))))) {
		errno = EINVAL;
		return MAP_FAILED;
	}
	if (tm_likely(!h))
		return tm_sys_mremap(old, old_bytes, new_bytes, flags, target);
	err = -ENOMEM;
	if (!(flags & MREMAP_FIXED))
		err = tm_mapping_resize(h, (uintptr_t)old, old_bytes,
					new_bytes);
	if (err == -ENOMEM && flags & MREMAP_MAYMOVE)
		return move(h, old, old_bytes, new_bytes, flags, target);
	return result(err) ? MAP_FAILED : old;
}

EXPORT int mprotect(void *addr, size_t bytes, int prot)
{
	struct tm_heap *h = heap_at(addr, bytes);

	if (tm_unlikely(h != NULL))
		return result(
			tm_mapping_protect(h, (uintptr_t)addr, bytes, prot));
	return tm_sys_mprotect(addr, bytes, prot);
}

EXPORT int madvise(void *addr, size_t bytes, int advice)
{
	struct tm_heap *h = heap_at(addr, bytes);

	if (tm_likely(!h))
		return tm_sys_madvise(addr, bytes, advice);
	switch (advice) {
	case MADV_DONTNEED:
	case MADV_DONTNEED_LOCKED:
	case MADV_FREE:
		return result(tm_mapping_clear(h, (uintptr_t)addr, bytes));
	case MADV_REMOVE:
	case MADV_WIPEONFORK:
	case MADV_HWPOISON:
		return result(-EINVAL);
	default:
		/* Hints for the kernel's paging, which is not at work here. */
		return 0;
	}
}

EXPORT int posix_madvise(void *addr, size_t bytes, int advice)
{
	if (tm_unlikely(heap_at(addr, bytes) != NULL) ||
	    advice == POSIX_MADV_DONTNEED)
		return 0;
	return tm_sys_madvise(addr, bytes, advice) ? errno : 0;
}

EXPORT int mlock(const void *addr, size_t bytes)
{
	return mlock2(addr, bytes, 0);
}

EXPORT int mlock2(const void *addr, size_t bytes, unsigned int flags)
{
	struct tm_heap *h = heap_at(addr, bytes);
	int err = 0;

	if (tm_unlikely(h != NULL))
		err = tm_mapping_lock(h, (uintptr_t)addr, bytes);
	return err ? result(err) : tm_sys_mlock2(addr, bytes, flags);
}

/* It would bring the whole region in and pin it. */
EXPORT int mlockall(int flags)
{
	static bool said;

	if (!tm_preload_job())
		return tm_sys_mlockall(flags);
	if (!__atomic_exchange_n(&said, true, __ATOMIC_RELAXED))
		tm_warn("mlockall: refused (ENOMEM), remote memory cannot be "
			"locked as a whole; use mlock(2) for what must stay");
	return result(-ENOMEM);
}
