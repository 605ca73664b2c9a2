/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Replacement: which frame is emptied next. A policy keeps the frames of one
 * shard in lists and names victims; everything else is the pager's. Called
 * with the shard's lock held.
 */
#ifndef TM_CORE_REPLACE_H
#define TM_CORE_REPLACE_H

#include "core/frame.h"

/* what the lists mean is the policy's business */
#define TM_REPLACE_LISTS 2

struct tm_replace {
	struct tm_frame *frame; /* the table */
	struct tm_frame_list list[TM_REPLACE_LISTS];
	u32 turn;   /* insertions so far */
	u32 choice; /* the policy's own */
};

/**
 * struct tm_replace_ops - a replacement policy
 * @name: as in the configuration ("fifo", "lru")
 * @ages: a victim that is still mapped is asked whether it was accessed; then
 *	it is inserted anew. Where the glue cannot know, the victim is unmapped
 *	and inserted as cached, and is evicted when it comes up again.
 * @insert: the frame was filled, mapped, or found in use
 * @cached: its block is not mapped
 * @remove: it goes for another reason
 * @victim: take the next one out; TM_NO_FRAME when there is none
 */
struct tm_replace_ops {
	const char *name;
	bool ages;
	void (*insert)(struct tm_replace *r, u32 frame, bool cached);
	void (*remove)(struct tm_replace *r, u32 frame);
	u32 (*victim)(struct tm_replace *r);
};

extern const struct tm_replace_ops tm_replace_fifo;
extern const struct tm_replace_ops tm_replace_lru;

/** tm_replace_find() - policy by name, or NULL */
const struct tm_replace_ops *tm_replace_find(const char *name);

void tm_replace_init(struct tm_replace *r, struct tm_frame *frame);

/** tm_replace_nr() - frames in the lists; approximate without the lock */
u32 tm_replace_nr(const struct tm_replace *r);

/** tm_replace_peers() - frames in the list that this one is, or was last, on */
u32 tm_replace_peers(const struct tm_replace *r, u32 frame);

/** tm_replace_push() - for policies: to the head of a list */
void tm_replace_push(struct tm_replace *r, u32 frame, u8 list);

/** tm_replace_remove() - for policies: out of the list that it is on */
void tm_replace_remove(struct tm_replace *r, u32 frame);

/**
 * tm_replace_joins() - a frame in the lists may as well go with this victim
 *
 * Of the same list, and there for at least half as long.
 */
bool tm_replace_joins(const struct tm_replace *r, u32 victim, u32 frame);

/** tm_replace_pop() - for policies: from the tail; TM_NO_FRAME if empty */
u32 tm_replace_pop(struct tm_replace *r, u8 list);

#endif /* TM_CORE_REPLACE_H */
