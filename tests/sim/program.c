// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The program that runs on the simulated memory, and the model of what it must
 * see. Its threads read and write whole blocks, checking every word that they
 * read; a thread whose block is not mapped faults and waits.
 */
#include "tests/sim/sim.h"

/* A wait without any sign is an error: it never ends. */
#define WAIT_MAX_NS (20000 * SIM_MS)
/* With too little memory, one after the other is given up or served. */
#define WAIT_TIGHT_MAX_NS (200000 * SIM_MS)
#define DISCARDS_MAX 4

enum pattern {
	PATTERN_SEQUENTIAL,
	PATTERN_STRIDE,
	PATTERN_RANDOM,
	PATTERN_HOT,
	NR_PATTERNS,
};

struct discard {
	u64 first;
	u64 nr; /* 0: none */
	bool running;
};

static struct discard discards[DISCARDS_MAX];
static u64 swept, nr_to_sweep;

static void thread_redirect(struct sim_thread *t)
{
	u64 nr = sim.config.nr_used;

	t->pattern = (unsigned int)sim_random(NR_PATTERNS);
	if (sim.config.streams && sim_random(8))
		t->pattern = PATTERN_SEQUENTIAL;
	t->next = sim_random(nr);
	t->stride = t->pattern == PATTERN_STRIDE ? (s64)sim_random(9) - 4 : 1;
	if (sim.config.pager.huge_blocks && t->pattern == PATTERN_SEQUENTIAL &&
	    !sim_random(3))
		t->stride = -1;
}

void program_init(void)
{
	unsigned int i;

	memset(discards, 0, sizeof(discards));
	swept = nr_to_sweep = 0;
	for (i = 0; i < sim.config.nr_threads; i++)
		thread_redirect(&sim.thread[i]);
}

static void choose(struct sim_thread *t)
{
	u64 nr = sim.config.nr_used;

	if (!sim_random(100))
		thread_redirect(t);
	switch (t->pattern) {
	case PATTERN_RANDOM:
		t->block = sim_random(nr);
		break;
	case PATTERN_HOT:
		t->block = (t->next + sim_random(8)) % nr;
		break;
	default:
		t->block = t->next;
		t->next = (t->next + (u64)t->stride + nr) % nr;
	}
	t->block = sim_address(&sim.config, t->block);
	t->write = sim_random(100) < sim.config.write_percent;
}

/* The access itself: the program touches bytes that are mapped. */
static void touch(struct sim_thread *t, struct sim_frame *f)
{
	struct sim_block *b = &sim.block[t->block];
	unsigned int i;

	sim.accesses++;
	f->accessed = true;
	for (i = 0; i < SIM_WORDS; i++)
		sim_check(f->content.word[i] == b->model.word[i],
			  "wrong bytes: block %llu word %u is %llx, not %llx",
			  (unsigned long long)t->block, i,
			  (unsigned long long)f->content.word[i],
			  (unsigned long long)b->model.word[i]);
	if (!t->write)
		return;
	f->dirty = true;
	/* Also: no change, one word, all words, back to zeros. */
	switch (sim_random(8)) {
	case 0:
		break;
	case 1:
		memset(&f->content, 0, sizeof(f->content));
		break;
	case 2:
		f->content.word[sim_random(SIM_WORDS)] ^= 1ull
							  << sim_random(64);
		break;
	default:
		for (i = 0; i < SIM_WORDS; i++)
			f->content.word[i] = sim_random(0);
	}
	b->model = f->content;
	sim_trace("block %llu written", (unsigned long long)t->block);
}

static void run_fault(struct sim_task *task, struct tm_lane *lane)
{
	struct sim_thread *t = task->thread;
	enum tm_fault_result result;

	result = tm_pager_fault(lane, t->block, t->write, t->since);
	sim_trace("fault on block %llu: %s", (unsigned long long)t->block,
		  result == TM_FAULT_DONE ? "done" : "pending");
	t->state = result == TM_FAULT_DONE || t->woken ? THREAD_RUN
						       : THREAD_WAITING;
}

static bool thread_step(struct sim_thread *t)
{
	struct sim_task task = {.run = run_fault, .thread = t};
	struct sim_block *b;
	unsigned int lane;

	if (!t->accessing) {
		if (!sim.calm) {
			choose(t);
		} else if (swept < nr_to_sweep) {
			t->block = sim_address(&sim.config, swept++);
			t->write = false;
		} else {
			return false;
		}
		t->accessing = sim.calm || !sim.block[t->block].discarding;
		return true;
	}
	b = &sim.block[t->block];
	if (b->discarding)
		return false;
	/* Some ask again although they know. */
	if (b->failed && (sim.calm || sim_random(4))) {
		sim.failed_accesses++;
		t->accessing = false;
		return true;
	}
	if (b->frame != TM_NO_FRAME &&
	    (!t->write ||
	     glue_frame(t->block, b->frame)->state == FRAME_MAPPED)) {
		touch(t, glue_frame(t->block, b->frame));
		t->accessing = false;
		return true;
	}
	if (!sched_idle_lane(&lane))
		return false;
	t->state = THREAD_FAULTING;
	t->woken = false;
	t->since = sim.now;
	sim.faults++;
	sim_trace("fault on block %llu, %s, lane %u",
		  (unsigned long long)t->block, t->write ? "write" : "read",
		  lane);
	sched_start(lane, &task);
	return true;
}

static void run_discard(struct sim_task *task, struct tm_lane *lane)
{
	struct discard *d = task->discard;
	bool gone = tm_pager_discard(lane, d->first, d->nr);
	u64 i;

	sim_trace("discard blocks %llu..%llu: %s", (unsigned long long)d->first,
		  (unsigned long long)(d->first + d->nr - 1),
		  gone ? "gone" : "later");
	d->running = false;
	if (!gone) {
		sim_check(!sim.config.pager.can_cache, "discard: later");
		return;
	}
	for (i = d->first; i < d->first + d->nr; i++) {
		struct sim_block *b = &sim.block[i];

		memset(&b->model, 0, sizeof(b->model));
		sim_check(b->frame == TM_NO_FRAME ||
				  !memcmp(&glue_frame(i, b->frame)->content,
					  &b->model, sizeof(b->model)),
			  "discarded block %llu is still mapped",
			  (unsigned long long)i);
		b->causes = 0;
		b->damaged = 0;
		b->failed = false;
		b->discarding = false;
	}
	d->nr = 0;
}

/* Call for what was not gone yet, again. */
static bool discard_step(void)
{
	struct sim_task task = {.run = run_discard};
	unsigned int i, lane;

	for (i = 0; i < DISCARDS_MAX; i++) {
		if (!discards[i].nr || discards[i].running ||
		    !sched_idle_lane(&lane))
			continue;
		task.discard = &discards[i];
		discards[i].running = true;
		sched_start(lane, &task);
		return true;
	}
	return false;
}

/* Well-behaved programs free nothing that they are using. */
static bool in_use(u64 first, u64 nr)
{
	unsigned int i;
	u64 k;

	for (i = 0; i < sim.config.nr_threads; i++) {
		const struct sim_thread *t = &sim.thread[i];

		if (t->accessing && t->block - first < nr)
			return true;
	}
	for (k = first; k < first + nr; k++)
		if (sim.block[k].discarding)
			return true;
	return false;
}

static bool discard(u64 first, u64 nr)
{
	unsigned int i;
	u64 k;

	if (in_use(first, nr))
		return false;
	for (i = 0; i < DISCARDS_MAX; i++) {
		if (discards[i].nr)
			continue;
		for (k = first; k < first + nr; k++)
			sim.block[k].discarding = true;
		discards[i] = (struct discard){.first = first, .nr = nr};
		return discard_step();
	}
	return false;
}

void program_discard_all(void)
{
	sim_check(discard(0, sim.config.pager.nr_blocks), "cannot discard");
}

/* Something that is freed: a few blocks, many, or whole huge ones. */
static bool discard_some(u64 first)
{
	u64 nr_blocks = sim.config.pager.nr_blocks;
	u32 huge = sim.config.pager.huge_blocks;
	u64 nr;

	if (huge && sim_random(2)) {
		first -= first % huge;
		nr = huge * (1 + sim_random(3));
		return discard(first,
			       nr < nr_blocks - first ? nr : nr_blocks - first);
	}
	return discard(first, 1 + sim_random(sim_random(4) ? 8 : nr_blocks) %
					      (nr_blocks - first));
}

bool program_step(void)
{
	unsigned int n = sim.config.nr_threads;
	unsigned int i = (unsigned int)sim_random(n), k;
	/* also what is in the midst of a run */
	u64 first = sim_random(2) ? sim.busy
				  : sim_address(&sim.config,
						sim_random(sim.config.nr_used));

	if (!sim_random(4) && discard_step())
		return true;
	if (!sim.calm && sim_chance(sim.config.discard) && discard_some(first))
		return true;

	for (k = 0; k < n; k++, i = (i + 1) % n) {
		struct sim_thread *t = &sim.thread[i];

		if (t->state == THREAD_WAITING && !sim.calm &&
		    sim_chance(sim.config.abandon)) {
			sim_trace("access to block %llu abandoned",
				  (unsigned long long)t->block);
			t->state = THREAD_RUN;
			t->accessing = false;
			return true;
		}
		if (t->state == THREAD_RUN && thread_step(t))
			return true;
	}
	return discard_step();
}

bool program_idle(void)
{
	unsigned int i;

	for (i = 0; i < sim.config.nr_threads; i++)
		if (sim.thread[i].accessing ||
		    sim.thread[i].state != THREAD_RUN)
			return false;
	for (i = 0; i < DISCARDS_MAX; i++)
		if (discards[i].nr)
			return false;
	return swept == nr_to_sweep;
}

void program_wake(u64 block)
{
	unsigned int i;

	if (sim.config.sabotage == SABOTAGE_WAKE && !sim_random(100))
		return;
	for (i = 0; i < sim.config.nr_threads; i++) {
		struct sim_thread *t = &sim.thread[i];

		if (!t->accessing || t->block != block)
			continue;
		t->woken = true;
		if (t->state == THREAD_WAITING)
			t->state = THREAD_RUN;
	}
}

/* Too little for all used blocks to be remote at one time? */
static bool tight(void)
{
	const struct sim_config *c = &sim.config;
	u64 extents = 0;
	unsigned int i;

	for (i = 0; i < c->pager.nr_servers; i++)
		if (sim.server[i].alive && i != c->stubborn)
			extents += c->server_extents[i];
	if (extents > c->extents_limit)
		extents = c->extents_limit;
	return extents * c->extent_slots < c->nr_used ||
	       (c->no_memory > 500 && !sim.calm);
}

/* With too little memory blocks fail one by one, each after the stall time. */
void program_sweep(void)
{
	swept = 0;
	nr_to_sweep = tight() ? 16 : sim.config.nr_used;
}

void program_watch(void)
{
	unsigned int i;

	if (tight())
		sim.tight_ns = sim.now;
	for (i = 0; i < sim.config.nr_threads; i++) {
		const struct sim_thread *t = &sim.thread[i];

		if (t->state == THREAD_WAITING)
			sim_check(sim.now - t->since <
					  (sim.tight_ns ? WAIT_TIGHT_MAX_NS
							: WAIT_MAX_NS),
				  "access to block %llu waits for ever",
				  (unsigned long long)t->block);
	}
}

/* What may have ended in this error; the last of two fetches says it. */
static unsigned int causes_of(int err)
{
	switch (err) {
	case -EIO:
		return CAUSE_SERVER_LOST;
	case -EBADMSG:
		return CAUSE_DAMAGED | CAUSE_REFUSED;
	case -EREMOTEIO:
		return CAUSE_REFUSED;
	default:
		return ~0u;
	}
}

void program_failed(u64 block, int err)
{
	struct sim_block *b = &sim.block[block];
	u64 stall_ns = sim.config.pager.stall_ms * SIM_MS;

	sim_trace("fail block %llu: %d, causes %u", (unsigned long long)block,
		  err, b->causes);
	sim_check(err < 0, "failed with %d", err);
	sim_check(b->causes ||
			  (sim.tight_ns &&
			   sim.now - sim.tight_ns <= stall_ns + 1000 * SIM_MS),
		  "block %llu failed (%d) without a cause",
		  (unsigned long long)block, err);
	if (!b->causes)
		b->causes = CAUSE_NO_ROOM;
	sim_check(b->causes & causes_of(err),
		  "block %llu failed with %d, causes %u",
		  (unsigned long long)block, err, b->causes);
	b->failed = true;
	program_wake(block);
}
