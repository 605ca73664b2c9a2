// SPDX-License-Identifier: GPL-2.0
/*
 * Ageing: whether a block was accessed since it was last asked about. Asked of
 * the block that the pager would evict next, in the page tables of all that
 * have it mapped, as the kernel's own reclaim does; the accessed bits are
 * cleared without a flush of the TLB, as there.
 *
 * mmap_lock is tried, never waited for: its holder may be waiting for us. And a
 * mapping that is being torn down leaves the process's tree before its page
 * tables go, but is on our list until they are gone: only the tree tells.
 *
 * Lock order: space->sem, region->vmas_lock, mmap_lock (tried).
 */
#include <linux/sched/mm.h>

#include "kmod/internal.h"

struct look {
	struct vm_area_struct *vma;
	bool young;
};

static int look_pte(pte_t *pte, unsigned long addr, void *data)
{
	struct look *look = data;

	if (!pte_present(ptep_get(pte)))
		return 0;
#ifdef CONFIG_X86
	/* its ptep_test_and_clear_young() is not exported, and does this */
	if (pte_young(ptep_get(pte)) &&
	    test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)&pte->pte))
		look->young = true;
#else
	if (ptep_test_and_clear_young(look->vma, addr, pte))
		look->young = true;
#endif
	return 0;
}

/* Returns 1, 0, or -EOPNOTSUPP when it cannot be known now. */
static int vma_accessed(struct vm_area_struct *vma, unsigned long first,
			unsigned long nr)
{
	struct mm_struct *mm = vma->vm_mm;
	unsigned long start, end, at;
	struct look look = {.vma = vma};
	int ret = 0;

	if (!mmget_not_zero(mm))
		return 0;
	if (!mmap_read_trylock(mm)) {
		mmput_async(mm);
		return -EOPNOTSUPP;
	}
	if (find_vma(mm, vma->vm_start) == vma) {
		start = max(first, vma->vm_pgoff);
		end = min(first + nr, vma->vm_pgoff + vma_pages(vma));
		if (start < end) {
			at = vma->vm_start +
			     ((start - vma->vm_pgoff) << PAGE_SHIFT);
			apply_to_existing_page_range(
				mm, at, (end - start) << PAGE_SHIFT, look_pte,
				&look);
			ret = look.young;
		}
	}
	mmap_read_unlock(mm);
	mmput_async(mm);
	return ret;
}

int tm_op_accessed(void *ctx, struct tm_lane *lane, u64 block, u32 frame)
{
	struct tm_space *space = ctx;
	unsigned long first, nr = tm_block_pages(space);
	struct tm_region *region;
	struct tm_vma *v;
	int one, ret = 0;

	if (!READ_ONCE(space->slot[frame].mapped))
		return 0;
	down_read(&space->sem);
	region = tm_region_find(space, block);
	if (!region)
		goto out;
	first = (block - region->first) << space->page_order;
	mutex_lock(&region->vmas_lock);
	list_for_each_entry(v, &region->vmas, list) {
		/* bounds move under mmap_lock: a first look, to pass by most */
		if (READ_ONCE(v->vma->vm_pgoff) >= first + nr)
			continue;
		one = vma_accessed(v->vma, first, nr);
		if (one > 0)
			ret = 1;
		else if (one && !ret)
			ret = one;
	}
	mutex_unlock(&region->vmas_lock);
out:
	up_read(&space->sem);
	return ret;
}
