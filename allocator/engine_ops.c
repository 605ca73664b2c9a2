/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * engine.h for whichever engine this process has: the kernel's where the job
 * has a device, else the one in user space. There is no way from the one to the
 * other: a device that cannot be used is an error.
 */
#include <errno.h>
#include <sys/mman.h>

#include "allocator/config.h"
#include "allocator/engine_ops.h"

int tm_engine_reserve(struct tm_engine *e, uint64_t capacity)
{
	size_t size = (capacity * TM_REGION_FACTOR + TM_REGION_ALIGN - 1) &
		      ~(TM_REGION_ALIGN - 1);
	char *area, *base;

	area = mmap(NULL, size + TM_REGION_ALIGN, PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (area == MAP_FAILED)
		return -errno;
	base = (char *)(((uintptr_t)area + TM_REGION_ALIGN - 1) &
			~(TM_REGION_ALIGN - 1));
	if (base > area)
		munmap(area, (size_t)(base - area));
	munmap(base + size, TM_REGION_ALIGN - (size_t)(base - area));
	e->base = base;
	e->size = size;
	return 0;
}

void tm_engine_close_off(struct tm_engine *e)
{
	if (e->base)
		mmap(e->base, e->size, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		     -1, 0);
}

int tm_engine_start(struct tm_engine **engine)
{
	const struct tm_config *config = tm_config_get();

	if (*config->device)
		return tm_kmod_engine_start(engine);
	return *config->map ? tm_uffd_engine_start(engine) : -ENODEV;
}

void tm_engine_stop(struct tm_engine *e)
{
	/* Once nobody serves faults here, no access may succeed. */
	tm_engine_close_off(e);
	e->ops->stop(e);
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
	return e->block;
}

int tm_engine_commit(struct tm_engine *e, size_t bytes)
{
	return e->ops->commit(e, bytes);
}

void tm_engine_uncommit(struct tm_engine *e, size_t bytes)
{
	e->ops->uncommit(e, bytes);
}

void tm_engine_discard(struct tm_engine *e, void *addr, size_t bytes)
{
	if (bytes)
		e->ops->discard(e, addr, bytes);
}

int tm_engine_pin(struct tm_engine *e, void *addr, size_t bytes)
{
	return e->ops->pin(e, addr, bytes);
}

bool tm_engine_pins(const struct tm_engine *e, const void *addr, size_t bytes)
{
	return e->ops->pins(e, addr, bytes);
}

void tm_engine_unpin(struct tm_engine *e, void *addr, size_t bytes)
{
	e->ops->unpin(e, addr, bytes);
}

int tm_engine_stats(struct tm_engine *e, struct teramalloc_stats *stats)
{
	return e->ops->stats(e, stats);
}
