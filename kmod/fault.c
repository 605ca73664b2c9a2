// SPDX-License-Identifier: GPL-2.0
/*
 * The program's side of a fault: map the block's pages if a lane has published
 * them, else ask a lane for them and wait. A wait ends by a fatal signal, and
 * by its deadline; then the block is remembered as failed.
 *
 * Once mmap_lock was dropped there is nothing but VM_FAULT_RETRY to return:
 * the mapping may be gone. So whatever the wait came to, the next pass finds it
 * here: pages, or a block that failed, or neither, and waits again.
 *
 * Lock order: mmap_lock, then a bucket's or the lane's lock.
 */
#define pr_fmt(fmt) "teramem: " fmt

#include <linux/file.h>
#include <linux/hash.h>
#include <linux/jiffies.h>
#include <linux/slab.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

/* A fault maps neighbours in as many aligned pages: 1 MiB. */
#define AROUND_PAGES (1ul << (20 - PAGE_SHIFT))

struct tm_bucket *tm_bucket_of(struct tm_space *space, u64 block)
{
	return &space->bucket[hash_64(block, 32) & (space->nr_buckets - 1)];
}

bool tm_wake_waiters(struct tm_bucket *bucket, u64 block)
{
	struct tm_wait *wait, *next;
	bool any = false;

	list_for_each_entry_safe(wait, next, &bucket->waiters, bucket) {
		if (wait->block != block)
			continue;
		list_del_init(&wait->bucket);
		complete(&wait->done);
		any = true;
	}
	return any;
}

void tm_op_wake(void *ctx, struct tm_lane *lane, u64 block)
{
	struct tm_bucket *bucket = tm_bucket_of(ctx, block);

	spin_lock(&bucket->lock);
	tm_wake_waiters(bucket, block);
	spin_unlock(&bucket->lock);
}

/* Without memory to remember it, whoever waits asks, and is told, once more. */
static void fail(struct tm_space *space, u64 block, int err)
{
	if (xa_err(xa_store(&space->failed, block, xa_mk_value(-err),
			    GFP_NOIO | __GFP_NOWARN)))
		return;
	pr_err_ratelimited(
		"access block %llu of space %s: %s; accesses end in SIGBUS\n",
		block, space->config.name,
		tm_fail_cause(err) ?: "it could not be mapped");
}

void tm_op_fail(void *ctx, struct tm_lane *lane, u64 block, int err)
{
	fail(ctx, block, err);
	tm_op_wake(ctx, lane, block);
}

void tm_failed_forget(struct tm_space *space, u64 first, u64 nr)
{
	unsigned long block;
	void *entry;

	if (xa_empty(&space->failed))
		return;
	xa_for_each_range(&space->failed, block, entry, first, first + nr - 1)
		xa_erase(&space->failed, block);
}

static struct tm_slot *slot_find(struct tm_space *space,
				 const struct tm_bucket *bucket, u64 block)
{
	u32 i;

	for (i = bucket->slot; i != TM_NO_FRAME; i = space->slot[i].next)
		if (space->slot[i].block == block)
			return &space->slot[i];
	return NULL;
}

/* Map what of the block is in the mapping; the slot is busy. */
static vm_fault_t insert(struct vm_fault *vmf, struct tm_region *region,
			 const struct tm_slot *slot)
{
	struct vm_area_struct *vma = vmf->vma;
	unsigned long first, start, end, addr, left, done;
	struct page **page;
	int err;

	first = (slot->block - region->first) << region->space->page_order;
	start = max(first, vma->vm_pgoff);
	end = min(first + tm_block_pages(region->space),
		  vma->vm_pgoff + vma_pages(vma));
	addr = vma->vm_start + ((start - vma->vm_pgoff) << PAGE_SHIFT);
	page = slot->pages->page + (start - first);
	for (left = end - start; left;) {
		done = left;
		err = vm_insert_pages(vma, addr, page, &left);
		done -= left;
		if (err == -EBUSY) {
			/* this one is there: go on behind it */
			done++;
			left--;
		} else if (err) {
			return vmf_error(err);
		}
		addr += done << PAGE_SHIFT;
		page += done;
	}
	return VM_FAULT_NOPAGE;
}

/* A lane that had to leave it for our sake may have nothing else to take. */
static void slot_release(struct tm_space *space, struct tm_bucket *bucket,
			 struct tm_slot *slot)
{
	u64 block = slot->block;
	bool refused;

	spin_lock(&bucket->lock);
	slot->busy--;
	slot->awaited = false;
	refused = slot->refused;
	slot->refused = false;
	spin_unlock(&bucket->lock);
	if (refused)
		tm_lane_kick(tm_block_lane(space, block));
}

/* Returns 0 when it is worth looking again. */
static int wait_for_lane(struct tm_space *space, struct tm_bucket *bucket,
			 struct tm_wait *wait)
{
	struct tm_space_lane *lane = tm_block_lane(space, wait->block);
	long left;

	tm_lane_post(lane, wait);
	left = wait_for_completion_killable_timeout(
		&wait->done, msecs_to_jiffies(space->config.timeout_ms) +
				     msecs_to_jiffies(space->config.stall_ms));
	tm_lane_unpost(lane, wait);
	spin_lock(&bucket->lock);
	if (list_empty(&wait->bucket))
		left = 1;
	list_del(&wait->bucket);
	spin_unlock(&bucket->lock);
	if (left > 0)
		return 0;
	if (left < 0)
		return -EINTR;
	fail(space, wait->block, -ETIMEDOUT);
	return 0;
}

/* Map a block that nobody has asked for: only once, so that it costs little. */
static bool insert_neighbour(struct vm_fault *vmf, struct tm_region *region,
			     u64 block)
{
	struct tm_space *space = region->space;
	struct tm_bucket *bucket = tm_bucket_of(space, block);
	struct tm_slot *slot;
	vm_fault_t ret;

	spin_lock(&bucket->lock);
	slot = slot_find(space, bucket, block);
	if (!slot || slot->mapped || slot->awaited) {
		spin_unlock(&bucket->lock);
		return false;
	}
	slot->busy++;
	slot->mapped = true;
	spin_unlock(&bucket->lock);
	ret = insert(vmf, region, slot);
	slot_release(space, bucket, slot);
	return ret == VM_FAULT_NOPAGE;
}

/*
 * What came together is mapped by one fault: the neighbours on both sides, as
 * far as they are here.
 */
static void insert_around(struct vm_fault *vmf, struct tm_region *region,
			  u64 block)
{
	struct vm_area_struct *vma = vmf->vma;
	u32 order = region->space->page_order;
	unsigned long i, index = block - region->first;
	unsigned long mask = max(AROUND_PAGES >> order, 1ul) - 1;
	unsigned long first = max(index & ~mask, vma->vm_pgoff >> order);
	unsigned long last = min(index | mask,
				 (vma->vm_pgoff + vma_pages(vma) - 1) >> order);

	for (i = index; i < last; i++)
		if (!insert_neighbour(vmf, region, region->first + i + 1))
			break;
	for (i = index; i > first; i--)
		if (!insert_neighbour(vmf, region, region->first + i - 1))
			break;
}

static vm_fault_t tm_fault(struct vm_fault *vmf)
{
	struct file *file = vmf->vma->vm_file;
	struct tm_region *region = file->private_data;
	struct tm_space *space = region->space;
	u64 index = vmf->pgoff >> space->page_order;
	bool may_drop = vmf->flags & FAULT_FLAG_ALLOW_RETRY;
	struct tm_wait wait = {
		.block = region->first + index,
		.started_ns = ktime_get_ns(),
		.write = vmf->flags & FAULT_FLAG_WRITE,
	};
	struct tm_bucket *bucket;
	struct tm_slot *slot;
	vm_fault_t ret;
	int err;

	if (index >= region->nr)
		return VM_FAULT_SIGBUS;
	bucket = tm_bucket_of(space, wait.block);
	for (;;) {
		spin_lock(&bucket->lock);
		slot = slot_find(space, bucket, wait.block);
		if (slot) {
			slot->busy++;
			slot->mapped = true;
			spin_unlock(&bucket->lock);
			ret = insert(vmf, region, slot);
			slot_release(space, bucket, slot);
			if (ret == VM_FAULT_NOPAGE)
				insert_around(vmf, region, wait.block);
			return ret;
		}
		if (xa_load(&space->failed, wait.block)) {
			spin_unlock(&bucket->lock);
			return VM_FAULT_SIGBUS;
		}
		if (may_drop && (vmf->flags & FAULT_FLAG_RETRY_NOWAIT)) {
			spin_unlock(&bucket->lock);
			tm_lane_hint(tm_block_lane(space, wait.block),
				     wait.block);
			return VM_FAULT_RETRY;
		}
		init_completion(&wait.done);
		list_add_tail(&wait.bucket, &bucket->waiters);
		spin_unlock(&bucket->lock);

		trace_tm_fault(space->config.name, wait.block, wait.write);
		if (may_drop) {
			get_file(file);
			release_fault_lock(vmf);
			wait_for_lane(space, bucket, &wait);
			fput(file);
			return VM_FAULT_RETRY;
		}
		err = wait_for_lane(space, bucket, &wait);
		if (err)
			return VM_FAULT_SIGBUS;
	}
}

/*
 * Failing here costs nothing but second chances: the mapping's accessed bits
 * are not seen then.
 */
static void tm_vma_open(struct vm_area_struct *vma)
{
	struct tm_region *region = vma->vm_file->private_data;
	struct tm_vma *v = kmalloc(sizeof(*v), GFP_KERNEL);

	if (!v)
		return;
	v->vma = vma;
	mutex_lock(&region->vmas_lock);
	list_add(&v->list, &region->vmas);
	mutex_unlock(&region->vmas_lock);
}

static void tm_vma_close(struct vm_area_struct *vma)
{
	struct tm_region *region = vma->vm_file->private_data;
	struct tm_vma *v;

	mutex_lock(&region->vmas_lock);
	list_for_each_entry(v, &region->vmas, list) {
		if (v->vma == vma) {
			list_del(&v->list);
			kfree(v);
			break;
		}
	}
	mutex_unlock(&region->vmas_lock);
}

const struct vm_operations_struct tm_vm_ops = {
	.open = tm_vma_open,
	.close = tm_vma_close,
	.fault = tm_fault,
};
