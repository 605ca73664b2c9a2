/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Prefetch: sees faults, finds sequential and strided streams in them, up or
 * down, and says which blocks to fetch ahead. Fetches nothing itself; no lock,
 * one thread at a time.
 */
#ifndef TM_CORE_PREFETCH_H
#define TM_CORE_PREFETCH_H

#include "tm_port.h"

#define TM_STREAMS 8
/* farther apart, in blocks, two faults are not taken for one stream */
#define TM_STRIDE_MAX 4096

/**
 * struct tm_stream - one stream, or a fault that may become one
 * @start: first block of the window last handed out; of a mere candidate, the
 *	block that faulted
 * @stride: from block to block; of a candidate, from the fault before
 * @size: blocks in the window; 0 is a candidate
 * @want: as many were asked for, of which only @size may have been had
 * @prev: blocks in the windows before it in which faults still may come
 * @used: when it last matched, by the count of faults
 */
struct tm_stream {
	u64 start;
	s64 stride;
	u32 size;
	u32 want;
	u32 prev;
	u64 used;
};

struct tm_prefetch {
	struct tm_stream stream[TM_STREAMS];
	u64 clock;
	u32 least;
	u32 max;
	u32 unit;
};

/**
 * struct tm_window - blocks to have ready: first, first + stride, ...
 *
 * The first is the marker: a fault on it asks for the next window. It is to be
 * fetched but not mapped, where that is possible.
 *
 * @stream: NULL when the fault belongs to none
 */
struct tm_window {
	u64 first;
	s64 stride;
	u32 nr;
	struct tm_stream *stream;
};

/**
 * tm_prefetch_init() - no streams yet
 * @least: blocks in a stream's first window
 * @max: blocks in a window at most, 0 for no prefetch
 * @unit: a power of two of blocks; where a window is not smaller, it ends with
 *an aligned one. 0 for none
 */
void tm_prefetch_init(struct tm_prefetch *p, u32 least, u32 max, u32 unit);

/**
 * tm_prefetch_fault() - @block faulted
 * @shift: log2 of the blocks, aligned to as many, that come with each fault
 *	anyhow: a stride must be larger, and the first of such a unit goes on
 *	with what faulted within the one before
 * @missed: it is neither here nor on its way
 *
 * Returns true, and the window, when there is something to fetch. Blocks may
 * lie outside the address space (also below: they wrap).
 */
bool tm_prefetch_fault(struct tm_prefetch *p, u64 block, u32 shift, bool missed,
		       struct tm_window *w);

/**
 * tm_prefetch_goes_on() - a fault on @block goes on with a stream of
 * neighbours, whose next window is of @nr blocks or more
 */
bool tm_prefetch_goes_on(const struct tm_prefetch *p, u64 block, u32 nr);

/**
 * tm_prefetch_trim() - only the first @nr of the window could be had
 *
 * Other faults may have come since; a stream that has gone on stays as it is.
 */
void tm_prefetch_trim(struct tm_window *w, u32 nr);

#endif /* TM_CORE_PREFETCH_H */
