/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator's port: the user one, but lanes may also be left wherever core/
 * takes or gives a lock, or waits for another lane, and memory may be short.
 * Checks that locks do not
 * nest, as pager_internal.h and place.h promise.
 */
#ifndef SIM_PORT_H
#define SIM_PORT_H

#define tm_alloc tm_user_alloc
#define tm_lock_acquire tm_user_lock_acquire
#define tm_lock_release tm_user_lock_release
#define tm_yield tm_user_yield
#include "core/port/user/tm_port.h"
#undef tm_alloc
#undef tm_lock_acquire
#undef tm_lock_release
#undef tm_yield

void sched_lock(struct tm_lock *lock);
void sched_unlock(struct tm_lock *lock);
void sched_switch(void);
bool sim_no_memory(void);

static inline void *tm_alloc(size_t bytes)
{
	return sim_no_memory() ? NULL : tm_user_alloc(bytes);
}

static inline void tm_lock_acquire(struct tm_lock *lock)
{
	sched_lock(lock);
}

static inline void tm_lock_release(struct tm_lock *lock)
{
	sched_unlock(lock);
}

static inline void tm_yield(void)
{
	sched_switch();
}

#endif /* SIM_PORT_H */
