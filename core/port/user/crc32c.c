// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * CRC32C in user space: by wide carry-less multiplication, with the processor's
 * CRC instruction, or by table, whatever it has.
 *
 * The CRC instruction takes three cycles but one can start in each, so three
 * independent streams run side by side and are joined afterwards. Joining
 * moves a stream's CRC past the bytes that follow it: a carry-less
 * multiplication by x^(bits to move) modulo the polynomial, whose 64-bit
 * product the next CRC instruction reduces along with its data.
 */
#include "core/crc32c.h"

#if defined(__x86_64__)
#include <immintrin.h>

/* Three streams of this many words, and two words more, make up a page. */
#define STREAM_WORDS 170

/*
 * x^(2n - 33) and x^(n - 33) modulo the polynomial, bit-reflected, where n is
 * the number of bits in a stream. 33 = 32, by which the reducing instruction
 * multiplies, + 1, by which the product of two reflected numbers is off.
 */
#define PAST_TWO_STREAMS 0x5aa1f3cf
#define PAST_ONE_STREAM 0x3f70cc6f

static inline u64 load_word(const u8 *p)
{
	u64 word;

	memcpy(&word, p, sizeof(word));
	return word;
}

__attribute__((target("sse4.2,pclmul"))) static inline u64
move_past(u64 crc, u64 distance)
{
	__m128i product =
		_mm_clmulepi64_si128(_mm_cvtsi64_si128((s64)crc),
				     _mm_cvtsi64_si128((s64)distance), 0);

	return (u64)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static u32
crc32c_hardware(u32 crc, const u8 *p, size_t len)
{
	const size_t stream = STREAM_WORDS * sizeof(u64);
	u64 a = crc, b, c, last;
	unsigned int i;

	for (; len >= 3 * stream; p += 3 * stream, len -= 3 * stream) {
		for (i = 0, b = 0, c = 0; i < STREAM_WORDS - 1; i++) {
			const u8 *q = p + i * sizeof(u64);

			a = _mm_crc32_u64(a, load_word(q));
			b = _mm_crc32_u64(b, load_word(q + stream));
			c = _mm_crc32_u64(c, load_word(q + 2 * stream));
		}
		a = _mm_crc32_u64(a, load_word(p + stream - 8));
		b = _mm_crc32_u64(b, load_word(p + 2 * stream - 8));
		last = load_word(p + 3 * stream - 8);
		a = _mm_crc32_u64(c, last ^ move_past(a, PAST_TWO_STREAMS) ^
					     move_past(b, PAST_ONE_STREAM));
	}
	for (; len >= sizeof(u64); p += sizeof(u64), len -= sizeof(u64))
		a = _mm_crc32_u64(a, load_word(p));
	for (; len; p++, len--)
		a = _mm_crc32_u8((u32)a, *p);
	return (u32)a;
}

#define WIDE_TARGET "avx512f,vpclmulqdq,sse4.2,pclmul"

/*
 * Move four 128-bit numbers past a distance: their halves are multiplied by
 * x^(distance + 63) and x^(distance - 1), the earlier one coming first.
 */
__attribute__((target(WIDE_TARGET))) static inline __m512i
fold(__m512i x, __m512i distance, __m512i data)
{
	__m512i early = _mm512_clmulepi64_epi128(x, distance, 0x00);
	__m512i late = _mm512_clmulepi64_epi128(x, distance, 0x11);

	return _mm512_xor_si512(_mm512_xor_si512(early, late), data);
}

__attribute__((target(WIDE_TARGET))) static inline __m512i distance(u32 early,
								    u32 late)
{
	const s64 second = (s64)((u64)late << 32);
	const s64 first = (s64)((u64)early << 32);

	return _mm512_set4_epi64(second, first, second, first);
}

/*
 * 256 bytes at a time become 64 with the same remainder. Works at the speed of
 * memory, where the CRC instruction does not.
 */
__attribute__((target(WIDE_TARGET))) static u32
crc32c_wide(u32 crc, const u8 *p, size_t len)
{
	const __m512i by_256 = distance(0xe9a5d8be, 0x1426a815);
	const __m512i by_64 = distance(0x1c19243b, 0x75bba45b);
	__m512i x[4];
	u8 rest[64];
	unsigned int i;

	if (len < 256)
		return crc32c_hardware(crc, p, len);
	for (i = 0; i < 4; i++)
		x[i] = _mm512_loadu_si512(p + 64 * i);
	x[0] = _mm512_xor_si512(
		x[0], _mm512_zextsi128_si512(_mm_cvtsi32_si128((int)crc)));
	for (p += 256, len -= 256; len >= 256; p += 256, len -= 256)
		for (i = 0; i < 4; i++)
			x[i] = fold(x[i], by_256,
				    _mm512_loadu_si512(p + 64 * i));
	for (i = 1; i < 4; i++)
		x[i] = fold(x[i - 1], by_64, x[i]);
	_mm512_storeu_si512(rest, x[3]);
	crc = crc32c_hardware(0, rest, sizeof(rest));
	return crc32c_hardware(crc, p, len);
}
#endif

/*
 * Half a byte at a time: slow, but processors without the instruction are
 * rare, and these 64 bytes do not push anything out of the cache.
 */
static u32 crc32c_portable(u32 crc, const void *data, size_t len)
{
	static const u32 step[16] = {
		0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1,
		0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
		0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9,
		0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75,
	};
	const u8 *p = data;

	crc = ~crc;
	while (len--) {
		crc ^= *p++;
		crc = (crc >> 4) ^ step[crc & 15];
		crc = (crc >> 4) ^ step[crc & 15];
	}
	return ~crc;
}

u32 tm_crc32c(u32 crc, const void *data, size_t len)
{
#if defined(__x86_64__)
	if (__builtin_cpu_supports("avx512f") &&
	    __builtin_cpu_supports("vpclmulqdq"))
		return ~crc32c_wide(~crc, data, len);
	if (tm_likely(__builtin_cpu_supports("sse4.2") &&
		      __builtin_cpu_supports("pclmul")))
		return ~crc32c_hardware(~crc, data, len);
#endif
	return crc32c_portable(crc, data, len);
}
