// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * fork(2). The child inherits neither the region nor who pages it. It must not
 * find anything else at the region's addresses either, so the first thing that
 * it does is to take them, inaccessible, for good; where an access then ends in
 * SIGSEGV, one line says why, unless the program handles that signal itself.
 *
 * tm_engine_fork_child() uses system calls only, so that it may run in a child
 * of any kind.
 */
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "allocator/engine_ops.h"
#include "common/log.h"

#ifndef MAP_FIXED_NOREPLACE
#define MAP_FIXED_NOREPLACE 0x100000
#endif

/* Of the parent, its parent, ...; the oldest are forgotten for the message. */
#define GENERATIONS 8
static struct {
	char *base;
	size_t size;
} gone[GENERATIONS];
static unsigned int nr_gone;

static void on_segv(int sig, siginfo_t *info, void *context)
{
	const struct sigaction dfl = {.sa_handler = SIG_DFL};
	char *addr = info->si_addr;

	/* The access, if it was one, comes again and ends as it would have. */
	sigaction(SIGSEGV, &dfl, NULL);
	if (info->si_code <= 0) {
		raise(SIGSEGV);
		return;
	}
	for (unsigned int i = 0; i < GENERATIONS; i++) {
		if (!gone[i].size || addr < gone[i].base ||
		    addr >= gone[i].base + gone[i].size)
			continue;
		tm_err("access remote memory at %p: it belongs to the parent "
		       "process, a forked child has none of it; share memory "
		       "with mmap(MAP_SHARED), or use threads",
		       (void *)addr);
		return;
	}
}

void tm_engine_fork_prepare(struct tm_engine *e)
{
	if (e->ops->fork_prepare)
		e->ops->fork_prepare(e);
}

void tm_engine_fork_parent(struct tm_engine *e)
{
	if (e->ops->fork_parent)
		e->ops->fork_parent(e);
}

void tm_engine_fork_child(struct tm_engine *e)
{
	struct sigaction old, explain = {
				      .sa_sigaction = on_segv,
				      .sa_flags = SA_SIGINFO | SA_ONSTACK,
			      };
	void *area;

	area = mmap(e->base, e->size, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE |
			    MAP_FIXED_NOREPLACE,
		    -1, 0);
	if (area != e->base) {
		tm_err("fork: the addresses of the parent's remote memory were "
		       "taken before they could be closed off; the child ends");
		_exit(127);
	}
	gone[nr_gone % GENERATIONS].base = e->base;
	gone[nr_gone % GENERATIONS].size = e->size;
	nr_gone++;
	if (!sigaction(SIGSEGV, NULL, &old) && old.sa_handler == SIG_DFL &&
	    !(old.sa_flags & SA_SIGINFO))
		sigaction(SIGSEGV, &explain, NULL);
	e->ops->fork_child(e);
}
