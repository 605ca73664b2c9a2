#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Maps written by hand: servers that run elsewhere, or do not.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq python3 sort
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

# A server that is not there, one of another job, one that is no server.
refused() {
	local name=$1 got
	"$TERAMEM" run --map="$TMP/bad" --timeout=2 -- touch "$TMP/started" \
		2>"$TMP/err"
	assert_eq $? 125 "$name is refused"
	got=$(cat "$TMP/err")
	assert_eq "$(wc -l <<<"$got")" 1 "... in one line"
	assert_match "$got" "$2" "... that says why"
	assert "... before the program starts" test ! -e "$TMP/started"
}
write_map "$TMP/bad" 64M 16M "unix:$TMP/nowhere.sock" 64M
refused "a server that is not there" "^teramem: run: .*nowhere"
start_server c --capacity=64M --idle-exit=0 --job=7
write_map "$TMP/bad" 64M 16M "$(server_address c)" 64M
refused "another job's server" "^teramem: run: .*job"
python3 - "$TMP/liar.sock" <<'EOF' &
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen()
while True:
    s.accept()[0].sendall(b"HTTP/1.0 400 Bad Request\r\n\r\n" + b" " * 100)
EOF
started_pids+=($!)
wait_until 5 test -S "$TMP/liar.sock"
write_map "$TMP/bad" 64M 16M "unix:$TMP/liar.sock" 64M
refused "something else" "^teramem: run: .*[Tt]eramem server"

# Two servers at one address.
"$TERAMEMD" --listen="unix:$TMP/a.sock" --capacity=64M >"$TMP/out" 2>"$TMP/err"
assert "an address in use is refused" test $? -ne 0
assert_match "$(cat "$TMP/err")" "^teramemd: .*in use" "... by name"
done_testing
