/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The books of the region: nodes tile it without gaps, in one tree by address
 * and, where free, in another by size. Free neighbours are always merged.
 * See region.h for the contract and the lock.
 */
#include "allocator/region.h"

#include <bsd/sys/tree.h>
#include <pthread.h>
#include <sys/mman.h>

#include "allocator/pool.h"

struct node {
	RB_ENTRY(node) by_addr;
	RB_ENTRY(node) by_size;
	uintptr_t addr;
	size_t bytes;
	enum tm_range_kind kind;
	unsigned int notes;
};

static int addr_cmp(const struct node *a, const struct node *b)
{
	return (a->addr > b->addr) - (a->addr < b->addr);
}

static int size_cmp(const struct node *a, const struct node *b)
{
	if (a->bytes != b->bytes)
		return a->bytes < b->bytes ? -1 : 1;
	return addr_cmp(a, b);
}

RB_HEAD(addr_tree, node);
RB_HEAD(size_tree, node);
#define UNUSED __attribute__((unused))
RB_GENERATE_INTERNAL(addr_tree, node, by_addr, addr_cmp, UNUSED static)
RB_GENERATE_INTERNAL(size_tree, node, by_size, size_cmp, UNUSED static)

struct tm_region {
	pthread_mutex_t lock;
	struct addr_tree addrs;
	struct size_tree sizes;
	struct tm_pool nodes;
	struct tm_engine *engine;
	size_t block;
	size_t used; /* kept by ranges that are not free */
	bool closed;
};

int tm_region_create(struct tm_engine *engine, struct tm_region **region)
{
	struct tm_region *r = tm_alloc(sizeof(*r));
	struct node *all;

	if (!r)
		return -ENOMEM;
	pthread_mutex_init(&r->lock, NULL);
	r->engine = engine;
	r->block = tm_engine_block(engine);
	r->nodes.item_bytes = sizeof(struct node);
	if (tm_pool_reserve(&r->nodes, 1)) {
		tm_free(r, sizeof(*r));
		return -ENOMEM;
	}
	all = tm_pool_get(&r->nodes);
	all->addr = (uintptr_t)tm_engine_base(engine);
	all->bytes = tm_engine_size(engine);
	RB_INSERT(addr_tree, &r->addrs, all);
	RB_INSERT(size_tree, &r->sizes, all);
	*region = r;
	return 0;
}

void tm_region_lock(struct tm_region *region)
{
	pthread_mutex_lock(&region->lock);
}

void tm_region_unlock(struct tm_region *region)
{
	pthread_mutex_unlock(&region->lock);
}

/* The node that @addr lies in; NULL outside the region. */
static struct node *node_at(struct tm_region *r, uintptr_t addr)
{
	struct node *n = RB_ROOT(&r->addrs);

	while (n) {
		if (addr < n->addr)
			n = RB_LEFT(n, by_addr);
		else if (addr - n->addr >= n->bytes)
			n = RB_RIGHT(n, by_addr);
		else
			break;
	}
	return n;
}

/* Cut @n in two at @bytes; the second half, of the same kind, is returned. */
static struct node *split(struct tm_region *r, struct node *n, size_t bytes)
{
	struct node *tail = tm_pool_get(&r->nodes);

	tail->addr = n->addr + bytes;
	tail->bytes = n->bytes - bytes;
	tail->kind = n->kind;
	tail->notes = n->notes;
	n->bytes = bytes;
	RB_INSERT(addr_tree, &r->addrs, tail);
	return tail;
}

/* Make @n free and one with its free neighbours. */
static void merge_free(struct tm_region *r, struct node *n)
{
	struct node *prev = RB_PREV(addr_tree, &r->addrs, n);
	struct node *next = RB_NEXT(addr_tree, &r->addrs, n);

	if (next && next->kind == TM_RANGE_FREE) {
		RB_REMOVE(size_tree, &r->sizes, next);
		RB_REMOVE(addr_tree, &r->addrs, next);
		n->bytes += next->bytes;
		tm_pool_put(&r->nodes, next);
	}
	if (prev && prev->kind == TM_RANGE_FREE) {
		RB_REMOVE(size_tree, &r->sizes, prev);
		RB_REMOVE(addr_tree, &r->addrs, n);
		prev->bytes += n->bytes;
		tm_pool_put(&r->nodes, n);
		n = prev;
	}
	n->kind = TM_RANGE_FREE;
	n->notes = 0;
	RB_INSERT(size_tree, &r->sizes, n);
}

/*
 * Empty a node and make it free. It is TM_RANGE_BUSY, so that nobody but the
 * caller touches it, and the lock is not held: emptying waits for the engine.
 * The notes are undone first, since what is locked cannot be dropped.
 */
static void retire(struct tm_region *r, struct node *n)
{
	if (n->notes & TM_RANGE_LOCKED)
		munlock((void *)n->addr, n->bytes);
	if (n->notes & TM_RANGE_PROTECTED)
		mprotect((void *)n->addr, n->bytes, PROT_READ | PROT_WRITE);
	if (n->notes)
		tm_engine_unpin(r->engine, (void *)n->addr, n->bytes);
	tm_engine_discard(r->engine, (void *)n->addr, n->bytes);
	tm_engine_uncommit(r->engine, n->bytes);
	tm_region_lock(r);
	tm_store_relaxed(&r->used, r->used - n->bytes);
	merge_free(r, n);
	tm_region_unlock(r);
}

/* Smallest free node that holds @bytes at @alignment; lowest address first. */
static struct node *best_fit(struct tm_region *r, size_t bytes,
			     size_t alignment)
{
	struct node key = {.bytes = bytes};

	if (alignment > r->block &&
	    __builtin_add_overflow(bytes, alignment - r->block, &key.bytes))
		return NULL;
	return RB_NFIND(size_tree, &r->sizes, &key);
}

static bool round_to_blocks(const struct tm_region *r, size_t *bytes)
{
	if (__builtin_add_overflow(*bytes, r->block - 1, bytes))
		return false;
	*bytes &= ~(r->block - 1);
	return *bytes != 0;
}

void *tm_region_alloc(struct tm_region *region, size_t bytes, size_t alignment,
		      enum tm_range_kind kind)
{
	struct node *n = NULL, *rest;
	size_t gap;

	if (!round_to_blocks(region, &bytes))
		return NULL;
	tm_region_lock(region);
	if (!region->closed && !tm_pool_reserve(&region->nodes, 2))
		n = best_fit(region, bytes, alignment);
	if (!n || tm_engine_commit(region->engine, bytes)) {
		tm_region_unlock(region);
		return NULL;
	}
	RB_REMOVE(size_tree, &region->sizes, n);
	gap = -n->addr & (alignment - 1);
	if (gap) {
		rest = n;
		n = split(region, n, gap);
		RB_INSERT(size_tree, &region->sizes, rest);
	}
	if (n->bytes > bytes) {
		rest = split(region, n, bytes);
		RB_INSERT(size_tree, &region->sizes, rest);
	}
	n->kind = kind;
	tm_store_relaxed(&region->used, region->used + bytes);
	tm_region_unlock(region);
	return (void *)n->addr;
}

/* The node of @kind that starts at @addr, or NULL. */
static struct node *node_of(struct tm_region *r, const void *addr,
			    enum tm_range_kind kind)
{
	struct node *n = node_at(r, (uintptr_t)addr);

	return n && n->addr == (uintptr_t)addr && n->kind == kind ? n : NULL;
}

int tm_region_free(struct tm_region *region, void *addr,
		   enum tm_range_kind kind)
{
	struct node *n;

	tm_region_lock(region);
	n = node_of(region, addr, kind);
	if (n)
		n->kind = TM_RANGE_BUSY;
	tm_region_unlock(region);
	if (!n)
		return -EINVAL;
	retire(region, n);
	return 0;
}

/* Move the border between @n and the free node behind it up by @more. */
static int grow(struct tm_region *r, struct node *n, size_t more)
{
	struct node *next = RB_NEXT(addr_tree, &r->addrs, n);

	if (!next || next->kind != TM_RANGE_FREE || next->bytes < more ||
	    tm_engine_commit(r->engine, more))
		return -ENOMEM;
	RB_REMOVE(size_tree, &r->sizes, next);
	if (next->bytes == more) {
		RB_REMOVE(addr_tree, &r->addrs, next);
		tm_pool_put(&r->nodes, next);
	} else {
		/* Its place in the order of addresses stays the same. */
		next->addr += more;
		next->bytes -= more;
		RB_INSERT(size_tree, &r->sizes, next);
	}
	n->bytes += more;
	tm_store_relaxed(&r->used, r->used + more);
	return 0;
}

int tm_region_resize(struct tm_region *region, void *addr, size_t bytes,
		     enum tm_range_kind kind)
{
	struct node *n, *tail = NULL;
	int err = 0;

	if (!round_to_blocks(region, &bytes))
		return -ENOMEM;
	tm_region_lock(region);
	n = node_of(region, addr, kind);
	if (!n) {
		err = -EINVAL;
	} else if (bytes > n->bytes) {
		err = grow(region, n, bytes - n->bytes);
	} else if (bytes < n->bytes) {
		err = tm_pool_reserve(&region->nodes, 1);
		if (!err) {
			tail = split(region, n, bytes);
			tail->kind = TM_RANGE_BUSY;
		}
	}
	tm_region_unlock(region);
	if (tail)
		retire(region, tail);
	return err;
}

/* The first mapping in [addr, end), or NULL; -EINVAL where others are, too. */
static int next_mapping(struct tm_region *r, uintptr_t addr, uintptr_t end,
			struct node **found)
{
	struct node *n;

	*found = NULL;
	for (n = node_at(r, addr); n && n->addr < end;
	     n = RB_NEXT(addr_tree, &r->addrs, n)) {
		if (n->kind == TM_RANGE_LARGE || n->kind == TM_RANGE_CHUNK)
			return -EINVAL;
		if (n->kind == TM_RANGE_MAPPING && !*found)
			*found = n;
	}
	return 0;
}

int tm_region_cut(struct tm_region *region, uintptr_t addr, size_t bytes)
{
	uintptr_t end = addr + bytes;
	struct node *n;
	int err;

	for (;;) {
		tm_region_lock(region);
		err = next_mapping(region, addr, end, &n);
		if (!err && n)
			err = tm_pool_reserve(&region->nodes, 2);
		if (err || !n)
			break;
		if (n->addr < addr)
			n = split(region, n, addr - n->addr);
		if (n->addr + n->bytes > end)
			split(region, n, end - n->addr);
		addr = n->addr + n->bytes;
		n->kind = TM_RANGE_BUSY;
		tm_region_unlock(region);
		retire(region, n);
	}
	tm_region_unlock(region);
	return err;
}

struct tm_range tm_region_find(struct tm_region *region, const void *addr)
{
	struct tm_range range = {0};
	struct node *n;

	tm_region_lock(region);
	n = node_at(region, (uintptr_t)addr);
	if (n)
		range = (struct tm_range){n->addr, n->bytes, n->kind};
	tm_region_unlock(region);
	return range;
}

void tm_region_note(struct tm_region *region, uintptr_t addr, size_t bytes,
		    unsigned int notes)
{
	struct node *n;

	tm_region_lock(region);
	for (n = node_at(region, addr); n && n->addr < addr + bytes;
	     n = RB_NEXT(addr_tree, &region->addrs, n))
		n->notes |= notes;
	tm_region_unlock(region);
}

int tm_region_survey(struct tm_region *region, uintptr_t addr, size_t bytes)
{
	uintptr_t end = addr + bytes;
	unsigned int notes = 0;
	struct node *n;

	tm_region_lock(region);
	for (n = node_at(region, addr); n && n->addr < end;
	     n = RB_NEXT(addr_tree, &region->addrs, n)) {
		if (n->kind == TM_RANGE_FREE || n->kind == TM_RANGE_BUSY)
			break;
		notes |= n->notes;
		addr = n->addr + n->bytes;
	}
	tm_region_unlock(region);
	return addr < end ? -ENOMEM : (int)notes;
}

size_t tm_region_used(const struct tm_region *region)
{
	return tm_load_relaxed(&region->used);
}

bool tm_region_close(struct tm_region *region)
{
	tm_region_lock(region);
	region->closed = region->used == 0;
	tm_region_unlock(region);
	return region->closed;
}
