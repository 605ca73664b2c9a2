// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The placement policies: which server takes the next blocks.
 */
#include "core/place.h"

/* Fill the servers in order. */
static unsigned int simple_pick(u64 *state, unsigned int nr_servers,
				const bool *has_room)
{
	unsigned int i = 0;

	while (!has_room[i])
		i++;
	return i;
}

/*
 * Turns of what comes back with one request at most, which is a huge block:
 * neighbours leave one after the other, and shall lie together.
 */
#define TURN_BYTES (2u << 20)

/* The state is the server whose turn is next. */
static unsigned int rr_pick(u64 *state, unsigned int nr_servers,
			    const bool *has_room)
{
	unsigned int i = (unsigned int)*state;

	while (!has_room[i])
		i = i + 1 < nr_servers ? i + 1 : 0;
	*state = i + 1 < nr_servers ? i + 1 : 0;
	return i;
}

const struct tm_place_ops tm_place_simple = {
	.name = "simple",
	.pick = simple_pick,
};

const struct tm_place_ops tm_place_rr = {
	.name = "rr",
	.turn_bytes = TURN_BYTES,
	.pick = rr_pick,
};

const struct tm_place_ops *tm_place_find(const char *name)
{
	static const struct tm_place_ops *const all[] = {
		&tm_place_simple,
		&tm_place_rr,
	};
	unsigned int i;

	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (!strcmp(all[i]->name, name))
			return all[i];
	return NULL;
}
