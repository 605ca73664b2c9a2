// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sizes as people write them. What was formatted exactly reads back as the
 * same number.
 */
#include <errno.h>
#include <string.h>

#include "common/size.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char text[256], formatted[32];
	const char *why = NULL;
	uint64_t bytes, again;
	int err;

	if (size >= sizeof(text))
		return 0;
	memcpy(text, data, size);
	text[size] = '\0';
	err = tm_size_parse(text, &bytes, &why);
	if (err) {
		fuzz_check((err == -EINVAL || err == -ERANGE) && why && *why);
		return 0;
	}
	fuzz_check(tm_size_format(bytes, formatted, sizeof(formatted)) ==
		   formatted);
	if (!strchr(formatted, '.'))
		fuzz_check(!tm_size_parse(formatted, &again, NULL));
	return 0;
}
