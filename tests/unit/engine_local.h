/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A test engine: allocator/engine.h on plain local memory, so that the
 * allocator's books can be tested without servers. Discarded blocks are zeros
 * again, as the contract says; every call is checked against it.
 */
#ifndef TM_TESTS_ENGINE_LOCAL_H
#define TM_TESTS_ENGINE_LOCAL_H

#include <stddef.h>

/* What the next engine shall be like; before the first allocation. */
extern size_t test_engine_block, test_engine_size, test_engine_capacity;

/* What the allocator has promised itself. */
extern size_t test_engine_committed;

#endif
