// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The fingerprint of a block; see fingerprint.h.
 */
#include "allocator/fingerprint.h"

#include <string.h>

/* All of it inline: nothing of libxxhash is needed at run time. */
#define XXH_INLINE_ALL
#include <xxhash.h>

uint64_t tm_fingerprint(const void *data, size_t len)
{
	const unsigned char *bytes = data;
	uint64_t hash;

	/* All zero: the first byte is, and each equals the one before. */
	if (!bytes[0] && !memcmp(bytes, bytes + 1, len - 1))
		return 0;
#ifdef TM_HAVE_AVX2
	if (__builtin_cpu_supports("avx2"))
		hash = tm_fingerprint_avx2(data, len);
	else
#endif
		hash = XXH3_64bits(data, len);
	return hash ? hash : 1;
}
