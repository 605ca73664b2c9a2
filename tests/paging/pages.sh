#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Every word of remote memory is what the program wrote, more than ten times as
# much as there is local memory, with a mechanism and each size of block.
#
#	pages.sh MECHANISM
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_paging
export TERAMALLOC_MECHANISM=$1

# What map names, and how long page may take.
servers=(a b) capacity=384 seconds=500

# map BLOCK LOCAL POLICY PLACEMENT
map() {
	local name list=
	for name in "${servers[@]}"; do
		list+=", {\"address\": \"$(server_address "$name")\",
			 \"capacity\": \"${capacity}M\"}"
	done
	cat >"$TMP/map" <<-END
		{"version": 1, "size": "$((${#servers[@]} * capacity))M",
		 "local": "$2", "block": "$1", "policy": "$3",
		 "placement": "$4", "servers": [${list#, }]}
	END
}
# page NAME ARGUMENT...
page() {
	local name=$1 out
	shift
	out=$(TERAMEM_JOB_MAP=$TMP/map timeout "$seconds" \
		"$BUILD/tests/paging/pagetest" "$@" 2>&1)
	assert_match "$out" '^ok' "$name"
	note "$out"
}

serve() {
	local name
	for name in "${servers[@]}"; do
		start_server "$name" --capacity="${capacity}M" --mlock=no \
			--grace=1 || done_testing
	done
}

serve
m=$((1 << 20))
map 4K 4M lru simple
page "4K, random, 4 threads" --size=$((64 * m)) --pattern=random --threads=4
map 64K 8M fifo rr
page "64K, sequential" --size=$((128 * m)) --pattern=seq
page "64K, hot and cold, 4 threads" --size=$((96 * m)) --pattern=hot \
	--threads=4 --discard --passes=3
map 256K 16M lru rr
page "256K, strided, 2 threads" --size=$((192 * m)) --pattern=stride \
	--threads=2 --passes=1
map 2M 32M lru simple
page "2M, sequential, 2 threads" --size=$((320 * m)) --pattern=seq --threads=2
TERAMALLOC_LANES=2 page "2M, two lanes" --size=$((320 * m)) --pattern=seq \
	--threads=2
map 16K 8M lru rr
TERAMALLOC_LANES=3 page "16K, random, three lanes" --size=$((96 * m)) \
	--pattern=random --threads=4 --passes=1 --discard
map auto 8M lru rr
TERAMALLOC_LANES=2 page "auto, hot and cold, 4 threads, two lanes" \
	--size=$((96 * m)) --pattern=hot --threads=4 --discard
page "auto, strided" --size=$((96 * m)) --pattern=stride --passes=1
cd "$TMP" && map 64K 16M lru simple
out=$(TERAMEM_JOB_MAP=$TMP/map timeout 500 "$BUILD/tests/paging/calls" 2>&1)
status=$?
assert_eq "$status" 0 "what programs do with memory"
note "$out"
# One after the other gets full. Placement that waits for a full one's answer
# goes on now and then; with eight of them it stalls or takes minutes.
servers=({1..8}) capacity=64 seconds=120
serve
map 64K 4M lru simple
page "64K, eight servers" --size=$((504 * m)) --passes=1
done_testing
