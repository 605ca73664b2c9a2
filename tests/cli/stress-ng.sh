#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# stress-ng forks workers that map, fill and verify memory: all of it remote,
# each worker with an engine of its own, sharing one budget.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq stress-ng
requires_paging
export XDG_RUNTIME_DIR=$TMP

for method in flip inc-nybble rand-sum modulo-x; do
	"$TERAMEM" run --size=512M --local=32M --mmap --stats="$TMP/stats" -- \
		stress-ng --vm 2 --vm-bytes 128M --vm-method $method --timeout 5 \
		--verify --metrics-brief --temp-path "$TMP" \
		>"$TMP/out" 2>&1
	assert_eq $? 0 "$method: nothing was wrong"
	assert_eq "$(json "$TMP/stats" '.bytes_in > 0 and .bytes_out > 0 and
		.checksum_errors == 0 and .lost == 0 and .processes >= 2')" true \
		"$method: it paged, in several processes"
	note "$(grep -E 'teramem|fail|error' "$TMP/out")"
done
done_testing
