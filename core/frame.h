/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The frame table: one record for each frame of local memory, the stack of
 * free frames with the count that the limit bounds, and lists of frames.
 *
 * Huge blocks have frames of their own, numbered after the others. What is in
 * use is counted in blocks, so that any mixture of both fits within the limit.
 *
 * The stacks need no lock. A frame that is not free, and any list it is on,
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
	union {
		u32 prev;   /* towards the head; TM_NO_FRAME there */
		int missed; /* while a huge one is fetched: the last error */
	};
	union {
		u32 next;
		u32 pieces; /* likewise: requests under way */
	};
	u32 free_next;
	u32 block;
	u8 list; /* for the replacement policy */
	u8 flags;
	u16 blocks; /* that fit in it */
	u32 turn;   /* when it was put on a list, likewise */
	u64 started_ns;
	u64 mapped_ns; /* for a fault */
};

struct tm_frames {
	struct tm_frame *at;
	u32 nr;		 /* for one block each */
	u32 nr_huge;	 /* behind those */
	u32 huge_blocks; /* in each */
	u32 limit;	 /* in blocks, like @used */
	u32 used;
	u64 free; /* top of the stack, below a tag against ABA */
	u64 free_huge;
};

struct tm_frame_list {
	u32 head;
	u32 tail;
	u32 nr; /* in blocks */
};

/** tm_frames_init() - @huge_blocks: 0 for no huge ones; 0 or -ENOMEM */
int tm_frames_init(struct tm_frames *frames, u32 nr, u32 huge_blocks);
void tm_frames_fini(struct tm_frames *frames);
size_t tm_frames_bytes(const struct tm_frames *frames);

/**
 * tm_frame_get() - take a free frame, unless fewer than @keep would be left
 *
 * Returns TM_NO_FRAME when there is none within the limit.
 */
u32 tm_frame_get(struct tm_frames *frames, u32 keep);

/** tm_frame_get_huge() - as tm_frame_get(), for a huge block */
u32 tm_frame_get_huge(struct tm_frames *frames, u32 keep);

/** tm_frames_put() - @nr frames are free again: small ones, or one huge one */
void tm_frames_put(struct tm_frames *frames, const u32 *frame, u32 nr);

/**
 * tm_frame_split() - as many small frames in place of a huge one
 * @small: set to them
 *
 * There are always enough: what is in use counts as much as before.
 */
void tm_frame_split(struct tm_frames *frames, u32 *small);
/** tm_frame_split_end() - the huge one is free */
void tm_frame_split_end(struct tm_frames *frames, u32 huge);

static inline bool tm_frame_is_huge(const struct tm_frames *frames, u32 frame)
{
	return frame >= frames->nr;
}

/* To and from lists: the head has the newest. */
void tm_frame_list_init(struct tm_frame_list *list);
void tm_frame_list_push(struct tm_frame *at, struct tm_frame_list *list,
			u32 frame);
void tm_frame_list_remove(struct tm_frame *at, struct tm_frame_list *list,
			  u32 frame);

#endif /* TM_CORE_FRAME_H */
