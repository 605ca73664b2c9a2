#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# With --block=auto and enough local memory, neighbours come and go as huge
# blocks where the kernel moves huge pages: with 4 KiB blocks beneath, and, with
# more remote memory, with 16 KiB. The workload verifies what it reads.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_paging

# As tm_uffd_moves_huge() has it.
moves_huge() {
	local release
	release=$(uname -r)
	[ "$(printf '6.14\n%s\n' "${release%%-*}" | sort -V | head -1)" = 6.14 ] &&
		! grep -q '\[never\]' /sys/kernel/mm/transparent_hugepage/enabled
}

# huge NAME SIZE BLOCK WORKLOAD...
huge() {
	local name=$1 size=$2 block=$3 out
	shift 3
	out=$(cd "$TMP" && timeout 60 "$BUILD/tools/teramem" run --quiet \
		--size="$size" --overcommit --local=128M --block=auto \
		--stats="$TMP/stats" -- "$BUILD/tests/bench/workload" "$@" 2>&1)
	assert_eq "$?" 0 "$name"
	note "$out"
	assert_eq "$(jq "[.bytes_out / .stored_blocks, .bytes_in > 0]" -c \
		"$TMP/stats")" "[$block,true]" "$name: paged"
	moves_huge &&
		assert_eq "$(jq '.huge_blocks > 50' "$TMP/stats")" true \
			"$name: huge blocks"
}

huge "read" 1G 4096 read --bytes=384M --ms=500
huge "overwrite" 1G 4096 write --bytes=384M --ms=500
huge "three streams" 1G 4096 stream --bytes=384M --ms=500
for _ in 1 2 3 4; do
	huge "read, 16 KiB" 4G 16384 read --bytes=384M --ms=200
done
huge "overwrite, 16 KiB" 4G 16384 write --bytes=384M --ms=300
done_testing
