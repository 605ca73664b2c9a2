// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Mechanism "copy" (Linux 5.7 and later): a fetch lands in a bounce buffer and
 * UFFDIO_COPY makes new pages of it in the region. To evict, the block is
 * write-protected where it is, read from there, and dropped with madvise(2).
 * A frame has no memory of its own.
 *
 * Its limit: nobody can see that a device still has the pages pinned. A direct
 * read (O_DIRECT, io_uring with fixed buffers, RDMA) that is under way into a
 * block while that is evicted loses its bytes. Mechanism "move" has no such
 * limit; start-up says so when this one is chosen.
 */
#include "allocator/mech.h"

#include <sys/mman.h>

#include "allocator/engine_internal.h"

#ifndef MADV_COLD
#define MADV_COLD 20
#endif

/*
 * A frame's bytes are in its bounce buffer while it has one, else in the region
 * at its block's place.
 */
struct tm_mech_state {
	void **bounce; /* per frame */
	u8 *mapped;    /* per frame: the region has the block's pages */
	size_t bounce_bytes;
	const char *zeros;
};

static int copy_start(struct tm_uffd_engine *e)
{
	struct tm_mech_state *s = tm_alloc(sizeof(*s));

	if (!s)
		return -ENOMEM;
	s->bounce_bytes = e->nr_frames * sizeof(*s->bounce);
	s->bounce = tm_alloc(s->bounce_bytes);
	s->mapped = tm_alloc(e->nr_frames);
	s->zeros = mmap(NULL, e->engine.block, PROT_READ,
			MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	e->mech_state = s;
	return s->bounce && s->mapped && s->zeros != MAP_FAILED ? 0 : -ENOMEM;
}

static int copy_lane_init(struct tm_uffd_engine *e, unsigned int index)
{
	struct tm_engine_lane *lane = &e->lane[index];
	size_t bytes = (size_t)e->io_depth << e->block_shift;
	char *area = tm_alloc(bytes);

	lane->bounce = tm_alloc(e->io_depth * sizeof(*lane->bounce));
	if (!area || !lane->bounce)
		return -ENOMEM;
	madvise(area, bytes, MADV_DONTFORK);
	madvise(area, bytes, MADV_DONTDUMP);
	for (u32 i = 0; i < e->io_depth; i++)
		lane->bounce[lane->nr_bounce++] =
			area + ((size_t)i << e->block_shift);
	return 0;
}

static void bounce_put(struct tm_uffd_engine *e, unsigned int lane, u32 frame)
{
	struct tm_engine_lane *l = &e->lane[lane];
	void **bounce = &e->mech_state->bounce[frame];

	if (*bounce) {
		TM_BUG_ON(l->nr_bounce >= e->io_depth);
		l->bounce[l->nr_bounce++] = *bounce;
		*bounce = NULL;
	}
}

static void *copy_fill(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		       u32 frame)
{
	struct tm_engine_lane *l = &e->lane[lane];
	void **bounce = &e->mech_state->bounce[frame];

	if (!*bounce && l->nr_bounce)
		*bounce = l->bounce[--l->nr_bounce];
	return *bounce;
}

static void *copy_bytes(struct tm_uffd_engine *e, u64 block, u32 frame)
{
	void *bounce = e->mech_state->bounce[frame];

	return bounce ? bounce : tm_engine_addr(e, block);
}

static int copy_map(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		    u32 frame, unsigned int flags)
{
	struct tm_mech_state *s = e->mech_state;
	char *app = tm_engine_addr(e, block);
	const char *from = flags & TM_MAP_ZERO ? s->zeros : s->bounce[frame];
	size_t at = 0, done;
	int err;

	if (s->mapped[frame])
		return tm_uffd_protect(e->uffd.fd, app, e->engine.block, false);
	TM_BUG_ON(!from);
	err = tm_uffd_copy(e->uffd.fd, app, from, e->engine.block, &done);
	/*
	 * The program split the mapping (mlock, mprotect on a part): page by
	 * page it goes.
	 */
	for (at = done; err && at < e->engine.block; at += TM_PAGE) {
		if (tm_uffd_copy(e->uffd.fd, app + at, from + at, TM_PAGE,
				 &done))
			break;
	}
	if (at < e->engine.block && err) {
		madvise(app, at, MADV_DONTNEED_LOCKED);
		tm_lane_log(TM_LOG_ERROR,
			    "map block %llu: page %zu: %s; the program changed "
			    "this memory's mapping",
			    (unsigned long long)block, at / TM_PAGE,
			    strerror(-err));
		return err;
	}
	bounce_put(e, lane, frame);
	s->mapped[frame] = 1;
	return 0;
}

static int copy_unmap(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		      u32 frame)
{
	char *app = tm_engine_addr(e, block);

	/* Ageing pages that will go anyway tells whether they are locked. */
	if (madvise(app, e->engine.block, MADV_COLD))
		return -EBUSY;
	if (tm_uffd_protect(e->uffd.fd, app, e->engine.block, true))
		goto stay;
	/* A hole that the program made itself must not be read from here. */
	if (tm_uffd_pages_there(app, e->engine.block) == e->engine.block)
		return TM_UNMAP_UNKNOWN;
stay:
	tm_uffd_protect(e->uffd.fd, app, e->engine.block, false);
	return -EBUSY;
}

static void copy_drop(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		      u32 frame)
{
	struct tm_mech_state *s = e->mech_state;
	char *app = tm_engine_addr(e, block);

	bounce_put(e, lane, frame);
	if (!s->mapped[frame])
		return;
	s->mapped[frame] = 0;
	if (madvise(app, e->engine.block, MADV_DONTNEED))
		madvise(app, e->engine.block, MADV_DONTNEED_LOCKED);
	/* Who waited for leave to write finds the page absent. */
	tm_uffd_wake(e->uffd.fd, app, e->engine.block);
}

const struct tm_mech_ops tm_mech_copy = {
	.name = "copy",
	.can_cache = false,
	.uffd_features = UFFD_FEATURE_PAGEFAULT_FLAG_WP,
	.register_mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP,
	.start = copy_start,
	.lane_init = copy_lane_init,
	.fill = copy_fill,
	.bytes = copy_bytes,
	.map = copy_map,
	.unmap = copy_unmap,
	.drop = copy_drop,
};
