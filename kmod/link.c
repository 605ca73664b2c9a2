// SPDX-License-Identifier: GPL-2.0
/*
 * The requests of a link: their table, their order, and the sending half; see
 * link.h and, for who may touch what, link_internal.h.
 *
 * Requests are numbered and sent in the order of submission. One that is on the
 * table stays there until it is answered, over however many connections.
 */
#include <linux/file.h>
#include <linux/kernel.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uio.h>

#include "kmod/link_internal.h"

static void encode(struct tm_link *link, struct tm_link_slot *slot)
{
	const struct tm_link_request *request = slot->request;
	struct tm_msg msg = {
		.type = request->type,
		.id = slot->id,
		.epoch = link->epoch,
		.length = tm_link_payload_out(request),
	};

	switch (request->type) {
	case TM_WIRE_READ:
	case TM_WIRE_DISCARD:
	case TM_WIRE_RELEASE:
		msg.argument = request->bytes;
		msg.addr = request->addr;
		break;
	case TM_WIRE_WRITE:
		msg.addr = request->addr;
		break;
	}
	tm_msg_encode(&msg, &slot->header);
}

void tm_link_enqueue(struct tm_link *link, struct tm_link_request *request)
{
	u32 index = link->free;
	struct tm_link_slot *slot = &link->slots[index];

	link->free = slot->next;
	slot->request = request;
	slot->id = ++link->sequence << TM_LINK_ID_INDEX_BITS | index;
	slot->sent = false;
	slot->next = TM_LINK_NONE;
	slot->prev = link->tail;
	if (link->tail == TM_LINK_NONE)
		link->head = index;
	else
		link->slots[link->tail].next = index;
	link->tail = index;
	if (link->unsent == TM_LINK_NONE)
		WRITE_ONCE(link->unsent, index);
	link->under_way++;
	link->reserves += request->type == TM_WIRE_RESERVE;
	encode(link, slot);
}

int tm_link_submit(struct tm_link *link, struct tm_link_request *request)
{
	if (link->lost)
		return -EIO;
	if (tm_link_under_way(link) == link->config.depth)
		return -EAGAIN;
	if (request->type == TM_WIRE_RESERVE &&
	    link->reserves == TM_PROTO_RESERVES_MAX)
		return -EAGAIN;
	if (tm_link_under_way(link) == link->reserves)
		link->heart.progress = tm_link_now();
	tm_link_enqueue(link, request);
	return 0;
}

unsigned int tm_link_under_way(const struct tm_link *link)
{
	return link->under_way - link->heart.ping_under_way;
}

void tm_link_finish(struct tm_link *link, struct tm_link_slot *slot, int err)
{
	struct tm_link_request *request = slot->request;
	u32 index = slot - link->slots;

	if (slot->prev == TM_LINK_NONE)
		link->head = slot->next;
	else
		link->slots[slot->prev].next = slot->next;
	if (slot->next == TM_LINK_NONE)
		link->tail = slot->prev;
	else
		link->slots[slot->next].prev = slot->prev;
	slot->request = NULL;
	slot->next = link->free;
	link->free = index;
	link->under_way--;
	link->reserves -= request->type == TM_WIRE_RESERVE;
	if (request != &link->ping)
		link->completions++;
	request->done(request, err);
}

void tm_link_rewind(struct tm_link *link)
{
	u32 i;

	for (i = link->head; i != TM_LINK_NONE; i = link->slots[i].next) {
		struct tm_link_slot *slot = &link->slots[i];

		slot->sent = false;
		encode(link, slot);
	}
	WRITE_ONCE(link->unsent, link->head);
	link->tx_done = 0;
	link->tx_full = false;
	link->rx_slot = NULL;
	link->rx_header_done = 0;
}

static void fail_all(struct tm_link *link)
{
	while (link->head != TM_LINK_NONE)
		tm_link_finish(link, &link->slots[link->head], -EIO);
	WRITE_ONCE(link->unsent, TM_LINK_NONE);
}

/* The rest of the slot's header, or of its payload. Bytes sent, or -errno. */
static int send_piece(struct tm_link *link, struct tm_link_slot *slot)
{
	const struct tm_link_request *request = slot->request;
	struct msghdr msg = {.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL};
	u32 payload = tm_link_payload_out(request);
	struct kvec vec;

	if (slot->next != TM_LINK_NONE)
		msg.msg_flags |= MSG_MORE;
	if (link->tx_done < sizeof(slot->header)) {
		if (payload)
			msg.msg_flags |= MSG_MORE;
		vec.iov_base = (u8 *)&slot->header + link->tx_done;
		vec.iov_len = sizeof(slot->header) - link->tx_done;
		iov_iter_kvec(&msg.msg_iter, WRITE, &vec, 1, vec.iov_len);
	} else {
		iov_iter_bvec(&msg.msg_iter, WRITE, request->bvec,
			      request->nr_bvec, payload);
		iov_iter_advance(&msg.msg_iter,
				 link->tx_done - sizeof(slot->header));
	}
	return sock_sendmsg(link->sock, &msg);
}

static void send_requests(struct tm_link *link)
{
	while (link->sock && !link->tx_full && link->unsent != TM_LINK_NONE) {
		struct tm_link_slot *slot = &link->slots[link->unsent];
		int n = send_piece(link, slot);

		if (n == -EAGAIN) {
			WRITE_ONCE(link->tx_full, true);
		} else if (n < 0) {
			tm_link_drop(link, n, "sending failed");
		} else {
			link->tx_done += n;
			if (link->tx_done <
			    sizeof(slot->header) +
				    tm_link_payload_out(slot->request))
				continue;
			link->tx_done = 0;
			slot->sent = true;
			WRITE_ONCE(link->unsent, slot->next);
		}
	}
}

int tm_link_process(struct tm_link *link)
{
	link->completions = 0;
	if (READ_ONCE(link->event)) {
		/* Before the looks at what it announces. */
		smp_store_mb(link->event, false);
		link->tx_full = false;
		tm_link_adopt(link);
		tm_link_receive(link);
	}
	send_requests(link);
	tm_link_keep_time(link);
	send_requests(link);
	if (link->lost)
		fail_all(link);
	return link->completions;
}

bool tm_link_ready(const struct tm_link *link)
{
	if (READ_ONCE(link->event))
		return true;
	return READ_ONCE(link->attached) && !READ_ONCE(link->tx_full) &&
	       READ_ONCE(link->unsent) != TM_LINK_NONE;
}

bool tm_link_attached(const struct tm_link *link)
{
	return READ_ONCE(link->attached);
}

u64 tm_link_reconnects(const struct tm_link *link)
{
	return link->reconnects;
}

int tm_link_create(const struct tm_link_config *config, struct tm_link **result)
{
	/* One more than asked for: the ping's. */
	u32 nr_slots = config->depth + 1, i;
	struct tm_link *link;

	link = kzalloc(sizeof(*link), GFP_KERNEL);
	if (!link)
		return -ENOMEM;
	link->slots = kvcalloc(nr_slots, sizeof(*link->slots), GFP_KERNEL);
	if (!link->slots) {
		kfree(link);
		return -ENOMEM;
	}
	link->config = *config;
	spin_lock_init(&link->lock);
	link->heart.timeout = (u64)config->timeout_ms * NSEC_PER_MSEC;
	link->nr_slots = nr_slots;
	link->head = link->tail = link->unsent = TM_LINK_NONE;
	for (i = 0; i < nr_slots; i++)
		link->slots[i].next = i + 1 < nr_slots ? i + 1 : TM_LINK_NONE;
	*result = link;
	return 0;
}

/*
 * The session ends on purpose: the server need not keep it for the grace time.
 * Not into the middle of another message.
 */
static void say_bye(struct tm_link *link)
{
	const struct tm_msg bye = {.type = TM_WIRE_BYE, .epoch = link->epoch};
	struct msghdr msg = {.msg_flags = MSG_DONTWAIT | MSG_NOSIGNAL};
	struct tm_wire_header header;
	struct kvec vec = {&header, sizeof(header)};

	if (!link->sock || link->tx_done)
		return;
	tm_msg_encode(&bye, &header);
	kernel_sendmsg(link->sock, &msg, &vec, 1, sizeof(header));
}

void tm_link_destroy(struct tm_link *link)
{
	if (link->incoming)
		sockfd_put(link->incoming);
	say_bye(link);
	tm_link_unhook(link);
	kvfree(link->slots);
	kfree(link);
}
