// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Remote memory for the paging tests; see remote.h.
 */
#include "tests/paging/remote.h"

#include <pthread.h>

static struct tm_engine *engine;
static char *next;

static void fork_prepare(void)
{
	if (engine)
		tm_engine_fork_prepare(engine);
}

static void fork_parent(void)
{
	if (engine)
		tm_engine_fork_parent(engine);
}

static void fork_child(void)
{
	if (engine)
		tm_engine_fork_child(engine);
	engine = NULL;
}

void *remote_alloc(size_t bytes)
{
	static int once;
	char *at;
	int err;

	if (!engine) {
		err = tm_engine_start(&engine);
		if (err) {
			errno = -err;
			return NULL;
		}
		next = tm_engine_base(engine);
		if (!once++)
			pthread_atfork(fork_prepare, fork_parent, fork_child);
	}
	bytes = (bytes + remote_block() - 1) & ~(remote_block() - 1);
	err = tm_engine_commit(engine, bytes);
	if (err) {
		errno = -err;
		return NULL;
	}
	at = next;
	next += bytes;
	return at;
}

void remote_discard(void *addr, size_t bytes)
{
	tm_engine_discard(engine, addr, bytes);
}

size_t remote_block(void)
{
	return tm_engine_block(engine);
}

int remote_stats(struct teramalloc_stats *stats)
{
	return tm_engine_stats(engine, stats);
}
