// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * Detection of streams. The windows grow, and are kept one ahead of the program
 * by a marker, as in Linux's file readahead (ondemand_readahead, described in
 * Documentation/core-api/mm-api and mm/readahead.c). Lock order: none.
 */
#include "core/prefetch.h"

static s64 distance(s64 d)
{
	return d < 0 ? -d : d;
}

void tm_prefetch_init(struct tm_prefetch *p, u32 least, u32 max, u32 unit)
{
	memset(p, 0, sizeof(*p));
	p->least = least;
	p->max = max;
	p->unit = unit;
}

static u32 window_next(const struct tm_prefetch *p, u32 size)
{
	/* quickly to where huge blocks begin */
	u32 fast = p->unit ? p->unit : p->max / 16;
	u32 next = !size ? p->least : size < fast ? size * 4 : size * 2;

	return next < p->max ? next : p->max;
}

/* A large window of neighbours ends with a unit, so that the next has whole
 * ones. */
static u32 window_cut(const struct tm_prefetch *p, const struct tm_stream *s)
{
	u32 beyond;

	if (!p->unit || s->want < p->unit || distance(s->stride) != 1)
		return s->want;
	beyond = s->stride > 0
			 ? (u32)(s->start + s->want) & (p->unit - 1)
			 : (0 - (u32)(s->start + 1 - s->want)) & (p->unit - 1);
	return beyond < s->want ? s->want - beyond : s->want;
}

static bool window_set(struct tm_prefetch *p, struct tm_stream *s, u64 first,
		       struct tm_window *w)
{
	s->used = p->clock;
	s->prev = s->size + 1;
	s->start = first;
	s->want = window_next(p, s->want);
	s->size = window_cut(p, s);

	w->first = first;
	w->stride = s->stride;
	w->nr = s->size;
	w->stream = s;
	return true;
}

/* A fault that may become a stream. */
static void candidate_set(struct tm_prefetch *p, struct tm_stream *s, u64 block,
			  s64 stride)
{
	s->start = block;
	s->stride = stride;
	s->size = 0;
	s->want = 0;
	s->used = p->clock;
}

/* Where in the stream the block is: 0 is the window's first. */
static bool stream_has(const struct tm_stream *s, u64 block, s64 *at)
{
	s64 d = (s64)(block - s->start);

	if (!s->size || d % s->stride)
		return false;
	*at = d / s->stride;
	return *at >= -(s64)s->prev && *at <= (s64)s->size;
}

/*
 * Neighbours, or where units of them come anyhow: there a pass in order faults
 * on the first of each unit, and perhaps, before, on one that was left out as a
 * probe.
 */
static bool neighbours(u64 block, s64 d, u32 shift)
{
	u64 last = (1ull << shift) - 1;

	return distance(d) == 1 || (distance(d) <= (s64)last + 1 &&
				    (block & last) == (d < 0 ? last : 0));
}

bool tm_prefetch_fault(struct tm_prefetch *p, u64 block, u32 shift, bool missed,
		       struct tm_window *w)
{
	struct tm_stream *s, *end = p->stream + TM_STREAMS, *oldest = p->stream;
	s64 at, d, stride = 0;

	w->stream = NULL;
	if (!p->max)
		return false;
	p->clock++;
	for (s = p->stream; s < end; s++) {
		if (!stream_has(s, block, &at))
			continue;
		s->used = p->clock;
		w->stream = s;
		if (at < 0) {
			if (!missed)
				return false;
			/* what was read ahead is gone again: begin anew */
			if (s->want > window_next(p, 0)) {
				s->want = 0;
				return window_set(p, s, block + (u64)s->stride,
						  w);
			}
			/* that it was just now: they go another way */
			candidate_set(p, s, block, 0);
			w->stream = NULL;
			return false;
		}
		at = at < (s64)s->size ? (s64)s->size : at + 1;
		return window_set(p, s, s->start + (u64)(at * s->stride), w);
	}

	for (s = p->stream; s < end; s++) {
		if (s->used < oldest->used)
			oldest = s;
		if (s->size || !s->used)
			continue;
		d = (s64)(block - s->start);
		if (!d)
			return false;
		/*
		 * Two neighbours are enough for a stream; otherwise the same
		 * distance has to come twice, and be more than comes anyhow.
		 */
		if (neighbours(block, d, shift)) {
			s->stride = d < 0 ? -1 : 1;
			return window_set(p, s, block + (u64)s->stride, w);
		}
		if (d == s->stride && distance(d) > 1 << shift)
			return window_set(p, s, block + (u64)d, w);
		if (distance(d) <= TM_STRIDE_MAX &&
		    (!stride || distance(d) < distance(stride)))
			stride = d;
	}

	/* The candidate that it may belong to stays: it could be chance. */
	candidate_set(p, oldest, block, stride);
	return false;
}

bool tm_prefetch_goes_on(const struct tm_prefetch *p, u64 block, u32 nr)
{
	const struct tm_stream *s, *end = p->stream + TM_STREAMS;
	s64 at;

	for (s = p->stream; s < end; s++)
		if (distance(s->stride) == 1 && stream_has(s, block, &at))
			return at >= 0 && window_next(p, s->want) >= nr;
	return false;
}

void tm_prefetch_trim(struct tm_window *w, u32 nr)
{
	struct tm_stream *s = w->stream;

	/* it may have gone on, or made place for another */
	if (s->start != w->first || s->stride != w->stride || s->size != w->nr)
		return;
	/* with none, the first one's fault goes on with the stream */
	s->size = nr ? nr : 1;
}
