// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * CRC32C: published vectors, and hardware against table against the definition
 * for all lengths and alignments that matter to how the streams are joined.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

/* For its static functions. */
#include "core/port/user/crc32c.c"

static u8 buffer[3 * 4096 + 64];

static void fill(u64 seed)
{
	size_t i;

	for (i = 0; i < sizeof(buffer); i++) {
		seed = seed * 6364136223846793005ull + 1442695040888963407ull;
		buffer[i] = (u8)(seed >> 56);
	}
}

static u32 by_definition(u32 crc, const u8 *p, size_t len)
{
	unsigned int bit;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		for (bit = 0; bit < 8; bit++)
			crc = (crc >> 1) ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return ~crc;
}

/* RFC 3720, B.4, and the usual check value. */
static void published_vectors(void **state)
{
	static const u8 read10[48] = {
		0x01,	     0xc0,	  [16] = 0x14, [22] = 0x04,
		[27] = 0x14, [31] = 0x18, 0x28,	       [40] = 0x02,
	};
	u8 bytes[32];
	unsigned int i;

	assert_int_equal(tm_crc32c(0, "", 0), 0);
	assert_int_equal(tm_crc32c(0, "123456789", 9), 0xe3069283);
	memset(bytes, 0, sizeof(bytes));
	assert_int_equal(tm_crc32c(0, bytes, 32), 0x8a9136aa);
	memset(bytes, 0xff, sizeof(bytes));
	assert_int_equal(tm_crc32c(0, bytes, 32), 0x62a8ab43);
	for (i = 0; i < 32; i++)
		bytes[i] = (u8)i;
	assert_int_equal(tm_crc32c(0, bytes, 32), 0x46dd794e);
	for (i = 0; i < 32; i++)
		bytes[i] = (u8)(31 - i);
	assert_int_equal(tm_crc32c(0, bytes, 32), 0x113fdb5c);
	assert_int_equal(tm_crc32c(0, read10, 48), 0xd9963a56);
}

static void all_ways_agree(void **state)
{
	static const size_t lengths[] = {
		1,    7,    8,	  9,	255,  256,  257,  511,	512,  600,
		4079, 4080, 4081, 4088, 4096, 8159, 8160, 8161, 12288};
	size_t i, at;

	fill(1);
	for (i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
		for (at = 0; at < 9; at++) {
			u32 seed = (u32)(i * 0x9e3779b9u + at);
			u32 right =
				by_definition(seed, buffer + at, lengths[i]);

			assert_int_equal(right, tm_crc32c(seed, buffer + at,
							  lengths[i]));
			assert_int_equal(
				right,
				crc32c_portable(seed, buffer + at, lengths[i]));
#if defined(__x86_64__)
			if (!__builtin_cpu_supports("sse4.2") ||
			    !__builtin_cpu_supports("pclmul"))
				continue;
			assert_int_equal(right,
					 ~crc32c_hardware(~seed, buffer + at,
							  lengths[i]));
#endif
		}
	}
}

static void continues_where_it_stopped(void **state)
{
	u32 whole;
	size_t cut;

	fill(2);
	whole = tm_crc32c(7, buffer, sizeof(buffer));
	for (cut = 0; cut <= sizeof(buffer); cut += 61)
		assert_int_equal(whole,
				 tm_crc32c(tm_crc32c(7, buffer, cut),
					   buffer + cut, sizeof(buffer) - cut));
}

static void sees_every_flipped_bit(void **state)
{
	u32 right;
	size_t i;

	fill(3);
	right = tm_crc32c(0, buffer, 4096);
	for (i = 0; i < 4096 * 8; i++) {
		buffer[i / 8] ^= 1u << i % 8;
		assert_int_not_equal(right, tm_crc32c(0, buffer, 4096));
		buffer[i / 8] ^= 1u << i % 8;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_vectors),
		cmocka_unit_test(all_ways_agree),
		cmocka_unit_test(continues_where_it_stopped),
		cmocka_unit_test(sees_every_flipped_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
