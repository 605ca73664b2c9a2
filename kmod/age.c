// SPDX-License-Identifier: GPL-2.0
/*
 * Ageing: whether blocks were accessed since they were last asked about. Asked
 * of the neighbours that the pager would evict next, in the page tables of all
 * that have them mapped, as the kernel's own reclaim does; the accessed bits
 * are cleared without a flush of the TLB, as there.
 *
 * mmap_lock is tried, never waited for: its holder may be waiting for us. And a
 * mapping that is being torn down leaves the process's tree before its page
 * tables go, but is on our list until they are gone: only the tree tells.
 *
 * Lock order: space->sem, region->vmas_lock, mmap_lock (tried).
 */
#include <linux/sched/mm.h>

#include "kmod/internal.h"

/* at pages from @first on; @answer has one for each @order of them */
struct look {
	struct vm_area_struct *vma;
	unsigned long first;
	u32 order;
	int *answer;
};

static int look_pte(pte_t *pte, unsigned long addr, void *data)
{
	struct look *look = data;
	unsigned long page = look->vma->vm_pgoff +
			     ((addr - look->vma->vm_start) >> PAGE_SHIFT);
	bool young = false;

	if (!pte_present(ptep_get(pte)))
		return 0;
#ifdef CONFIG_X86
	/* its ptep_test_and_clear_young() is not exported, and does this */
	if (pte_young(ptep_get(pte)) &&
	    test_and_clear_bit(_PAGE_BIT_ACCESSED, (unsigned long *)&pte->pte))
		young = true;
#else
	if (ptep_test_and_clear_young(look->vma, addr, pte))
		young = true;
#endif
	if (young)
		look->answer[(page - look->first) >> look->order] = 1;
	return 0;
}

/* Returns 0, or -EOPNOTSUPP when it cannot be known now. */
static int vma_accessed(struct look *look, unsigned long nr)
{
	struct vm_area_struct *vma = look->vma;
	struct mm_struct *mm = vma->vm_mm;
	unsigned long start, end, at;

	if (!mmget_not_zero(mm))
		return 0;
	if (!mmap_read_trylock(mm)) {
		mmput_async(mm);
		return -EOPNOTSUPP;
	}
	if (find_vma(mm, vma->vm_start) == vma) {
		start = max(look->first, vma->vm_pgoff);
		end = min(look->first + nr, vma->vm_pgoff + vma_pages(vma));
		if (start < end) {
			at = vma->vm_start +
			     ((start - vma->vm_pgoff) << PAGE_SHIFT);
			apply_to_existing_page_range(
				mm, at, (end - start) << PAGE_SHIFT, look_pte,
				look);
		}
	}
	mmap_read_unlock(mm);
	mmput_async(mm);
	return 0;
}

void tm_op_accessed(void *ctx, struct tm_lane *lane, u64 block,
		    const u32 *frame, u32 nr, int *answer)
{
	struct tm_space *space = ctx;
	struct look look = {.order = space->page_order, .answer = answer};
	unsigned long pages = (unsigned long)nr << space->page_order;
	struct tm_region *region;
	bool mapped = false, unknown = false;
	struct tm_vma *v;
	u32 i;

	for (i = 0; i < nr; i++) {
		mapped |= READ_ONCE(space->slot[frame[i]].mapped);
		answer[i] = 0;
	}
	if (!mapped)
		return;
	down_read(&space->sem);
	region = tm_region_find(space, block);
	if (!region)
		goto out;
	look.first = (block - region->first) << space->page_order;
	mutex_lock(&region->vmas_lock);
	list_for_each_entry(v, &region->vmas, list) {
		look.vma = v->vma;
		/* bounds move under mmap_lock: a first look, to pass by most */
		if (READ_ONCE(v->vma->vm_pgoff) < look.first + pages &&
		    vma_accessed(&look, pages))
			unknown = true;
	}
	mutex_unlock(&region->vmas_lock);
	for (i = 0; unknown && i < nr; i++)
		if (!answer[i])
			answer[i] = -EOPNOTSUPP;
out:
	up_read(&space->sem);
}
