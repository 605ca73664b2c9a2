/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * Around: how much of what lies around a fault is worth having with it, where
 * the faults are no stream; see doc/block-auto.md. Learns from faults and from
 * what became of neighbours that were brought in; fetches nothing itself. No
 * lock, one thread at a time.
 */
#ifndef TM_CORE_AROUND_H
#define TM_CORE_AROUND_H

#include "tm_port.h"

#define TM_AROUND_RECENT 8

/**
 * struct tm_around - one part of the address space
 * @recent: the last blocks that faulted, newest at @next - 1
 * @shift: log2 of the blocks, aligned to as many, that are to come together
 * @score: for more (positive) or fewer of them
 */
struct tm_around {
	u64 recent[TM_AROUND_RECENT];
	u8 next;
	u8 shift;
	signed char score;
};

/** tm_around_init() - @shift: log2 of the blocks to begin with */
void tm_around_init(struct tm_around *a, u32 shift);

/**
 * tm_around_fault() - @block faulted
 * @max: log2 of the most blocks that may come together
 *
 * Returns log2 of those that should, where it is no stream.
 */
u32 tm_around_fault(struct tm_around *a, u64 block, u32 max);

/** tm_around_judge() - a neighbour that came with a fault was used, or not */
void tm_around_judge(struct tm_around *a, bool used);

/**
 * tm_around_probe() - which of @nr blocks, a power of two, is left for the
 * program to fault on, to see whether it uses them; changes with every fault
 *
 * Returns @nr for none: small units have one now and then only.
 */
u32 tm_around_probe(const struct tm_around *a, u32 nr);

#endif /* TM_CORE_AROUND_H */
