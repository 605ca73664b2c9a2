/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The mechanisms that make a block's bytes appear in, and vanish from, the
 * region. Which one is used depends on the kernel; see mech_move.c and
 * mech_copy.c. Each is driven by the pager through its ops; frames are the
 * pager's.
 *
 * Different frames are worked on by different lanes at the same time; one frame
 * by one lane at a time (the block's busy state sees to that). Lock order:
 * none.
 */
#ifndef TM_ALLOCATOR_MECH_H
#define TM_ALLOCATOR_MECH_H

#include "core/pager.h"

struct tm_uffd_engine;

/**
 * struct tm_mech_ops - one mechanism
 * @can_cache: as in struct tm_pager_config
 * @uffd_features: that the kernel must have
 * @register_mode: of the region
 * @start: after the region is there, before lanes run; 0 or -errno
 * @stop: after they ended
 * @lane_init: per lane, before it runs; may be NULL
 * @fill: where a fetch shall put the block's bytes; NULL when there is no
 *	memory for them
 * @bytes: where the frame's stable bytes are
 * @map, @map_run, @unmap, @unmap_run, @drop: as in struct tm_pager_ops; the
 *	runs may be NULL
 * @split: as in struct tm_pager_ops; NULL where there are no huge frames
 * @trim: give the memory of frames not in use back to the system until no more
 *	than @frames have any; may be NULL
 */
struct tm_mech_ops {
	const char *name;
	bool can_cache;
	u64 uffd_features;
	u64 register_mode;
	int (*start)(struct tm_uffd_engine *e);
	void (*stop)(struct tm_uffd_engine *e);
	int (*lane_init)(struct tm_uffd_engine *e, unsigned int lane);
	void *(*fill)(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		      u32 frame);
	void *(*bytes)(struct tm_uffd_engine *e, u64 block, u32 frame);
	int (*map)(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		   u32 frame, unsigned int flags);
	u32 (*map_run)(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		       const u32 *frame, u32 nr, unsigned int flags);
	int (*unmap)(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		     u32 frame);
	u32 (*unmap_run)(struct tm_uffd_engine *e, unsigned int lane, u64 block,
			 const u32 *frame, u32 nr);
	void (*drop)(struct tm_uffd_engine *e, unsigned int lane, u64 block,
		     u32 frame);
	void (*split)(struct tm_uffd_engine *e, u64 block, u32 frame,
		      const u32 *small);
	void (*trim)(struct tm_uffd_engine *e, u32 frames);
};

extern const struct tm_mech_ops tm_mech_move;
extern const struct tm_mech_ops tm_mech_copy;

#endif /* TM_ALLOCATOR_MECH_H */
