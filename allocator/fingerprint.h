/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The fingerprint of a block: a 64-bit XXH3, to tell whether it has changed.
 * It guards against nobody: the bytes' integrity is core's ledger's business.
 */
#ifndef TM_ALLOCATOR_FINGERPRINT_H
#define TM_ALLOCATOR_FINGERPRINT_H

#include <stddef.h>
#include <stdint.h>

/** tm_fingerprint() - of @len bytes, a multiple of 64; 0 for zeros only */
uint64_t tm_fingerprint(const void *data, size_t len);

/* The same hash with wider instructions, where the processor has them. */
uint64_t tm_fingerprint_avx2(const void *data, size_t len);

#endif /* TM_ALLOCATOR_FINGERPRINT_H */
