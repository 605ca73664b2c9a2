// SPDX-License-Identifier: GPL-2.0
/*
 * The pool: memory for frames, charged to the program's memory cgroup. It grows
 * as the pager is about to need more, up to the space's local memory; what
 * cannot be had makes the pager evict sooner and fails no access. It shrinks
 * when memory is short; see shrink.c.
 *
 * The pager may use as many frames as there is memory for, so a frame that it
 * has taken always finds some. Lanes may be in the midst of taking one by an
 * old limit: what is given back leaves one for each.
 *
 * Lock order: space->grow_lock, pool->lock.
 */
#include <linux/memcontrol.h>
#include <linux/slab.h>

#include "kmod/internal.h"

#define GROW_BYTES (4u << 20)
/* after an allocation failed, and after pressure from outside */
#define RETRY_JIFFIES (HZ / 10)
#define PRESSURE_JIFFIES (5 * HZ)

/* What cannot be had is told, and no program is killed for it. */
#define OPEN_GFP (GFP_KERNEL_ACCOUNT | __GFP_RETRY_MAYFAIL | __GFP_NOWARN)
#define GROW_GFP (GFP_NOIO | __GFP_ACCOUNT | __GFP_NORETRY | __GFP_NOWARN)

void tm_pages_free(struct tm_space *space, struct tm_pages *pages)
{
	u32 i;

	for (i = 0; i < tm_block_pages(space); i++)
		if (pages->page[i])
			put_page(pages->page[i]);
	kfree(pages);
}

/* grow_lock is held. */
static struct tm_pages *pages_make(struct tm_space *space, gfp_t gfp)
{
	struct mem_cgroup *old = tm_memcg_charge(space->memcg);
	struct tm_pages *pages;
	u32 i;

	pages = kzalloc(struct_size(pages, page, tm_block_pages(space)), gfp);
	for (i = 0; pages && i < tm_block_pages(space); i++) {
		pages->page[i] = alloc_page(gfp);
		if (!pages->page[i]) {
			tm_pages_free(space, pages);
			pages = NULL;
		}
	}
	tm_memcg_charge(old);
	return pages;
}

/* The lock is held. */
static void limit_set(struct tm_space *space, u32 limit)
{
	space->pool.limit = limit;
	tm_pager_limit_set(space->pager, limit);
}

/* Frames that may take memory from the pool at any time; approximate. */
static u32 frames_used(struct tm_space *space)
{
	struct tm_pager_usage usage;

	tm_pager_usage(space->pager, &usage);
	return usage.used_frames + space->config.nr_lanes;
}

/* One more; false when there is no memory for it, or need. grow_lock is held */
static bool grow_one(struct tm_space *space, gfp_t gfp)
{
	struct tm_pool *pool = &space->pool;
	struct tm_pages *pages = NULL;

	if (READ_ONCE(pool->total) < pool->max) {
		pages = pages_make(space, gfp);
		if (!pages)
			return false;
	}
	spin_lock(&pool->lock);
	if (pages) {
		pages->next = pool->free;
		pool->free = pages;
		pool->nr_free++;
		pool->total++;
	}
	limit_set(space, min(pool->total, pool->max));
	spin_unlock(&pool->lock);
	return pages;
}

int tm_pool_open(struct tm_space *space)
{
	struct tm_pool *pool = &space->pool;
	struct mem_cgroup *memcg = get_mem_cgroup_from_mm(current->mm);
	int err;

	mutex_lock(&space->grow_lock);
	swap(space->memcg, memcg);
	err = tm_shrink_charge(space);
	while (pool->total < pool->floor && !err)
		if (!grow_one(space, OPEN_GFP))
			err = -ENOMEM;
	mutex_unlock(&space->grow_lock);
	mem_cgroup_put(memcg);
	return err;
}

/*
 * As many free frames as keep the pager from evicting; while few are in use,
 * not many more than those: memory that is not asked for is not charged.
 */
static u32 frames_wanted(const struct tm_pool *pool, u32 io_depth)
{
	u32 most = 2 * max(pool->limit / 64, io_depth) + 16;
	s32 taken = READ_ONCE(pool->total) - READ_ONCE(pool->nr_free);

	return min(most, (u32)max(taken, 0) + pool->floor);
}

void tm_pool_grow(struct tm_space *space)
{
	struct tm_pool *pool = &space->pool;
	u32 left = max(GROW_BYTES >> space->block_shift, 1u), wanted;

	if (READ_ONCE(pool->limit) >= pool->max ||
	    time_before(jiffies, READ_ONCE(pool->idle_until)))
		return;
	wanted = frames_wanted(pool, space->io_depth);
	if (READ_ONCE(pool->nr_free) >= wanted ||
	    !mutex_trylock(&space->grow_lock))
		return;
	while (left-- && READ_ONCE(pool->nr_free) < wanted &&
	       READ_ONCE(pool->limit) < pool->max)
		if (!grow_one(space, GROW_GFP)) {
			WRITE_ONCE(pool->idle_until, jiffies + RETRY_JIFFIES);
			break;
		}
	mutex_unlock(&space->grow_lock);
}

struct tm_pages *tm_pool_take(struct tm_space *space)
{
	struct tm_pool *pool = &space->pool;
	struct tm_pages *pages;

	spin_lock(&pool->lock);
	pages = pool->free;
	if (pages) {
		pool->free = pages->next;
		pool->nr_free--;
	}
	spin_unlock(&pool->lock);
	if (likely(pages))
		return pages;

	/* only after memory was abandoned */
	mutex_lock(&space->grow_lock);
	pages = pages_make(space, GFP_NOIO | __GFP_ACCOUNT);
	mutex_unlock(&space->grow_lock);
	if (pages) {
		spin_lock(&pool->lock);
		pool->total++;
		spin_unlock(&pool->lock);
	}
	return pages;
}

void tm_pool_put(struct tm_space *space, struct tm_pages *pages)
{
	struct tm_pool *pool = &space->pool;
	bool surplus = READ_ONCE(pool->total) > READ_ONCE(pool->limit) &&
		       pool->total > frames_used(space);

	spin_lock(&pool->lock);
	if (surplus) {
		pool->total--;
	} else {
		pages->next = pool->free;
		pool->free = pages;
		pool->nr_free++;
	}
	spin_unlock(&pool->lock);
	if (!surplus)
		return;
	tm_pages_free(space, pages);
	wake_up(&pool->given_back);
}

void tm_pool_abandon(struct tm_space *space, struct tm_pages *pages)
{
	struct tm_pool *pool = &space->pool;

	spin_lock(&pool->lock);
	pool->total--;
	if (pool->limit > pool->total)
		limit_set(space, pool->total);
	spin_unlock(&pool->lock);
	tm_pages_free(space, pages);
}

u32 tm_pool_shrink(struct tm_space *space, u32 wanted)
{
	struct tm_pool *pool = &space->pool;
	u32 used = frames_used(space), nr = 0;
	struct tm_pages *pages, *gone = NULL;

	spin_lock(&pool->lock);
	if (pool->limit > pool->floor)
		limit_set(space,
			  pool->limit - min(wanted, pool->limit - pool->floor));
	while (pool->free && nr < wanted &&
	       pool->total > max(pool->limit, used)) {
		pages = pool->free;
		pool->free = pages->next;
		pool->nr_free--;
		pool->total--;
		pages->next = gone;
		gone = pages;
		nr++;
	}
	WRITE_ONCE(pool->idle_until, jiffies + PRESSURE_JIFFIES);
	spin_unlock(&pool->lock);
	while ((pages = gone)) {
		gone = pages->next;
		tm_pages_free(space, pages);
	}
	return nr;
}

void tm_pool_destroy(struct tm_space *space)
{
	struct tm_pages *pages;

	while ((pages = space->pool.free)) {
		space->pool.free = pages->next;
		tm_pages_free(space, pages);
	}
	mem_cgroup_put(space->memcg);
}
