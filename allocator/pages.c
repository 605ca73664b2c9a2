/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A bit per page in each chunk; chunks with room are in bins by their longest
 * free run. See pages.h for the contract and the lock.
 */
#include "allocator/pages.h"

#include <pthread.h>
#include <sys/queue.h>

#include "allocator/pool.h"

#define PAGE_BYTES 4096u
#define CHUNK_BYTES_MIN (256u << 10)
#define CHUNK_PAGES_MAX 512u
#define NR_BINS 10 /* log2(CHUNK_PAGES_MAX) + 1 */
#define TRIES 8	   /* chunks looked at per bin */

struct chunk {
	LIST_ENTRY(chunk) bin;
	char *addr;
	unsigned int longest; /* free run; 0: the chunk is in no bin */
	unsigned int fresh;   /* pages from here on were never handed out */
	uint64_t used[CHUNK_PAGES_MAX / 64];
};

struct tm_pages {
	pthread_mutex_t lock;
	struct tm_engine *engine;
	struct tm_region *region;
	uintptr_t base;
	size_t size;
	size_t block;
	unsigned int shift; /* log2 of a chunk's bytes */
	unsigned int per_chunk;
	struct tm_pool pool;
	LIST_HEAD(, chunk) bins[NR_BINS];
	struct chunk **chunks; /* by place in the region */
};

int tm_pages_create(struct tm_engine *engine, struct tm_region *region,
		    struct tm_pages **pages)
{
	struct tm_pages *p = tm_alloc(sizeof(*p));
	size_t chunk;

	if (!p)
		return -ENOMEM;
	pthread_mutex_init(&p->lock, NULL);
	p->engine = engine;
	p->region = region;
	p->base = (uintptr_t)tm_engine_base(engine);
	p->size = tm_engine_size(engine);
	p->block = tm_engine_block(engine);
	p->pool.item_bytes = sizeof(struct chunk);
	chunk = p->block > CHUNK_BYTES_MIN ? p->block : CHUNK_BYTES_MIN;
	p->shift = (unsigned int)__builtin_ctzl(chunk);
	p->per_chunk = (unsigned int)(chunk / PAGE_BYTES);
	p->chunks = tm_alloc(((p->size >> p->shift) + 1) * sizeof(*p->chunks));
	if (!p->chunks) {
		tm_free(p, sizeof(*p));
		return -ENOMEM;
	}
	*pages = p;
	return 0;
}

void tm_pages_lock(struct tm_pages *pages)
{
	pthread_mutex_lock(&pages->lock);
}

void tm_pages_unlock(struct tm_pages *pages)
{
	pthread_mutex_unlock(&pages->lock);
}

size_t tm_pages_chunk(const struct tm_pages *pages)
{
	return (size_t)1 << pages->shift;
}

static struct chunk **slot(const struct tm_pages *p, const void *addr)
{
	return &p->chunks[((uintptr_t)addr - p->base) >> p->shift];
}

bool tm_pages_has(const struct tm_pages *pages, const void *addr)
{
	return tm_load_acquire(slot(pages, addr)) != NULL;
}

static bool page_used(const struct chunk *c, unsigned int page)
{
	return c->used[page / 64] >> page % 64 & 1;
}

/* First page in [page, end) whose use is @used; @end where there is none. */
static unsigned int seek(const struct chunk *c, unsigned int page,
			 unsigned int end, bool used)
{
	uint64_t word;

	while (page < end) {
		word = c->used[page / 64] ^ (used ? 0 : ~(uint64_t)0);
		word >>= page % 64;
		if (word) {
			page += (unsigned int)__builtin_ctzll(word);
			break;
		}
		page = (page / 64 + 1) * 64;
	}
	return page < end ? page : end;
}

static void mark(struct chunk *c, unsigned int page, unsigned int nr, bool used)
{
	for (; nr; page++, nr--) {
		TM_BUG_ON(page_used(c, page) == used);
		c->used[page / 64] ^= (uint64_t)1 << page % 64;
	}
}

/* First free run of @nr pages at an @align; per_chunk where there is none. */
static unsigned int fit(const struct tm_pages *p, const struct chunk *c,
			unsigned int nr, unsigned int align)
{
	unsigned int start, end;

	for (end = 0; end < p->per_chunk;) {
		start = seek(c, end, p->per_chunk, false);
		end = seek(c, start, p->per_chunk, true);
		start = (start + align - 1) & ~(align - 1);
		if (start + nr <= end)
			return start;
	}
	return p->per_chunk;
}

static void rebin(struct tm_pages *p, struct chunk *c)
{
	unsigned int start, end;

	if (c->longest)
		LIST_REMOVE(c, bin);
	c->longest = 0;
	for (end = 0; end < p->per_chunk;) {
		start = seek(c, end, p->per_chunk, false);
		end = seek(c, start, p->per_chunk, true);
		if (end - start > c->longest)
			c->longest = end - start;
	}
	if (c->longest)
		LIST_INSERT_HEAD(&p->bins[31 - __builtin_clz(c->longest)], c,
				 bin);
}

static struct chunk *find(struct tm_pages *p, unsigned int nr,
			  unsigned int align, unsigned int *page)
{
	unsigned int bin, tries;
	struct chunk *c;

	for (bin = 31 - (unsigned int)__builtin_clz(nr); bin < NR_BINS; bin++) {
		tries = TRIES;
		LIST_FOREACH(c, &p->bins[bin], bin)
		{
			*page = fit(p, c, nr, align);
			if (*page < p->per_chunk)
				return c;
			if (!--tries)
				break;
		}
	}
	return NULL;
}

static struct chunk *add_chunk(struct tm_pages *p)
{
	size_t bytes = tm_pages_chunk(p);
	struct chunk *c;
	char *addr;

	if (tm_pool_reserve(&p->pool, 1))
		return NULL;
	addr = tm_region_alloc(p->region, bytes, bytes, TM_RANGE_CHUNK);
	if (!addr)
		return NULL;
	c = tm_pool_get(&p->pool);
	c->addr = addr;
	tm_store_release(slot(p, addr), c);
	return c;
}

void *tm_pages_alloc(struct tm_pages *pages, size_t bytes, size_t alignment,
		     bool *zero)
{
	unsigned int nr, page;
	struct chunk *c;
	char *addr = NULL;

	if (!bytes || bytes > tm_pages_chunk(pages) ||
	    alignment > tm_pages_chunk(pages))
		return NULL;
	nr = (unsigned int)(bytes / PAGE_BYTES);
	tm_pages_lock(pages);
	c = find(pages, nr, (unsigned int)(alignment / PAGE_BYTES), &page);
	if (!c) {
		c = add_chunk(pages);
		page = 0;
	}
	if (c) {
		addr = c->addr + (size_t)page * PAGE_BYTES;
		*zero = page >= c->fresh;
		if (page + nr > c->fresh)
			c->fresh = page + nr;
		mark(c, page, nr, true);
		rebin(pages, c);
	}
	tm_pages_unlock(pages);
	return addr;
}

/* Let go of the whole blocks in [addr, end); the pages are still taken. */
static void discard(struct tm_pages *p, uintptr_t addr, uintptr_t end)
{
	addr = (addr + p->block - 1) & ~(p->block - 1);
	end &= ~(p->block - 1);
	if (addr < end)
		tm_engine_discard(p->engine, (void *)addr, end - addr);
}

void tm_pages_free(struct tm_pages *pages, void *addr, size_t bytes)
{
	size_t chunk = tm_pages_chunk(pages);
	uintptr_t at = (uintptr_t)addr, part;
	struct chunk *c;
	bool empty;

	/* Where a chunk is one block, the region discards it. */
	if (pages->block < chunk)
		discard(pages, at, at + bytes);
	for (; bytes; at += part, bytes -= part) {
		part = chunk - (at & (chunk - 1));
		if (part > bytes)
			part = bytes;
		tm_pages_lock(pages);
		c = *slot(pages, (void *)at);
		TM_BUG_ON(!c);
		mark(c, (unsigned int)((at & (chunk - 1)) / PAGE_BYTES),
		     (unsigned int)(part / PAGE_BYTES), false);
		rebin(pages, c);
		empty = c->longest == pages->per_chunk;
		if (empty) {
			LIST_REMOVE(c, bin);
			tm_store_release(slot(pages, c->addr), NULL);
			tm_pool_put(&pages->pool, c);
		}
		tm_pages_unlock(pages);
		if (empty)
			tm_region_free(pages->region,
				       (void *)(at & ~(chunk - 1)),
				       TM_RANGE_CHUNK);
	}
}
