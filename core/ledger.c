// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/* The seeds of the checksums that the block map keeps. Lock order: none. */
#include "core/ledger.h"

u32 tm_ledger_seed(u64 block, u32 version)
{
	/* the finalizer of splitmix64 */
	u64 x = (block << 32 | block >> 32) ^ version;

	x += 0x9e3779b97f4a7c15ULL;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ULL;
	x = (x ^ x >> 27) * 0x94d049bb133111ebULL;
	return (u32)(x ^ x >> 31) ^ (u32)(x >> 32);
}
