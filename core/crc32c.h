/* SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause */
/*
 * CRC32C (Castagnoli), the checksum of the integrity ledger. How it is
 * computed is the port's business: core/port/{user,linux}/crc32c.c.
 */
#ifndef TM_CORE_CRC32C_H
#define TM_CORE_CRC32C_H

#include "tm_port.h"

/**
 * tm_crc32c() - continue a CRC32C over @len more bytes
 * @crc: 0 to begin, or what an earlier call returned, or any seed
 *
 * tm_crc32c(tm_crc32c(seed, a), b) equals tm_crc32c(seed, ab). Never sleeps.
 */
u32 tm_crc32c(u32 crc, const void *data, size_t len);

#endif /* TM_CORE_CRC32C_H */
