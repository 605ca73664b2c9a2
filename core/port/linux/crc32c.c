// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * CRC32C in the kernel, which has its own, fast one; it leaves the inversions
 * before and after to its callers.
 */
#include <linux/crc32c.h>

#include "core/crc32c.h"

u32 tm_crc32c(u32 crc, const void *data, size_t len)
{
	return ~crc32c(~crc, data, len);
}
