// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The pager's I/O as requests over the sessions: lane i uses channel i of each
 * session. What the pager hands over from one batch of events is sent with one
 * flush per server.
 *
 * No memory is allocated while paging: each lane has its requests from the
 * start. Lock order: none.
 */
#include "allocator/engine_internal.h"

#define TRANSPORT_WHY_BYTES 512
#define REFUSED_LOG_NS (60ull * 1000000000)

struct tm_transport_request {
	struct tm_request request;
	struct tm_engine_lane *lane;
	struct tm_io *io; /* NULL: not one of the pager's */
	u16 server;
	int err;			   /* of a failed one */
	struct tm_transport_request *next; /* free or failed */
};

static unsigned int lane_requests(const struct tm_uffd_engine *e)
{
	return e->io_depth + tm_upkeep_max(e->map.nr_servers);
}

static void server_lost(void *ctx, struct tm_session *session, const char *why)
{
	struct tm_uffd_engine *e = ctx;
	struct tm_engine_lane *lane = tm_lane_self();

	for (unsigned int i = 0; i < e->map.nr_servers; i++) {
		if (e->session[i] != session)
			continue;
		tm_lane_log(TM_LOG_ERROR,
			    "%s; access to memory that only it had ends in "
			    "SIGBUS",
			    why);
		tm_pager_server_lost(lane->pager, i);
	}
}

static void server_renewed(void *ctx, struct tm_session *session)
{
	struct tm_engine_lane *lane = tm_lane_self();

	tm_stats_add(tm_lane_stats(lane->pager), reconnects, 1);
}

static const struct tm_session_ops session_ops = {
	.lost = server_lost,
	.renewed = server_renewed,
};

int tm_transport_open(struct tm_uffd_engine *e)
{
	char why[TRANSPORT_WHY_BYTES];
	struct tm_session_config config = {
		.job = e->map.job,
		.timeout_ms = e->map.timeout_s * 1000,
		.nr_channels = e->nr_lanes,
		.depth = lane_requests(e),
	};
	const struct tm_wire_welcome *w;
	int err;

	for (unsigned int i = 0; i < e->map.nr_servers; i++) {
		config.server = &e->map.server[i];
		err = tm_session_open(&config, &session_ops, e, &e->session[i],
				      why, sizeof(why));
		if (err) {
			tm_lane_log(TM_LOG_ERROR, "start engine: %s", why);
			return err;
		}
		w = tm_session_welcome(e->session[i]);
		if (!e->budget.extent_bytes)
			e->budget.extent_bytes =
				tm_le64_to_cpu(w->extent_bytes);
		if (e->budget.extent_bytes != tm_le64_to_cpu(w->extent_bytes) ||
		    e->budget.extent_bytes < e->engine.block) {
			tm_lane_log(TM_LOG_ERROR,
				    "connect to server %s: its extents have "
				    "%llu bytes, those of the first server "
				    "%llu, a block %zu; start all servers with "
				    "the same extent size, a multiple of the "
				    "block size",
				    e->map.server[i].address,
				    (unsigned long long)tm_le64_to_cpu(
					    w->extent_bytes),
				    (unsigned long long)e->budget.extent_bytes,
				    e->engine.block);
			return -EINVAL;
		}
	}
	return 0;
}

void tm_transport_close(struct tm_uffd_engine *e)
{
	for (unsigned int i = 0; i < e->map.nr_servers; i++)
		if (e->session[i])
			tm_session_close(e->session[i]);
}

int tm_transport_lane_init(struct tm_engine_lane *lane)
{
	lane->requests_bytes =
		lane_requests(lane->engine) * sizeof(*lane->requests);
	lane->requests = tm_alloc(lane->requests_bytes);
	if (!lane->requests)
		return -ENOMEM;
	lane->upkeep = (struct tm_upkeep){
		.nr_servers = lane->engine->map.nr_servers,
	};
	return 0;
}

/* The pager sends it nothing more; the next tick lets it try again. */
static void store_refused(struct tm_engine_lane *lane, u16 server)
{
	struct tm_uffd_engine *e = lane->engine;
	u64 now = tm_engine_now(),
	    last = tm_load_relaxed(&e->refused_ns[server]);

	tm_store_relaxed(&e->full[server], true);
	if ((!last || now - last > REFUSED_LOG_NS) &&
	    tm_cas(&e->refused_ns[server], last, now))
		tm_lane_log(TM_LOG_ERROR,
			    "store on server %s: refused, see that server's "
			    "log; other servers get what was for it, or access "
			    "to memory that finds no room ends in SIGBUS after "
			    "%u seconds",
			    e->map.server[server].address, e->stall_ms / 1000);
}

static void complete(struct tm_transport_request *r, int err)
{
	struct tm_engine_lane *lane = r->lane;
	struct tm_request request = {.type = r->request.type,
				     .addr = r->request.addr,
				     .bytes = r->request.bytes};
	struct tm_io *io = r->io;
	u16 server = r->server;

	r->next = lane->free_request;
	lane->free_request = r;
	switch (request.type) {
	case TM_WIRE_READ:
		tm_pager_fetched(io, err);
		return;
	case TM_WIRE_WRITE:
		if (err && err != -EIO)
			store_refused(lane, server);
		tm_pager_stored(io, err);
		return;
	case TM_WIRE_RESERVE:
		if (err)
			tm_store_relaxed(&lane->engine->full[server], true);
		break;
	}
	tm_upkeep_end(&lane->upkeep, lane->pager, request.type, server,
		      request.addr, request.bytes, err);
}

static void request_done(struct tm_request *request, int err)
{
	/* Refused by a server that lives: why is in that server's log. */
	complete(request->cookie, err && err != -EIO ? -EREMOTEIO : err);
}

static struct tm_transport_request *request_get(struct tm_engine_lane *lane,
						enum tm_wire_type type,
						u16 server, u64 addr, u64 bytes)
{
	struct tm_transport_request *r = lane->free_request;

	if (r) {
		lane->free_request = r->next;
	} else {
		TM_BUG_ON(lane->nr_requests == lane_requests(lane->engine));
		r = &lane->requests[lane->nr_requests++];
		r->lane = lane;
	}
	r->server = server;
	r->io = NULL;
	r->request.type = type;
	r->request.nr_iov = 0;
	r->request.addr = addr;
	r->request.bytes = bytes;
	r->request.done = request_done;
	r->request.cookie = r;
	return r;
}

/* It ends soon, but not from within. */
static void fail(struct tm_transport_request *r, int err)
{
	r->err = err;
	r->next = r->lane->failed;
	r->lane->failed = r;
}

static void submit(struct tm_transport_request *r)
{
	struct tm_engine_lane *lane = r->lane;
	struct tm_session *session = lane->engine->session[r->server];
	int err;

	err = tm_channel_submit(tm_session_channel(session, lane->index),
				&r->request);
	/* The channel is as deep as the lane has requests. */
	TM_BUG_ON(err == -EAGAIN);
	if (err) {
		fail(r, err);
	} else if (!lane->is_dirty[r->server]) {
		lane->is_dirty[r->server] = true;
		lane->dirty[lane->nr_dirty++] = r->server;
	}
}

_Static_assert(TM_IO_BLOCKS <= TM_REQUEST_IOV_MAX, "each may lie apart");

/* Neighbours mostly lie together in the staging area, too. */
static void payload_add(struct tm_request *request, void *base, size_t len)
{
	struct iovec *end = request->iov + request->nr_iov;

	if (end > request->iov &&
	    (char *)end[-1].iov_base + end[-1].iov_len == base) {
		end[-1].iov_len += len;
		return;
	}
	*end = (struct iovec){base, len};
	request->nr_iov++;
}

static void transfer(struct tm_uffd_engine *e, struct tm_io *io,
		     enum tm_wire_type type)
{
	struct tm_engine_lane *lane = tm_engine_lane_of(e, io->lane);
	size_t len = ((size_t)io->nr << e->block_shift) / io->nr_segs;
	struct tm_transport_request *r;
	void *bytes;

	/* The pager has no more than io_depth blocks under way. */
	r = request_get(lane, type, io->server, io->addr,
			(u64)io->nr << e->block_shift);
	r->io = io;
	for (unsigned int i = 0; i < io->nr_segs; i++) {
		bytes = type == TM_WIRE_WRITE
				? e->mech->bytes(e, io->seg[i].block,
						 io->seg[i].frame)
				: e->mech->fill(e, lane->index,
						io->seg[i].block,
						io->seg[i].frame);
		if (bytes) {
			payload_add(&r->request, bytes, len);
			continue;
		}
		tm_lane_log(TM_LOG_ERROR,
			    "fetch block %llu: no memory for it on this node",
			    (unsigned long long)io->seg[i].block);
		fail(r, -ENOMEM);
		return;
	}
	submit(r);
}

void tm_transport_fetch(void *ctx, struct tm_io *io)
{
	transfer(ctx, io, TM_WIRE_READ);
}

void tm_transport_store(void *ctx, struct tm_io *io)
{
	transfer(ctx, io, TM_WIRE_WRITE);
}

/* Returns false when too much is under way. */
static bool control(struct tm_uffd_engine *e, struct tm_lane *pager_lane,
		    enum tm_wire_type type, unsigned int server, u64 addr,
		    u64 bytes)
{
	struct tm_engine_lane *lane = tm_engine_lane_of(e, pager_lane);

	if (!tm_upkeep_start(&lane->upkeep, type))
		return false;
	submit(request_get(lane, type, (u16)server, addr, bytes));
	return true;
}

bool tm_transport_discard(void *ctx, struct tm_lane *lane, unsigned int server,
			  u64 addr, u64 bytes)
{
	return control(ctx, lane, TM_WIRE_DISCARD, server, addr, bytes);
}

void tm_transport_reserve(void *ctx, struct tm_lane *lane, unsigned int server)
{
	control(ctx, lane, TM_WIRE_RESERVE, server, 0, 0);
}

bool tm_transport_release(void *ctx, struct tm_lane *lane, unsigned int server,
			  u64 addr, u64 bytes)
{
	return control(ctx, lane, TM_WIRE_RELEASE, server, addr, bytes);
}

bool tm_transport_flush(struct tm_engine_lane *lane)
{
	unsigned int nr = lane->nr_dirty;
	u16 server;

	while (lane->nr_dirty) {
		server = lane->dirty[--lane->nr_dirty];
		lane->is_dirty[server] = false;
		tm_channel_flush(tm_session_channel(
			lane->engine->session[server], lane->index));
	}
	return nr > 0;
}

unsigned int tm_transport_process(struct tm_engine_lane *lane, bool idle_too)
{
	struct tm_uffd_engine *e = lane->engine;
	struct tm_transport_request *failed, *next;
	struct tm_channel *channel;
	unsigned int nr = 0;

	for (unsigned int i = 0; i < e->map.nr_servers; i++) {
		channel = tm_session_channel(e->session[i], lane->index);
		if (idle_too || tm_channel_under_way(channel))
			nr += (unsigned int)tm_channel_process(channel);
	}
	/* Only those of now: what completes may start, and fail, again. */
	failed = lane->failed;
	lane->failed = NULL;
	for (; failed; failed = next) {
		next = failed->next;
		complete(failed, failed->err);
		nr++;
	}
	return nr;
}

void tm_transport_tick(struct tm_engine_lane *lane)
{
	struct tm_uffd_engine *e = lane->engine;

	for (unsigned int i = 0; i < e->map.nr_servers; i++) {
		if (!tm_load_relaxed(&e->full[i]))
			continue;
		tm_store_relaxed(&e->full[i], false);
		tm_pager_server_room(e->pager, i);
	}
}
