// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sizes as people write them.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "common/size.h"

static void parses(const char *text, uint64_t want)
{
	uint64_t bytes = ~want;

	assert_int_equal(tm_size_parse(text, &bytes, NULL), 0);
	assert_int_equal(bytes, want);
}

static void refuses(const char *text, int err, const char *want)
{
	uint64_t bytes = 77;
	const char *why = NULL;

	assert_int_equal(tm_size_parse(text, &bytes, &why), err);
	assert_int_equal(bytes, 77);
	assert_string_equal(why, want);
}

static void test_parse(void **state)
{
	parses("0", 0);
	parses("262144", 262144);
	parses("256K", 256 << 10);
	parses("256k", 256 << 10);
	parses("256KB", 256 << 10);
	parses("256KiB", 256 << 10);
	parses("512m", 512 << 20);
	parses("8G", 8ULL << 30);
	parses("1T", 1ULL << 40);
	parses("1TiB", 1ULL << 40);
	parses("007", 7);
	parses("18446744073709551615", UINT64_MAX);
	parses("16777215T", 16777215ULL << 40);
}

static void test_refuse(void **state)
{
	static const char number[] =
		"not a number (use digits, then K, M, G or T)";
	static const char large[] = "too large (at most 16777215T)";

	refuses("1X", -EINVAL, "unknown unit 'X' (use K, M, G or T)");
	refuses("1Gx", -EINVAL, "unknown unit 'Gx' (use K, M, G or T)");
	refuses("1Gi", -EINVAL, "unknown unit 'Gi' (use K, M, G or T)");
	refuses("1 G", -EINVAL, "unknown unit ' G' (use K, M, G or T)");
	refuses("5B", -EINVAL, "unknown unit 'B' (use K, M, G or T)");
	refuses("1\033[2J", -EINVAL, "unknown unit '?[2J' (use K, M, G or T)");
	refuses("", -EINVAL, "empty (use digits, then K, M, G or T)");
	refuses("-1", -EINVAL, number);
	refuses("+1", -EINVAL, number);
	refuses(" 1", -EINVAL, number);
	refuses("G", -EINVAL, number);
	refuses("1.5G", -EINVAL, "not a whole number (use a smaller unit)");
	refuses("18446744073709551616", -ERANGE, large);
	refuses("16777216T", -ERANGE, large);
	refuses("99999999999999999999999G", -ERANGE, large);
}

static void formats(uint64_t bytes, const char *want)
{
	char buf[32];

	assert_ptr_equal(tm_size_format(bytes, buf, sizeof(buf)), buf);
	assert_string_equal(buf, want);
}

static void test_format(void **state)
{
	formats(0, "0");
	formats(1023, "1023");
	formats(1024, "1K");
	formats(262144, "256K");
	formats(1536ULL << 20, "1.5G");
	formats(1 << 20 | 1 << 14, "1.01M");
	formats((12ULL << 20) + (1 << 19), "12.5M");
	formats((123ULL << 20) + (1 << 19), "123M");
	formats((5ULL << 30) + 1, "5G");
	formats(UINT64_MAX, "16777215T");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parse),
		cmocka_unit_test(test_refuse),
		cmocka_unit_test(test_format),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
