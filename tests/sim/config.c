// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a seed means. Half of all runs lack any one kind of fault, so that each
 * kind is also seen alone and the strict checks (nothing may fail) get their
 * share.
 */
#include "tests/sim/sim.h"

u64 sim_random(u64 below)
{
	u64 x = sim.rng += 0x9e3779b97f4a7c15ull; /* splitmix64 */

	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	x ^= x >> 31;
	return below ? x % below : x;
}

bool sim_chance(unsigned int per_mille)
{
	return per_mille && sim_random(1000) < per_mille;
}

static u32 between(u32 low, u32 high)
{
	return low + (u32)sim_random(high - low + 1);
}

/* A chance that is zero in half of the runs. */
static unsigned int perhaps(unsigned int most)
{
	return sim_random(2) ? 1 + (unsigned int)sim_random(most) : 0;
}

/* Slots of an extent, where there need be no room for huge blocks in one. */
#define SMALL_SLOTS_MAX 16

static void draw_servers(struct sim_config *c)
{
	u32 needed = (u32)(c->nr_used + c->extent_slots - 1) / c->extent_slots;
	u32 total = 0, i;

	/* Exactly enough, plenty, or (rarely) too little. */
	switch (sim_random(8)) {
	case 0:
		c->extents_limit = needed;
		break;
	case 1:
		c->extents_limit = between(1, needed);
		break;
	default:
		c->extents_limit = ~(u64)0;
	}
	needed += sim_random(4) ? between(0, 2 * needed) : 0;
	while (total < needed) {
		i = (u32)sim_random(c->pager.nr_servers);
		if (c->server_extents[i] == SIM_EXTENTS_MAX)
			i = (i + 1) % c->pager.nr_servers;
		if (c->server_extents[i] == SIM_EXTENTS_MAX)
			break;
		c->server_extents[i]++;
		total++;
	}
}

/*
 * Small ones contend most; large ones have shards; sparse ones many leaves;
 * streams make runs.
 */
static void draw_blocks(struct sim_config *c)
{
	struct tm_pager_config *p = &c->pager;
	u32 most = c->extent_slots * SIM_EXTENTS_MAX / 2;

	c->row = SIM_USED_MAX;
	switch (sim_random(8)) {
	case 0:
		c->nr_used = between(most / 2, most);
		p->nr_frames = between(c->nr_used / 3, c->nr_used);
		break;
	case 1:
		c->row = 3;
		c->gap = 125;
		c->nr_used = between(most / 2, most);
		p->nr_frames = between(4, 40);
		break;
	case 2:
	case 3:
		c->streams = true;
		c->extent_slots = SMALL_SLOTS_MAX;
		most = c->extent_slots * SIM_EXTENTS_MAX / 2;
		c->nr_used = between(most / 4, most);
		p->nr_frames = between(c->nr_used / 4, c->nr_used / 2);
		break;
	default:
		c->nr_used = between(16, most < 400 ? most : 400);
		p->nr_frames = sim_random(3) ? between(4, c->nr_used / 2)
					     : between(4, 12);
	}
	if (p->nr_frames < 4)
		p->nr_frames = 4;
	if (p->nr_frames > SIM_FRAMES_MAX)
		p->nr_frames = SIM_FRAMES_MAX;
	p->nr_blocks = sim_address(c, c->nr_used - 1) + 1 + between(0, 64);
}

u64 sim_address(const struct sim_config *c, u64 index)
{
	return index / c->row * (c->row + c->gap) + index % c->row;
}

bool sim_no_memory(void)
{
	return !sim.calm &&
	       sim_chance(sim.creating ? 100 : sim.config.no_memory);
}

/* Sizes with which huge blocks come often, and have rows to go to. */
static void draw_huge_fits(struct sim_config *c)
{
	struct tm_pager_config *p = &c->pager;
	u32 huge = p->huge_blocks, most;

	c->row = SIM_USED_MAX;
	c->gap = 0;
	c->streams = sim_random(8);
	c->extent_slots =
		between(sim_random(8) ? huge : 1, SIM_EXTENT_SLOTS_MAX);
	most = c->extent_slots * SIM_EXTENTS_MAX / 4;
	if (most > 600)
		most = 600;
	c->nr_used = between(most / 4, most);
	if (c->nr_used < 8 * huge && sim_random(8))
		c->nr_used = 8 * huge;
	p->nr_frames = between(c->nr_used / 4, c->nr_used);
	if (p->nr_frames < 4 * huge)
		p->nr_frames = 4 * huge;
	p->nr_blocks = c->nr_used + between(0, 64);
	p->prefetch_blocks = between(sim_random(8) ? 2 * huge : 0, 4 * huge);
	p->io_depth = between(1, 64);
	memset(c->server_extents, 0, sizeof(c->server_extents));
	draw_servers(c);
}

/*
 * In half of the runs that can have them. Drawn from numbers of their own: the
 * seeds without them mean what they always did.
 */
static void draw_huge(struct sim_config *c)
{
	u64 rng = sim.rng;

	sim.rng = ~rng;
	if (sim.huge_only)
		c->pager.can_cache = true;
	if (c->pager.can_cache && (sim_random(2) || sim.huge_only)) {
		c->pager.huge_blocks =
			sim_random(8) ? 2u << sim_random(4) : SIM_HUGE_MAX;
		if (sim_random(8))
			draw_huge_fits(c);
	}
	sim.rng = rng;
}

void sim_config_draw(struct sim_config *c, u64 seed)
{
	struct tm_pager_config *p = &c->pager;
	u32 io_blocks;

	memset(c, 0, sizeof(*c));
	c->seed = seed;
	p->nr_servers = between(1, SIM_SERVERS_MAX);
	c->extent_slots = between(1, SMALL_SLOTS_MAX);
	draw_blocks(c);
	p->block_shift = between(TM_BLOCK_SHIFT_MIN, TM_BLOCK_SHIFT_MAX);
	p->nr_lanes = between(1, SIM_LANES_MAX);
	p->io_depth = between(1, 32);
	io_blocks = between(1, 16);
	p->prefetch_blocks = sim_random(4) ? between(1, 24) : 0;
	if (c->streams) {
		p->io_depth = 32;
		io_blocks = 16;
		p->prefetch_blocks = between(8, 24);
	}
	p->io_bytes = io_blocks << p->block_shift;
	p->around_blocks = 1u << sim_random(7);
	p->stall_ms = between(1000, 3000);
	p->replace = tm_replace_find(sim_random(2) ? "fifo" : "lru");
	p->place = tm_place_find(sim_random(2) ? "simple" : "rr");
	p->can_cache = sim_random(2);
	c->exact_dirty = sim_random(2);
	c->accessed_bits = sim_random(2);
	c->nr_threads = between(1, SIM_THREADS_MAX);
	c->write_percent = between(0, 4) * 20;
	draw_servers(c);

	c->yield = sim_random(4) ? between(1, 400) : 0;
	c->preempt = perhaps(200);
	c->resend = perhaps(100);
	c->lose = perhaps(20);
	c->late = perhaps(50);
	c->refuse_fetch = sim_random(4) ? 0 : perhaps(10);
	c->refuse_store = perhaps(20);
	c->refuse_reserve = perhaps(200);
	c->damage = perhaps(20);
	c->kill = sim_random(4) ? 0 : perhaps(20);
	c->pin = perhaps(20);
	c->map_error = sim_random(4) ? 0 : perhaps(5);
	c->run_ends = perhaps(200);
	c->limit = perhaps(10);
	c->discard = perhaps(20);
	c->no_memory = sim_random(4) ? 0 : perhaps(1000);
	if (c->no_memory > 800)
		c->no_memory = 1000;
	c->abandon = perhaps(20);
	c->stubborn =
		sim_random(8) ? SIM_SERVERS_MAX : between(0, p->nr_servers - 1);
	draw_huge(c);
}
