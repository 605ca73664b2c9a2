/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * See engine_local.h. In a preload for tests, the environment sets it up:
 * TEST_ENGINE_BLOCK, TEST_ENGINE_CAPACITY in bytes; it starts only where
 * TERAMEM_JOB_MAP is set, as the real one does.
 */
#include "tests/unit/engine_local.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "allocator/config.h"
#include "allocator/engine.h"
#include "tm_port.h"

#define ALIGNMENT ((size_t)1 << 30)

size_t test_engine_block = 256 << 10;
size_t test_engine_size = (size_t)64 << 30;
size_t test_engine_capacity = (size_t)4 << 30;
size_t test_engine_committed;

struct tm_engine {
	char *base;
	size_t size;
	bool *pinned; /* per block */
};

static struct tm_engine engine;

int tm_engine_start(struct tm_engine **out)
{
	const char *text;
	char *p;

	if (!tm_config_get()->map[0])
		return -ENODEV;
	text = getenv("TEST_ENGINE_BLOCK");
	if (text)
		test_engine_block = strtoul(text, NULL, 10);
	text = getenv("TEST_ENGINE_CAPACITY");
	if (text)
		test_engine_capacity = strtoul(text, NULL, 10);
	/* As the real one: it allocates from libc while it starts. */
	free(strdup("a string"));
	free(malloc(8 << 20));
	p = mmap(NULL, test_engine_size + ALIGNMENT, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return -errno;
	engine.base =
		(char *)(((uintptr_t)p + ALIGNMENT - 1) & ~(ALIGNMENT - 1));
	engine.size = test_engine_size;
	madvise(engine.base, engine.size, MADV_DONTFORK);
	engine.pinned = tm_alloc(engine.size / test_engine_block);
	if (!engine.pinned)
		return -ENOMEM;
	test_engine_committed = 0;
	*out = &engine;
	return 0;
}

void tm_engine_stop(struct tm_engine *e)
{
	TM_BUG_ON(test_engine_committed);
	mprotect(e->base, e->size, PROT_NONE);
}

void tm_engine_fork_prepare(struct tm_engine *e)
{
}

void tm_engine_fork_parent(struct tm_engine *e)
{
}

void tm_engine_fork_child(struct tm_engine *e)
{
	void *p = mmap(e->base, e->size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		       -1, 0);

	TM_BUG_ON(p != e->base);
}

void *tm_engine_base(const struct tm_engine *e)
{
	return e->base;
}

size_t tm_engine_size(const struct tm_engine *e)
{
	return e->size;
}

size_t tm_engine_block(const struct tm_engine *e)
{
	return test_engine_block;
}

int tm_engine_commit(struct tm_engine *e, size_t bytes)
{
	TM_BUG_ON(bytes % test_engine_block);
	if (tm_add_return(&test_engine_committed, bytes) <=
	    test_engine_capacity)
		return 0;
	tm_add_return(&test_engine_committed, -bytes);
	return -ENOMEM;
}

void tm_engine_uncommit(struct tm_engine *e, size_t bytes)
{
	TM_BUG_ON(bytes % test_engine_block);
	TM_BUG_ON(tm_load_relaxed(&test_engine_committed) < bytes);
	tm_add_return(&test_engine_committed, -bytes);
}

void tm_engine_discard(struct tm_engine *e, void *addr, size_t bytes)
{
	uintptr_t at = (uintptr_t)addr - (uintptr_t)e->base;

	TM_BUG_ON(at % test_engine_block || bytes % test_engine_block);
	TM_BUG_ON(at > e->size || bytes > e->size - at);
	TM_BUG_ON(madvise(addr, bytes, MADV_DONTNEED));
	/* The books let go of what they hold first. */
	for (size_t i = 0; i < bytes / test_engine_block; i++)
		TM_BUG_ON(e->pinned[at / test_engine_block + i]);
}

int tm_engine_stats(struct tm_engine *e, struct teramalloc_stats *stats)
{
	memset(stats, 0, sizeof(*stats));
	stats->capacity_bytes = test_engine_capacity;
	return 0;
}

int tm_engine_pin(struct tm_engine *e, void *addr, size_t bytes)
{
	size_t first = (size_t)((char *)addr - e->base) / test_engine_block;

	TM_BUG_ON((uintptr_t)addr % test_engine_block);
	if (bytes > test_engine_capacity / 4)
		return -ENOMEM;
	for (size_t i = 0; i < bytes / test_engine_block; i++) {
		if (e->pinned[first + i])
			continue;
		(void)*((volatile char *)addr + i * test_engine_block);
		e->pinned[first + i] = true;
	}
	return 0;
}

bool tm_engine_pins(const struct tm_engine *e, const void *addr, size_t bytes)
{
	size_t first = (size_t)((char *)addr - e->base) / test_engine_block;

	for (size_t i = 0; i < bytes / test_engine_block; i++)
		if (e->pinned[first + i])
			return true;
	return false;
}

void tm_engine_unpin(struct tm_engine *e, void *addr, size_t bytes)
{
	size_t first = (size_t)((char *)addr - e->base) / test_engine_block;

	TM_BUG_ON((uintptr_t)addr % test_engine_block);
	for (size_t i = 0; i < bytes / test_engine_block; i++)
		e->pinned[first + i] = false;
}

bool tm_engine_thread(void)
{
	return false;
}
