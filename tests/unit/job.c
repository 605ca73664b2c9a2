// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The job file, with real processes: budgets are never overdrawn, come back
 * from whoever dies at whatever moment, and are shared fairly under a load
 * that is not.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

#include "common/job.h"

#define MIB (1ULL << 20)

static char folder[64], path[80];

/* What parent and children tell each other. */
static struct board {
	int go;
	uint64_t held[8];
	uint64_t count[8];
} * board;

static int setup(void **state)
{
	strcpy(folder, "/tmp/teramem-unit-XXXXXX");
	if (!mkdtemp(folder))
		return -1;
	snprintf(path, sizeof(path), "%s/job", folder);
	board = mmap(NULL, sizeof(*board), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return board == MAP_FAILED ? -1 : 0;
}

static int teardown(void **state)
{
	munmap(board, sizeof(*board));
	unlink(path);
	return rmdir(folder);
}

static void pause_ms(unsigned int ms)
{
	struct timespec ts = {ms / 1000, (long)(ms % 1000) * 1000000};

	nanosleep(&ts, NULL);
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static struct tm_job *attach(void)
{
	struct tm_job *job;

	if (tm_job_attach(path, &job))
		_exit(99);
	return job;
}

static struct tm_job_totals totals(void)
{
	struct tm_job_totals t;
	struct tm_job *job;

	assert_int_equal(tm_job_view(path, &job), 0);
	tm_job_totals(job, &t);
	tm_job_detach(job);
	return t;
}

static pid_t start(void (*body)(unsigned int index), unsigned int index)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (!pid) {
		body(index);
		_exit(0);
	}
	return pid;
}

static int ended(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	return status;
}

static void test_file(void **state)
{
	struct tm_job *job;
	struct stat st;

	assert_int_equal(tm_job_attach(path, &job), -ENOENT);
	assert_int_equal(tm_job_create(path, 8 * MIB, MIB), 0);
	assert_int_equal(tm_job_create(path, 8 * MIB, MIB), -EEXIST);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Sparse: what 1024 processes would need is not paid for by one. */
	assert_true((uint64_t)st.st_blocks * 512 < MIB);
	assert_int_equal(tm_job_attach("/dev/null", &job), -EINVAL);
	assert_int_equal(truncate(path, 4096), 0);
	assert_int_equal(tm_job_attach(path, &job), -EINVAL);
}

static void test_capacity(void **state)
{
	struct tm_job *job;

	assert_int_equal(tm_job_create(path, 8 * MIB, MIB), 0);
	assert_int_equal(tm_job_attach(path, &job), 0);
	assert_int_equal(tm_job_capacity_draw(job, 9 * MIB), -ENOMEM);
	assert_int_equal(tm_job_capacity_draw(job, UINT64_MAX), -ENOMEM);
	assert_int_equal(totals().capacity_drawn_bytes, 0);
	assert_int_equal(tm_job_capacity_draw(job, 5 * MIB), 0);
	assert_int_equal(tm_job_capacity_draw(job, 3 * MIB + 1), -ENOMEM);
	assert_int_equal(tm_job_capacity_draw(job, 3 * MIB), 0);
	tm_job_capacity_return(job, 8 * MIB);
	assert_int_equal(totals().capacity_drawn_bytes, 0);
	assert_int_equal(totals().capacity_peak_bytes, 8 * MIB);
	tm_job_detach(job);
}

static void test_block(void **state)
{
	struct tm_job *job;

	assert_int_equal(tm_job_create(path, 8 * MIB, MIB), 0);
	assert_int_equal(totals().block_bytes, 0);
	assert_int_equal(tm_job_attach(path, &job), 0);
	tm_job_block_set(job, 16384);
	assert_int_equal(totals().block_bytes, 16384);
	tm_job_detach(job);
	assert_int_equal(totals().block_bytes, 16384);
}

static void test_alone(void **state)
{
	struct tm_job *job;

	assert_int_equal(tm_job_create(path, 8 * MIB, 10 * MIB), 0);
	assert_int_equal(tm_job_attach(path, &job), 0);
	assert_int_equal(tm_job_local_draw(job, 4 * MIB), 4 * MIB);
	assert_int_equal(tm_job_local_draw(job, 9 * MIB), 6 * MIB);
	assert_int_equal(tm_job_local_draw(job, 1), 0);
	assert_int_equal(tm_job_local_held(job), 10 * MIB);
	assert_int_equal(tm_job_local_excess(job), 0);
	tm_job_local_return(job, 10 * MIB);
	assert_int_equal(tm_job_local_held(job), 0);
	tm_job_detach(job);
}

static void count_and_die(unsigned int index)
{
	struct tm_job *job = attach();
	struct tm_stats *stats = tm_job_stats(job, index % 2);
	struct tm_job_gauges *gauges = tm_job_gauges(job);

	tm_stats_add(stats, faults, 10 + index);
	tm_hist_record(&stats->fault_ns, 1000);
	gauges->remote_peak_bytes = index * MIB;
	if (tm_job_capacity_draw(job, MIB) ||
	    tm_job_local_draw(job, MIB) != MIB)
		_exit(98);
	if (index % 3)
		tm_job_detach(job);
	raise(SIGKILL);
}

/* What a process counted outlives it; what it drew does not. */
static void test_dead(void **state)
{
	struct tm_job_totals t;
	unsigned int i;

	assert_int_equal(tm_job_create(path, 2 * MIB, 2 * MIB), 0);
	for (i = 0; i < 20; i++)
		assert_int_equal(ended(start(count_and_die, i)), SIGKILL);
	t = totals();
	assert_int_equal(t.stats.faults, 20 * 10 + 190);
	assert_int_equal(t.stats.fault_ns.count, 20);
	assert_int_equal(t.gauges.remote_peak_bytes, 19 * MIB);
	assert_int_equal(t.capacity_drawn_bytes, 0);
	assert_int_equal(t.local_drawn_bytes, 0);
	assert_int_equal(t.processes, 0);
	assert_int_equal(t.processes_max, 1);
	assert_int_equal(t.processes_all, 20);
}

/* A second attach of the same process is what happens after exec. */
static void test_exec(void **state)
{
	struct tm_job *before, *after;

	assert_int_equal(tm_job_create(path, 2 * MIB, 2 * MIB), 0);
	assert_int_equal(tm_job_attach(path, &before), 0);
	assert_int_equal(tm_job_capacity_draw(before, 2 * MIB), 0);
	tm_stats_add(tm_job_stats(before, 0), faults, 5);
	assert_int_equal(tm_job_attach(path, &after), 0);
	assert_int_equal(tm_job_capacity_draw(after, 2 * MIB), 0);
	tm_stats_add(tm_job_stats(after, 0), faults, 6);
	assert_int_equal(totals().processes, 1);
	assert_int_equal(totals().stats.faults, 11);
	tm_job_forget(before);
	tm_job_detach(after);
}

static void fork_child(unsigned int index)
{
	struct tm_job *job = attach();

	if (tm_job_capacity_draw(job, MIB))
		_exit(97);
	tm_job_detach(job);
}

static void test_fork(void **state)
{
	struct tm_job *job;
	pid_t pid;

	assert_int_equal(tm_job_create(path, 2 * MIB, 2 * MIB), 0);
	assert_int_equal(tm_job_attach(path, &job), 0);
	assert_int_equal(tm_job_capacity_draw(job, MIB), 0);
	pid = fork();
	if (!pid) {
		tm_job_forget(job);
		fork_child(0);
		_exit(0);
	}
	assert_int_equal(ended(pid), 0);
	assert_int_equal(totals().capacity_drawn_bytes, MIB);
	assert_int_equal(totals().processes_max, 2);
	tm_job_detach(job);
}

/*
 * The unfair load: takes all there is as often as it can, and gives back only
 * what it must.
 */
static void greedy(unsigned int index)
{
	struct tm_job *job = attach();

	while (!tm_load_acquire(&board->go)) {
		uint64_t excess = tm_job_local_excess(job);

		if (excess)
			tm_job_local_return(job, excess);
		else
			tm_job_local_draw(job, 100 * MIB);
		tm_store_release(&board->held[index], tm_job_local_held(job));
		pause_ms(1);
	}
}

/* Asks for a little at a time, up to 60 MiB. */
static void modest(unsigned int index)
{
	struct tm_job *job = attach();

	while (!tm_load_acquire(&board->go)) {
		if (tm_job_local_held(job) < 60 * MIB)
			tm_job_local_draw(job, MIB);
		tm_store_release(&board->held[index], tm_job_local_held(job));
		pause_ms(1);
	}
}

static bool held_at_least(unsigned int index, uint64_t bytes)
{
	uint64_t until = now_ms() + 20000;

	while (tm_load_acquire(&board->held[index]) < bytes) {
		if (now_ms() > until)
			return false;
		pause_ms(2);
	}
	return true;
}

/*
 * Three take everything; the fourth still gets its quarter within moments, and
 * keeps it. When it goes, the others take it over.
 */
static void test_fair(void **state)
{
	pid_t pid[4];
	unsigned int i;

	assert_int_equal(tm_job_create(path, MIB, 100 * MIB), 0);
	for (i = 0; i < 3; i++)
		pid[i] = start(greedy, i);
	for (i = 0; i < 3; i++)
		assert_true(held_at_least(i, 33 * MIB));
	pid[3] = start(modest, 3);
	assert_true(held_at_least(3, 25 * MIB));
	for (i = 0; i < 50; i++) {
		struct tm_job_totals t = totals();

		assert_true(t.local_drawn_bytes <= 100 * MIB);
		assert_true(tm_load_acquire(&board->held[3]) >= 25 * MIB);
		pause_ms(2);
	}
	kill(pid[3], SIGKILL);
	assert_int_equal(ended(pid[3]), SIGKILL);
	for (i = 0; i < 3; i++)
		assert_true(held_at_least(i, 33 * MIB));
	tm_store_release(&board->go, 1);
	for (i = 0; i < 3; i++)
		assert_int_equal(ended(pid[i]), 0);
}

static void draw_forever(unsigned int index)
{
	struct tm_job *job = attach();

	for (;;) {
		tm_store_release(&board->count[index], board->count[index] + 1);
		if (!tm_job_capacity_draw(job, MIB))
			tm_job_capacity_return(job, MIB);
		tm_job_local_return(job, tm_job_local_draw(job, MIB));
		tm_stats_add(tm_job_stats(job, 0), faults, 1);
		if (board->count[index] % 16 == 0) {
			tm_job_detach(job);
			job = attach();
		}
	}
}

/*
 * Processes that do nothing but take the mutex, killed again and again, and so
 * sooner or later in it: the others go on, nothing leaks, and the statistics
 * are those of what was counted, give or take the one step it was killed in.
 */
static void test_killed_holders(void **state)
{
	uint64_t counted = 0, most = 0, seen;
	unsigned int round, i;
	struct tm_job *job;

	assert_int_equal(tm_job_create(path, 4 * MIB, 4 * MIB), 0);
	assert_int_equal(tm_job_attach(path, &job), 0);
	for (round = 0; round < 100; round++) {
		pid_t pid[3];

		memset(board, 0, sizeof(*board));
		for (i = 0; i < 3; i++)
			pid[i] = start(draw_forever, i);
		while (tm_load_acquire(&board->count[0]) < 40 ||
		       tm_load_acquire(&board->count[1]) < 40)
			pause_ms(1);
		for (i = 0; i < 3; i++) {
			kill(pid[i], SIGKILL);
			assert_int_equal(ended(pid[i]), SIGKILL);
			most += board->count[i];
			counted += board->count[i] ? board->count[i] - 1 : 0;
		}
		assert_int_equal(tm_job_capacity_draw(job, 4 * MIB), 0);
		tm_job_capacity_return(job, 4 * MIB);
		assert_int_equal(tm_job_local_draw(job, 4 * MIB), 4 * MIB);
		tm_job_local_return(job, 4 * MIB);
	}
	seen = totals().stats.faults;
	assert_true(seen >= counted && seen <= most);
	assert_int_equal(totals().processes, 1);
	tm_job_detach(job);
}

static void wait_for_go(unsigned int index)
{
	struct tm_job *job;

	if (tm_job_attach(path, &job))
		_exit(96);
	tm_add_return(&board->count[0], 1);
	while (!tm_load_acquire(&board->go))
		pause_ms(20);
}

static void test_full(void **state)
{
	static pid_t pid[TM_JOB_PROCESSES_MAX];
	struct tm_job *job;
	unsigned int i;

	assert_int_equal(tm_job_create(path, 4 * MIB, 4 * MIB), 0);
	for (i = 0; i < TM_JOB_PROCESSES_MAX; i++)
		pid[i] = start(wait_for_go, i);
	while (tm_load_acquire(&board->count[0]) < TM_JOB_PROCESSES_MAX)
		pause_ms(10);
	assert_int_equal(tm_job_attach(path, &job), -EUSERS);
	tm_store_release(&board->go, 1);
	for (i = 0; i < TM_JOB_PROCESSES_MAX; i++)
		assert_int_equal(ended(pid[i]), 0);
	assert_int_equal(tm_job_attach(path, &job), 0);
	tm_job_detach(job);
	assert_int_equal(totals().processes_max, TM_JOB_PROCESSES_MAX);
}

#define job_test(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		job_test(test_file),	       job_test(test_capacity),
		job_test(test_block),	       job_test(test_alone),
		job_test(test_dead),	       job_test(test_exec),
		job_test(test_fork),	       job_test(test_fair),
		job_test(test_killed_holders), job_test(test_full),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
