// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What happens next. Each lane is a coroutine that runs one task at a time (a
 * fault, a completion, a balance step, ...). Inside every op, and wherever a
 * lock is taken or given, it may be left; the scheduler then picks something
 * else, perhaps on another lane, and comes back to it at any later time.
 */
#include <ucontext.h>

#include "tests/sim/sim.h"

#define STACK_BYTES (256u << 10)
#define BALANCE_NS (50 * SIM_MS)

struct fiber {
	ucontext_t context;
	char *stack;
	bool busy;
	struct sim_task task;
	u64 balanced;
	bool again; /* balance said that there is more */
};

static struct fiber fiber[SIM_LANES_MAX];
static ucontext_t scheduler;
static int current = -1;
static bool locks_held;

static void fiber_main(void)
{
	for (;;) {
		struct fiber *f = &fiber[current];

		f->task.run(&f->task,
			    tm_pager_lane(sim.pager, (unsigned int)current));
		f->busy = false;
		swapcontext(&f->context, &scheduler);
	}
}

void sched_init(void)
{
	unsigned int i;

	locks_held = false;
	for (i = 0; i < SIM_LANES_MAX; i++) {
		struct fiber *f = &fiber[i];
		char *stack = f->stack ? f->stack : tm_user_alloc(STACK_BYTES);

		sim_check(stack, "no memory for stacks");
		memset(f, 0, sizeof(*f));
		f->stack = stack;
		getcontext(&f->context);
		f->context.uc_stack.ss_sp = stack;
		f->context.uc_stack.ss_size = STACK_BYTES;
		makecontext(&f->context, fiber_main, 0);
	}
}

static void resume(unsigned int lane)
{
	current = (int)lane;
	swapcontext(&scheduler, &fiber[lane].context);
	current = -1;
}

void sched_switch(void)
{
	if (current >= 0)
		swapcontext(&fiber[current].context, &scheduler);
}

/* A glue may find out in an op that a server is gone. */
static void lose_in_op(void)
{
	const struct sim_config *c = &sim.config;
	unsigned int server = (unsigned int)sim_random(c->pager.nr_servers);

	if (sim.server[server].alive) {
		net_server_lost(server);
		tm_pager_server_lost(
			tm_pager_lane(sim.pager, (unsigned int)current),
			server);
	}
}

void sched_yield_lane(void)
{
	sim_check(!locks_held, "op called with a lock held");
	if (!sim.calm && sim_chance(sim.config.kill) && !sim_random(1000))
		lose_in_op();
	if (sim_chance(sim.config.yield))
		sched_switch();
}

/* Lanes are never left with a lock held, so it is free unless it nests. */
void sched_lock(struct tm_lock *lock)
{
	if (sim_chance(sim.config.preempt))
		sched_switch();
	sim_check(!locks_held, "a lock is taken under another");
	locks_held = true;
	tm_user_lock_acquire(lock);
}

void sched_unlock(struct tm_lock *lock)
{
	tm_user_lock_release(lock);
	locks_held = false;
	if (sim_chance(sim.config.preempt))
		sched_switch();
}

void sched_start(unsigned int lane, const struct sim_task *task)
{
	sim_check(!fiber[lane].busy, "lane %u is busy", lane);
	fiber[lane].task = *task;
	fiber[lane].busy = true;
	resume(lane);
}

bool sched_lane_idle(unsigned int lane)
{
	return !fiber[lane].busy;
}

bool sched_idle_lane(unsigned int *index)
{
	unsigned int n = sim.config.pager.nr_lanes;
	unsigned int i = (unsigned int)sim_random(n), k;

	for (k = 0; k < n; k++, i = (i + 1) % n) {
		if (!fiber[i].busy) {
			*index = i;
			return true;
		}
	}
	return false;
}

bool sched_all_idle(void)
{
	unsigned int i;

	for (i = 0; i < sim.config.pager.nr_lanes; i++)
		if (fiber[i].busy)
			return false;
	return true;
}

bool sched_balanced(void)
{
	unsigned int i;

	for (i = 0; i < sim.config.pager.nr_lanes; i++)
		if (fiber[i].again)
			return false;
	return true;
}

static void run_balance(struct sim_task *task, struct tm_lane *lane)
{
	struct fiber *f = &fiber[tm_lane_index(lane)];

	f->again = tm_pager_balance(lane);
	f->balanced = sim.now;
}

/* When it is time; or, by chance, too early. */
static bool balance(bool early)
{
	const struct sim_task task = {.run = run_balance};
	unsigned int i;

	if (!sched_idle_lane(&i))
		return false;
	if (!fiber[i].again && sim.now - fiber[i].balanced < BALANCE_NS &&
	    !early)
		return false;
	sched_start(i, &task);
	return true;
}

static bool resume_one(void)
{
	unsigned int n = sim.config.pager.nr_lanes;
	unsigned int i = (unsigned int)sim_random(n), k;

	for (k = 0; k < n; k++, i = (i + 1) % n) {
		if (fiber[i].busy) {
			resume(i);
			return true;
		}
	}
	return false;
}

static void run_lost(struct sim_task *task, struct tm_lane *lane)
{
	tm_pager_server_lost(lane, task->server);
}

/* Things that happen from outside, whatever the lanes do. */
static void disturb(void)
{
	const struct sim_config *c = &sim.config;
	unsigned int server = (unsigned int)sim_random(c->pager.nr_servers);
	unsigned int lane, i;
	u64 block;

	if (sim.now >= sim.room_ns) {
		for (i = 0; i < c->pager.nr_servers; i++)
			tm_pager_server_room(sim.pager, i);
		sim.room_ns = sim.now + 50 * SIM_MS + sim_random(50 * SIM_MS);
	}
	if (sim.calm)
		return;
	if (sim_chance(c->kill) && !sim_random(500) &&
	    sim.server[server].alive && sched_idle_lane(&lane)) {
		const struct sim_task task = {.run = run_lost,
					      .server = server};

		net_server_lost(server);
		sched_start(lane, &task);
	}
	if (sim_chance(c->limit)) {
		u32 frames = 4 + (u32)sim_random(c->pager.nr_frames - 3);

		sim_trace("limit %u frames", frames);
		tm_pager_limit_set(sim.pager, frames);
	}
	if (sim_chance(c->pin)) {
		block = sim_random(c->pager.nr_blocks);
		sim.block[block].pinned_until =
			sim.now + sim_random(50 * SIM_MS);
	}
}

void sched_step(void)
{
	bool done = false;
	u64 when;

	sim.step++;
	sim.now += 1 + sim_random(20000);
	net_deliver();
	disturb();
	program_watch();

	switch (sim_random(8)) {
	case 0:
		done = balance(!sim_random(4));
		break;
	case 1:
	case 2:
		done = net_complete();
		break;
	case 3:
	case 4:
		done = resume_one();
		break;
	default:
		done = program_step();
	}
	if (done || resume_one() || net_complete() || program_step() ||
	    balance(false))
		return;
	/* Nothing to do now: sleep until a message comes, or a while. */
	when = sim.now + 1 + sim_random(BALANCE_NS / 5);
	net_next(&when);
	if (when > sim.now)
		sim.now = when;
}
