// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * What replacement policies share: the lists, and finding a policy by name.
 * Lock order: none taken.
 */
#include "core/replace.h"

const struct tm_replace_ops *tm_replace_find(const char *name)
{
	static const struct tm_replace_ops *const all[] = {
		&tm_replace_fifo,
		&tm_replace_lru,
	};
	unsigned int i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i]->name, name))
			return all[i];
	return NULL;
}

void tm_replace_init(struct tm_replace *r, struct tm_frame *frame)
{
	unsigned int i;

	r->frame = frame;
	r->turn = 0;
	r->choice = 0;
	for (i = 0; i < TM_REPLACE_LISTS; i++)
		tm_frame_list_init(&r->list[i]);
}

u32 tm_replace_nr(const struct tm_replace *r)
{
	u32 nr = 0;
	unsigned int i;

	for (i = 0; i < TM_REPLACE_LISTS; i++)
		nr += tm_load_relaxed(&r->list[i].nr);
	return nr;
}

u32 tm_replace_peers(const struct tm_replace *r, u32 frame)
{
	return r->list[r->frame[frame].list].nr;
}

void tm_replace_push(struct tm_replace *r, u32 frame, u8 list)
{
	r->frame[frame].list = list;
	r->frame[frame].turn = r->turn;
	r->turn += r->frame[frame].blocks;
	tm_frame_list_push(r->frame, &r->list[list], frame);
}

void tm_replace_remove(struct tm_replace *r, u32 frame)
{
	tm_frame_list_remove(r->frame, &r->list[r->frame[frame].list], frame);
}

bool tm_replace_joins(const struct tm_replace *r, u32 victim, u32 frame)
{
	const struct tm_frame *v = &r->frame[victim], *f = &r->frame[frame];

	return f->list == v->list &&
	       r->turn - f->turn >= (r->turn - v->turn) / 2;
}

u32 tm_replace_pop(struct tm_replace *r, u8 list)
{
	u32 frame = r->list[list].tail;

	if (frame != TM_NO_FRAME)
		tm_frame_list_remove(r->frame, &r->list[list], frame);
	return frame;
}
