/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * The ledger: what a block's copy must look like when it comes back.
 *
 * A CRC32C of the bytes, seeded by the block's address and its version, so that
 * a damaged, an outdated and a misdirected block are all found out. It stays on
 * the compute node, in the block map. Beside it, where the glue cannot tell
 * whether a block changed, a 64-bit fingerprint of the copy's bytes.
 */
#ifndef TM_CORE_LEDGER_H
#define TM_CORE_LEDGER_H

#include "tm_port.h"

/**
 * tm_ledger_seed() - where the checksum of that version of the block starts
 *
 * Mixed well: the CRC of equal bytes under two seeds differs if they do.
 */
u32 tm_ledger_seed(u64 block, u32 version);

#endif /* TM_CORE_LEDGER_H */
