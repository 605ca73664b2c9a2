/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The private jemalloc (its public names carry the prefix tmje_, see
 * meson.build) and the extent hooks below it. See arena.h.
 */
#include "allocator/arena.h"

#include <jemalloc/jemalloc.h>
#include <sched.h>
#include <stdio.h>
#include <unistd.h>

#include "tm_port.h"

void *tmje_mallocx(size_t size, int flags);
void *tmje_rallocx(void *ptr, size_t size, int flags);
void tmje_free(void *ptr);
size_t tmje_malloc_usable_size(void *ptr);
int tmje_mallctl(const char *name, void *old, size_t *old_len, void *new,
		 size_t new_len);

/*
 * One automatic arena, for jemalloc itself. Without "retain" every extent is
 * asked of the hooks and given back to them; pages.c is the better place to
 * keep it.
 */
extern const char *tmje_malloc_conf;
const char *tmje_malloc_conf =
	"narenas:1,retain:false,oversize_threshold:0,dirty_decay_ms:1000,"
	"muzzy_decay_ms:0";

/*
 * What the private copy calls instead of the C library's: MALLOC_CONF and
 * /etc/malloc.conf are meant for the program's own jemalloc.
 */
char *tmje_secure_getenv(const char *name);
ssize_t tmje_readlink(const char *path, char *buf, size_t len);

char *tmje_secure_getenv(const char *name)
{
	return NULL;
}

ssize_t tmje_readlink(const char *path, char *buf, size_t len)
{
	errno = ENOENT;
	return -1;
}

/* What experimental.arenas_create_ext of jemalloc 5.3 takes; not in its header.
 */
struct arena_config {
	extent_hooks_t *extent_hooks;
	bool metadata_use_hooks;
};

struct tm_arenas {
	extent_hooks_t hooks; /* first: jemalloc hands its address back */
	struct tm_pages *pages;
	unsigned int id; /* of this set, never 0 */
	bool forgotten;
	unsigned int nr;
	unsigned int next; /* arena for the next thread */
	unsigned int index[TM_ARENAS_MAX];
};

/* The set that the calling thread is tied to. */
static _Thread_local unsigned int tied
	__attribute__((tls_model("initial-exec")));

static void *extent_alloc(extent_hooks_t *hooks, void *new_addr, size_t size,
			  size_t alignment, bool *zero, bool *commit,
			  unsigned int arena)
{
	struct tm_arenas *arenas = (struct tm_arenas *)hooks;
	bool fresh = false;
	void *addr;

	/* Growing at a fixed place saves a copy of less than a chunk: skip. */
	if (new_addr || arenas->forgotten)
		return NULL;
	addr = tm_pages_alloc(arenas->pages, size, alignment, &fresh);
	if (!addr)
		return NULL;
	*zero = fresh;
	*commit = true;
	return addr;
}

/* False: taken. What a forked child gives back is not there. */
static bool extent_dalloc(extent_hooks_t *hooks, void *addr, size_t size,
			  bool committed, unsigned int arena)
{
	struct tm_arenas *arenas = (struct tm_arenas *)hooks;

	if (!arenas->forgotten)
		tm_pages_free(arenas->pages, addr, size);
	return false;
}

static bool extent_split(extent_hooks_t *hooks, void *addr, size_t size,
			 size_t size_a, size_t size_b, bool committed,
			 unsigned int arena)
{
	return false;
}

static bool extent_merge(extent_hooks_t *hooks, void *addr_a, size_t size_a,
			 void *addr_b, size_t size_b, bool committed,
			 unsigned int arena)
{
	return false;
}

/* No purging in between: what has decayed is given back by dalloc. */
static const extent_hooks_t extent_hooks = {
	.alloc = extent_alloc,
	.dalloc = extent_dalloc,
	.split = extent_split,
	.merge = extent_merge,
};

static unsigned int arenas_wanted(void)
{
	cpu_set_t cpus;
	int nr = 1;

	if (!sched_getaffinity(0, sizeof(cpus), &cpus))
		nr = CPU_COUNT(&cpus);
	return nr < TM_ARENAS_MAX ? (unsigned int)nr : TM_ARENAS_MAX;
}

int tm_arenas_create(struct tm_pages *pages, struct tm_arenas **arenas)
{
	static unsigned int id;
	struct tm_arenas *a = tm_alloc(sizeof(*a));
	struct arena_config config = {.metadata_use_hooks = false};
	size_t len;
	int err;

	if (!a)
		return -ENOMEM;
	a->hooks = extent_hooks;
	a->pages = pages;
	a->id = ++id;
	config.extent_hooks = &a->hooks;
	for (unsigned int wanted = arenas_wanted(); a->nr < wanted; a->nr++) {
		len = sizeof(a->index[0]);
		err = tmje_mallctl("experimental.arenas_create_ext",
				   &a->index[a->nr], &len, &config,
				   sizeof(config));
		if (err && !a->nr) {
			tm_free(a, sizeof(*a));
			return -err;
		}
		if (err)
			break;
	}
	*arenas = a;
	return 0;
}

void tm_arenas_forget(struct tm_arenas *arenas)
{
	arenas->forgotten = true;
}

void tm_arenas_purge(struct tm_arenas *arenas)
{
	char name[32];

	tmje_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	for (unsigned int i = 0; i < arenas->nr; i++) {
		snprintf(name, sizeof(name), "arena.%u.purge",
			 arenas->index[i]);
		tmje_mallctl(name, NULL, NULL, NULL, 0);
	}
}

/*
 * The thread's cache may hold objects of the parent's arenas: they go back to
 * those, which are forgotten, before the thread changes over.
 */
static bool tie(struct tm_arenas *arenas)
{
	unsigned int turn = tm_add_return(&arenas->next, 1) % arenas->nr;

	tmje_mallctl("thread.tcache.flush", NULL, NULL, NULL, 0);
	if (tmje_mallctl("thread.arena", NULL, NULL, &arenas->index[turn],
			 sizeof(arenas->index[turn])))
		return false;
	tied = arenas->id;
	return true;
}

void *tm_arenas_alloc(struct tm_arenas *arenas, size_t size, size_t alignment,
		      bool zero)
{
	int flags = zero ? MALLOCX_ZERO : 0;

	if (tm_unlikely(tied != arenas->id) && !tie(arenas))
		return NULL;
	if (alignment > sizeof(void *))
		flags |= MALLOCX_ALIGN(alignment);
	return tmje_mallocx(size ? size : 1, flags);
}

void *tm_arenas_realloc(struct tm_arenas *arenas, void *ptr, size_t size)
{
	if (tm_unlikely(tied != arenas->id) && !tie(arenas))
		return NULL;
	return tmje_rallocx(ptr, size, 0);
}

void tm_arenas_free(void *ptr)
{
	tmje_free(ptr);
}

size_t tm_arenas_usable(const void *ptr)
{
	return tmje_malloc_usable_size((void *)ptr);
}

void tm_arenas_init(void)
{
	const char *version;
	size_t len = sizeof(version);

	tmje_mallctl("version", &version, &len, NULL, 0);
}
