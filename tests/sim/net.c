// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The simulated transport and the servers behind it.
 *
 * A request is delivered once, or twice when its connection broke in between
 * (requests are idempotent), or late; its completion comes back later still,
 * in any order. What a request of a lost server did is anyone's guess, as in
 * life; it ends with -EIO.
 */
#include "tests/sim/sim.h"

#define REQUESTS_MAX 2048

enum kind { NONE, FETCH, STORE, DISCARD, RESERVE, RELEASE };

struct net_request {
	enum kind kind;
	u64 seq; /* order of submission */
	u64 deliver_ns;
	u64 complete_ns;
	bool delivered;
	bool again; /* to be delivered once more */
	bool completing;
	int status;
	unsigned int lane;
	unsigned int server;
	u64 addr;
	u64 bytes;
	struct tm_io *io;
	u64 damaged; /* bit for each block of a reply */
	struct content content[TM_IO_BLOCKS];
};

static struct net_request requests[REQUESTS_MAX];
static unsigned int nr_requests; /* slots of the table ever used */
static unsigned int under_way;
static u64 last_seq;

static u64 block_bytes(void)
{
	return 1ull << sim.config.pager.block_shift;
}

static u64 extent_bytes(void)
{
	return (u64)sim.config.extent_slots << sim.config.pager.block_shift;
}

static bool disturbed(unsigned int per_mille)
{
	return !sim.calm && sim_chance(per_mille);
}

void net_init(void)
{
	unsigned int i, k;

	memset(requests, 0, sizeof(requests));
	nr_requests = under_way = 0;
	last_seq = 0;
	for (i = 0; i < sim.config.pager.nr_servers; i++) {
		sim.server[i].alive = true;
		for (k = 0; k < SIM_SLOTS_MAX; k++)
			sim.server[i].slot[k].owner = SIM_NO_BLOCK;
	}
}

static bool ends_use(enum kind kind)
{
	return kind == DISCARD || kind == RELEASE;
}

/*
 * Who discards or releases bytes does nothing else with them meanwhile. But
 * once the server has done a RELEASE, the extent may be lent again before the
 * reply arrives.
 */
static void check_alone(enum kind kind, unsigned int server, u64 addr,
			u64 bytes)
{
	const struct net_request *q;

	for (q = requests; q < requests + nr_requests; q++)
		if (q->kind != NONE && q->server == server &&
		    !(q->kind == RELEASE && q->delivered) &&
		    q->addr < addr + bytes && addr < q->addr + q->bytes &&
		    sim.server[server].alive)
			sim_check(!ends_use(kind) && !ends_use(q->kind),
				  "server %u addr %llx: what is discarded or "
				  "released is in use",
				  server, (unsigned long long)addr);
}

static struct net_request *submit(enum kind kind, unsigned int lane,
				  unsigned int server, u64 addr, u64 bytes)
{
	const struct sim_config *c = &sim.config;
	struct net_request *r = requests;

	while (r < requests + nr_requests && r->kind != NONE)
		r++;
	sim_check(r < requests + REQUESTS_MAX, "too many requests under way");
	if (r == requests + nr_requests)
		nr_requests++;
	sim_check(server < c->pager.nr_servers, "server %u", server);
	check_alone(kind, server, addr, bytes);

	memset(r, 0, offsetof(struct net_request, content));
	r->kind = kind;
	r->seq = ++last_seq;
	r->lane = lane;
	r->server = server;
	r->addr = addr;
	r->bytes = bytes;
	r->deliver_ns = sim.now + sim_random(100000);
	if (disturbed(c->lose))
		r->deliver_ns += sim_random(200 * SIM_MS);
	/* The answer to the others is remembered by the server. */
	r->again = kind != RESERVE && kind != RELEASE && disturbed(c->resend);
	r->complete_ns = r->deliver_ns + sim_random(100000);
	if (disturbed(c->late))
		r->complete_ns += sim_random(100 * SIM_MS);
	under_way++;
	return r;
}

/* The slots that a range of a server covers; all must be the session's. */
static struct sim_slot *slots_at(unsigned int server, u64 addr, u64 bytes)
{
	struct sim_server *s = &sim.server[server];
	u64 first = addr / extent_bytes();
	u64 last = (addr + bytes - 1) / extent_bytes();
	u64 i;

	sim_check(bytes && addr % block_bytes() == 0 &&
			  bytes % block_bytes() == 0,
		  "address %llx, %llu bytes", (unsigned long long)addr,
		  (unsigned long long)bytes);
	for (i = first; i <= last; i++)
		sim_check(i < SIM_EXTENTS_MAX && s->held[i],
			  "server %u: address %llx, %llu bytes are not ours",
			  server, (unsigned long long)addr,
			  (unsigned long long)bytes);
	return &s->slot[addr / block_bytes()];
}

static void deliver_fetch(struct net_request *r)
{
	struct sim_slot *slot = slots_at(r->server, r->addr, r->bytes);
	unsigned int i;

	r->status = 0;
	if (disturbed(sim.config.refuse_fetch)) {
		r->status = -EREMOTEIO;
		for (i = 0; i < r->io->nr; i++)
			sim.block[io_block(r->io, i)].causes |= CAUSE_REFUSED;
		return;
	}
	r->damaged = 0;
	for (i = 0; i < r->io->nr; i++) {
		if (disturbed(sim.config.damage)) {
			/* What is kept, or this reply only? */
			if (!sim_random(4)) {
				content_damage(&slot[i].content, &slot[i],
					       r->server);
				slot_damaged(&slot[i]);
			}
			r->content[i] = slot[i].content;
			content_damage(&r->content[i], &slot[i], r->server);
			sim_trace("damaged reply for block %llu",
				  (unsigned long long)io_block(r->io, i));
			r->damaged |= 1ull << i;
		} else {
			r->content[i] = slot[i].content;
		}
	}
}

static void deliver_store(struct net_request *r)
{
	struct sim_slot *slot = slots_at(r->server, r->addr, r->bytes);
	unsigned int i;

	r->status = 0;
	if (r->server == sim.config.stubborn ||
	    disturbed(sim.config.refuse_store)) {
		r->status = -EREMOTEIO;
		return;
	}
	if (glue_lies(SABOTAGE_STORE, r->io->seg[0].frame) && !sim_random(50))
		return;
	for (i = 0; i < r->io->nr; i++) {
		u64 block = io_block(r->io, i);
		struct sim_block *b = &sim.block[block];
		const struct content *now;

		now = glue_stored_content(block, io_frame(r->io, i));
		sim_check(!memcmp(now, &r->content[i], sizeof(*now)),
			  "bytes of block %llu changed during a store",
			  (unsigned long long)block);
		slot[i].old = slot[i].content;
		slot[i].content = *now;
		slot[i].owner = block;
		b->causes &= ~CAUSE_DAMAGED;
		b->damaged = 0;
		if (disturbed(sim.config.damage)) {
			content_damage(&slot[i].content, &slot[i], r->server);
			slot_damaged(&slot[i]);
			sim_trace("damaged copy of block %llu",
				  (unsigned long long)block);
		}
	}
}

static void deliver_reserve(struct net_request *r)
{
	struct sim_server *s = &sim.server[r->server];
	u64 i;

	r->status = -ENOMEM;
	if (s->nr_held >= sim.config.server_extents[r->server] ||
	    disturbed(sim.config.refuse_reserve))
		return;
	/* By chance in a row or scattered. */
	i = sim_random(2) ? 0 : sim_random(SIM_EXTENTS_MAX);
	while (s->held[i])
		i = (i + 1) % SIM_EXTENTS_MAX;
	s->held[i] = true;
	s->nr_held++;
	r->status = 0;
	r->addr = i * extent_bytes();
	r->bytes = extent_bytes();
}

static void deliver_release(struct net_request *r)
{
	struct sim_server *s = &sim.server[r->server];
	struct sim_slot *slot = slots_at(r->server, r->addr, r->bytes);
	u32 i;

	sim_check(r->addr % extent_bytes() == 0 && r->bytes == extent_bytes(),
		  "release of half an extent");
	for (i = 0; i < sim.config.extent_slots; i++)
		slot_spoil(&slot[i]);
	s->held[r->addr / extent_bytes()] = false;
	s->nr_held--;
}

static bool overlap(const struct net_request *a, const struct net_request *b)
{
	return a->server == b->server && a->addr < b->addr + b->bytes &&
	       b->addr < a->addr + a->bytes;
}

static void deliver(struct net_request *r)
{
	struct net_request *q;
	u64 i;

	for (q = requests; q < requests + nr_requests; q++)
		sim_check(q == r || q->kind != STORE || r->kind != STORE ||
				  (q->delivered && !q->again) || !overlap(q, r),
			  "two stores to one address at one time");
	r->delivered = true;
	if (!sim.server[r->server].alive) {
		r->status = -EIO;
		return;
	}
	switch (r->kind) {
	case FETCH:
		deliver_fetch(r);
		break;
	case STORE:
		deliver_store(r);
		break;
	case RESERVE:
		deliver_reserve(r);
		break;
	case RELEASE:
		deliver_release(r);
		break;
	default:
		for (i = 0; i < r->bytes / block_bytes(); i++)
			slot_spoil(slots_at(r->server, r->addr, r->bytes) + i);
	}
}

void net_deliver(void)
{
	struct net_request *r;

	for (r = requests; r < requests + nr_requests; r++) {
		if (r->kind == NONE || (r->delivered && !r->again) ||
		    r->deliver_ns > sim.now)
			continue;
		if (!r->delivered && r->again) {
			deliver(r);
			r->deliver_ns = sim.now + sim_random(50 * SIM_MS);
			r->complete_ns = r->deliver_ns + sim_random(100000);
			continue;
		}
		r->again = false;
		deliver(r);
	}
}

/* A block that comes back damaged is fetched again, but only once. */
static void count_damage(const struct net_request *r)
{
	unsigned int i;

	for (i = 0; i < r->io->nr; i++) {
		struct sim_block *b = &sim.block[io_block(r->io, i)];

		if (!(r->damaged >> i & 1))
			b->damaged = 0;
		else if (++b->damaged > 1)
			b->causes |= CAUSE_DAMAGED;
	}
}

/* Lanes whose RESERVE ends: there is room for the release of its extent. */
static bool reserve_ends[TM_LANES_MAX];

static void net_reserved(struct tm_lane *lane, unsigned int server, u64 addr,
			 u64 bytes, int status)
{
	bool *ends = &reserve_ends[tm_lane_index(lane)];

	*ends = true;
	tm_pager_reserved(lane, server, addr, bytes, status);
	*ends = false;
}

static void run_complete(struct sim_task *task, struct tm_lane *lane)
{
	struct net_request *r = task->request;
	struct tm_io *io = r->io;
	enum kind kind = r->kind;
	u64 addr = r->addr, bytes = r->bytes;
	unsigned int server = r->server, i;
	int status = r->status;

	if (kind == FETCH)
		count_damage(r);
	for (i = 0; io && i < io->nr; i++) {
		if (kind == STORE)
			glue_frame(io_block(io, i), io_frame(io, i))->stores--;
		else if (status)
			glue_not_filled(io_block(io, i), io_frame(io, i));
		else
			glue_filled(io_block(io, i), io_frame(io, i),
				    &r->content[i]);
	}
	r->kind = NONE;
	under_way--;
	sim_trace("%s server %u addr %llx ends: %d",
		  kind == FETCH	    ? "fetch"
		  : kind == STORE   ? "store"
		  : kind == RESERVE ? "reserve"
				    : "discard",
		  server, (unsigned long long)addr, status);
	if (kind == FETCH)
		tm_pager_fetched(io, status);
	else if (kind == STORE)
		tm_pager_stored(io, status);
	else if (kind == RESERVE)
		net_reserved(lane, server, addr, bytes, status);
	else if (kind == DISCARD)
		tm_pager_discarded(lane, server, addr, bytes);
}

bool net_complete(void)
{
	unsigned int i, k;

	if (!nr_requests)
		return false;
	i = (unsigned int)sim_random(nr_requests);
	for (k = 0; k < nr_requests; k++, i = (i + 1) % nr_requests) {
		struct net_request *r = &requests[i];
		const struct sim_task task = {.run = run_complete,
					      .request = r};

		if (r->kind == NONE || !r->delivered || r->again ||
		    r->complete_ns > sim.now || !sched_lane_idle(r->lane))
			continue;
		sched_start(r->lane, &task);
		return true;
	}
	return false;
}

void net_next(u64 *when)
{
	const struct net_request *r;

	for (r = requests; r < requests + nr_requests; r++) {
		u64 ns = !r->delivered || r->again ? r->deliver_ns
						   : r->complete_ns;

		if (r->kind != NONE && ns < *when)
			*when = ns;
	}
}

unsigned int net_under_way(void)
{
	return under_way;
}

/*
 * The servers were told of everything that is not needed any more. (What a
 * refused store left behind is not worth telling.)
 */
void net_check_empty(void)
{
	unsigned int i, k;

	if (sim.config.refuse_store ||
	    sim.config.stubborn < sim.config.pager.nr_servers)
		return;
	for (i = 0; i < sim.config.pager.nr_servers; i++)
		for (k = 0; sim.server[i].alive && k < SIM_SLOTS_MAX; k++)
			sim_check(sim.server[i].slot[k].owner == SIM_NO_BLOCK,
				  "server %u still keeps block %llu", i,
				  (unsigned long long)sim.server[i]
					  .slot[k]
					  .owner);
}

/* Are the block's bytes in local memory, for good? */
static bool local(u64 block)
{
	unsigned int i, nr = sim.config.pager.nr_frames;

	for (i = 0; i < 2 * nr; i++) {
		const struct sim_frame *f =
			i < nr ? &sim.frame[i] : &sim.huge[i - nr];

		if (f->block != block)
			continue;
		/* A lane in the middle of a call may be giving it up. */
		if (f->state == FRAME_MAPPED)
			return !sim.block[block].ops;
		if (f->state == FRAME_STABLE)
			return f->stores || sched_all_idle();
	}
	return false;
}

void net_server_lost(unsigned int server)
{
	struct sim_server *s = &sim.server[server];
	struct net_request *r;
	unsigned int i;

	sim_trace("server %u is lost", server);
	s->alive = false;
	for (i = 0; i < SIM_SLOTS_MAX; i++)
		if (s->slot[i].owner != SIM_NO_BLOCK &&
		    !local(s->slot[i].owner))
			sim.block[s->slot[i].owner].causes |= CAUSE_SERVER_LOST;
	for (r = requests; r < requests + nr_requests; r++) {
		if (r->kind == NONE || r->server != server)
			continue;
		r->delivered = true;
		r->again = false;
		r->status = -EIO;
		r->complete_ns = sim.now + sim_random(SIM_MS);
	}
}

/* Blocks of a huge frame, perhaps a part of it; or each in one of its own. */
static void io_check(const struct tm_io *io)
{
	const struct tm_pager_config *p = &sim.config.pager;
	u64 first = io->seg[0].block;
	unsigned int i;

	sim_check(io->nr >= 1 && io->nr <= TM_IO_BLOCKS, "request of %u blocks",
		  io->nr);
	if (glue_is_huge(io->seg[0].frame)) {
		sim_check(io->nr_segs == 1 &&
				  first / p->huge_blocks ==
					  (first + io->nr - 1) / p->huge_blocks,
			  "request of %u blocks from %llu on, %u segments",
			  io->nr, (unsigned long long)first, io->nr_segs);
		return;
	}
	sim_check(
		io->nr_segs == io->nr &&
			(io->nr == 1 || io->nr * block_bytes() <= p->io_bytes),
		"request of %u blocks, %u segments", io->nr, io->nr_segs);
	for (i = 0; i < io->nr; i++)
		sim_check(!glue_is_huge(io->seg[i].frame),
			  "block %llu alone in a huge frame",
			  (unsigned long long)io->seg[i].block);
}

static struct net_request *submit_io(enum kind kind, struct tm_io *io)
{
	unsigned int lane = tm_lane_index(io->lane), i, nr = 0, blocks = 0;
	const struct tm_pager_config *p = &sim.config.pager;
	struct net_request *r;

	io_check(io);
	sim_trace("%s block %llu frame %u, %u blocks, server %u addr %llx",
		  kind == FETCH ? "fetch" : "store",
		  (unsigned long long)io->seg[0].block, io->seg[0].frame,
		  io->nr, io->server, (unsigned long long)io->addr);
	r = submit(kind, lane, io->server, io->addr, io->nr * block_bytes());
	r->io = io;
	for (i = 0; i < nr_requests; i++)
		if (requests[i].kind != NONE && requests[i].io &&
		    requests[i].lane == lane) {
			nr++;
			blocks += requests[i].io->nr;
		}
	sim_check(nr <= p->io_depth, "%u requests under way on lane %u", nr,
		  lane);
	/* the last one may be huge */
	sim_check(blocks < p->io_depth + (p->huge_blocks ? p->huge_blocks : 1),
		  "%u blocks under way on lane %u", blocks, lane);
	return r;
}

void net_fetch(struct tm_io *io)
{
	sim.fetches++;
	submit_io(FETCH, io);
}

void net_store(struct tm_io *io)
{
	struct net_request *r = submit_io(STORE, io);
	unsigned int i;

	sim.stores++;
	for (i = 0; i < io->nr; i++)
		r->content[i] =
			*glue_stored_content(io_block(io, i), io_frame(io, i));
}

bool net_discard(void *ctx, struct tm_lane *lane, unsigned int server, u64 addr,
		 u64 bytes)
{
	struct sim_slot *slot;

	if (disturbed(100)) {
		/* Too much is under way: the server never hears of it. */
		slot = slots_at(server, addr, bytes);
		for (; bytes; bytes -= block_bytes(), slot++)
			slot->owner = SIM_NO_BLOCK;
		return false;
	}
	sim_trace("discard server %u addr %llx, %llu bytes", server,
		  (unsigned long long)addr, (unsigned long long)bytes);
	submit(DISCARD, tm_lane_index(lane), server, addr, bytes);
	sched_yield_lane();
	return true;
}

void net_reserve(void *ctx, struct tm_lane *lane, unsigned int server)
{
	sim_trace("reserve server %u", server);
	submit(RESERVE, tm_lane_index(lane), server, 0, 0);
	sched_yield_lane();
}

bool net_release(void *ctx, struct tm_lane *lane, unsigned int server, u64 addr,
		 u64 bytes)
{
	if (!reserve_ends[tm_lane_index(lane)] && !sim.calm && sim_chance(100))
		return false;
	sim_trace("release server %u addr %llx", server,
		  (unsigned long long)addr);
	submit(RELEASE, tm_lane_index(lane), server, addr, bytes);
	sched_yield_lane();
	return true;
}
