#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Bad input: one clear line that names the remedy, exit status 125, nothing
# started, nothing left.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq
requires_paging
export XDG_RUNTIME_DIR=$TMP

# refused MESSAGE ARGUMENT...: the whole of stderr, without "teramem: "
refused() {
	local message=$1 got status
	shift
	got=$("$TERAMEM" "$@" 2>&1 >"$TMP/out" </dev/null)
	status=$?
	assert_eq "$got" "teramem: $message" "teramem ${*:-(nothing)}"
	assert_eq "$status" 125 "... exit status"
	[ ! -s "$TMP/out" ] || not_ok "... says nothing on stdout"
}

good=(--size=64M --local=8M)

refused "no command (use run, check, bench, config, status or cleanup; see teramem --help)"
refused "bogus: unknown command (use run, check, bench, config, status or cleanup)" bogus
refused $'a?[2Jb: unknown command (use run, check, bench, config, status or cleanup)' $'a\033[2Jb'

refused "run: --size and --local are needed (try --size=4G --local=512M)" run
refused "run: --size and --local are needed (try --size=4G --local=512M)" \
	run --size=64M -- true
refused "run: no command (try teramem run ... -- COMMAND)" run "${good[@]}"
refused "--size=1X: unknown unit 'X' (use K, M, G or T)" \
	run --size=1X --local=8M -- true
refused "--size=-1: not a number (use digits, then K, M, G or T)" \
	run --size=-1 --local=8M -- true
refused "--size=: empty (use digits, then K, M, G or T)" \
	run --size= --local=8M -- true
refused "--size=99999999999999999999: too large (at most 16777215T)" \
	run --size=99999999999999999999 --local=8M -- true
refused "--size: 0 bytes (at least 4096, at most 64T)" \
	run --size=0 --local=8M -- true
refused "--size: 71468255805440 bytes (at least 4096, at most 64T)" \
	run --size=65T --local=8M -- true
refused "--size: a value is missing (see teramem run --help)" run --size
refused "--local=1.5G: not a whole number (use a smaller unit)" \
	run --size=64M --local=1.5G -- true
refused "--local: 1024 bytes (at least 4096, at most 64T)" \
	run --size=64M --local=1K -- true
refused "--block: 0 bytes (a power of two from 4K to 2M)" \
	run "${good[@]}" --block=0 -- true
refused "--block: 3072 bytes (a power of two from 4K to 2M)" \
	run "${good[@]}" --block=3K -- true
refused "--block: 4194304 bytes (a power of two from 4K to 2M)" \
	run "${good[@]}" --block=4M -- true
refused "--policy=mru: unknown (use lru or fifo)" \
	run "${good[@]}" --policy=mru -- true
refused "--placement=far: unknown (use simple or rr)" \
	run "${good[@]}" --placement=far -- true
refused "--transport=rdma: unknown (use unix or tcp)" \
	run "${good[@]}" --transport=rdma -- true
refused "--donors=0: not a whole number from 1 to 64" \
	run "${good[@]}" --donors=0 -- true
refused "--donors=two: not a whole number from 1 to 64" \
	run "${good[@]}" --donors=two -- true
refused "--timeout=0: not a whole number from 1 to 3600" \
	run "${good[@]}" --timeout=0 -- true
refused "--threshold=0: at least 1 is needed" \
	run "${good[@]}" --threshold=0 -- true
refused "--prefetch: 2147483648 bytes (at most 1G)" \
	run "${good[@]}" --prefetch=2G -- true
refused "--mmap=yes: takes no value (see teramem run --help)" \
	run "${good[@]}" --mmap=yes -- true
refused "--colour: unknown option (see teramem run --help)" \
	run "${good[@]}" --colour -- true
refused "--stats=/nonexistent/file: No such file or directory" \
	run "${good[@]}" --stats=/nonexistent/file -- true
refused "--foo: unknown option (see teramem check --help)" check --foo
refused "check: x: not expected (see teramem check --help)" check x
refused "--foo: unknown option (see teramem bench --help)" bench --foo

# More than the machine has.
got=$("$TERAMEM" run --size=60T --local=8M -- true 2>&1)
assert_eq $? 125 "60T is refused"
assert_match "$got" '^teramem: --size=60T: this machine has [0-9.]+[MGT] free for it and --local=8M \(use less, or --overcommit' \
	"... and --overcommit is named"

# Maps.
map=$TMP/map
refused "--map=$map: cannot open it: No such file or directory" \
	run --map="$map" -- true
refused "--map=/dev/zero: not a regular file" run --map=/dev/zero -- true
echo '{"version":1' >"$map"
refused "--map=$map: not JSON: it ends too early" run --map="$map" -- true
write_map "$map" 64M 8M unix:/nowhere 64M
refused "--donors: not with --map, which names the servers" \
	run --map="$map" --donors=2 -- true
refused "--size: 134217728 bytes, but the servers have 67108864 together" \
	run --map="$map" --size=128M -- true
sed -i 's/"version"/"versoin"/' "$map"
refused "--map=$map: unknown key 'versoin'" run --map="$map" -- true
head -c 2M /dev/zero >"$map"
refused "--map=$map: larger than 1048576 bytes" run --map="$map" -- true

# shellcheck disable=SC2144 # one match is enough
assert "nothing is left behind" test ! -e "$TMP"/teramem-run-*
assert "no server is left running" \
	test -z "$(pgrep -f "teramemd.*$TMP" || true)"
done_testing
