#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# 1 TiB of remote memory of which 1 GiB is touched: the servers hold what is
# touched, and the program's own memory stays within the local limit and the
# block map's share.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq
requires_paging
requires_free 3000
export XDG_RUNTIME_DIR=$TMP

"$TERAMEM" run --size=1T --local=64M --overcommit --stats="$TMP/stats" -- \
	"$BUILD/tests/paging/sparse" $((1 << 40)) $((256 << 20)) \
	>"$TMP/out" 2>"$TMP/err"
assert_eq $? 0 "1 TiB, touched every 256 MiB"
note "$(cat "$TMP/out" "$TMP/err")"
result=$(grep -o '{.*}' "$TMP/out")
assert_eq "$(jq '.touched == 4096 and .wrong == 0 and .bytes_in > 0' <<<"$result")" \
	true "each place holds what was written there, and it paged"
assert_eq "$(jq '.resident_peak_kib < 160 * 1024' <<<"$result")" true \
	"the program itself took less than 160 MiB"
assert_eq "$(json "$TMP/stats" '.bytes_in > 0 and .bytes_out > 0 and .lost == 0')" \
	true "remote memory was used"

assert_eq "$("$TERAMEM" run --size=1T --local=64M -- true 2>&1 | grep -c overcommit)" 1 \
	"without --overcommit a size that cannot be lent is refused, with the remedy"
done_testing
