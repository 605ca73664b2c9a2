#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# When servers lie, die, or are away for a while, an access ends in the right
# bytes, or in SIGBUS with one line that says why; never in wrong bytes.
#
#	faults.sh MECHANISM
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_paging
requires munged
export TERAMALLOC_MECHANISM=$1
pagetest=$BUILD/tests/paging/pagetest
m=$((1 << 20))
bus=135

# map ADDRESS [ADDRESS]: with a short timeout
timeout=3 auth=peercred
map() {
	local address servers=''
	for address; do
		servers+="${servers:+, }{\"address\": \"$address\",
			\"capacity\": \"160M\", \"auth\": \"$auth\"}"
	done
	cat >"$TMP/map" <<-END
		{"version": 1, "size": "160M", "local": "8M", "block": "64K",
		 "timeout": $timeout, "servers": [$servers]}
	END
}
# page ARGUMENT...: in the background; $started is its pid
page() {
	TERAMEM_JOB_MAP=$TMP/map start timeout -s KILL 300 "$pagetest" \
		--size=$((96 * m)) --threads=2 "$@" >"$TMP/page" 2>&1
	paging=$started
}
# page_on SECONDS: for so long, once it has filled its memory
page_on() {
	page --pattern=random --seconds="$1"
	wait_until 30 grep -q fill "$TMP/page"
}
# ends NAME STATUS[ or STATUS] [MESSAGE]: how the program ended; no wrong byte in any case
ends() {
	local status=0 out
	wait "$paging" || status=$?
	out=$(<"$TMP/page")
	assert_match "$status" "^(${2/ or /|})\$" "$1"
	[ $# -lt 3 ] || assert_match "$out" "$3" "$1: says why"
	if grep -q '^# page\|^not ok' <<<"$out"; then
		not_ok "$1: no wrong bytes"
	else
		ok "$1: no wrong bytes"
	fi
	note "$(head -c 2000 <<<"$out")"
}
stop_server() {
	kill "$1" && wait "$1" 2>/dev/null
}

# start_mutant KIND RATE: as start_server does
start_mutant() {
	rm -f "$TMP/$1.ready"
	start "$BUILD/tests/server/teramemd-mutant" \
		--listen="unix:$TMP/$1.sock" --capacity=160M --mlock=no \
		--mutant="$1" --mutant-rate="$2" \
		>"$TMP/$1.ready" 2>"$TMP/$1.log"
	wait_until 15 test -s "$TMP/$1.ready"
}

# Lies: always, and one in 200.
for kind in zero stale misdirect flip; do
	for rate in 1/1 1/200; do
		start_mutant "$kind" "$rate" || not_ok "start mutant $kind"
		server=$started
		map "$(server_address "$kind")"
		page --pattern=random --passes=2
		if [ $rate = 1/1 ]; then
			ends "$kind, always" $bus 'access memory at .* damaged'
		else
			# Fetched again; that may be damaged, too.
			ends "$kind, one in 200" "0 or $bus"
		fi
		stop_server "$server"
		assert_match "$(cat "$TMP/$kind.log")" ' [1-9][0-9]* ' \
			"$kind, $rate: the server did lie"
		note "$(cat "$TMP/$kind.log")"
	done
done

# Refuses to take anything: another server gets it, or the program's wait ends.
start_mutant refuse 1/1 || not_ok "start mutant refuse"
server=$started
start_server other --capacity=160M --mlock=no
other=$started
refuses='store on server unix:.*/refuse.sock: refused, .*log'
map "$(server_address refuse)" "$(server_address other)"
page --pattern=random --passes=2
ends "stores refused by one server" 0 "$refuses"
assert_eq "$(grep -c 'store on server' "$TMP/page")" 1 \
	"stores refused by one server: says so once"
timeout=1
map "$(server_address refuse)"
page --pattern=random --passes=2
ends "stores refused by the only server" $bus "$refuses"
timeout=3
stop_server "$server"
stop_server "$other"

# Killed: its memory is gone, and it takes no timeout to tell.
timeout=60
start_server killed --capacity=160M --mlock=no
server=$started
map "$(server_address killed)"
page_on 30
kill -KILL "$server"
SECONDS=0
ends "server killed" $bus 'use server unix:.*SIGBUS'
assert_match "$(<"$TMP/page")" 'access memory at .* gone with its server' \
	"server killed: not that its memory is damaged"
assert "server killed: without waiting for the timeout" [ "$SECONDS" -le 30 ]

# Stopped: a while is bridged, too long is not.
timeout=10
start_server stopped --capacity=160M --mlock=no
server=$started
map "$(server_address stopped)"
page_on 4
kill -STOP "$server" && sleep 1.5 && kill -CONT "$server"
ends "server stopped and continued" 0
timeout=3
map "$(server_address stopped)"
page_on 30
kill -STOP "$server"
SECONDS=0
ends "server stopped for good" $bus 'use server unix:'
assert "server stopped for good: after the timeout" \
	[ "$SECONDS" -ge 2 -a "$SECONDS" -le 30 ]
kill -KILL "$server"

# Connections that break, are cut, stall, and vanish.
start_proxied --capacity=160M --mlock=no || done_testing
auth=munge timeout=10
map "$proxied"
page_on 6
for command in reset cut "stall 700" reset drop reset; do
	proxy "$command"
	sleep 0.6
done
ends "connections broken again and again" 0
proxy reset-every 3000000
page --pattern=seq --passes=1
ends "a reset every 3 MB" 0
proxy reset-every 0
timeout=3
map "$proxied"
page_on 30
proxy hole
SECONDS=0
ends "network gone" $bus 'use server tcp:'
assert "network gone: after the timeout" [ "$SECONDS" -le 30 ]
done_testing
