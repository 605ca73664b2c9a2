// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Blocks that cannot be had: an empty file is mapped over them, so that each
 * access ends in SIGBUS (and EFAULT in system calls), until they are freed.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "allocator/engine_internal.h"

#define LOG_FIRST 8
#define LOG_EVERY 1000

static void bus_error(pid_t tid)
{
	if (tid > 0)
		syscall(SYS_tgkill, getpid(), tid, SIGBUS);
	else
		kill(getpid(), SIGBUS);
}

void tm_lost_vanished(struct tm_uffd_engine *e, u64 addr, pid_t tid)
{
	tm_lane_log(TM_LOG_ERROR,
		    "serve access to %#llx: the page was removed behind the "
		    "library's back (a madvise or mmap system call that it did "
		    "not see); the access ends in SIGBUS",
		    (unsigned long long)addr);
	bus_error(tid);
}

static void failed_log(struct tm_uffd_engine *e, u64 block, int err, u32 nr)
{
	if (nr > LOG_FIRST && nr % LOG_EVERY)
		return;
	tm_lane_log(TM_LOG_ERROR,
		    "access memory at %p (block %llu): %s; the access ends in "
		    "SIGBUS (%u such blocks so far)",
		    tm_engine_addr(e, block), (unsigned long long)block,
		    tm_fail_cause(err) ?: strerror(-err), nr);
}

void tm_lost_fail(void *ctx, struct tm_lane *lane, u64 block, int err)
{
	struct tm_uffd_engine *e = ctx;
	char *addr = tm_engine_addr(e, block);

	/* At the block's own offset, so that neighbours share one mapping. */
	if (mmap(addr, e->engine.block, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, e->empty_fd,
		 (off_t)(block << e->block_shift)) == MAP_FAILED) {
		tm_lane_log(TM_LOG_ERROR,
			    "give up block %llu: %s; the program ends",
			    (unsigned long long)block, strerror(errno));
		bus_error(0);
	}
	__atomic_fetch_or(&e->failed[block / 64], 1ull << block % 64,
			  __ATOMIC_RELAXED);
	failed_log(e, block, err,
		   __atomic_add_fetch(&e->nr_failed, 1, __ATOMIC_RELAXED));
	tm_uffd_wake(e->uffd.fd, addr, e->engine.block);
}

bool tm_lost(const struct tm_uffd_engine *e, u64 block)
{
	return tm_load_acquire(&e->failed[block / 64]) >> block % 64 & 1;
}

void tm_lost_restore(struct tm_uffd_engine *e, u64 first, u64 nr)
{
	u64 bit;
	int err;

	if (!tm_load_relaxed(&e->nr_failed))
		return;
	for (u64 block = first; block < first + nr; block++) {
		bit = 1ull << block % 64;
		if (!(__atomic_fetch_and(&e->failed[block / 64], ~bit,
					 __ATOMIC_RELAXED) &
		      bit))
			continue;
		err = tm_region_map(e, tm_engine_addr(e, block),
				    e->engine.block);
		if (err)
			tm_lane_log(TM_LOG_ERROR,
				    "reuse block %llu: %s; it stays unusable",
				    (unsigned long long)block, strerror(-err));
	}
}
