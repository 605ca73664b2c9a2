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

# map BLOCK LOCAL POLICY PLACEMENT
map() {
	cat >"$TMP/map" <<-END
		{"version": 1, "size": "768M", "local": "$2", "block": "$1",
		 "policy": "$3", "placement": "$4", "servers": [
		 {"address": "$(server_address a)", "capacity": "384M"},
		 {"address": "$(server_address b)", "capacity": "384M"}]}
	END
}
# page NAME ARGUMENT...
page() {
	local name=$1 out
	shift
	out=$(TERAMEM_JOB_MAP=$TMP/map timeout 500 \
		"$BUILD/tests/paging/pagetest" "$@" 2>&1)
	assert_match "$out" '^ok' "$name"
	note "$out"
}

start_server a --capacity=384M --mlock=no --grace=1 || done_testing
start_server b --capacity=384M --mlock=no --grace=1 || done_testing
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
# One after the other gets full.
TERAMALLOC_MECHANISM=$1 timeout 500 "$TERAMEM" run --quiet --donors=4 \
	--size=256M --local=4M --block=64K -- env -u LD_PRELOAD \
	"$BUILD/tests/paging/pagetest" --size=$((252 * m)) --passes=1 \
	>"$TMP/four" 2>&1
assert_eq $? 0 "four servers"
note "$(cat "$TMP/four")"
cd "$TMP" && map 64K 16M lru simple
out=$(TERAMEM_JOB_MAP=$TMP/map timeout 500 "$BUILD/tests/paging/calls" 2>&1)
status=$?
assert_eq "$status" 0 "what programs do with memory"
note "$out"
done_testing
