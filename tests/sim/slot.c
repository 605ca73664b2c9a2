// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What may become of the bytes that a server keeps.
 */
#include "tests/sim/sim.h"

void slot_spoil(struct sim_slot *slot)
{
	unsigned int i;

	for (i = 0; i < SIM_WORDS; i++)
		slot->content.word[i] = sim_random(0);
	slot->owner = SIM_NO_BLOCK;
}

/* The copy there is not what was stored any more. */
void slot_damaged(const struct sim_slot *slot)
{
	if (slot->owner != SIM_NO_BLOCK)
		sim.block[slot->owner].causes |= CAUSE_DAMAGED;
}

void content_damage(struct content *content, const struct sim_slot *slot,
		    unsigned int server)
{
	switch (sim_random(4)) {
	case 0: /* flipped */
		content->word[sim_random(SIM_WORDS)] ^= 1ull << sim_random(64);
		break;
	case 1: /* zeroed */
		memset(content, 0, sizeof(*content));
		break;
	case 2: /* stale */
		*content = slot->old;
		break;
	default: /* misdirected */
		slot = sim.server[server].slot;
		*content = slot[sim_random(SIM_SLOTS_MAX)].content;
	}
}
