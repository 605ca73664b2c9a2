// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * How much around a fault is worth having: an aligned unit, doubled and halved
 * by what neighbours were good for, after Linux's swap readahead
 * (swap_cluster_readahead(), __swapin_nr_pages()). Lock order: none.
 */
#include "core/around.h"

/* So many more votes one way than the other change it. */
#define VOTES 4

void tm_around_init(struct tm_around *a, u32 shift)
{
	memset(a, 0, sizeof(*a));
	a->shift = (u8)shift;
	memset(a->recent, 0xff, sizeof(a->recent));
}

static void vote(struct tm_around *a, bool more, u32 max)
{
	a->score += more ? 1 : -1;
	if (a->score >= VOTES) {
		a->score = 0;
		if (a->shift < max)
			a->shift++;
	} else if (a->score <= -VOTES) {
		a->score = 0;
		if (a->shift)
			a->shift--;
	}
}

u32 tm_around_fault(struct tm_around *a, u64 block, u32 max)
{
	u64 buddy = block >> a->shift ^ 1;
	u32 i;

	/* of twice the size, this one would have come with that fault */
	for (i = 0; i < TM_AROUND_RECENT; i++) {
		if (a->recent[i] >> a->shift == buddy) {
			vote(a, true, max);
			break;
		}
	}
	a->recent[a->next++ % TM_AROUND_RECENT] = block;
	return a->shift < max ? a->shift : max;
}

void tm_around_judge(struct tm_around *a, bool used)
{
	/* growing is for faults that could have been saved to decide */
	if (!used || a->score < 0)
		vote(a, used, a->shift);
}

/* Of so many neighbours one is a probe, since each costs a fault. */
#define PROBE_SHARE 16

u32 tm_around_probe(const struct tm_around *a, u32 nr)
{
	if (nr < PROBE_SHARE && a->next % (PROBE_SHARE / nr))
		return nr;
	/* by the golden ratio: the next is far from the last ones */
	return (a->next * 0x9e3779b9u >> 16) * nr >> 16;
}
