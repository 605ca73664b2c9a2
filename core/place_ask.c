// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Which server to ask for one more extent, so that there always are as many
 * free slots as eviction takes while one is on its way. Lock order: see
 * place.c.
 */
#include "core/place_internal.h"

#define ASKED_MAX 4 /* of one server at one time */

/* Free slots, counting those in extents that are likely to be on their way. */
static u64 slots_ahead(const struct tm_place *p, const struct place_server *s)
{
	/* One extent of unknown size has to do for a start. */
	u64 each = s->extent_slots ? s->extent_slots : p->ahead_slots;

	return s->free_slots + (s->doubtful ? 0 : s->asked * each);
}

/*
 * It gave before, has not answered yet, and no slot is free anywhere: full,
 * perhaps, and it says so late.
 */
static bool keeps_waiting(const struct tm_place *p,
			  const struct place_server *s)
{
	return !p->nr_room && s->asked && s->extent_slots;
}

/* The server that the policy is going to use, where it may well have more. */
static bool wants_sure(struct tm_place *place, unsigned int *server)
{
	unsigned int i, next, nr_candidates = 0;
	u64 state;

	for (i = 0; i < place->nr_servers; i++) {
		const struct place_server *s = &place->server[i];
		bool candidate = (tm_place_may_ask(place, s) && !s->doubtful) ||
				 slots_ahead(place, s) >= place->ahead_slots;

		place->candidate[i] = s->alive && !s->shut && candidate &&
				      !keeps_waiting(place, s);
		nr_candidates += place->candidate[i];
	}
	/* Ask the policy whom it will use, without moving its state. */
	state = place->state;
	for (i = 0; i < nr_candidates; i++) {
		const struct place_server *s;

		next = place->ops->pick(&state, place->nr_servers,
					place->candidate);
		s = &place->server[next];
		if (tm_place_may_ask(place, s) && !s->doubtful &&
		    s->asked < ASKED_MAX &&
		    slots_ahead(place, s) < place->ahead_slots) {
			*server = next;
			return true;
		}
	}
	return false;
}

/*
 * A server that refused keeps those who ask it again waiting for a while. So
 * one extent at one time, and nothing that a sure one could have within the
 * limit.
 */
static bool wants_doubtful(const struct tm_place *place, unsigned int *server)
{
	u64 for_sure = 0;
	bool found = false;
	unsigned int i;

	for (i = 0; i < place->nr_servers; i++) {
		const struct place_server *s = &place->server[i];

		if (!tm_place_may_ask(place, s))
			continue;
		if (!s->doubtful) {
			for_sure = ASKED_MAX;
		} else if (!found && !s->asked &&
			   slots_ahead(place, s) < place->ahead_slots) {
			*server = i;
			found = true;
		}
	}
	return found &&
	       place->nr_extents + place->nr_asked + for_sure < place->limit;
}

bool tm_place_wants(struct tm_place *place, unsigned int *server)
{
	bool found;

	tm_lock_acquire(&place->lock);
	found = wants_sure(place, server) || wants_doubtful(place, server);
	if (found) {
		place->server[*server].asked++;
		place->nr_asked++;
	}
	tm_lock_release(&place->lock);
	return found;
}
