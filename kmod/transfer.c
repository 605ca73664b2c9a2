// SPDX-License-Identifier: GPL-2.0
/*
 * The pager's I/O as requests on the lane's links. All requests, and the page
 * lists of those with a payload, are there from the start. Lock order: none.
 */
#define pr_fmt(fmt) "teramem: " fmt

#include <linux/bvec.h>
#include <linux/slab.h>

#include "kmod/internal.h"
#include "kmod/trace.h"

struct tm_transfer {
	struct tm_link_request request;
	struct tm_space_lane *lane;
	struct tm_io *io; /* NULL: not one of the pager's transfers */
	unsigned int server;
	int err;		  /* it could not be submitted */
	struct tm_transfer *next; /* free, or failed */
};

unsigned int tm_transfers_depth(const struct tm_space *space)
{
	return space->io_depth + tm_upkeep_max(space->config.nr_servers);
}

static void free_push(struct tm_transfer **list, struct tm_transfer *t)
{
	t->next = *list;
	*list = t;
}

static struct tm_transfer *free_pop(struct tm_transfer **list)
{
	struct tm_transfer *t = *list;

	if (t)
		*list = t->next;
	return t;
}

int tm_transfers_create(struct tm_space_lane *lane)
{
	struct tm_space *space = lane->space;
	u32 pages = space->config.io_bytes >> PAGE_SHIFT;
	u32 i, nr = tm_transfers_depth(space);
	struct tm_transfer *t;

	lane->transfers = vcalloc(nr, sizeof(*lane->transfers));
	lane->bvecs = vcalloc(array_size(space->io_depth, pages),
			      sizeof(*lane->bvecs));
	if (!lane->transfers || !lane->bvecs)
		return -ENOMEM;
	lane->upkeep.nr_servers = space->config.nr_servers;
	for (i = 0; i < nr; i++) {
		t = &lane->transfers[i];
		t->lane = lane;
		t->request.cookie = t;
		if (i < space->io_depth) {
			t->request.bvec = &lane->bvecs[(size_t)i * pages];
			free_push(&lane->free_data, t);
		} else {
			free_push(&lane->free_control, t);
		}
	}
	return 0;
}

void tm_transfers_destroy(struct tm_space_lane *lane)
{
	vfree(lane->bvecs);
	vfree(lane->transfers);
}

/* It lives, but takes nothing: to be tried again at the next tick. */
static void store_refused(struct tm_space_lane *lane, unsigned int server)
{
	lane->full[server] = true;
	pr_err_ratelimited(
		"store on server %u of space %s: refused; see that server's log\n",
		server, lane->space->config.name);
}

static void complete_transfer(struct tm_transfer *t, int err)
{
	struct tm_space_lane *lane = t->lane;
	struct tm_io *io = t->io;
	u64 addr = t->request.addr, bytes = t->request.bytes;
	unsigned int server = t->server;
	u8 type = t->request.type;

	/* the pager may start others from within what follows */
	free_push(io ? &lane->free_data : &lane->free_control, t);
	switch (type) {
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
			lane->full[server] = true;
		break;
	}
	tm_upkeep_end(&lane->upkeep, lane->pager, type, server, addr, bytes,
		      err);
}

static void transfer_done(struct tm_link_request *request, int err)
{
	/* refused by a server that lives: why is in that server's log */
	complete_transfer(request->cookie,
			  err && err != -EIO ? -EREMOTEIO : err);
}

unsigned int tm_transfers_fail(struct tm_space_lane *lane)
{
	struct tm_transfer *failed = lane->failed, *t;
	unsigned int nr = 0;

	/* only those of now: what completes may start, and fail, again */
	lane->failed = NULL;
	while ((t = free_pop(&failed))) {
		complete_transfer(t, t->err);
		nr++;
	}
	return nr;
}

void tm_transfers_tick(struct tm_space_lane *lane)
{
	unsigned int i;

	for (i = 0; i < lane->space->config.nr_servers; i++) {
		if (!lane->full[i])
			continue;
		lane->full[i] = false;
		tm_pager_server_room(lane->space->pager, i);
	}
}

/* Errors are told later, as the pager wants it. */
static void submit(struct tm_transfer *t)
{
	struct tm_space_lane *lane = t->lane;

	t->request.done = transfer_done;
	if (!t->err)
		t->err = tm_link_submit(lane->link[t->server], &t->request);
	if (t->err)
		free_push(&lane->failed, t);
}

static void transfer(struct tm_space *space, struct tm_io *io, u8 type)
{
	struct tm_space_lane *lane = tm_space_lane_of(space, io->lane);
	/* the pager has no more than io_depth blocks under way */
	struct tm_transfer *t = free_pop(&lane->free_data);
	struct bio_vec *bvec = t->request.bvec;
	struct page **page;
	u32 i, k;

	t->io = io;
	t->server = io->server;
	t->err = 0;
	t->request.type = type;
	t->request.addr = io->addr;
	t->request.bytes = (u64)io->nr << space->block_shift;
	t->request.nr_bvec = io->nr << space->page_order;
	for (i = 0; i < io->nr; i++) {
		page = tm_frame_fill(space, io->seg[i].frame);
		if (!page) {
			pr_err_ratelimited(
				"fetch block %llu of space %s: no memory for it on this node\n",
				io->seg[i].block, space->config.name);
			t->err = -ENOMEM;
			break;
		}
		for (k = 0; k < tm_block_pages(space); k++)
			*bvec++ = (struct bio_vec){
				.bv_page = page[k],
				.bv_len = PAGE_SIZE,
			};
	}
	submit(t);
}

void tm_op_fetch(void *ctx, struct tm_io *io)
{
	struct tm_space *space = ctx;

	trace_tm_fetch(space->config.name, io->seg[0].block, io->nr,
		       io->server);
	transfer(space, io, TM_WIRE_READ);
}

void tm_op_store(void *ctx, struct tm_io *io)
{
	struct tm_space *space = ctx;

	trace_tm_store(space->config.name, io->seg[0].block, io->nr,
		       io->server);
	transfer(space, io, TM_WIRE_WRITE);
}

/* Returns false when too much is under way. */
static bool control(struct tm_space *space, struct tm_lane *pager_lane, u8 type,
		    unsigned int server, u64 addr, u64 bytes)
{
	struct tm_space_lane *lane = tm_space_lane_of(space, pager_lane);
	struct tm_transfer *t;

	if (!tm_upkeep_start(&lane->upkeep, type))
		return false;
	t = free_pop(&lane->free_control);
	t->io = NULL;
	t->server = server;
	t->err = 0;
	t->request.type = type;
	t->request.addr = addr;
	t->request.bytes = bytes;
	t->request.nr_bvec = 0;
	submit(t);
	return true;
}

bool tm_op_discard(void *ctx, struct tm_lane *lane, unsigned int server,
		   u64 addr, u64 bytes)
{
	return control(ctx, lane, TM_WIRE_DISCARD, server, addr, bytes);
}

void tm_op_reserve(void *ctx, struct tm_lane *lane, unsigned int server)
{
	control(ctx, lane, TM_WIRE_RESERVE, server, 0, 0);
}

bool tm_op_release(void *ctx, struct tm_lane *lane, unsigned int server,
		   u64 addr, u64 bytes)
{
	return control(ctx, lane, TM_WIRE_RELEASE, server, addr, bytes);
}
