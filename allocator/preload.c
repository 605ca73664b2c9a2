/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The malloc family of an unmodified program: allocations from
 * TERAMALLOC_THRESHOLD bytes on come from the remote heap, all others from
 * the malloc that is next in line (the C library's, or another one that the
 * program is linked with). Outside a job nothing comes from us.
 *
 * What the heap itself allocates while it starts goes to the next malloc, too.
 *
 * Lock order: none of its own.
 */
#include "allocator/preload.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "allocator/config.h"
#include "allocator/heap.h"
#include "common/log.h"
#include "tm_port.h"

#define EXPORT __attribute__((visibility("default")))
#define PAGE_BYTES ((size_t)4096)

void free_sized(void *ptr, size_t size);
void free_aligned_sized(void *ptr, size_t alignment, size_t size);

static struct {
	void *(*malloc)(size_t size);
	void *(*calloc)(size_t count, size_t size);
	void *(*realloc)(void *ptr, size_t size);
	void *(*memalign)(size_t alignment, size_t size);
	int (*posix_memalign)(void **ptr, size_t alignment, size_t size);
	size_t (*usable)(void *ptr);
	void (*free)(void *ptr);
} next;

/*
 * Sizes from here on are ours. 0 until we know what the environment says, so
 * that one compare tells the common case.
 */
static size_t threshold;
static bool in_job;
static bool own_malloc; /* the program's binary has one */

static _Thread_local bool resolving __attribute__((tls_model("initial-exec")));

/*
 * dlsym() may allocate before it has told us where to allocate from. A few
 * hundred bytes are asked for, zeroed, and kept.
 */
static struct {
	_Alignas(16) char bytes[16384];
	size_t used;
} early;

static bool is_early(const void *ptr)
{
	return (uintptr_t)ptr - (uintptr_t)early.bytes < sizeof(early.bytes);
}

static void *early_alloc(size_t size)
{
	size_t end;

	size = (size + 15) & ~(size_t)15;
	end = tm_add_return(&early.used, size);
	if (end < size || end > sizeof(early.bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	return early.bytes + end - size;
}

static void resolve(void)
{
	resolving = true;
#define NEXT(field, name) *(void **)&next.field = dlsym(RTLD_NEXT, name);
	NEXT(calloc, "calloc")
	NEXT(realloc, "realloc")
	NEXT(memalign, "memalign")
	NEXT(posix_memalign, "posix_memalign")
	NEXT(usable, "malloc_usable_size")
	NEXT(free, "free")
	NEXT(malloc, "malloc")
#undef NEXT
	resolving = false;
}

/* Where the next malloc's code lies. */
static struct {
	uintptr_t start, end;
} next_code;

static int note_code(struct dl_phdr_info *object, size_t size, void *unused)
{
	uintptr_t start, end, addr = (uintptr_t)next.malloc;

	for (int i = 0; i < object->dlpi_phnum; i++) {
		start = object->dlpi_addr + object->dlpi_phdr[i].p_vaddr;
		end = start + object->dlpi_phdr[i].p_memsz;
		if (object->dlpi_phdr[i].p_type != PT_LOAD || addr < start ||
		    addr >= end)
			continue;
		next_code.start = start;
		next_code.end = end;
		return 1;
	}
	return 0;
}

static bool is_ours(const char *name)
{
	Dl_info first, us;
	ElfW(Sym) *symbol = NULL;

	if (!dladdr1(dlsym(RTLD_DEFAULT, name), &first, (void **)&symbol,
		     RTLD_DL_SYMENT))
		return false;
	/*
	 * A binary at a fixed address that takes the function's address has a
	 * jump to it there, and no function of its own (ELF, System V ABI for
	 * x86-64, "Function Addresses"). Debian's python3 is one.
	 */
	if (symbol && symbol->st_shndx == SHN_UNDEF)
		return true;
	return dladdr(&next, &us) && first.dli_fbase == us.dli_fbase;
}

/*
 * A program with a malloc in its own binary would free ours with its own: that
 * one stays. Its mappings may become ours.
 */
static bool find_own_malloc(void)
{
	bool own;

	resolving = true;
	own = !is_ours("malloc") || !is_ours("free");
	dl_iterate_phdr(note_code, NULL);
	resolving = false;
	if (own && !tm_config_get()->mmap)
		tm_warn("preload malloc: this program brings its own, which "
			"stays local; TERAMALLOC_MMAP=1 serves its mappings");
	return own;
}

static void init(void)
{
	size_t size = SIZE_MAX;
	const char *map;

	if (!tm_load_acquire(&next.malloc))
		resolve();
	/* Very early the C library has no environment yet: ask again later. */
	if (!environ)
		return;
	map = secure_getenv("TERAMEM_JOB_MAP");
	in_job = map && *map;
	if (in_job) {
		own_malloc = find_own_malloc();
		if (!own_malloc)
			size = tm_config_get()->threshold_bytes;
	}
	tm_store_release(&threshold, size);
}

static void __attribute__((constructor(102))) init_at_load(void)
{
	if (!tm_load_relaxed(&threshold))
		init();
	/* Later calls to mmap(2) will come from within its malloc. */
	if (own_malloc && tm_config_get()->mmap)
		tm_heap_get();
}

/* Whether the next malloc shall serve @size. */
static bool is_local(size_t size)
{
	if (tm_unlikely(!tm_load_relaxed(&threshold)) && !resolving)
		init();
	return size < threshold || !threshold || tm_heap_starting();
}

static bool common(size_t size)
{
	return tm_likely(size < tm_load_relaxed(&threshold));
}

EXPORT void *malloc(size_t size)
{
	void *ptr;

	if (!common(size) && !is_local(size)) {
		ptr = tm_heap_alloc(size, 1, false);
		if (ptr || !tm_heap_fallback())
			return ptr;
	}
	return resolving ? early_alloc(size) : next.malloc(size);
}

EXPORT void *calloc(size_t count, size_t size)
{
	size_t bytes;
	void *ptr;

	if (__builtin_mul_overflow(count, size, &bytes)) {
		errno = ENOMEM;
		return NULL;
	}
	if (!common(bytes) && !is_local(bytes)) {
		ptr = tm_heap_alloc(bytes, 1, true);
		if (ptr || !tm_heap_fallback())
			return ptr;
	}
	return resolving ? early_alloc(bytes) : next.calloc(count, size);
}

EXPORT void free(void *ptr)
{
	if (tm_unlikely(tm_heap_owns(ptr))) {
		tm_heap_free(ptr);
	} else if (ptr && !is_early(ptr)) {
		if (tm_unlikely(!next.free))
			resolve();
		next.free(ptr);
	}
}

/* Neither needs to be known: our free finds out. */
EXPORT void free_sized(void *ptr, size_t size)
{
	free(ptr);
}

EXPORT void free_aligned_sized(void *ptr, size_t alignment, size_t size)
{
	free(ptr);
}

EXPORT size_t malloc_usable_size(void *ptr)
{
	if (!ptr || is_early(ptr))
		return 0;
	return tm_heap_owns(ptr) ? tm_heap_usable(ptr) : next.usable(ptr);
}

/* Resize by moving to @new, which is NULL where there was no room. */
static void *move(void *ptr, size_t old, void *new, size_t size)
{
	if (new) {
		memcpy(new, ptr, old < size ? old : size);
		free(ptr);
	}
	return new;
}

static void *realloc_remote(void *ptr, size_t size)
{
	size_t old = tm_heap_usable(ptr);
	void *new;

	if (!size) {
		tm_heap_free(ptr);
		return NULL;
	}
	if (!is_local(size) || !old) {
		new = tm_heap_realloc(ptr, size);
		if (new || !old || !tm_heap_fallback())
			return new;
	}
	return move(ptr, old, next.malloc(size), size);
}

EXPORT void *realloc(void *ptr, size_t size)
{
	void *new;

	if (!ptr)
		return malloc(size);
	if (tm_unlikely(tm_heap_owns(ptr)))
		return realloc_remote(ptr, size);
	if (tm_unlikely(is_early(ptr)))
		return move(ptr,
			    (size_t)(early.bytes + early.used - (char *)ptr),
			    malloc(size), size);
	if (!common(size) && !is_local(size)) {
		new = tm_heap_alloc(size, 1, false);
		if (new || !tm_heap_fallback())
			return move(ptr, next.usable(ptr), new, size);
	}
	return next.realloc(ptr, size);
}

EXPORT void *reallocarray(void *ptr, size_t count, size_t size)
{
	if (__builtin_mul_overflow(count, size, &size)) {
		errno = ENOMEM;
		return NULL;
	}
	return realloc(ptr, size);
}

/* What is no power of two is for the next malloc to judge. */
static bool is_power_of_two(size_t alignment)
{
	return alignment && !(alignment & (alignment - 1));
}

EXPORT void *memalign(size_t alignment, size_t size)
{
	void *ptr;

	if (!common(size) && !is_local(size) && is_power_of_two(alignment)) {
		ptr = tm_heap_alloc(size, alignment, false);
		if (ptr || !tm_heap_fallback())
			return ptr;
	}
	return next.memalign(alignment, size);
}

EXPORT void *aligned_alloc(size_t alignment, size_t size)
{
	if (!is_power_of_two(alignment)) {
		errno = EINVAL;
		return NULL;
	}
	return memalign(alignment, size);
}

EXPORT int posix_memalign(void **ptr, size_t alignment, size_t size)
{
	int saved = errno;
	void *new;

	if (!common(size) && !is_local(size) && is_power_of_two(alignment) &&
	    alignment >= sizeof(void *)) {
		new = tm_heap_alloc(size, alignment, false);
		errno = saved;
		if (new)
			*ptr = new;
		if (new || !tm_heap_fallback())
			return new ? 0 : ENOMEM;
	}
	return next.posix_memalign(ptr, alignment, size);
}

EXPORT void *valloc(size_t size)
{
	return memalign(PAGE_BYTES, size);
}

EXPORT void *pvalloc(size_t size)
{
	if (size > SIZE_MAX - PAGE_BYTES) {
		errno = ENOMEM;
		return NULL;
	}
	return memalign(PAGE_BYTES,
			(size + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1));
}

bool tm_preload_job(void)
{
	if (tm_unlikely(!tm_load_relaxed(&threshold)) && !resolving)
		init();
	return in_job;
}

bool tm_preload_maps(const void *caller)
{
	if ((uintptr_t)caller >= next_code.start &&
	    (uintptr_t)caller < next_code.end)
		return false;
	return !own_malloc || tm_load_relaxed(&tm_heap_live);
}
