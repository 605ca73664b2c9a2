/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The frame table: one record for each frame of local memory, the stack of
 * free frames with the count that the limit bounds, and lists of frames.
 *
 * The stack needs no lock. A frame that is not free, and any list it is on,
 * are guarded by the shard of the block in it.
 */
#ifndef TM_CORE_FRAME_H
#define TM_CORE_FRAME_H

#include "core/pager.h"

#define TM_FRAME_DIRTY 0x01u   /* changed since it was fetched or stored */
#define TM_FRAME_UNKNOWN 0x02u /* or perhaps: compare the fingerprint */
#define TM_FRAME_ZERO 0x04u    /* mapped as zeros */
#define TM_FRAME_AHEAD 0x08u   /* fetched ahead, not used yet */
#define TM_FRAME_MARKER 0x10u  /* fetched ahead, to be left unmapped */
#define TM_FRAME_FAULT 0x20u   /* a fault waits since started_ns */
#define TM_FRAME_PROBE 0x40u   /* left unmapped, to see: core/around.h */

struct tm_frame {
	u32 prev; /* towards the head; TM_NO_FRAME there */
	u32 next;
	u32 free_next;
	u32 block;
	u8 list; /* for the replacement policy */
	u8 flags;
	u32 turn; /* when it was put on a list, likewise */
	u64 started_ns;
	u64 mapped_ns; /* for a fault */
};

struct tm_frames {
	struct tm_frame *at;
	u32 nr;
	u32 limit;
	u32 used;
	u64 free; /* top of the stack, below a tag against ABA */
};

struct tm_frame_list {
	u32 head;
	u32 tail;
	u32 nr;
};

int tm_frames_init(struct tm_frames *frames, u32 nr);
void tm_frames_fini(struct tm_frames *frames);

/**
 * tm_frame_get() - take a free frame, unless fewer than @keep would be left
 *
 * Returns TM_NO_FRAME when there is none within the limit.
 */
u32 tm_frame_get(struct tm_frames *frames, u32 keep);

/** tm_frames_put() - @nr frames are free again */
void tm_frames_put(struct tm_frames *frames, const u32 *frame, u32 nr);

/* To and from lists: the head has the newest. */
void tm_frame_list_init(struct tm_frame_list *list);
void tm_frame_list_push(struct tm_frame *at, struct tm_frame_list *list,
			u32 frame);
void tm_frame_list_remove(struct tm_frame *at, struct tm_frame_list *list,
			  u32 frame);

#endif /* TM_CORE_FRAME_H */
