#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Maps written by hand: servers that run elsewhere, or do not.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq sort
requires_paging
export XDG_RUNTIME_DIR=$TMP

"$SRC/contrib/make-text" 16 >"$TMP/text"
sort "$TMP/text" >"$TMP/native"
paged=(sort -S 128M -T "$TMP" "$TMP/text" -o "$TMP/paged")

start_server a --capacity=128M --idle-exit=0
server_a=$started
start_server b --capacity=128M --idle-exit=0
write_map "$TMP/map" 256M 24M "$(server_address a)" 128M "$(server_address b)" 128M
"$TERAMEM" run --map="$TMP/map" --placement=rr --stats="$TMP/stats" --quiet -- "${paged[@]}"
assert_eq $? 0 "a program on servers from a map"
assert "... its output is native's" cmp "$TMP/native" "$TMP/paged"
assert_eq "$(json "$TMP/stats" '.bytes_out > 0 and .config.servers == 2 and
	.config.placement == "rr" and .config.local_bytes == 25165824')" true \
	"... it paged as map and options say"
assert "the servers go on afterwards" alive "$server_a"
assert "the map is untouched" grep -q '"local":"24M"' "$TMP/map"

# Without teramem: the environment is all that a program needs.
LD_PRELOAD=$PRELOAD TERAMEM_JOB_MAP=$TMP/map "${paged[@]}" 2>"$TMP/err"
assert_eq $? 0 "a program with the preload and a map"
assert "... its output is native's" cmp "$TMP/native" "$TMP/paged"

# A server that is not there: said, and the program goes without.
write_map "$TMP/nowhere" 64M 16M "unix:$TMP/nowhere.sock" 64M
"$TERAMEM" run --map="$TMP/nowhere" --quiet -- "${paged[@]}" 2>"$TMP/err"
status=$?
assert "a server that is not there: the program fails" test "$status" -ne 0
assert_match "$(cat "$TMP/err")" "^teramem: .*nowhere" "... and the address is named"

# Two servers at one address.
"$TERAMEMD" --listen="unix:$TMP/a.sock" --capacity=64M >"$TMP/out" 2>"$TMP/err"
assert "an address in use is refused" test $? -ne 0
assert_match "$(cat "$TMP/err")" "^teramemd: .*in use" "... by name"
done_testing
