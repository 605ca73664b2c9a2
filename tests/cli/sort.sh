#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sort under every policy, placement and size of block: the same bytes as
# without Teramem, and it did page.
#
#	sort.sh [1G|512M]   600 MiB with so much local memory
#
# At 512M the text alone does not fit: sort's last merges go through it at
# random, so that each line waits for a fault. Small blocks keep that bearable.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq sort
requires_paging
export XDG_RUNTIME_DIR=$TMP

# sorts NAME OPTION...: with the text and buffer in use
sorts() {
	local name=$1 status
	shift
	"$TERAMEM" run "$@" --stats="$TMP/stats" -- sort -S "$buffer" \
		--parallel=2 -T "$TMP" "$TMP/text" -o "$TMP/paged" 2>"$TMP/err"
	status=$?
	if [ $status -eq 0 ] && cmp "$TMP/native" "$TMP/paged" &&
		[ "$(json "$TMP/stats" '.bytes_in > 0 and .bytes_out > 0 and
			.checksum_errors == 0 and .lost == 0')" = true ]; then
		ok "$name"
	else
		not_ok "$name (exit status $status)"
	fi
	note "$(cat "$TMP/err")"
	rm -f "$TMP/paged" "$TMP/stats"
}

if [ $# -gt 0 ]; then
	requires_free 6000
	mib=600 buffer=3G
else
	mib=24 buffer=256M
fi
"$SRC/contrib/make-text" $mib >"$TMP/text"
sort -S "$buffer" --parallel=2 -T "$TMP" "$TMP/text" -o "$TMP/native"

if [ $# -gt 0 ]; then
	block=256K
	[ "$1" = 512M ] && block=4K
	sorts "600 MiB, --local=$1" --size=8G --local="$1" --block=$block \
		--overcommit
	done_testing
fi
for block in 4K 16K 64K 256K 1M 2M; do
	for policy in lru fifo; do
		for placement in simple rr; do
			sorts "$block $policy $placement" --size=512M --local=48M \
				--block=$block --policy=$policy --placement=$placement
		done
	done
done
sorts "without prefetch" --size=512M --local=48M --prefetch=0
sorts "--bind" --size=512M --local=48M --bind
sorts "five servers" --size=512M --local=48M --donors=5
done_testing
