#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: a space gives local memory back when the machine is short of it, or
# the program's memory cgroup; nothing is killed for it, and no byte is wrong.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"
most=$((16 * m))
group=/sys/fs/cgroup/teramem-memory
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
mkdir $group

# page MEMORY_MAX ARGUMENT...: pagetest in the group, in the background, until
# it has filled its memory; $paging is teramem run
page() {
	local max=$1
	shift
	echo "$max" >$group/memory.max
	rm -f "$TMP/page"
	# shellcheck disable=SC2016 # for the inner shell
	start "$TERAMEM" run --engine=kmod --size=64M --local=$most --block=16K \
		--prefetch=0 -- env -u LD_PRELOAD sh -c 'echo $$ >"$1"/cgroup.procs
		shift; exec "$@"' sh $group "$PAGETEST" --size=$((24 * m)) \
		--threads=2 --pattern=random "$@" >"$TMP/page" 2>&1
	paging=$started
	space=/sys/class/teramem/run-$paging
	assert "memory.max=$max: pagetest fills its memory" \
		wait_until $((100 * patience)) grep -q '^# fill' "$TMP/page"
}

# ends NAME: well, with nothing killed
ends() {
	local status=0
	wait_until $((100 * patience)) gone "$paging"
	kill -KILL "$paging" 2>/dev/null
	wait "$paging" || status=$?
	[ $status -eq 0 ] || note "$(cat "$TMP/page"; dmesg | tail -n 5)"
	assert_eq $status 0 "$1: right to the end"
	assert_eq "$(sed -n 's/^oom_kill //p' $group/memory.events)" 0 \
		"$1: nothing was killed"
}

# below FILE BYTES, above FILE BYTES
# shellcheck disable=SC2317 # called by assert and wait_until, as what follows
below() {
	[ "$(cat "$1")" -lt "$2" ]
}
# shellcheck disable=SC2317
above() {
	[ "$(cat "$1")" -ge "$2" ]
}

# The whole machine.
page max --seconds=30
assert "it uses all of its local memory" \
	wait_until $((20 * patience)) above "$space/limit_bytes" $most
assert "... which the cgroup is charged for" \
	wait_until $((20 * patience)) above $group/memory.current $most
note "limit $(cat "$space/limit_bytes"), resident $(cat "$space/resident_bytes"), charged $(cat $group/memory.current)"
# shellcheck disable=SC2317
shrink() {
	echo 2 >/proc/sys/vm/drop_caches
	below "$space/limit_bytes" $((most / 2))
}
assert "short of memory: it may use less" wait_until $((20 * patience)) shrink
assert "... does" wait_until $((4 * patience)) below "$space/resident_bytes" $((most * 3 / 4))
assert "... and the rest went back to the system" \
	wait_until $((4 * patience)) below $group/memory.current $((most * 3 / 4))
note "limit $(cat "$space/limit_bytes"), resident $(cat "$space/resident_bytes"), charged $(cat $group/memory.current)"
assert "no longer short: it uses all again" \
	wait_until $((60 * patience)) above "$space/limit_bytes" $most
ends "shrinker"

# A cgroup that was too small from the start.
page 10M --seconds=3
assert "memory.max=10M: it makes do" below "$space/limit_bytes" $((10 * m))
ends "small cgroup"

# That becomes too small.
page 40M --seconds=10
wait_until $((20 * patience)) above "$space/limit_bytes" $most
echo 10M >$group/memory.max
assert_eq "$(cat $group/memory.max)" $((10 * m)) "memory.max: 10M is less"
assert "memory.max: it makes do with that" below "$space/limit_bytes" $((10 * m))
assert "... as the cgroup says" below $group/memory.current $((10 * m + 1))
ends "cgroup made smaller"

# In which others need the memory: tail keeps what it reads.
page 24M --seconds=12
wait_until $((20 * patience)) above "$space/limit_bytes" $most
# shellcheck disable=SC2016 # for the inner shell
sh -c 'echo $$ >"$0"/cgroup.procs; head -c 14M /dev/zero | tail -c 14M |
	{ sleep 2; wc -c; }' $group >"$TMP/others"
assert_eq "$(cat "$TMP/others")" $((14 * m)) "others get their memory"
assert "... from the space" below "$space/limit_bytes" $((12 * m))
ends "memory for others"
assert "the cgroup can be removed" wait_until $((20 * patience)) rmdir $group
unload
