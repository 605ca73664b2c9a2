/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page-granular mappings in ranges of whole blocks; see mapping.h. For a block
 * of which some pages are unmapped (or, at a mapping's end, never were mapped)
 * there is a record with a bit for each such page.
 */
#include "allocator/mapping.h"

#include <bsd/sys/tree.h>
#include <pthread.h>
#include <sys/mman.h>

#include "allocator/pool.h"

#define PAGE_BYTES ((uintptr_t)4096)
#define BLOCK_PAGES_MAX 512

struct partial {
	RB_ENTRY(partial) entry;
	uintptr_t block;
	size_t nr_gone;
	uint64_t gone[BLOCK_PAGES_MAX / 64];
};

static int partial_cmp(const struct partial *a, const struct partial *b)
{
	return (a->block > b->block) - (a->block < b->block);
}

RB_HEAD(partial_tree, partial);
#define UNUSED __attribute__((unused))
RB_GENERATE_INTERNAL(partial_tree, partial, entry, partial_cmp, UNUSED static)

static struct {
	pthread_mutex_t lock;
	struct partial_tree tree;
	struct tm_pool pool;
} partials = {
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.pool.item_bytes = sizeof(struct partial),
};

/* Held from pinning blocks until their pages are protected. */
static pthread_mutex_t pinning = PTHREAD_MUTEX_INITIALIZER;

static uintptr_t down(uintptr_t addr, size_t unit)
{
	return addr & ~(unit - 1);
}

static uintptr_t up(uintptr_t addr, size_t unit)
{
	return down(addr + unit - 1, unit);
}

static struct partial *partial_at(uintptr_t block)
{
	struct partial key = {.block = block};

	return RB_FIND(partial_tree, &partials.tree, &key);
}

static void partial_drop(struct partial *p)
{
	RB_REMOVE(partial_tree, &partials.tree, p);
	tm_pool_put(&partials.pool, p);
}

/*
 * Mark the pages [addr, end), all of one block, as gone. Returns 1 when no page
 * of it is left: the record is away and the block is the caller's to free.
 * -ENOMEM: no memory for the record.
 */
static int pages_leave(size_t block_bytes, uintptr_t addr, uintptr_t end)
{
	uintptr_t block = down(addr, block_bytes);
	struct partial *p;
	unsigned int page;
	int ret = 0;

	pthread_mutex_lock(&partials.lock);
	p = partial_at(block);
	if (!p) {
		ret = tm_pool_reserve(&partials.pool, 1);
		if (ret)
			goto out;
		p = tm_pool_get(&partials.pool);
		p->block = block;
		RB_INSERT(partial_tree, &partials.tree, p);
	}
	for (; addr < end; addr += PAGE_BYTES) {
		page = (unsigned int)((addr - block) / PAGE_BYTES);
		p->nr_gone += !(p->gone[page / 64] >> page % 64 & 1);
		p->gone[page / 64] |= (uint64_t)1 << page % 64;
	}
	if (p->nr_gone == block_bytes / PAGE_BYTES) {
		partial_drop(p);
		ret = 1;
	}
out:
	pthread_mutex_unlock(&partials.lock);
	return ret;
}

/*
 * The pages [addr, end), all of one block, are mapped again. Returns 0, or
 * -ENOMEM where one of them is not gone: something else lives there.
 */
static int pages_return(size_t block_bytes, uintptr_t addr, uintptr_t end)
{
	uintptr_t block = down(addr, block_bytes), at;
	struct partial *p;
	unsigned int page;
	int err = 0;

	pthread_mutex_lock(&partials.lock);
	p = partial_at(block);
	for (at = addr; at < end && !err; at += PAGE_BYTES) {
		page = (unsigned int)((at - block) / PAGE_BYTES);
		if (!p || !(p->gone[page / 64] >> page % 64 & 1))
			err = -ENOMEM;
	}
	for (at = addr; at < end && !err; at += PAGE_BYTES) {
		page = (unsigned int)((at - block) / PAGE_BYTES);
		p->gone[page / 64] &= ~((uint64_t)1 << page % 64);
		p->nr_gone--;
	}
	if (!err && p && !p->nr_gone)
		partial_drop(p);
	pthread_mutex_unlock(&partials.lock);
	return err;
}

/* Forget the records of the blocks in [addr, end). */
static void partials_forget(uintptr_t addr, uintptr_t end)
{
	struct partial key = {.block = addr}, *p, *next;

	pthread_mutex_lock(&partials.lock);
	for (p = RB_NFIND(partial_tree, &partials.tree, &key);
	     p && p->block < end; p = next) {
		next = RB_NEXT(partial_tree, &partials.tree, p);
		partial_drop(p);
	}
	pthread_mutex_unlock(&partials.lock);
}

void *tm_mapping_create(struct tm_heap *heap, size_t bytes)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t addr, end;

	addr = (uintptr_t)tm_region_alloc(heap->region, bytes, block,
					  TM_RANGE_MAPPING);
	if (!addr)
		return NULL;
	end = addr + up(bytes, PAGE_BYTES);
	if (end % block && pages_leave(block, end, up(end, block))) {
		tm_region_free(heap->region, (void *)addr, TM_RANGE_MAPPING);
		return NULL;
	}
	return (void *)addr;
}

/* Unmap some pages of one block. */
static int unmap_part(struct tm_heap *heap, uintptr_t addr, uintptr_t end)
{
	size_t block = tm_engine_block(heap->engine);
	struct tm_range range = tm_region_find(heap->region, (void *)addr);
	int ret;

	if (range.kind == TM_RANGE_FREE || range.kind == TM_RANGE_BUSY)
		return 0;
	if (range.kind != TM_RANGE_MAPPING)
		return -EINVAL;
	ret = pages_leave(block, addr, end);
	if (ret == 1)
		ret = tm_region_cut(heap->region, down(addr, block), block);
	return ret;
}

int tm_mapping_unmap(struct tm_heap *heap, uintptr_t addr, size_t bytes)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t end = addr + up(bytes, PAGE_BYTES), part;
	int err = 0;

	if (addr % PAGE_BYTES || !bytes || end < addr)
		return -EINVAL;
	if (end - heap->base > heap->size)
		end = heap->base + heap->size;
	if (addr % block) {
		part = up(addr, block) < end ? up(addr, block) : end;
		err = unmap_part(heap, addr, part);
		addr = part;
	}
	part = down(end, block);
	if (!err && addr < part) {
		partials_forget(addr, part);
		err = tm_region_cut(heap->region, addr, part - addr);
		addr = part;
	}
	if (!err && addr < end)
		err = unmap_part(heap, addr, end);
	return err;
}

/* Zeros in [addr, end): whole blocks are let go, the edges cleared by hand. */
static void clear(struct tm_heap *heap, uintptr_t addr, uintptr_t end)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t first = up(addr, block), last = down(end, block);

	if (first > last) {
		memset((void *)addr, 0, end - addr);
		return;
	}
	memset((void *)addr, 0, first - addr);
	if (first < last)
		tm_engine_discard(heap->engine, (void *)first, last - first);
	memset((void *)last, 0, end - last);
}

int tm_mapping_clear(struct tm_heap *heap, uintptr_t addr, size_t bytes)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t end = addr + up(bytes, PAGE_BYTES);

	if (addr % PAGE_BYTES || end < addr)
		return -EINVAL;
	if (tm_region_survey(heap->region, addr, end - addr) < 0)
		return -ENOMEM;
	/* Locked or protected: it cannot be dropped, or not be written to. */
	if (tm_engine_pins(heap->engine, (void *)down(addr, block),
			   up(end, block) - down(addr, block)))
		return -EINVAL;
	clear(heap, addr, end);
	return 0;
}

/* -ENOMEM unless [addr, end) is all of one mapping. */
static int check_inside(struct tm_heap *heap, uintptr_t addr, uintptr_t end)
{
	struct tm_range range = tm_region_find(heap->region, (void *)addr);

	return range.kind == TM_RANGE_MAPPING && end > addr &&
			       end <= range.addr + range.bytes
		       ? 0
		       : -ENOMEM;
}

/*
 * The blocks around [addr, end) stay from now on. The mutex is the caller's,
 * until the pages are as it wants them.
 */
static int pin(struct tm_heap *heap, uintptr_t addr, uintptr_t end,
	       unsigned int notes)
{
	size_t block = tm_engine_block(heap->engine);

	addr = down(addr, block);
	end = up(end, block);
	tm_region_note(heap->region, addr, end - addr, notes);
	return tm_engine_pin(heap->engine, (void *)addr, end - addr);
}

int tm_mapping_protect(struct tm_heap *heap, uintptr_t addr, size_t bytes,
		       int prot)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t end = addr + up(bytes, PAGE_BYTES);
	bool open = prot == (PROT_READ | PROT_WRITE);
	int notes, err = 0;

	if (addr % PAGE_BYTES || end < addr)
		return -EINVAL;
	notes = tm_region_survey(heap->region, addr, end - addr);
	if (notes < 0 || (open && !(notes & TM_RANGE_PROTECTED)))
		return notes < 0 ? notes : 0;
	pthread_mutex_lock(&pinning);
	if (!open)
		err = pin(heap, addr, end, TM_RANGE_PROTECTED);
	if (!err && mprotect((void *)addr, end - addr, prot))
		err = -errno;
	if (!err && open && !(notes & TM_RANGE_LOCKED) &&
	    up(addr, block) < down(end, block))
		tm_engine_unpin(heap->engine, (void *)up(addr, block),
				down(end, block) - up(addr, block));
	pthread_mutex_unlock(&pinning);
	return err;
}

int tm_mapping_lock(struct tm_heap *heap, uintptr_t addr, size_t bytes)
{
	uintptr_t end = up(addr + bytes, PAGE_BYTES);
	int err;

	if (end < addr || tm_region_survey(heap->region, addr, end - addr) < 0)
		return -ENOMEM;
	pthread_mutex_lock(&pinning);
	err = pin(heap, addr, end, TM_RANGE_LOCKED);
	pthread_mutex_unlock(&pinning);
	return err;
}

int tm_mapping_replace(struct tm_heap *heap, uintptr_t addr, size_t bytes,
		       int prot)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t end = addr + up(bytes, PAGE_BYTES), page;
	int notes, err;

	if (addr % PAGE_BYTES)
		return -EINVAL;
	if (check_inside(heap, addr, end))
		return -ENOMEM;
	notes = tm_region_survey(heap->region, addr, end - addr);
	if (notes < 0 || notes & TM_RANGE_LOCKED)
		return -ENOMEM;
	err = tm_mapping_protect(heap, addr, end - addr,
				 PROT_READ | PROT_WRITE);
	if (err)
		return err;
	/* Pages that were unmapped before are back. */
	for (page = addr; page < end; page += PAGE_BYTES)
		pages_return(block, page, page + PAGE_BYTES);
	clear(heap, addr, end);
	if (prot == (PROT_READ | PROT_WRITE))
		return 0;
	return tm_mapping_protect(heap, addr, end - addr, prot);
}

/* Make the range that ends at @end, and lies around @addr, end at @new_end. */
static int extend(struct tm_heap *heap, uintptr_t addr, uintptr_t end,
		  uintptr_t new_end)
{
	size_t block = tm_engine_block(heap->engine);
	struct tm_range range = tm_region_find(heap->region, (void *)addr);
	int err;

	if (range.addr + range.bytes != end)
		return -ENOMEM;
	err = tm_region_resize(heap->region, (void *)range.addr,
			       new_end - range.addr, TM_RANGE_MAPPING);
	if (err || new_end % block == 0)
		return err;
	err = pages_leave(block, new_end, up(new_end, block));
	if (err)
		tm_region_cut(heap->region, end, up(new_end, block) - end);
	return err;
}

int tm_mapping_resize(struct tm_heap *heap, uintptr_t addr, size_t old_bytes,
		      size_t new_bytes)
{
	size_t block = tm_engine_block(heap->engine);
	uintptr_t end = addr + up(old_bytes, PAGE_BYTES), edge = up(end, block);
	uintptr_t new_end = addr + up(new_bytes, PAGE_BYTES);
	int err = 0;

	if (check_inside(heap, addr, end))
		return -EFAULT;
	if (new_end < addr)
		return -ENOMEM;
	if (new_end == end)
		return 0;
	if (new_end < end)
		return tm_mapping_unmap(heap, new_end, end - new_end);
	if (new_end > edge)
		err = extend(heap, addr, edge, new_end);
	else
		edge = new_end;
	if (err || end == edge)
		return err;
	/* The rest of the old last block may hold what was unmapped. */
	err = pages_return(block, end, edge);
	if (!err)
		memset((void *)end, 0, edge - end);
	else if (new_end > edge)
		tm_mapping_unmap(heap, edge, new_end - edge);
	return err;
}

/* After fork, in the child: the mappings are the parent's. */
static void forget(void)
{
	pthread_mutex_init(&pinning, NULL);
	pthread_mutex_init(&partials.lock, NULL);
	RB_INIT(&partials.tree);
	partials.pool.free = NULL;
	partials.pool.nr_free = 0;
}

static void __attribute__((constructor)) init(void)
{
	pthread_atfork(NULL, NULL, forget);
}
