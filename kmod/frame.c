// SPDX-License-Identifier: GPL-2.0
/*
 * Frames: the pages that a block is in, who may map them, and what the pager
 * has done with them. Independent pages of order 0, so that the kernel's own
 * means (GUP, ptrace, rmap) work on each.
 *
 * A frame that is present is in its block's bucket, and any thread may map it.
 * The pager's unmap takes it out first, so that nobody new can; a thread in the
 * midst of mapping keeps it there.
 *
 * Lock order: a bucket's lock alone; space->sem around the region's mapping.
 */
#include <linux/jiffies.h>
#include <linux/log2.h>
#include <linux/pagemap.h>

#include "core/crc32c.h"
#include "kmod/internal.h"
#include "kmod/trace.h"

#define SLOTS_IN_BUCKET 4
/*
 * A block that a thread waited for is not taken away before that thread had
 * time to map it: with more threads than frames none would ever get on.
 */
#define AWAITED_JIFFIES (HZ / 20)

int tm_frames_create(struct tm_space *space)
{
	u32 i, nr = space->pool.max;

	space->nr_buckets =
		roundup_pow_of_two(DIV_ROUND_UP(nr, SLOTS_IN_BUCKET));
	space->slot = vcalloc(nr, sizeof(*space->slot));
	space->bucket = vcalloc(space->nr_buckets, sizeof(*space->bucket));
	if (!space->slot || !space->bucket)
		return -ENOMEM;
	for (i = 0; i < space->nr_buckets; i++) {
		spin_lock_init(&space->bucket[i].lock);
		INIT_LIST_HEAD(&space->bucket[i].waiters);
		space->bucket[i].slot = TM_NO_FRAME;
	}
	return 0;
}

void tm_frames_destroy(struct tm_space *space)
{
	u32 i;

	for (i = 0; space->slot && i < space->pool.max; i++)
		if (space->slot[i].pages)
			tm_pages_free(space, space->slot[i].pages);
	vfree(space->bucket);
	vfree(space->slot);
}

struct page **tm_frame_fill(struct tm_space *space, u32 frame)
{
	struct tm_slot *slot = &space->slot[frame];

	if (!slot->pages)
		slot->pages = tm_pool_take(space);
	return slot->pages ? slot->pages->page : NULL;
}

/* Threads may map it from now on; whoever waits does. */
static void publish(struct tm_space *space, u64 block, u32 frame)
{
	struct tm_bucket *bucket = tm_bucket_of(space, block);
	struct tm_slot *slot = &space->slot[frame];

	spin_lock(&bucket->lock);
	slot->block = block;
	slot->present = true;
	slot->next = bucket->slot;
	bucket->slot = frame;
	slot->published = (u32)jiffies;
	slot->awaited = tm_wake_waiters(bucket, block);
	slot->refused = false;
	spin_unlock(&bucket->lock);
}

/* The bucket is locked. */
static void unpublish(struct tm_space *space, struct tm_bucket *bucket,
		      struct tm_slot *slot)
{
	u32 frame = slot - space->slot;
	u32 *link = &bucket->slot;

	while (*link != frame)
		link = &space->slot[*link].next;
	*link = slot->next;
	slot->present = false;
}

/*
 * Take neighbours out of all mappings; dirty bits go to the pages. Together,
 * since each time other processors have to be told.
 */
static void unmap_all(struct tm_space *space, u64 block, u32 nr)
{
	struct tm_region *region;

	down_read(&space->sem);
	region = tm_region_find(space, block);
	if (region)
		unmap_mapping_range(region->inode->i_mapping,
				    (block - region->first)
					    << space->block_shift,
				    (loff_t)nr << space->block_shift, 0);
	up_read(&space->sem);
}

static bool pinned(const struct tm_space *space, const struct tm_pages *pages)
{
	u32 i;

	for (i = 0; i < tm_block_pages(space); i++)
		if (page_count(pages->page[i]) != 1)
			return true;
	return false;
}

static bool harvest_dirty(const struct tm_space *space,
			  const struct tm_pages *pages)
{
	bool dirty = false;
	u32 i;

	for (i = 0; i < tm_block_pages(space); i++)
		dirty |= TestClearPageDirty(pages->page[i]);
	return dirty;
}

int tm_op_map(void *ctx, struct tm_lane *lane, u64 block, u32 frame,
	      unsigned int flags)
{
	struct tm_space *space = ctx;
	struct page **page = tm_frame_fill(space, frame);
	u32 i;

	if (!page)
		return -ENOMEM;
	if (flags & TM_MAP_ZERO)
		for (i = 0; i < tm_block_pages(space); i++)
			clear_page(page_address(page[i]));
	/* it came after all */
	tm_failed_forget(space, block, 1);
	publish(space, block, frame);
	return 0;
}

u32 tm_op_map_run(void *ctx, struct tm_lane *lane, u64 block, const u32 *frame,
		  u32 nr, unsigned int flags)
{
	u32 i;

	for (i = 0; i < nr; i++)
		if (tm_op_map(ctx, lane, block + i, frame[i], flags))
			break;
	return i;
}

/* Nobody new may map it: returns whether anybody has, or -EBUSY. */
static int withdraw(struct tm_space *space, u64 block, struct tm_slot *slot)
{
	struct tm_bucket *bucket = tm_bucket_of(space, block);
	int ret = -EBUSY;

	spin_lock(&bucket->lock);
	if (slot->busy || (slot->awaited &&
			   (u32)jiffies - slot->published < AWAITED_JIFFIES)) {
		slot->refused = true;
	} else {
		unpublish(space, bucket, slot);
		ret = slot->mapped;
	}
	spin_unlock(&bucket->lock);
	return ret;
}

/* It was withdrawn, and taken out of all mappings. */
static int unmapped(struct tm_space *space, u64 block, u32 frame)
{
	struct tm_slot *slot = &space->slot[frame];
	bool dirty;

	/*
	 * References that are not ours: a device, or another part of the
	 * kernel, reads or writes these pages. Who had one and gave it back has
	 * marked the page dirty before.
	 */
	if (pinned(space, slot->pages)) {
		publish(space, block, frame);
		trace_tm_evict(space->config.name, block, -EBUSY);
		return -EBUSY;
	}
	slot->mapped = false;
	dirty = harvest_dirty(space, slot->pages);
	trace_tm_evict(space->config.name, block, dirty);
	return dirty ? TM_UNMAP_DIRTY : TM_UNMAP_CLEAN;
}

u32 tm_op_unmap_run(void *ctx, struct tm_lane *lane, u64 block,
		    const u32 *frame, u32 nr, int *answer)
{
	struct tm_space *space = ctx;
	bool mapped = false;
	u32 i;

	for (i = 0; i < nr; i++) {
		answer[i] = withdraw(space, block + i, &space->slot[frame[i]]);
		mapped |= answer[i] > 0;
	}
	if (mapped)
		unmap_all(space, block, nr);
	for (i = 0; i < nr; i++)
		if (answer[i] >= 0)
			answer[i] = unmapped(space, block + i, frame[i]);
	return nr;
}

int tm_op_unmap(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	int answer;

	tm_op_unmap_run(ctx, lane, block, &frame, 1, &answer);
	return answer;
}

void tm_op_drop(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	struct tm_space *space = ctx;
	struct tm_bucket *bucket = tm_bucket_of(space, block);
	struct tm_slot *slot = &space->slot[frame];
	struct tm_pages *pages = slot->pages;
	bool present;

	spin_lock(&bucket->lock);
	present = slot->present;
	if (present)
		unpublish(space, bucket, slot);
	/* nobody who maps pages waits for a lane */
	while (slot->busy) {
		spin_unlock(&bucket->lock);
		schedule_timeout_uninterruptible(1);
		spin_lock(&bucket->lock);
	}
	spin_unlock(&bucket->lock);
	if (present)
		unmap_all(space, block, 1);
	if (!pages)
		return;
	slot->pages = NULL;
	slot->mapped = false;
	/* what someone still refers to is never used for another block */
	if (pinned(space, pages)) {
		tm_pool_abandon(space, pages);
		return;
	}
	harvest_dirty(space, pages);
	tm_pool_put(space, pages);
}

u32 tm_op_checksum(void *ctx, u64 block, u32 frame, u32 seed)
{
	struct tm_space *space = ctx;
	struct page **page = space->slot[frame].pages->page;
	u32 i;

	for (i = 0; i < tm_block_pages(space); i++)
		seed = tm_crc32c(seed, page_address(page[i]), PAGE_SIZE);
	return seed;
}
