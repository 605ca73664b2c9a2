#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sort under every policy, placement and size of block: the same bytes as
# without Teramem, and it did page.
#
#	sort.sh [1G|512M|logs]   600 MiB with so much local memory
#
# At 512M the text alone does not fit: sort's last merges go through it at
# random, so that each line waits for a fault. Small blocks keep that bearable.
# "logs" is a text of ordered parts at 512M, under all of the above.
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

# matrix OPTION...: sorts with every block size, policy and placement
matrix() {
	local block policy placement
	for block in 4K 16K 64K 256K 1M 2M auto; do
		for policy in lru fifo; do
			for placement in simple rr; do
				sorts "$block $policy $placement" "$@" --block=$block \
					--policy=$policy --placement=$placement
			done
		done
	done
}

mib=600 buffer=3G kind=
case ${1:-} in
'') mib=24 buffer=256M ;;
logs) kind=logs ;;
esac
[ $mib -eq 24 ] || requires_free 6000
"$SRC/contrib/make-text" $mib $kind >"$TMP/text"
sort -S "$buffer" --parallel=2 -T "$TMP" "$TMP/text" -o "$TMP/native"

case ${1:-} in
1G) sorts "600 MiB, --local=1G" --size=8G --local=1G --overcommit ;;
512M)
	sorts "600 MiB, --local=512M" --size=8G --local=512M --block=4K \
		--overcommit
	;;
logs) matrix --size=8G --local=512M --overcommit ;;
esac
[ $# -eq 0 ] || done_testing
matrix --size=512M --local=48M
sorts "without prefetch" --size=512M --local=48M --prefetch=0
sorts "--bind" --size=512M --local=48M --bind
sorts "five servers" --size=512M --local=48M --donors=5
done_testing
