/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Traffic for tests of sessions: many requests at once, of all sizes, scattered
 * over pieces of odd lengths, each with remote memory of its own, whose content
 * is checked as it comes back.
 */
#ifndef TM_TESTS_NET_LOAD_H
#define TM_TESTS_NET_LOAD_H

#include <stdatomic.h>

#include "common/session.h"

#define LOAD_DEPTH 64
#define LOAD_AREA_BYTES (256u << 10)

struct load_job {
	struct tm_request request;
	uint8_t buf[LOAD_AREA_BYTES];
	uint64_t addr;
	uint32_t pattern;
	bool busy;
	int err;
};

/** struct load_outcome - what load_ops were told; the context of a session */
struct load_outcome {
	atomic_uint lost, renewed;
	char why[640];
};

struct load {
	struct load_job jobs[LOAD_DEPTH];
	unsigned int seed, refused, completed;
	const struct load_outcome *outcome;
};

extern const struct tm_session_ops load_ops;

/** load_create() - the areas are at base, base + LOAD_AREA_BYTES, ... */
struct load *load_create(uint64_t base, const struct load_outcome *outcome);
void load_destroy(struct load *load);

/** load_run() - write and read back until `target` requests completed */
void load_run(struct load *load, struct tm_channel *channel,
	      unsigned int target);

/** load_read() - submit a read of the job's request.bytes */
void load_read(struct load *load, struct tm_channel *channel,
	       struct load_job *job);

uint64_t load_now_ms(void);

#endif /* TM_TESTS_NET_LOAD_H */
