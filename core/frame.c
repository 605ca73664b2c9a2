// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Frames: the free stacks and lists. Does not decide who gets one. Lock order:
 * none taken.
 */
#include "core/frame.h"

#define INDEX_MASK 0xffffffffULL
#define TAG_ONE (1ULL << 32)

static void stack_init(struct tm_frame *at, u64 *stack, u32 first, u32 nr,
		       u32 blocks)
{
	u32 i;

	for (i = first; i < first + nr; i++) {
		at[i].free_next = i + 1 < first + nr ? i + 1 : TM_NO_FRAME;
		at[i].blocks = (u16)blocks;
	}
	*stack = nr ? first : TM_NO_FRAME;
}

int tm_frames_init(struct tm_frames *frames, u32 nr, u32 huge_blocks)
{
	u32 nr_huge = huge_blocks ? nr / huge_blocks : 0;

	frames->at = tm_alloc((size_t)(nr + nr_huge) * sizeof(*frames->at));
	if (!frames->at)
		return -ENOMEM;
	frames->nr = nr;
	frames->nr_huge = nr_huge;
	frames->huge_blocks = huge_blocks;
	frames->limit = nr;
	frames->used = 0;
	stack_init(frames->at, &frames->free, 0, nr, 1);
	stack_init(frames->at, &frames->free_huge, nr, nr_huge, huge_blocks);
	return 0;
}

size_t tm_frames_bytes(const struct tm_frames *frames)
{
	return (size_t)(frames->nr + frames->nr_huge) * sizeof(*frames->at);
}

void tm_frames_fini(struct tm_frames *frames)
{
	tm_free(frames->at, tm_frames_bytes(frames));
}

/*
 * Frames are pushed before the count goes down, so there is one. The free_next
 * read may be that of a frame just taken by another lane; the tag then makes
 * the exchange fail.
 */
static u32 stack_pop(struct tm_frames *frames, u64 *stack)
{
	u64 top, next;

	do {
		top = tm_load_acquire(stack);
		TM_BUG_ON((u32)top == TM_NO_FRAME);
		next = tm_load_relaxed(&frames->at[(u32)top].free_next);
		next |= (top & ~INDEX_MASK) + TAG_ONE;
	} while (!tm_cas(stack, top, next));
	return (u32)top;
}

static void stack_push(struct tm_frames *frames, u64 *stack, const u32 *frame,
		       u32 nr)
{
	u64 top, next;
	u32 i;

	for (i = 0; i + 1 < nr; i++)
		tm_store_relaxed(&frames->at[frame[i]].free_next, frame[i + 1]);
	do {
		top = tm_load_acquire(stack);
		tm_store_relaxed(&frames->at[frame[nr - 1]].free_next,
				 (u32)top);
		next = ((top & ~INDEX_MASK) + TAG_ONE) | frame[0];
	} while (!tm_cas(stack, top, next));
}

/* Count @nr blocks as used, unless fewer than @keep would be left. */
static bool use(struct tm_frames *frames, u32 nr, u32 keep)
{
	u32 used;

	do {
		used = tm_load_acquire(&frames->used);
		if ((u64)used + nr + keep > tm_load_relaxed(&frames->limit))
			return false;
	} while (!tm_cas(&frames->used, used, used + nr));
	return true;
}

u32 tm_frame_get(struct tm_frames *frames, u32 keep)
{
	return use(frames, 1, keep) ? stack_pop(frames, &frames->free)
				    : TM_NO_FRAME;
}

u32 tm_frame_get_huge(struct tm_frames *frames, u32 keep)
{
	return use(frames, frames->huge_blocks, keep)
		       ? stack_pop(frames, &frames->free_huge)
		       : TM_NO_FRAME;
}

void tm_frames_put(struct tm_frames *frames, const u32 *frame, u32 nr)
{
	bool huge = tm_frame_is_huge(frames, frame[0]);

	stack_push(frames, huge ? &frames->free_huge : &frames->free, frame,
		   nr);
	tm_add_return(&frames->used, -(int)(huge ? frames->huge_blocks : nr));
}

void tm_frame_split(struct tm_frames *frames, u32 *small)
{
	u32 i;

	for (i = 0; i < frames->huge_blocks; i++)
		small[i] = stack_pop(frames, &frames->free);
}

void tm_frame_split_end(struct tm_frames *frames, u32 huge)
{
	stack_push(frames, &frames->free_huge, &huge, 1);
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
	tm_store_relaxed(&list->nr, list->nr + at[frame].blocks);
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
	tm_store_relaxed(&list->nr, list->nr - at[frame].blocks);
}
