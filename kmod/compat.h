/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What differs between kernels. The HAVE_ names come from kmod/features, which
 * compiles a few lines for each against the kernel at hand; versions are not
 * asked for, since distributions move changes between them.
 */
#ifndef TM_KMOD_COMPAT_H
#define TM_KMOD_COMPAT_H

#include <linux/list_lru.h>
#include <linux/mm.h>
#include <linux/sched.h>
#include <linux/shrinker.h>
#include <linux/slab.h>

#include "features.h"

#ifndef HAVE_VM_FLAGS_SET
static inline void vm_flags_set(struct vm_area_struct *vma, vm_flags_t flags)
{
	vma->vm_flags |= flags;
}
#endif

#ifndef HAVE_RELEASE_FAULT_LOCK
static inline void release_fault_lock(struct vm_fault *vmf)
{
	mmap_read_unlock(vmf->vma->vm_mm);
}
#endif

#ifdef HAVE_DEVNODE_CONST
#define TM_DEVNODE_CONST const
#else
#define TM_DEVNODE_CONST
#endif

#ifndef HAVE_APPLY_TO_EXISTING
#define apply_to_existing_page_range apply_to_page_range
#endif

/* Before, a list_lru had all that it needs for any object from the start. */
#ifndef HAVE_KMEM_CACHE_ALLOC_LRU
#define kmem_cache_alloc_lru(cache, lru, gfp) kmem_cache_alloc(cache, gfp)
#endif

#ifndef HAVE_LIST_LRU_ADD_OBJ
#define list_lru_add_obj list_lru_add
#define list_lru_del_obj list_lru_del
#endif

/*
 * What is allocated with __GFP_ACCOUNT is charged there; returns the one
 * before. As set_active_memcg() in a thread; but some kernels keep what that
 * needs in interrupts to themselves.
 */
static inline struct mem_cgroup *tm_memcg_charge(struct mem_cgroup *memcg)
{
	struct mem_cgroup *old = NULL;

#ifdef CONFIG_MEMCG
	old = current->active_memcg;
	current->active_memcg = memcg;
#endif
	return old;
}

#ifdef HAVE_SHRINKER_ALLOC
struct tm_shrinker {
	struct shrinker *shrinker;
};
#define tm_shrinker_owner(shrink, type, member) ((type *)(shrink)->private_data)
#else
struct tm_shrinker {
	struct shrinker shrinker;
};
#define tm_shrinker_owner(shrink, type, member)                                \
	container_of(shrink, type, member.shrinker)
#endif

#endif /* TM_KMOD_COMPAT_H */
