#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: when donors die, connections break, programs are killed while they
# wait for a page, or memory is short, an access ends in the right bytes or in
# SIGBUS with one line in the kernel's log. Nothing hangs, and nothing stays.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"
requires munged

# map ADDRESS [AUTH]
map() {
	cat >"$TMP/map" <<-END
		{"version": 1, "size": "64M", "local": "2M", "block": "16K",
		 "timeout": 5, "servers": [{"address": "$1",
		 "capacity": "64M", "auth": "${2:-peercred}"}]}
	END
}

# page ARGUMENT...: pagetest on the map's servers, in the background, until it
# has filled its memory; $paging is teramem run, $program pagetest
page() {
	rm -f "$TMP/page"
	start "$TERAMEM" run --engine=kmod --map="$TMP/map" -- \
		env -u LD_PRELOAD "$PAGETEST" --size=$((16 * m)) --threads=2 \
		--pattern=random "$@" >"$TMP/page" 2>&1
	paging=$started
	wait_until $((60 * patience)) grep -q '^# fill' "$TMP/page" || {
		note "$(cat "$TMP/page")"
		not_ok "pagetest fills its memory"
		return 1
	}
	program=$(children_of "$paging" | tr ' ' '\n' | while read -r pid; do
		[ "$(cat "/proc/${pid:-0}/comm" 2>/dev/null)" != pagetest ] ||
			echo "$pid"
	done)
}

# ends NAME STATUS: how it ended; within a minute or so, with no wrong byte
ends() {
	local status=0
	wait_until $((60 * patience)) gone "$paging" || note "$(cat /proc/"$program"/stack)"
	kill -KILL "$paging" 2>/dev/null
	wait "$paging" || status=$?
	[ "$status" = "$2" ] || note "$(cat "$TMP/page"; dmesg | tail -n 5)"
	assert_eq "$status" "$2" "$1"
	assert "$1: no wrong bytes" [ -z "$(grep '^# page\|^not ok' "$TMP/page")" ]
}

# said NAME REGEX: the kernel's log has one such line since mark
mark() {
	echo "teramem-test: mark $((++marks))" >/dev/kmsg
}
said() {
	assert_eq "$(dmesg | sed "1,/teramem-test: mark $marks\$/d" |
		grep -cE "teramem: .*($2)")" 1 "$1: one line in the kernel's log"
}
marks=0

start_server donor --capacity=64M --mlock=no || done_testing
donor=$started
map "$(server_address donor)"

# A program that waits for a page can be killed, and only that page is lost.
for seconds in 0.1 0.4 0.9; do
	page --seconds=100 || break
	sleep $seconds
	kill -KILL "$program"
	ends "killed while it pages" 137
done
page --seconds=100
kill -STOP "$donor"
sleep 2
kill -KILL "$program"
assert "killed while the donor is silent: at once" wait_until 4 gone "$program"
ends "killed while the donor is silent" 137
kill -CONT "$donor"

# A pause is bridged.
page --seconds=4
kill -STOP "$donor" && sleep 2 && kill -CONT "$donor"
ends "donor stopped and continued" 0

# A module in use stays.
page --seconds=1000
for i in {1..20}; do
	rmmod teramem 2>"$TMP/err" && break
	sleep 0.1
done
assert_match "$(cat "$TMP/err")" 'in use' "rmmod under load is refused ($i times)"
kill -KILL "$program"
ends "rmmod under load" 137

page --seconds=100
mark
kill -KILL "$donor"
ends "donor killed" $bus
said "donor killed" 'lost|gave up|given up'

start_server donor --capacity=64M --mlock=no
donor=$started
page --seconds=100
mark
kill -STOP "$donor"
ends "donor silent for good" $bus
said "donor silent for good" 'lost|gave up|given up'
kill -KILL "$donor"

# Connections that break and come back.
start_proxied --capacity=64M --mlock=no || done_testing
map "$proxied" munge
page --seconds=8
for command in reset cut "stall 700" reset drop reset; do
	proxy "$command"
	sleep 1
done
ends "connections broken again and again" 0
page --seconds=100
proxy hole
ends "network gone" $bus
proxy pass

# A cgroup that is too small for the local memory, by far: it may be killed.
start_server donor --capacity=64M --mlock=no
map "$(server_address donor)"
group=/sys/fs/cgroup/teramem-test
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group
for limit in 16M 3M 1M; do
	echo $limit >$group/memory.max
	status=0
	# shellcheck disable=SC2016 # for the inner shell
	timeout -s KILL $((100 * patience)) "$TERAMEM" run --engine=kmod --map="$TMP/map" -- \
		env -u LD_PRELOAD sh -c 'echo $$ >"$1"/cgroup.procs; shift
		exec "$@"' sh $group "$PAGETEST" --size=$((16 * m)) --passes=1 \
		>"$TMP/page" 2>&1 || status=$?
	assert_match "$status" "^(0|1|$bus|137)\$" "memory.max=$limit: it ends"
	assert "memory.max=$limit: no wrong bytes" \
		[ -z "$(grep '^# page' "$TMP/page")" ]
	note "memory.max=$limit: exit status $status, $(grep '^oom_kill ' $group/memory.events)"
	[ $limit != 16M ] || assert_eq "$status" 0 "memory.max=$limit: is enough"
done
wait_until $((20 * patience)) rmdir $group

# Memory is short everywhere: the space gives some back, and takes it again when
# that is over.
# shellcheck disable=SC2317 # wait_until calls these
bytes() {
	cat /sys/class/teramem/*/"$1"_bytes
}
# shellcheck disable=SC2317
has_memory() {
	[ "$(bytes limit)" -gt "$m" ] && [ "$(bytes resident)" -gt "$m" ]
}
# shellcheck disable=SC2317
squeezed() {
	echo 2 >/proc/sys/vm/drop_caches
	[ "$(bytes limit)" -lt $((m / 2)) ] &&
		[ "$(bytes resident)" -lt $((m / 2)) ]
}
page --seconds=1000
assert "it has its local memory" wait_until $((20 * patience)) has_memory
assert "it gives memory back under pressure" \
	wait_until $((20 * patience)) squeezed
assert "and takes it again" wait_until $((20 * patience)) has_memory
kill -KILL "$program"
ends "memory short everywhere" 137

# Spaces come and go while somebody tries to unload the module all the time.
# Where that works, teramem run has a line to say.
until [ -e "$TMP/enough" ]; do
	sleep 0.2
	rmmod teramem 2>/dev/null && echo >>"$TMP/unloaded" && insmod "$MODULE"
done &
started_pids+=($!)
came=0
for i in {1..8}; do
	kmod --size=32M --local=512K --block=16K -- \
		env -u LD_PRELOAD "$PAGETEST" --size=$((2 * m)) --passes=1
	status=$?
	[ $status -ne 0 ] || came=$((came + 1))
	[ $status -eq 0 ] || grep -q '^teramem: ' "$TMP/out" ||
		not_ok "run $i of spaces that come and go: exit status $status"
	[ $status -eq 0 ] || note "$(cat "$TMP/out")"
done
# not killed: it would leave half of its work to an rmmod or insmod
: >"$TMP/enough"
wait "${started_pids[-1]}"
note "$came of 8 runs; unloaded $(wc -l <"$TMP/unloaded") times"
assert "spaces come and go while the module is unloaded and loaded" \
	[ $came -gt 0 ]

# Loaded and unloaded again and again, with and without a run.
for i in {1..10}; do
	rmmod teramem || break
	insmod "$MODULE" || break
done
assert_eq "$i" 10 "unloaded and loaded again"
pages "and it works" --size=32M --local=2M --block=16K -- --size=$((8 * m))
unload
