// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Frames: the free stack and lists. Does not decide who gets one. Lock order:
 * none taken.
 */
#include "core/frame.h"

#define INDEX_MASK 0xffffffffULL
#define TAG_ONE (1ULL << 32)

int tm_frames_init(struct tm_frames *frames, u32 nr)
{
	u32 i;

	frames->at = tm_alloc((size_t)nr * sizeof(*frames->at));
	if (!frames->at)
		return -ENOMEM;
	frames->nr = nr;
	frames->limit = nr;
	frames->used = 0;
	for (i = 0; i < nr; i++)
		frames->at[i].free_next = i + 1 < nr ? i + 1 : TM_NO_FRAME;
	frames->free = 0;
	return 0;
}

void tm_frames_fini(struct tm_frames *frames)
{
	tm_free(frames->at, (size_t)frames->nr * sizeof(*frames->at));
}

u32 tm_frame_get(struct tm_frames *frames, u32 keep)
{
	u64 top, next;
	u32 used;

	do {
		used = tm_load_acquire(&frames->used);
		if ((u64)used + keep >= tm_load_relaxed(&frames->limit))
			return TM_NO_FRAME;
	} while (!tm_cas(&frames->used, used, used + 1));

	/*
	 * Frames are pushed before the count goes down, so there is one. The
	 * free_next read may be that of a frame just taken by another lane; the
	 * tag then makes the exchange fail.
	 */
	do {
		top = tm_load_acquire(&frames->free);
		TM_BUG_ON((u32)top == TM_NO_FRAME);
		next = tm_load_relaxed(&frames->at[(u32)top].free_next);
		next |= (top & ~INDEX_MASK) + TAG_ONE;
	} while (!tm_cas(&frames->free, top, next));
	return (u32)top;
}

void tm_frames_put(struct tm_frames *frames, const u32 *frame, u32 nr)
{
	u64 top, next;
	u32 i;

	for (i = 0; i + 1 < nr; i++)
		tm_store_relaxed(&frames->at[frame[i]].free_next, frame[i + 1]);
	do {
		top = tm_load_acquire(&frames->free);
		tm_store_relaxed(&frames->at[frame[nr - 1]].free_next,
				 (u32)top);
		next = ((top & ~INDEX_MASK) + TAG_ONE) | frame[0];
	} while (!tm_cas(&frames->free, top, next));
	tm_add_return(&frames->used, -(int)nr);
}

void tm_frame_list_init(struct tm_frame_list *list)
{
	list->head = TM_NO_FRAME;
	list->tail = TM_NO_FRAME;
	list->nr = 0;
}

void tm_frame_list_push(struct tm_frame *at, struct tm_frame_list *list,
			u32 frame)
{
	at[frame].prev = TM_NO_FRAME;
	at[frame].next = list->head;
	if (list->head == TM_NO_FRAME)
		list->tail = frame;
	else
		at[list->head].prev = frame;
	list->head = frame;
	tm_store_relaxed(&list->nr, list->nr + 1);
}

void tm_frame_list_remove(struct tm_frame *at, struct tm_frame_list *list,
			  u32 frame)
{
	u32 prev = at[frame].prev, next = at[frame].next;

	if (prev == TM_NO_FRAME)
		list->head = next;
	else
		at[prev].next = next;
	if (next == TM_NO_FRAME)
		list->tail = prev;
	else
		at[next].prev = prev;
	tm_store_relaxed(&list->nr, list->nr - 1);
}
