/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * What core/ needs from its surroundings, in user space. The kernel's twin is
 * core/port/linux/tm_port.h; both define exactly the same names.
 */
#ifndef TM_PORT_H
#define TM_PORT_H

#include <endian.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;

#define tm_le16_to_cpu(x) le16toh(x)
#define tm_le32_to_cpu(x) le32toh(x)
#define tm_le64_to_cpu(x) le64toh(x)
#define tm_cpu_to_le16(x) htole16(x)
#define tm_cpu_to_le32(x) htole32(x)
#define tm_cpu_to_le64(x) htole64(x)

#define tm_likely(x) __builtin_expect(!!(x), 1)
#define tm_unlikely(x) __builtin_expect(!!(x), 0)

/* A broken invariant must never reach the program's data: stop at once. */
#define TM_BUG_ON(cond)                                                        \
	do {                                                                   \
		if (tm_unlikely(cond))                                         \
			__builtin_trap();                                      \
	} while (0)

/* Plain fields that another thread may read or write at the same time. */
#define tm_load_relaxed(p) __atomic_load_n((p), __ATOMIC_RELAXED)
#define tm_store_relaxed(p, v) __atomic_store_n((p), (v), __ATOMIC_RELAXED)
#define tm_load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define tm_store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)
#define tm_add_return(p, v) __atomic_add_fetch((p), (v), __ATOMIC_ACQ_REL)
/* Returns true when *p was old and is now new. */
#define tm_cas(p, old, new)                                                    \
	({                                                                     \
		__typeof__(*(p)) tm_cas_old = (old);                           \
		__atomic_compare_exchange_n((p), &tm_cas_old, (new), false,    \
					    __ATOMIC_ACQ_REL,                  \
					    __ATOMIC_ACQUIRE);                 \
	})

/*
 * A spinlock that yields: holders only ever do a few loads and stores, but in
 * user space one of them may be preempted.
 */
struct tm_lock {
	u32 locked;
};

static inline void tm_lock_init(struct tm_lock *l)
{
	l->locked = 0;
}

static inline void tm_lock_acquire(struct tm_lock *l)
{
	unsigned int spins = 0;

	while (__atomic_exchange_n(&l->locked, 1, __ATOMIC_ACQUIRE)) {
		while (tm_load_relaxed(&l->locked)) {
			if (++spins % 128 == 0)
				sched_yield();
			else
				__builtin_ia32_pause();
		}
	}
}

static inline void tm_lock_release(struct tm_lock *l)
{
	tm_store_release(&l->locked, 0);
}

/* This will be read and written soon; any address may be given. */
static inline void tm_touch_soon(const void *addr)
{
	__builtin_prefetch(addr, 1);
}

/* Between looks at something that another thread is about to change. */
static inline void tm_yield(void)
{
	sched_yield();
}

/*
 * Set-up time memory, zeroed, page-aligned, never from malloc (which may be
 * ours): costs nothing until touched. NULL when there is none.
 */
static inline void *tm_alloc(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

static inline void tm_free(void *p, size_t bytes)
{
	if (p)
		munmap(p, bytes);
}

#endif /* TM_PORT_H */
