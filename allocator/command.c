// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Commands: what program threads ask the lanes to do, and wait for.
 *
 * A lane sleeps on the userfaultfd and on sockets in a descriptor table that
 * the program does not share. So the way to reach it is what it listens to: a
 * thread writes its command down and touches the command's doorbell, an absent
 * page. The lane that gets the fault does the work, then makes the page
 * present, which ends the thread's wait; no descriptor, no signal, no lock.
 *
 * A signal handler in the waiting thread makes it fault again, so a doorbell
 * may ring more than once for one command.
 */
#include <sched.h>
#include <sys/mman.h>

#include "allocator/engine_internal.h"

#define COMMANDS 64
#define STEP_BLOCKS 1024

/*
 * FREE -> FILLING -> ASKED by the program's thread, TAKEN -> DONE by a lane,
 * FREE by the program's thread.
 */
enum state { FREE, FILLING, ASKED, TAKEN, DONE };

struct tm_command {
	u32 state;
	u64 first;
	u64 nr;
	struct tm_command *next;
};

int tm_command_init(struct tm_uffd_engine *e)
{
	const size_t bytes = COMMANDS * TM_PAGE;

	e->command = tm_alloc(COMMANDS * sizeof(*e->command));
	e->doorbell = tm_alloc(bytes);
	if (!e->command || !e->doorbell)
		return -ENOMEM;
	madvise(e->doorbell, bytes, MADV_DONTFORK);
	madvise(e->doorbell, bytes, MADV_NOHUGEPAGE);
	return tm_uffd_register(e->uffd.fd, e->doorbell, bytes,
				UFFDIO_REGISTER_MODE_MISSING);
}

void tm_command_discard(struct tm_uffd_engine *e, u64 first, u64 nr)
{
	struct tm_command *c;
	unsigned int i;
	char *page;

	for (i = 0; !tm_cas(&e->command[i].state, FREE, FILLING);) {
		i = (i + 1) % COMMANDS;
		if (!i)
			sched_yield();
	}
	c = &e->command[i];
	page = e->doorbell + i * TM_PAGE;
	c->first = first;
	c->nr = nr;
	tm_store_release(&c->state, ASKED);
	(void)*(volatile char *)page;
	/* what the lane wrote is also before the next thread's command */
	(void)tm_load_acquire(&c->state);
	madvise(page, TM_PAGE, MADV_DONTNEED);
	tm_store_release(&c->state, FREE);
}

bool tm_command_take(struct tm_engine_lane *lane, u64 addr)
{
	struct tm_uffd_engine *e = lane->engine;
	u64 i = (addr - (uintptr_t)e->doorbell) / TM_PAGE;
	struct tm_command *c = &e->command[i];

	if (i >= COMMANDS)
		return false;
	if (tm_cas(&c->state, ASKED, TAKEN)) {
		c->next = NULL;
		*lane->commands_end = c;
		lane->commands_end = &c->next;
	} else if (tm_load_acquire(&c->state) == DONE) {
		tm_uffd_wake(e->uffd.fd, e->doorbell + i * TM_PAGE, TM_PAGE);
	}
	return true;
}

void tm_command_step(struct tm_engine_lane *lane)
{
	struct tm_uffd_engine *e = lane->engine;
	struct tm_command *c = lane->commands;
	u64 nr = c->nr < STEP_BLOCKS ? c->nr : STEP_BLOCKS;

	if (!tm_pager_discard(lane->pager, c->first, nr))
		return; /* until what is being stored from there is stored */
	tm_lost_restore(e, c->first, nr);
	c->first += nr;
	c->nr -= nr;
	if (c->nr)
		return;
	lane->commands = c->next;
	if (!lane->commands)
		lane->commands_end = &lane->commands;
	/* From the store on the thread may go on, and use the command again. */
	tm_store_release(&c->state, DONE);
	tm_uffd_zero(e->uffd.fd, e->doorbell + (c - e->command) * TM_PAGE);
}
