/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * What core/ needs from its surroundings, in the kernel: the twin of
 * core/port/user/tm_port.h, with exactly the same names.
 */
#ifndef TM_PORT_H
#define TM_PORT_H

#include <linux/bug.h>
#include <linux/build_bug.h>
#include <linux/compiler.h>
#include <linux/errno.h>
#include <linux/prefetch.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/spinlock.h>
#include <linux/stddef.h>
#include <linux/string.h>
#include <linux/types.h>
#include <linux/vmalloc.h>
#include <asm/barrier.h>
#include <asm/byteorder.h>

#define tm_le16_to_cpu(x) le16_to_cpu(x)
#define tm_le32_to_cpu(x) le32_to_cpu(x)
#define tm_le64_to_cpu(x) le64_to_cpu(x)
#define tm_cpu_to_le16(x) cpu_to_le16(x)
#define tm_cpu_to_le32(x) cpu_to_le32(x)
#define tm_cpu_to_le64(x) cpu_to_le64(x)

#define tm_likely(x) likely(x)
#define tm_unlikely(x) unlikely(x)

/* A broken invariant must never reach the program's data: stop at once. */
#define TM_BUG_ON(cond) BUG_ON(cond)

/* Plain fields that another thread may read or write at the same time. */
#define tm_load_relaxed(p) READ_ONCE(*(p))
#define tm_store_relaxed(p, v) WRITE_ONCE(*(p), (v))
#define tm_load_acquire(p) smp_load_acquire(p) /* as the caller says */
#define tm_store_release(p, v) smp_store_release((p), (v)) /* likewise */
#define tm_add_return(p, v) __atomic_add_fetch((p), (v), __ATOMIC_SEQ_CST)
/* Returns true when *p was old and is now new. */
#define tm_cas(p, old, new)                                                    \
	({                                                                     \
		__typeof__(*(p)) tm_cas_old = (old);                           \
		cmpxchg((p), tm_cas_old, (new)) == tm_cas_old;                 \
	})

struct tm_lock {
	spinlock_t lock;
};

static inline void tm_lock_init(struct tm_lock *l)
{
	spin_lock_init(&l->lock);
}

/*
 * Core hands locked shards from function to function, which sparse cannot
 * follow: for it neither of these changes anything.
 */
static inline void tm_lock_acquire(struct tm_lock *l)
{
	spin_lock(&l->lock);
	__release(&l->lock);
}

static inline void tm_lock_release(struct tm_lock *l)
{
	__acquire(&l->lock);
	spin_unlock(&l->lock);
}

/* This will be read and written soon; any address may be given. */
static inline void tm_touch_soon(const void *addr)
{
	prefetchw(addr);
}

/* Between looks at something that another thread is about to change. */
static inline void tm_yield(void)
{
	cpu_relax();
	cond_resched();
}

/*
 * Set-up time memory, zeroed. May sleep, but never waits for reclaim that does
 * I/O: reclaim may be waiting for us. (The scope also covers the page tables
 * that vmalloc allocates, which its flags do not.)
 */
static inline void *tm_alloc(size_t bytes)
{
	unsigned int flags = memalloc_noio_save();
	void *p = vzalloc(bytes);

	memalloc_noio_restore(flags);
	return p;
}

static inline void tm_free(void *p, size_t bytes)
{
	vfree(p);
}

#endif /* TM_PORT_H */
