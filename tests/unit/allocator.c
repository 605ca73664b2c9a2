/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libteramalloc's API on the test engine: C's rules, contents, threads, fork.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "allocator/heap.h"
#include "include/teramem/teramalloc.h"
#include "tests/unit/engine_local.h"
#include "tm_port.h"

#define UNUSED __attribute__((unused))
#define MIB ((size_t)1 << 20)

/*
 * TSan starts a thread in a forked child at once, with its stack where the
 * parent's heap was, which the child then closes off: no forks with it.
 */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
#define CAN_FORK 0
#else
#define CAN_FORK 1
#endif

static size_t used(void)
{
	tm_arenas_purge(tm_heap_live->arenas);
	return tm_region_used(tm_heap_live->region);
}

static void corner_cases(void **state)
{
	struct teramalloc_stats stats;
	volatile size_t huge = SIZE_MAX;
	char *p, *q;

	p = teramalloc(0);
	q = teramalloc(0);
	assert_true(p && q && p != q);
	terafree(p);
	terafree(q);
	terafree(NULL);
	assert_int_equal(teramalloc_usable_size(NULL), 0);

	errno = 0;
	assert_null(teracalloc(huge / 2, 3));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(teramalloc(huge));
	assert_int_equal(errno, ENOMEM);
	errno = 0;
	assert_null(teraaligned_alloc(24, 100));
	assert_int_equal(errno, EINVAL);
	errno = 0;
	assert_null(teraaligned_alloc(0, 100));
	assert_int_equal(errno, EINVAL);

	p = terarealloc(NULL, 100);
	memset(p, 'x', 100);
	assert_null(terarealloc(p, huge));
	assert_int_equal(p[99], 'x');
	errno = EXFULL;
	assert_null(terarealloc(p, 0));
	p = teramalloc(2 * MIB);
	memset(p, 'y', 2 * MIB);
	assert_null(terarealloc(p, huge));
	assert_int_equal(p[2 * MIB - 1], 'y');
	errno = EXFULL;
	terafree(p);
	assert_int_equal(errno, EXFULL);

	assert_int_equal(teramalloc_stats_get(&stats, 3), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(teramalloc_stats_get(&stats, sizeof(stats)), 0);
	assert_int_equal(stats.capacity_bytes, test_engine_capacity);
	assert_int_equal(used(), 0);
}

static void alignments(void **state)
{
	for (size_t align = 1; align <= 4 * MIB; align *= 2) {
		for (size_t size = 1; size <= 4 * MIB; size = size * 3 + 5) {
			char *p = teraaligned_alloc(align, size);

			assert_non_null(p);
			assert_int_equal((uintptr_t)p % align, 0);
			assert_true(teramalloc_usable_size(p) >= size);
			p[0] = p[size - 1] = 1;
			terafree(p);
		}
	}
	/* Every size around a chunk, where arenas end and blocks begin. */
	for (size_t size = 200 << 10; size < 270 << 10; size += 509) {
		char *p = teramalloc(size);

		assert_non_null(p);
		assert_true(tm_heap_owns(p));
		memset(p, 1, size);
		terafree(p);
	}
	assert_int_equal(used(), 0);
}

/* 200,000 small objects with one big one: all remote, none mixed up. */
static void many_small_objects(void **state)
{
	enum { NR = 200000 };
	uint32_t **p = malloc(NR * sizeof(*p));
	char *big = teramalloc(1024 * MIB);
	size_t size;

	big[1024 * MIB - 1] = 42;
	for (uint32_t i = 0; i < NR; i++) {
		size = i % 5 ? 64 : 4096;
		p[i] = teramalloc(size);
		assert_true(tm_heap_owns(p[i]));
		p[i][0] = i;
		p[i][size / 4 - 1] = ~i;
	}
	for (uint32_t i = 0; i < NR; i++) {
		assert_int_equal(p[i][0], i);
		assert_int_equal(p[i][(i % 5 ? 64 : 4096) / 4 - 1], ~i);
	}
	for (uint32_t i = 0; i < NR; i += 2)
		terafree(p[i]);
	for (uint32_t i = 0; i < NR; i += 2)
		p[i] = teracalloc(1, 48);
	for (uint32_t i = 0; i < NR; i++) {
		assert_int_equal(p[i][0], i % 2 ? i : 0);
		assert_int_equal(p[i][11], i % 2 && i % 5 ? p[i][11] : 0);
		terafree(p[i]);
	}
	assert_int_equal(big[1024 * MIB - 1], 42);
	terafree(big);
	free(p);
	assert_int_equal(used(), 0);
	assert_int_equal(test_engine_committed, 0);
}

static void calloc_is_zero(void **state)
{
	for (size_t size = 1; size < 3 * MIB; size = size * 2 + 1) {
		for (int turn = 0; turn < 3; turn++) {
			unsigned char *p = teracalloc(size, 1);

			for (size_t i = 0; i < size; i += 61)
				assert_int_equal(p[i], 0);
			memset(p, 0xff, size);
			terafree(p);
		}
	}
}

static void realloc_keeps_contents(void **state)
{
	const size_t sizes[] = {10,	5000,	100,	 200000,
				250000, 262144, 3000000, 8000000,
				300000, 70000,	16};
	unsigned char *p = teramalloc(1);
	size_t old = 1;

	p[0] = 0;
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		p = terarealloc(p, sizes[i]);
		for (size_t at = 0; at < old && at < sizes[i]; at++)
			assert_int_equal(p[at], (unsigned char)(at * 7));
		old = sizes[i];
		for (size_t at = 0; at < old; at++)
			p[at] = (unsigned char)(at * 7);
	}
	terafree(p);
	/* A vector that doubles stays where it is: nothing lies behind it. */
	p = teramalloc(MIB);
	for (size_t size = 2 * MIB; size <= 256 * MIB; size *= 2)
		assert_ptr_equal(terarealloc(p, size), p);
	terafree(p);
}

static void capacity_exceeded(void **state)
{
	enum { NR = 60000 };
	static void *p[NR];
	void *big;
	int nr = 0;

	test_engine_capacity = 64 * MIB;
	big = teramalloc(60 * MIB);
	assert_non_null(big);
	errno = 0;
	assert_null(teramalloc(60 * MIB));
	assert_int_equal(errno, ENOMEM);
	assert_null(terarealloc(big, 65 * MIB));
	while (nr < NR && (p[nr] = teramalloc(1000)))
		nr++;
	assert_true(nr > 3000 && nr < 5000);
	assert_int_equal(errno, ENOMEM);
	/* What small objects held serves large ones as soon as they are freed.
	 */
	while (nr)
		terafree(p[--nr]);
	terafree(big);
	big = teramalloc(64 * MIB);
	assert_non_null(big);
	terafree(big);
	test_engine_capacity = 4096 * MIB;
	assert_int_equal(used(), 0);
}

static int status_of(void (*child)(void *), void *arg)
{
	int status;
	pid_t pid = fork();

	if (!pid) {
		alarm(100);
		child(arg);
		_exit(0);
	}
	assert_true(waitpid(pid, &status, 0) == pid);
	return status;
}

static void free_and_allocate(void *p)
{
	terafree(p);
	for (int i = 0; i < 10; i++) {
		p = teracalloc(1, 1000 << i);
		if (!p)
			_exit(1);
		terafree(p);
	}
}

static void free_inside(void *arg)
{
	char *p = teramalloc(MIB);

	terafree(p + 4096);
}

static void free_twice(void *arg)
{
	char *p = teramalloc(MIB);

	terafree(p);
	terafree(p);
}

UNUSED static void wrong_frees_end_the_program(void **state)
{
	int status = status_of(free_inside, NULL);

	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
	status = status_of(free_twice, NULL);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static void use_own_heap(void *arg)
{
	char **parents = arg;
	char *p[64];
	int status;

	for (int i = 0; i < 64; i++) {
		terafree(parents[i]);
		if (teramalloc_usable_size(parents[i]))
			_exit(2);
	}
	if (terarealloc(parents[0], 100))
		_exit(3);
	for (int i = 0; i < 64; i++) {
		p[i] = teramalloc(i % 2 ? 100 : MIB);
		if (!p[i] || tm_heap_parents_hold(p[i]))
			_exit(4);
		memset(p[i], i, 100);
	}
	for (int i = 0; i < 64; i++)
		if (p[i][99] != i)
			_exit(5);
	/* And its children in turn. */
	if (tm_heap_parents->older)
		return;
	status = status_of(use_own_heap, p);
	if (status)
		_exit(6);
	for (int i = 0; i < 64; i++)
		terafree(p[i]);
}

UNUSED static void forked_child_has_its_own(void **state)
{
	char *p[64];

	for (int i = 0; i < 64; i++) {
		p[i] = teramalloc(i % 2 ? 100 : MIB);
		memset(p[i], i, 100);
	}
	for (int i = 0; i < 20; i++)
		terafree(teramalloc(100)); /* something in the thread's cache */
	assert_int_equal(status_of(use_own_heap, p), 0);
	assert_int_equal(status_of(free_and_allocate, p[0]), 0);
	for (int i = 0; i < 64; i++) {
		assert_int_equal(p[i][99], i);
		terafree(p[i]);
	}
	assert_int_equal(used(), 0);
}

/* One byte per 64 KiB, and the last one. */
static void fill(unsigned char *p, size_t size, unsigned int value)
{
	for (size_t at = 0; at < size; at += 65536)
		p[at] = (unsigned char)value;
	p[size - 1] = (unsigned char)value;
}

static bool is_filled(const unsigned char *p, size_t size, unsigned int value)
{
	for (size_t at = 0; at < size; at += 65536)
		if (p[at] != (unsigned char)value)
			return false;
	return p[size - 1] == (unsigned char)value;
}

static void *churn(void *arg)
{
	unsigned int thread = (unsigned int)(uintptr_t)arg, seed = thread, i;
	struct {
		unsigned char *p;
		size_t size;
	} slots[16] = {0};

	for (int step = 0; step < 1500; step++) {
		i = (unsigned int)rand_r(&seed) % 16;
		if (slots[i].p) {
			if (!is_filled(slots[i].p, slots[i].size,
				       thread * 16 + i))
				return "mixed up";
			if (step % 7 == 0) {
				slots[i].p = terarealloc(slots[i].p,
							 slots[i].size + MIB);
				if (!is_filled(slots[i].p, slots[i].size,
					       thread * 16 + i))
					return "lost by realloc";
			} else {
				terafree(slots[i].p);
				slots[i].p = NULL;
			}
			continue;
		}
		slots[i].size = rand_r(&seed) % 4
					? 1 + (size_t)rand_r(&seed) % (8 * MIB)
					: 1 + (size_t)rand_r(&seed) % 20000;
		slots[i].p = teramalloc(slots[i].size);
		if (!slots[i].p)
			return "no memory";
		fill(slots[i].p, slots[i].size, thread * 16 + i);
	}
	for (i = 0; i < 16; i++)
		terafree(slots[i].p);
	return NULL;
}

static void *fork_often(void *arg)
{
	for (int i = 0; CAN_FORK && i < 30; i++) {
		if (status_of(free_and_allocate, NULL))
			return "a child failed";
		usleep(3000);
	}
	return NULL;
}

/* Eight threads allocate and free, another forks children that allocate. */
static void threads_and_forks(void **state)
{
	pthread_t threads[9];
	void *failure;

	for (uintptr_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, churn,
						(void *)(i + 1)),
				 0);
	assert_int_equal(pthread_create(&threads[8], NULL, fork_often, NULL),
			 0);
	for (int i = 0; i < 9; i++) {
		pthread_join(threads[i], &failure);
		assert_null(failure);
	}
	assert_int_equal(used(), 0);
	assert_int_equal(test_engine_committed, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(corner_cases),
		cmocka_unit_test(alignments),
		cmocka_unit_test(many_small_objects),
		cmocka_unit_test(calloc_is_zero),
		cmocka_unit_test(realloc_keeps_contents),
		cmocka_unit_test(capacity_exceeded),
		cmocka_unit_test(threads_and_forks),
#if CAN_FORK
		cmocka_unit_test(wrong_frees_end_the_program),
		cmocka_unit_test(forked_child_has_its_own),
#endif
	};

	setenv("TERAMEM_JOB_MAP", "test", 1);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
