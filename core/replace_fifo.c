// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * First in, first out: the order in which blocks were filled or mapped, however
 * often they are used since. Lock order: none taken.
 */
#include "core/replace.h"

static void fifo_insert(struct tm_replace *r, u32 frame, bool cached)
{
	(void)cached;
	tm_replace_push(r, frame, 0);
}

static u32 fifo_victim(struct tm_replace *r)
{
	return tm_replace_pop(r, 0);
}

const struct tm_replace_ops tm_replace_fifo = {
	.name = "fifo",
	.insert = fifo_insert,
	.remove = tm_replace_remove,
	.victim = fifo_victim,
};
