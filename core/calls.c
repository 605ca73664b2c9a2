// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * The table of requests under way; see calls.h.
 */
#include "core/calls.h"

#define INDEX_BITS 16
_Static_assert(TM_CALLS_MAX == 1u << INDEX_BITS, "indices fit into ids");

void tm_calls_init(struct tm_calls *calls, struct tm_call *call, u32 nr)
{
	u32 i;

	calls->call = call;
	calls->nr = nr;
	calls->head = calls->tail = calls->unsent = TM_CALL_NONE;
	for (i = 0; i < nr; i++)
		call[i].next = i + 1 < nr ? i + 1 : TM_CALL_NONE;
}

static void encode(const struct tm_calls *calls, struct tm_call *call, u64 addr,
		   u64 bytes)
{
	struct tm_msg msg = {
		.type = call->type,
		.id = call->id,
		.epoch = calls->epoch,
		.length = call->out,
	};

	switch (call->type) {
	case TM_WIRE_READ:
	case TM_WIRE_DISCARD:
	case TM_WIRE_RELEASE:
		msg.argument = bytes;
		msg.addr = addr;
		break;
	case TM_WIRE_WRITE:
		msg.addr = addr;
		break;
	default:
		break;
	}
	tm_msg_encode(&msg, &call->header);
}

void tm_calls_add(struct tm_calls *calls, void *request, u8 type, u64 addr,
		  u64 bytes)
{
	u32 index = calls->free;
	struct tm_call *call = &calls->call[index];

	TM_BUG_ON(index == TM_CALL_NONE);
	calls->free = call->next;
	call->request = request;
	call->type = type;
	call->out = type == TM_WIRE_WRITE ? bytes : 0;
	call->in = type == TM_WIRE_READ || type == TM_WIRE_STAT ? bytes : 0;
	call->id = ++calls->sequence << INDEX_BITS | index;
	call->sent = false;
	call->next = TM_CALL_NONE;
	call->prev = calls->tail;
	if (calls->tail == TM_CALL_NONE)
		calls->head = index;
	else
		calls->call[calls->tail].next = index;
	calls->tail = index;
	if (calls->unsent == TM_CALL_NONE)
		tm_store_relaxed(&calls->unsent, index);
	calls->under_way++;
	calls->reserves += type == TM_WIRE_RESERVE;
	encode(calls, call, addr, bytes);
}

void *tm_calls_remove(struct tm_calls *calls, struct tm_call *call)
{
	void *request = call->request;
	u32 index = call - calls->call;

	if (calls->unsent == index)
		tm_store_relaxed(&calls->unsent, call->next);
	if (call->prev == TM_CALL_NONE)
		calls->head = call->next;
	else
		calls->call[call->prev].next = call->next;
	if (call->next == TM_CALL_NONE)
		calls->tail = call->prev;
	else
		calls->call[call->next].prev = call->prev;
	call->request = NULL;
	call->next = calls->free;
	calls->free = index;
	calls->under_way--;
	calls->reserves -= call->type == TM_WIRE_RESERVE;
	return request;
}

void tm_calls_rewind(struct tm_calls *calls, u32 epoch)
{
	u32 i;

	calls->epoch = epoch;
	for (i = calls->head; i != TM_CALL_NONE; i = calls->call[i].next) {
		calls->call[i].sent = false;
		calls->call[i].header.epoch = tm_cpu_to_le32(epoch);
	}
	tm_store_relaxed(&calls->unsent, calls->head);
	calls->tx_done = 0;
}

void tm_calls_sent(struct tm_calls *calls, size_t bytes)
{
	while (bytes > 0) {
		struct tm_call *call = &calls->call[calls->unsent];
		size_t left = sizeof(call->header) + call->out - calls->tx_done;

		if (bytes < left) {
			calls->tx_done += bytes;
			return;
		}
		bytes -= left;
		calls->tx_done = 0;
		call->sent = true;
		tm_store_relaxed(&calls->unsent, call->next);
	}
}

struct tm_call *tm_calls_reply(const struct tm_calls *calls,
			       const struct tm_wire_header *header,
			       struct tm_msg *msg, const char **why)
{
	struct tm_call *call;
	u32 index;

	if (tm_msg_decode(header, true, msg, why))
		return NULL;
	index = msg->id & (TM_CALLS_MAX - 1);
	call = index < calls->nr ? &calls->call[index] : NULL;
	if (!msg->reply)
		*why = "a request from the server";
	else if (!call || !call->request || !call->sent || call->id != msg->id)
		*why = "a reply to no request";
	else if (msg->type != call->type)
		*why = "a reply of another type than the request";
	else if (msg->epoch != calls->epoch)
		*why = "a reply with another epoch";
	else if (msg->status == TM_STATUS_STALE ||
		 msg->status == TM_STATUS_NO_SESSION)
		*why = tm_status_text(msg->status);
	else if (!msg->status && msg->length != call->in)
		*why = "a reply of another length than the request's";
	return *why ? NULL : call;
}
