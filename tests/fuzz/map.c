// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Server maps: whatever parses is a map that passes the check.
 */
#include <errno.h>
#include <string.h>

#include "common/map.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct tm_map map;
	char error[256] = "";
	int err;

	err = tm_map_parse((const char *)data, size, &map, error,
			   sizeof(error));
	if (err) {
		fuzz_check(err == -EINVAL && *error && !strchr(error, '\n'));
		return 0;
	}
	fuzz_check(map.nr_servers > 0 && map.nr_servers <= TM_MAP_SERVERS_MAX);
	fuzz_check(!tm_map_check(&map, error, sizeof(error)));
	return 0;
}
