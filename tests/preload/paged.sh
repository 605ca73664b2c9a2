#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The calls of an ordinary program once more, now paged to a server: as little
# local memory as there can be, by each mechanism.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

calls=$1
requires jq
requires_paging

# auto's blocks are larger where they cannot be moved
declare -A auto=([move]=4096 [copy]=262144)
for mechanism in move copy; do
	for block in 4K 256K auto; do
		TERAMALLOC_MECHANISM=$mechanism TERAMALLOC_THRESHOLD=64K \
			"$TERAMEM" run --size=1G --local=4M --block=$block \
			--mmap --stats="$TMP/stats" -- "$calls" \
			>"$TMP/out" 2>"$TMP/err"
		status=$?
		if grep -q "mechanism '$mechanism': this kernel" "$TMP/err"; then
			ok "$mechanism, $block # SKIP not with this kernel"
			continue
		fi
		assert_eq "$status" 0 "$mechanism, $block: all calls"
		grep '^not ok' "$TMP/out" && note "$(cat "$TMP/err")"
		assert "$mechanism, $block: paging took place" \
			test "$(json "$TMP/stats" .bytes_in)" -gt 100000
		[ $block != auto ] ||
			assert_eq "$(json "$TMP/stats" '.config.block_bytes')" \
				"${auto[$mechanism]}" "$mechanism: auto's block"
	done
done
done_testing
