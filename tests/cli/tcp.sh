#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# --transport=tcp: loopback TCP with real MUNGE credentials, from a munged of
# our own; without one it is refused before anything starts.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq munged sort
requires_paging
requires_root
export XDG_RUNTIME_DIR=$TMP TERAMEM_MUNGE_SOCKET=$TMP/munge

"$SRC/contrib/make-text" 16 >"$TMP/text"
sort "$TMP/text" >"$TMP/native"
run=("$TERAMEM" run --size=256M --local=24M --transport=tcp --stats="$TMP/stats"
	-- sort -S 128M -T "$TMP" "$TMP/text" -o "$TMP/paged")

"${run[@]}" 2>"$TMP/err"
assert_eq $? 125 "without munged it is refused"
assert_match "$(cat "$TMP/err")" '^teramem: --transport=tcp: .*munge' \
	"... and munged is named"

start_munged || done_testing
"${run[@]}" 2>"$TMP/err"
assert_eq $? 0 "with munged it runs"
assert "... its output is native's" cmp "$TMP/native" "$TMP/paged"
assert_eq "$(json "$TMP/stats" '.bytes_in > 0 and .bytes_out > 0 and
	.config.transport == "tcp"')" true "... it paged over tcp"
assert_match "$("$TERAMEM" check)" '^munge +(ok|warn) +works' "check finds it"
note "$(cat "$TMP/err")"
done_testing
