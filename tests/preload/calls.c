/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * An ordinary program that runs under the preload: the C library's names must
 * do what they always did, above and below the threshold (64 KiB here), and
 * the remote heap must be what serves the large ones.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>

#include "include/teramem/teramalloc.h"

#define LARGE ((size_t)1 << 20)
#define PAGE ((size_t)4096)

static int (*stats_get)(struct teramalloc_stats *stats, size_t size);

static size_t remote(void)
{
	struct teramalloc_stats stats;

	assert_int_equal(stats_get(&stats, sizeof(stats)), 0);
	return stats.allocated_bytes;
}

static int setup(void **state)
{
	*(void **)&stats_get = dlsym(RTLD_DEFAULT, "teramalloc_stats_get");
	void *volatile p = malloc(LARGE); /* the heap starts now */

	free(p);
	return stats_get ? 0 : -1;
}

static void large_is_remote(void **state)
{
	size_t before = remote();
	char *small = malloc(1000), *p = malloc(LARGE);

	assert_int_equal(remote(), before + LARGE);
	memset(small, 1, 1000);
	memset(p, 2, LARGE);
	assert_true(malloc_usable_size(p) >= LARGE);
	assert_true(malloc_usable_size(small) >= 1000);
	errno = EXFULL;
	free(p);
	assert_int_equal(errno, EXFULL);
	free(small);
	free(NULL);
	assert_int_equal(remote(), before);
}

static void every_way_to_allocate(void **state)
{
	size_t before = remote();
	void *p;

	p = calloc(1024, LARGE / 1024);
	assert_int_equal(remote(), before + LARGE);
	assert_int_equal(*((char *)p + LARGE - 1), 0);
	free(p);
	p = aligned_alloc(LARGE, LARGE);
	assert_int_equal((uintptr_t)p % LARGE, 0);
	assert_int_equal(remote(), before + LARGE);
	free(p);
	p = memalign(512, LARGE);
	assert_int_equal((uintptr_t)p % 512, 0);
	assert_int_equal(remote(), before + LARGE);
	free(p);
	errno = EXFULL;
	assert_int_equal(posix_memalign(&p, 256, LARGE), 0);
	assert_int_equal(errno, EXFULL);
	assert_int_equal(remote(), before + LARGE);
	free(p);
	assert_int_equal(posix_memalign(&p, 3, LARGE), EINVAL);
	assert_int_equal(posix_memalign(&p, 2, LARGE), EINVAL);
	p = valloc(LARGE - 1);
	assert_int_equal((uintptr_t)p % PAGE, 0);
	assert_int_equal(remote(), before + LARGE);
	free(p);
	p = pvalloc(LARGE + 1);
	assert_true(malloc_usable_size(p) >= LARGE + PAGE);
	free(p);
	p = reallocarray(NULL, 1024, LARGE / 1024);
	assert_int_equal(remote(), before + LARGE);
	free(p);
	assert_int_equal(remote(), before);
}

static void impossible_sizes(void **state)
{
	volatile size_t huge = SIZE_MAX;
	char *volatile p = malloc(LARGE);
	void *q;

	p[LARGE - 1] = 3;
	errno = 0;
	assert_null(malloc(huge - 100));
	assert_int_equal(errno, ENOMEM);
	assert_null(calloc(huge / 2, 3));
	assert_null(reallocarray(p, huge / 2, 3));
	assert_null(realloc(p, huge / 2));
	assert_null(pvalloc(huge));
	assert_null(memalign(64, huge - 100));
	assert_int_equal(posix_memalign(&q, 64, huge - 100), ENOMEM);
	assert_int_equal(p[LARGE - 1], 3);
	/* More than the capacity: this call fails, the program goes on. */
	errno = 0;
	assert_null(malloc(((size_t)1 << 30) + 1));
	assert_int_equal(errno, ENOMEM);
	free(p);
}

static void realloc_crosses_the_threshold(void **state)
{
	size_t before = remote();
	char *p = realloc(NULL, 100);

	for (int i = 0; i < 100; i++)
		p[i] = (char)i;
	p = realloc(p, LARGE);
	assert_int_equal(remote(), before + LARGE);
	for (int i = 0; i < 100; i++)
		assert_int_equal(p[i], i);
	p = realloc(p, 8 * LARGE);
	assert_int_equal(remote(), before + 8 * LARGE);
	p[8 * LARGE - 1] = 1;
	p = realloc(p, 50);
	assert_int_equal(remote(), before);
	for (int i = 0; i < 50; i++)
		assert_int_equal(p[i], i);
	free(p);
	p = malloc(LARGE);
	assert_null(realloc(p, 0));
	assert_int_equal(remote(), before);
}

static void library_calls_allocate(void **state)
{
	size_t before = remote(), size = 0;
	char *line = NULL, *copy;
	FILE *file = tmpfile();

	for (size_t i = 0; i < 3 * LARGE; i++)
		putc('a' + (int)(i % 26), file);
	rewind(file);
	assert_int_equal(getdelim(&line, &size, 0, file), 3 * LARGE);
	assert_true(remote() >= before + 3 * LARGE);
	copy = strdup(line);
	assert_string_equal(line, copy);
	free(line);
	free(copy);
	fclose(file);
	/* Buffers of the library's may have opened a chunk for small objects.
	 */
	assert_true(remote() < before + LARGE);
}

#define RW (PROT_READ | PROT_WRITE)
#define ANON (MAP_PRIVATE | MAP_ANONYMOUS)

static void large_mappings_are_remote(void **state)
{
	size_t before = remote();
	char *p = mmap(NULL, LARGE, RW, ANON, -1, 0), *q;

	assert_int_equal(remote(), before + LARGE);
	memset(p, 1, LARGE);
	assert_int_equal(madvise(p + PAGE, LARGE / 2, MADV_DONTNEED), 0);
	assert_int_equal(p[PAGE - 1], 1);
	for (size_t i = PAGE; i < PAGE + LARGE / 2; i++)
		assert_int_equal(p[i], 0);
	assert_int_equal(p[PAGE + LARGE / 2], 1);
	assert_int_equal(madvise(p, LARGE, MADV_HUGEPAGE), 0);
	assert_int_equal(madvise(p, LARGE, MADV_DOFORK), 0);
	assert_int_equal(posix_madvise(p, LARGE, POSIX_MADV_DONTNEED), 0);
	assert_int_equal(p[0], 1);

	q = mremap(p, LARGE, 4 * LARGE, MREMAP_MAYMOVE);
	assert_true(q != MAP_FAILED);
	assert_int_equal(remote(), before + 4 * LARGE);
	assert_int_equal(q[LARGE - 1], 1);
	assert_int_equal(q[LARGE], 0);
	q = mremap(q, 4 * LARGE, 2 * LARGE, 0);
	assert_int_equal(remote(), before + 2 * LARGE);
	assert_int_equal(q[LARGE - 1], 1);

	/* An address of the kernel's: the bytes move there. */
	p = mmap(NULL, 2 * LARGE, PROT_NONE, ANON, -1, 0);
	assert_ptr_equal(mremap(q, 2 * LARGE, 2 * LARGE,
				MREMAP_MAYMOVE | MREMAP_FIXED, p),
			 p);
	assert_int_equal(remote(), before);
	assert_int_equal(p[LARGE - 1], 1);
	assert_int_equal(munmap(p, 2 * LARGE), 0);
}

static void what_stays_with_the_kernel(void **state)
{
	static const struct {
		int prot, flags;
	} kinds[] = {
		{PROT_NONE, ANON},
		{PROT_READ, ANON},
		{RW, MAP_SHARED | MAP_ANONYMOUS},
		{RW, ANON | MAP_STACK},
		{RW, ANON | MAP_GROWSDOWN},
		{RW, ANON | MAP_LOCKED},
		{RW, ANON | MAP_32BIT},
	};
	size_t before = remote();
	void *p;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		p = mmap(NULL, LARGE, kinds[i].prot, kinds[i].flags, -1, 0);
		assert_true(p != MAP_FAILED);
		assert_int_equal(remote(), before);
		assert_int_equal(munmap(p, LARGE), 0);
	}
	/* A reservation beyond the capacity; the same without that promise. */
	p = mmap(NULL, (size_t)1 << 40, RW, ANON | MAP_NORESERVE, -1, 0);
	assert_true(p != MAP_FAILED);
	assert_int_equal(munmap(p, (size_t)1 << 40), 0);
	errno = 0;
	assert_ptr_equal(mmap(NULL, (size_t)2 << 30, RW, ANON, -1, 0),
			 MAP_FAILED);
	assert_int_equal(errno, ENOMEM);
	p = mmap(NULL, LARGE / 64, RW, ANON, -1, 0);
	assert_int_equal(remote(), before);
	assert_int_equal(munmap(p, LARGE / 64), 0);
}

static void fixed_mappings(void **state)
{
	size_t before = remote();
	char *p = mmap(NULL, 2 * LARGE, RW, ANON, -1, 0);
	FILE *file = tmpfile();

	memset(p, 4, 2 * LARGE);
	assert_ptr_equal(mmap(p, LARGE, RW, ANON | MAP_FIXED, -1, 0), p);
	assert_int_equal(p[0] + p[LARGE - 1], 0);
	assert_int_equal(p[LARGE], 4);
	assert_ptr_equal(mmap(p, LARGE, PROT_NONE, ANON | MAP_FIXED, -1, 0), p);
	assert_int_equal(mprotect(p, LARGE, RW), 0);
	assert_int_equal(p[5], 0);
	/* A file there is refused, and changes nothing. */
	p[5] = 5;
	assert_int_equal(ftruncate(fileno(file), LARGE), 0);
	errno = 0;
	assert_ptr_equal(
		mmap(p, LARGE, RW, MAP_SHARED | MAP_FIXED, fileno(file), 0),
		MAP_FAILED);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(p[5], 5);
	fclose(file);
	errno = 0;
	assert_int_equal(
		mremap(p, LARGE, LARGE, MREMAP_MAYMOVE | MREMAP_DONTUNMAP) ==
			MAP_FAILED,
		1);
	assert_int_equal(errno, EINVAL);
	/* Only a part, then the rest with neighbours that are not mapped. */
	assert_int_equal(munmap(p + PAGE, PAGE), 0);
	assert_int_equal(munmap(p, 2 * LARGE), 0);
	assert_int_equal(remote(), before);
}

/* Memory that is closed, or read-only, in parts comes and goes like the rest.
 */
static void protected_parts(void **state)
{
	const size_t nr = 12 * LARGE / PAGE, words = PAGE / sizeof(uint32_t);
	size_t before = remote(), step = nr / 2;
	uint32_t *p = mmap(NULL, nr * PAGE, RW, ANON, -1, 0);

	for (size_t i = 0; i < nr; i++)
		p[i * words] = (uint32_t)i;
	/* Two at least must be possible, however little local memory is. */
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(mprotect(p + i * step * words, 7 * PAGE,
					  i ? PROT_READ : PROT_NONE),
				 0);
	for (int turn = 0; turn < 3; turn++) {
		for (size_t i = 7; i < nr; i++) {
			assert_int_equal(p[i * words], i);
			if (i < step || i >= step + 7)
				p[i * words] = (uint32_t)i;
		}
	}
	/* All of it at one time would leave nothing to page with. */
	errno = 0;
	if (mprotect(p, nr * PAGE, PROT_READ))
		assert_int_equal(errno, ENOMEM);
	assert_int_equal(madvise(p, LARGE, MADV_DONTNEED), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(mprotect(p, nr * PAGE, RW), 0);
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(p[i * words]++, i);
	assert_int_equal(madvise(p, LARGE, MADV_DONTNEED), 0);
	assert_int_equal(p[0], 0);
	assert_int_equal(munmap(p, nr * PAGE), 0);
	assert_int_equal(remote(), before);
}

static void locks(void **state)
{
	size_t before = remote();
	char *p = malloc(LARGE);

	memset(p, 1, LARGE);
	assert_int_equal(mlock(p + PAGE, 8 * PAGE), 0);
	assert_int_equal(madvise(p, LARGE, MADV_DONTNEED), -1);
	assert_int_equal(errno, EINVAL);
	free(p);
	p = calloc(1, LARGE);
	assert_int_equal(p[2 * PAGE], 0);
	free(p);
	assert_int_equal(mlockall(MCL_CURRENT), -1);
	assert_int_equal(errno, ENOMEM);
	assert_int_equal(remote(), before);
}

static void *churn(void *arg)
{
	unsigned int seed = (unsigned int)(uintptr_t)arg;
	char *p[8] = {0};
	size_t size;

	for (int step = 0; step < 1000; step++) {
		char **slot = &p[rand_r(&seed) % 8];

		if (*slot && (*slot)[0] != (char)(uintptr_t)arg)
			return "mixed up";
		size = (size_t)(rand_r(&seed) % 4 ? 100000 : 10) << 4;
		*slot = rand_r(&seed) % 3 ? realloc(*slot, size)
					  : (free(*slot), malloc(size));
		if (!*slot)
			return "no memory";
		(*slot)[0] = (char)(uintptr_t)arg;
		(*slot)[size - 1] = (char)(uintptr_t)arg;
	}
	for (int i = 0; i < 8; i++)
		free(p[i]);
	return NULL;
}

static void threads(void **state)
{
	size_t before = remote();
	pthread_t thread[8];
	void *failure;

	for (uintptr_t i = 0; i < 8; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, churn,
						(void *)(i + 1)),
				 0);
	for (int i = 0; i < 8; i++) {
		pthread_join(thread[i], &failure);
		assert_null(failure);
	}
	assert_int_equal(remote(), before);
}

static void forked_children(void **state)
{
	char *volatile p = malloc(LARGE);
	char *q;
	int status;
	pid_t pid;

	p[7] = 7;
	for (int i = 0; i < 20; i++) {
		pid = fork();
		if (!pid) {
			alarm(20);
			free(p);
			munmap(p, LARGE);
			q = calloc(1, 4 * LARGE);
			if (!q || q[LARGE] || realloc(p, 100))
				_exit(1);
			q[LARGE] = 1;
			free(q);
			exit(0);
		}
		assert_true(waitpid(pid, &status, 0) == pid);
		assert_int_equal(status, 0);
	}
	assert_int_equal(p[7], 7);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(large_is_remote),
		cmocka_unit_test(every_way_to_allocate),
		cmocka_unit_test(impossible_sizes),
		cmocka_unit_test(realloc_crosses_the_threshold),
		cmocka_unit_test(library_calls_allocate),
		cmocka_unit_test(large_mappings_are_remote),
		cmocka_unit_test(what_stays_with_the_kernel),
		cmocka_unit_test(fixed_mappings),
		cmocka_unit_test(protected_parts),
		cmocka_unit_test(locks),
		cmocka_unit_test(threads),
		cmocka_unit_test(forked_children),
	};

	return cmocka_run_group_tests(tests, setup, NULL);
}
