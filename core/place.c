// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Where blocks go: servers, their extents, and the slots in those. The policies
 * that choose the server are in place_policy.c; which one to ask for more is in
 * place_ask.c.
 *
 * A server's extents all have one size and lie at multiples of it, so an
 * extent has a number, and its record is found by number in a two-level table.
 * Each server keeps two lists of its extents: `room` (some slots used, some
 * free; its first one is being filled) and `idle` (none used).
 *
 * Lock order: place->lock is innermost. Memory is got and given back with it
 * released.
 */
#include "core/place_internal.h"

#define NONE (~(u32)0)

/* Records are allocated by the leaf: 16 TiB of a server at 4 MiB an extent. */
#define LEAF_EXTENTS 512
#define LEAVES 8192
#define SLOTS_MAX (1u << 20)

/*
 * Free slots to have ahead of eviction on each server in use: what a fast
 * network can fill while one more extent is being reserved.
 */
#define AHEAD_BYTES (16ull << 20)
#define AHEAD_SLOTS_MIN 16
#define AHEAD_SLOTS_MAX 4096

enum extent_state {
	EXTENT_ABSENT,
	EXTENT_IDLE,
	EXTENT_ROOM,
	EXTENT_FULL,
};

struct extent {
	u32 prev, next;
	u32 used;
	u32 cursor; /* no free slot below it, or it is someone else's turn */
	u32 state;
	u32 pad;
	u64 map[]; /* a bit per slot, set = used */
};

static size_t place_bytes(unsigned int nr_servers)
{
	return sizeof(struct tm_place) +
	       nr_servers * (sizeof(struct place_server) + 2 * sizeof(bool));
}

int tm_place_create(const struct tm_place_ops *ops, unsigned int nr_servers,
		    u32 block_shift, struct tm_place **place)
{
	u64 ahead = AHEAD_BYTES >> block_shift;
	struct tm_place *p;
	unsigned int i;

	if (!nr_servers || nr_servers >= TM_NO_SERVER)
		return -EINVAL;
	p = tm_alloc(place_bytes(nr_servers));
	if (!p)
		return -ENOMEM;

	tm_lock_init(&p->lock);
	p->ops = ops;
	p->limit = ~(u64)0;
	p->block_shift = block_shift;
	p->nr_servers = nr_servers;
	p->has_room = (bool *)&p->server[nr_servers];
	p->candidate = p->has_room + nr_servers;
	if (ahead < AHEAD_SLOTS_MIN)
		ahead = AHEAD_SLOTS_MIN;
	p->turn_unit = ~(u64)0;
	p->turn_slots = ops->turn_bytes >> block_shift;
	if (!p->turn_slots)
		p->turn_slots = 1;
	p->ahead_slots = ahead < AHEAD_SLOTS_MAX ? ahead : AHEAD_SLOTS_MAX;
	for (i = 0; i < nr_servers; i++) {
		struct place_server *s = &p->server[i];

		s->alive = true;
		s->room.first = s->room.last = NONE;
		s->idle.first = s->idle.last = NONE;
	}
	*place = p;
	return 0;
}

static size_t record_bytes(u64 slots)
{
	return sizeof(struct extent) + (slots + 63) / 64 * sizeof(u64);
}

static void leaves_free(void **leaf, size_t each)
{
	u32 i;

	for (i = 0; leaf && i < LEAVES; i++)
		tm_free(leaf[i], LEAF_EXTENTS * each);
	tm_free(leaf, LEAVES * sizeof(*leaf));
}

void tm_place_destroy(struct tm_place *place)
{
	unsigned int i;

	for (i = 0; i < place->nr_servers; i++)
		leaves_free(place->server[i].leaf,
			    place->server[i].record_bytes);
	tm_free(place, place_bytes(place->nr_servers));
}

static struct extent *extent_at(const struct place_server *s, u32 number)
{
	u8 *leaf = s->leaf[number / LEAF_EXTENTS];

	return (void *)(leaf + number % LEAF_EXTENTS * s->record_bytes);
}

static void list_append(struct place_server *s, struct extent_list *list,
			u32 number)
{
	struct extent *e = extent_at(s, number);

	e->next = NONE;
	e->prev = list->last;
	if (list->last == NONE)
		list->first = number;
	else
		extent_at(s, list->last)->next = number;
	list->last = number;
}

static void list_remove(struct place_server *s, struct extent_list *list,
			u32 number)
{
	struct extent *e = extent_at(s, number);

	if (e->prev == NONE)
		list->first = e->next;
	else
		extent_at(s, e->prev)->next = e->next;
	if (e->next == NONE)
		list->last = e->prev;
	else
		extent_at(s, e->next)->prev = e->prev;
}

/* Put an extent where the number of its used slots says that it belongs. */
static void extent_file(struct tm_place *p, struct place_server *s, u32 number)
{
	struct extent *e = extent_at(s, number);
	u32 state = !e->used			? EXTENT_IDLE
		    : e->used < s->extent_slots ? EXTENT_ROOM
						: EXTENT_FULL;

	if (state == e->state)
		return;
	if (e->state == EXTENT_IDLE) {
		list_remove(s, &s->idle, number);
		s->nr_idle--;
		p->nr_idle--;
	} else if (e->state == EXTENT_ROOM) {
		list_remove(s, &s->room, number);
	}
	if (state == EXTENT_IDLE) {
		list_append(s, &s->idle, number);
		s->nr_idle++;
		p->nr_idle++;
	} else if (state == EXTENT_ROOM) {
		list_append(s, &s->room, number);
	}
	if (state != EXTENT_ROOM)
		e->cursor = 0;
	e->state = state;
}

static void free_slots_add(struct tm_place *p, unsigned int server, s64 slots)
{
	struct place_server *s = &p->server[server];
	bool room;

	s->free_slots += (u64)slots;
	room = s->free_slots != 0 && !s->shut;
	if (room != p->has_room[server]) {
		p->has_room[server] = room;
		if (room)
			p->nr_room++;
		else
			p->nr_room--;
	}
}

/* The first free slot at or after the extent's cursor, or NONE. */
static u32 extent_next_free(const struct extent *e, u32 slots)
{
	u32 words = (slots + 63) / 64;
	u32 i = e->cursor / 64;
	u64 below = (1ull << e->cursor % 64) - 1;

	for (; i < words; i++, below = 0) {
		u64 unused = ~(e->map[i] | below);

		if (unused) {
			u32 slot = i * 64 + (u32)__builtin_ctzll(unused);

			return slot < slots ? slot : NONE;
		}
	}
	return NONE;
}

/* Take a slot of a server that has one. */
static u64 slot_take(struct tm_place *p, unsigned int server)
{
	struct place_server *s = &p->server[server];
	struct extent *e;
	u32 number, slot;

	/*
	 * Only the extent in turn has a cursor above zero. At its end the turn
	 * goes to the next one; slots freed behind the cursor wait for the
	 * extent's next turn, so that slots given in a row ascend.
	 */
	for (;;) {
		number = s->room.first != NONE ? s->room.first : s->idle.first;
		e = extent_at(s, number);
		slot = extent_next_free(e, s->extent_slots);
		if (slot != NONE)
			break;
		e->cursor = 0;
		list_remove(s, &s->room, number);
		list_append(s, &s->room, number);
	}
	e->map[slot / 64] |= 1ull << slot % 64;
	e->cursor = slot + 1;
	e->used++;
	extent_file(p, s, number);
	free_slots_add(p, server, -1);
	return (u64)number * s->extent_slots + slot;
}

/*
 * The server whose turn it is; one at least has room. All lanes share a turn. A
 * turn that ends with an aligned unit lets the next ones begin with theirs.
 */
static unsigned int turn_take(struct tm_place *p, u64 block, u32 nr)
{
	u64 unit = block / p->turn_slots;
	bool over = !p->turn_left && unit != p->turn_unit;

	if (over || !p->has_room[p->turn_server]) {
		p->turn_server =
			p->ops->pick(&p->state, p->nr_servers, p->has_room);
		p->turn_left = p->turn_slots;
	}
	p->turn_left -= nr < p->turn_left ? nr : p->turn_left;
	p->turn_unit = (block + nr - 1) / p->turn_slots;
	return p->turn_server;
}

static bool row_is_free(const struct extent *e, u32 slot, u32 nr)
{
	u32 end = slot + nr;

	for (; slot < end; slot++)
		if (e->map[slot / 64] >> slot % 64 & 1)
			return false;
	return true;
}

/* Extents that have room, but perhaps no row, to look at. */
#define ROW_TRIES 8

/* Take @nr slots, aligned to as many, of an extent, or none: NONE. */
static u32 row_take(struct tm_place *p, unsigned int server, u32 number, u32 nr)
{
	struct place_server *s = &p->server[server];
	struct extent *e;
	u32 slot, i;

	if (number == NONE)
		return NONE;
	e = extent_at(s, number);
	slot = (e->cursor + nr - 1) / nr * nr;
	while (slot + nr <= s->extent_slots && !row_is_free(e, slot, nr))
		slot += nr;
	if (slot + nr > s->extent_slots)
		return NONE;
	for (i = slot; i < slot + nr; i++)
		e->map[i / 64] |= 1ull << i % 64;
	e->used += nr;
	extent_file(p, s, number);
	/* only the extent in turn has a cursor */
	if (s->room.first == number)
		e->cursor = slot + nr;
	free_slots_add(p, server, -(s64)nr);
	return slot;
}

int tm_place_get_row(struct tm_place *place, u64 block, u32 nr,
		     struct tm_replica *replica)
{
	struct place_server *s;
	u32 i, number, slot = NONE;
	unsigned int server;
	bool asked;

	tm_lock_acquire(&place->lock);
	if (place->nr_room) {
		server = turn_take(place, block, nr);
		s = &place->server[server];
		number = s->room.first;
		for (i = 0; i < ROW_TRIES && number != NONE; i++) {
			slot = row_take(place, server, number, nr);
			if (slot != NONE)
				break;
			number = extent_at(s, number)->next;
		}
		if (slot == NONE) {
			number = s->idle.first;
			slot = row_take(place, server, number, nr);
		}
		if (slot != NONE) {
			replica->server = server;
			replica->slot = (u64)number * s->extent_slots + slot;
		}
	}
	asked = place->nr_asked;
	tm_lock_release(&place->lock);
	return slot != NONE ? 0 : asked ? -EAGAIN : -ENOSPC;
}

int tm_place_get(struct tm_place *place, u64 block, struct tm_replica *replica)
{
	unsigned int i;
	int err = -ENOSPC;

	tm_lock_acquire(&place->lock);
	if (place->nr_room) {
		i = turn_take(place, block, 1);
		replica->server = i;
		replica->slot = slot_take(place, i);
		err = 0;
	} else if (place->nr_asked) {
		err = -EAGAIN;
	} else {
		for (i = 0; i < place->nr_servers; i++)
			if (tm_place_may_ask(place, &place->server[i]))
				err = -EAGAIN;
	}
	tm_lock_release(&place->lock);
	return err;
}

void tm_place_put(struct tm_place *place, struct tm_replica replica)
{
	struct place_server *s = &place->server[replica.server];
	struct extent *e;
	u32 number, slot;

	tm_lock_acquire(&place->lock);
	if (s->alive) {
		number = (u32)(replica.slot / s->extent_slots);
		slot = (u32)(replica.slot % s->extent_slots);
		e = extent_at(s, number);
		TM_BUG_ON(!(e->map[slot / 64] >> slot % 64 & 1));
		e->map[slot / 64] &= ~(1ull << slot % 64);
		e->used--;
		extent_file(place, s, number);
		free_slots_add(place, replica.server, 1);
	}
	tm_lock_release(&place->lock);
}

/* An answer came; what was asked of a lost server was forgotten with it. */
static void answered(struct tm_place *p, struct place_server *s)
{
	if (s->asked) {
		s->asked--;
		p->nr_asked--;
	}
}

/* Memory for an extent's record, brought by tm_place_extent_add(). */
struct record_memory {
	void **table;
	void *leaf;
};

/*
 * Take an extent in. Returns 0, -EAGAIN when @memory must be brought first, or
 * an error that stays.
 */
static int extent_install(struct tm_place *p, unsigned int server, u32 number,
			  u64 bytes, struct record_memory *memory)
{
	struct place_server *s = &p->server[server];
	u32 slots = (u32)(bytes >> p->block_shift);
	void **leaf;

	if (!s->alive)
		return -EIO;
	if (s->extent_bytes && s->extent_bytes != bytes)
		return -EINVAL;
	if (!s->leaf || !s->leaf[number / LEAF_EXTENTS]) {
		if (!memory->leaf)
			return -EAGAIN;
		if (!s->leaf) {
			s->leaf = memory->table;
			memory->table = NULL;
			s->extent_bytes = bytes;
			s->extent_slots = slots;
			s->record_bytes = record_bytes(slots);
		}
		leaf = &s->leaf[number / LEAF_EXTENTS];
		if (!*leaf) {
			*leaf = memory->leaf;
			memory->leaf = NULL;
		}
	}
	if (extent_at(s, number)->state != EXTENT_ABSENT)
		return -EINVAL;

	extent_file(p, s, number);
	free_slots_add(p, server, slots);
	s->nr_extents++;
	p->nr_extents++;
	return 0;
}

int tm_place_extent_add(struct tm_place *place, unsigned int server, u64 addr,
			u64 bytes)
{
	struct place_server *s = &place->server[server];
	struct record_memory memory = {NULL, NULL};
	u64 slots = bytes >> place->block_shift;
	size_t leaf_bytes = LEAF_EXTENTS * record_bytes(slots);
	int err = -EINVAL;

	/* These come from a server, which may be wrong or hostile. */
	if (slots && slots <= SLOTS_MAX &&
	    bytes == slots << place->block_shift && addr % bytes == 0 &&
	    addr / bytes < LEAF_EXTENTS * LEAVES)
		err = -EAGAIN;

	tm_lock_acquire(&place->lock);
	while (err == -EAGAIN) {
		err = extent_install(place, server, (u32)(addr / bytes), bytes,
				     &memory);
		if (err != -EAGAIN)
			break;
		tm_lock_release(&place->lock);
		memory.table = tm_alloc(LEAVES * sizeof(*memory.table));
		memory.leaf = tm_alloc(leaf_bytes);
		if (!memory.table || !memory.leaf)
			err = -ENOMEM;
		tm_lock_acquire(&place->lock);
	}
	answered(place, s);
	s->doubtful = err;
	if (err)
		s->refused = true;
	tm_lock_release(&place->lock);

	tm_free(memory.table, LEAVES * sizeof(*memory.table));
	tm_free(memory.leaf, leaf_bytes);
	return err;
}

void tm_place_extent_refused(struct tm_place *place, unsigned int server)
{
	tm_lock_acquire(&place->lock);
	answered(place, &place->server[server]);
	place->server[server].refused = true;
	place->server[server].doubtful = true;
	tm_lock_release(&place->lock);
}

static void shut_set(struct tm_place *p, unsigned int server, bool shut)
{
	tm_store_relaxed(&p->server[server].shut, shut);
	free_slots_add(p, server, 0);
}

void tm_place_store_refused(struct tm_place *place, unsigned int server)
{
	tm_lock_acquire(&place->lock);
	shut_set(place, server, true);
	tm_lock_release(&place->lock);
}

void tm_place_server_room(struct tm_place *place, unsigned int server)
{
	tm_lock_acquire(&place->lock);
	place->server[server].refused = false;
	shut_set(place, server, false);
	tm_lock_release(&place->lock);
}

void tm_place_server_lost(struct tm_place *place, unsigned int server)
{
	struct place_server *s = &place->server[server];
	void **leaf;

	tm_lock_acquire(&place->lock);
	leaf = s->leaf;
	s->leaf = NULL;
	tm_store_relaxed(&s->alive, false);
	place->nr_asked -= s->asked;
	place->nr_extents -= s->nr_extents;
	place->nr_idle -= s->nr_idle;
	s->asked = 0;
	s->nr_extents = 0;
	s->nr_idle = 0;
	free_slots_add(place, server, -(s64)s->free_slots);
	tm_lock_release(&place->lock);

	leaves_free(leaf, s->record_bytes);
}

bool tm_place_server_alive(const struct tm_place *place, unsigned int server)
{
	return tm_load_relaxed(&place->server[server].alive);
}

bool tm_place_server_takes(const struct tm_place *place, unsigned int server)
{
	return tm_place_server_alive(place, server) &&
	       !tm_load_relaxed(&place->server[server].shut);
}

bool tm_place_extent_idle(struct tm_place *place, unsigned int *server,
			  u64 *addr, u64 *bytes)
{
	bool found = false;
	unsigned int i;

	tm_lock_acquire(&place->lock);
	for (i = 0; place->nr_idle && i < place->nr_servers && !found; i++) {
		struct place_server *s = &place->server[i];
		u32 number;

		if (!s->nr_idle)
			continue;
		/* Twice: else the next eviction would ask for it again. */
		if (place->nr_extents <= place->limit && !s->shut &&
		    s->free_slots < s->extent_slots + 2 * place->ahead_slots)
			continue;
		number = s->idle.first;
		list_remove(s, &s->idle, number);
		extent_at(s, number)->state = EXTENT_ABSENT;
		s->nr_idle--;
		place->nr_idle--;
		s->nr_extents--;
		place->nr_extents--;
		free_slots_add(place, i, -(s64)s->extent_slots);
		*server = i;
		*addr = number * s->extent_bytes;
		*bytes = s->extent_bytes;
		found = true;
	}
	tm_lock_release(&place->lock);
	return found;
}

void tm_place_extent_keep(struct tm_place *place, unsigned int server, u64 addr)
{
	struct place_server *s = &place->server[server];

	tm_lock_acquire(&place->lock);
	if (s->alive) {
		extent_file(place, s, (u32)(addr / s->extent_bytes));
		s->nr_extents++;
		place->nr_extents++;
		free_slots_add(place, server, s->extent_slots);
	}
	tm_lock_release(&place->lock);
}

void tm_place_limit_set(struct tm_place *place, u64 extents)
{
	tm_lock_acquire(&place->lock);
	place->limit = extents;
	tm_lock_release(&place->lock);
}

u64 tm_place_extents(struct tm_place *place)
{
	u64 extents;

	tm_lock_acquire(&place->lock);
	extents = place->nr_extents;
	tm_lock_release(&place->lock);
	return extents;
}
