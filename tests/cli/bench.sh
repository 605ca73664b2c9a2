#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# teramem bench measures something in each way, and leaves nothing.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq
requires_paging
export XDG_RUNTIME_DIR=$TMP

"$TERAMEM" bench --size=64M --seconds=1 --json >"$TMP/json"
assert_eq $? 0 "it ends well"
for mode in read write; do
	assert_eq "$(json "$TMP/json" ".$mode | .raw.bytes_per_s > 0 and
		.paging.bytes_per_s > 0")" true "$mode was measured both ways"
done
assert_eq "$(json "$TMP/json" '.random | .raw.p50_ns > 0 and
	.paging.p50_ns > 1000 and .paging.p99_ns >= .paging.p50_ns')" true \
	"random faults were measured both ways"
assert_eq "$(json "$TMP/json" .block_auto)" 1 "auto is the default"
# shellcheck disable=SC2144
assert "nothing is left" test ! -e "$TMP"/teramem-run-*
got=$("$TERAMEM" bench --block=5K 2>&1)
assert_eq "$? $got" \
	"125 teramem: --block: 5120 bytes (a power of two from 4K to 2M)" \
	"a bad block"
done_testing
