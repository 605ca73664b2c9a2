#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: the device interface of teramem.ko; see device.c. And what can be
# read of a space while it pages: its attributes and the tracepoints.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

timeout -s KILL $((300 * patience)) "$BUILD/tests/vm/device" $patience \
	>"$TMP/out" 2>&1
assert_eq $? 0 "the devices"
note "$(cat "$TMP/out")"

# The attributes that are documented are those that there are.
documented() {
	local doc=$SRC/doc/sysfs-class-teramem
	sed -n 's|^What:.*<name>/\([a-z].*[a-z0-9]\)$|\1|p' "$doc"
	sed -n '/<name>\/stats\/$/,$s|^\t\t\([a-z_]\+\)\t.*|stats/\1|p' "$doc"
}
trace=/sys/kernel/tracing/instances/teramem
mkdir $trace
echo 1 >$trace/events/teramem/enable
start "$TERAMEM" run --engine=kmod --size=32M --local=1M --block=16K \
	--policy=fifo -- env -u LD_PRELOAD "$PAGETEST" --size=$((4 * m)) \
	--seconds=100 >"$TMP/page" 2>&1
space=/sys/class/teramem/run-$started
assert "a program pages" wait_until $((100 * patience)) grep -q '^# fill' "$TMP/page"
value() {
	cat "$space/$1"
}
# shellcheck disable=SC2317 # called by assert
moving() {
	[ "$(value stats/fetched_blocks)" -gt 100 ]
}
assert "blocks are fetched" wait_until $((60 * patience)) moving
# Stopped, it leaves the time to those who look.
program=$(children_of "$started" | tr ' ' '\n' | while read -r pid; do
	[ "$(cat "/proc/${pid:-0}/comm" 2>/dev/null)" != pagetest ] || echo "$pid"
done)
kill -STOP "$program"
assert_eq "$(documented | sort)" "$(cd "$space" && find . -maxdepth 2 -type f \
	! -path './power/*' ! -name uevent ! -name dev | cut -c3- | sort)" \
	"every attribute is documented, and there"
assert_eq "$(documented | while read -r name; do
	value "$name" | grep -Eqx '[0-9]+|fifo|simple' || echo "$name: $(value "$name")"
done)" "" "each holds a number, or a word that it may"
for expected in policy=fifo placement=simple block_bytes=16384 nr_servers=2 \
	nr_servers_lost=0 nr_regions=1 capacity_bytes=$((32 * m)) \
	local_bytes="$m" lost_bytes=0 stats/lost=0 stats/checksum_errors=0 \
	stats/refetched=0 stats/reconnects=0; do
	assert_eq "$(value "${expected%=*}")" "${expected#*=}" "${expected%=*}"
done
# NAME LEAST MOST
while read -r name least most; do
	now=$(value "$name")
	assert "$name: $now is from $least to $most" \
		[ "$now" -ge "$least" -a "$now" -le "$most" ]
done <<-END
	nr_lanes 1 2
	committed_bytes $((4 * m)) $((32 * m))
	limit_bytes $((m / 2)) $m
	resident_bytes 16384 $m
	resident_peak_bytes $((m / 4)) $m
	remote_bytes $((2 * m)) $((32 * m))
	remote_peak_bytes $((2 * m)) $((32 * m))
	fault_ns_p50 1000 100000000000
	fault_ns_p99 1000 100000000000
	stats/faults 64 1000000000
	stats/faults_zero 1 100000
	stats/evicted 256 1000000000
	stats/stored_blocks 192 1000000000
	stats/bytes_out $((3 * m)) 1000000000000
	stats/bytes_in $m 1000000000000
	stats/fetch_requests 1 1000000000
	stats/store_requests 1 1000000000
END
for event in fault fetch store evict; do
	assert "tm_$event: traced" grep -Eqm1 \
		"tm_$event: space=run-$started block=[0-9]+ " $trace/trace
done
assert_match "$(grep -m1 'tm_fetch' $trace/trace)" \
	'nr=[1-9][0-9]* server=[01]$' "a fetch: how much, from whom"
assert "evictions: dirty ones and clean ones" eval \
	"grep -Eqm1 'tm_evict: .* dirty\$' $trace/trace &&
	grep -Eqm1 'tm_evict: .* clean\$' $trace/trace"
echo 0 >$trace/events/teramem/enable
kill -KILL "$program"
wait "$started"
assert "the space's attributes go with it" wait_until $((20 * patience)) test ! -e "$space"
rmdir $trace
unload
