#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: every word of remote memory is what the program wrote, more than ten
# times as much as there is local memory, with each size of block, policy and
# placement; sort gives the same bytes as without; and the counters show what
# the policies are for.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

pages "4K, lru, simple, random, 4 threads" --size=32M --local=768K \
	--block=4K -- --size=$((8 * m)) --pattern=random --threads=4
pages "8K, fifo, simple, random, 2 threads" --size=16M --local=384K \
	--block=8K --policy=fifo -- \
	--size=$((4 * m)) --pattern=random --threads=2 --passes=1
pages "16K, fifo, rr, random, 4 threads, freed" --size=32M --local=1M \
	--block=16K --policy=fifo --placement=rr -- \
	--size=$((12 * m)) --pattern=random --threads=4 --discard
pages "32K, lru, rr, random, 4 threads" --size=32M --local=1M \
	--block=32K --placement=rr -- \
	--size=$((11 * m)) --pattern=random --threads=4 --passes=1
pages "64K, lru, rr, sequential" --size=64M --local=2M --block=64K \
	--placement=rr -- --size=$((24 * m)) --pattern=seq
pages "128K, fifo, rr, sequential" --size=64M --local=2M --block=128K \
	--policy=fifo --placement=rr -- --size=$((21 * m)) --passes=1
pages "256K, lru, simple, sequential, 4 threads" --size=64M --local=3M \
	--block=256K -- \
	--size=$((32 * m)) --pattern=seq --threads=4 --passes=1
pages "512K, lru, rr, random, 2 threads" --size=64M --local=4M --block=512K \
	--placement=rr -- \
	--size=$((41 * m)) --pattern=random --threads=2 --passes=1 --writes=10
pages "1M, fifo, simple, sequential, 2 threads" --size=128M --local=9M \
	--block=1M --policy=fifo -- --size=$((96 * m)) --threads=2 --passes=1
pages "2M, lru, rr, sequential" --size=256M --local=16M --block=2M \
	--placement=rr -- --size=$((168 * m)) --passes=1
# What was read ahead is mapped by one fault for all that came together, and not
# by one for each block.
# shellcheck disable=SC2016 # for the inner shell
kmod --size=64M --local=4M --block=auto -- env -u LD_PRELOAD sh -c \
	'"$@" && cut -d " " -f 11 "/proc/$$/stat" >"$0"' "$TMP/faults" \
	"$PAGETEST" --size=$((32 * m)) --pattern=seq --passes=2
assert_eq "$?" 0 "auto, lru, sequential"
assert "auto: it paged" sound
note "$(cat "$TMP/out")"
faults=$(cat "$TMP/faults")
assert "auto: $faults minor faults are less than half of the blocks fetched" \
	[ $((faults * 2)) -lt "$(json "$TMP/stats" .fetched_blocks)" ]

pages "without prefetch" --size=64M --local=2M --block=64K --prefetch=0 -- \
	--size=$((24 * m)) --pattern=seq --passes=1

pages "16 threads, 8 frames" --size=32M --local=512K --block=64K -- \
	--size=$((6 * m)) --pattern=random --threads=16 --passes=1

# shellcheck disable=SC2016 # for the inner shell
kmod --size=32M --local=1M --block=16K -- env -u LD_PRELOAD sh -c '
	"$1" --size='$((6 * m))' --pattern=random --seed=1 & first=$!
	"$1" --size='$((6 * m))' --pattern=hot --threads=2 --seed=2 && wait $first' \
	sh "$PAGETEST"
assert_eq "$?" 0 "two processes"
assert "two processes: it paged" sound
note "$(cat "$TMP/out")"

# Of its buffer sort uses 1.2 MB for this text. It goes through it at random:
# small blocks.
local=$((400 << 10))
"$SRC/contrib/make-text" 1 | head -n 16000 >"$TMP/text"
sort -S 32M --parallel=2 -T "$TMP" "$TMP/text" -o "$TMP/native"
for policy in lru fifo; do
	kmod --size=64M --local=$local --block=4K --policy=$policy -- \
		sort -S 32M --parallel=2 -T "$TMP" "$TMP/text" -o "$TMP/paged"
	assert_eq "$?" 0 "sort, $policy"
	assert "sort, $policy: as without" cmp "$TMP/native" "$TMP/paged"
	assert "sort, $policy: it paged" sound
	assert_eq "$(json "$TMP/stats" ".remote_peak_bytes >= 3 * $local")" \
		true "sort, $policy: with a third of its memory"
	note "$(cat "$TMP/out")"
	rm -f "$TMP/paged"
done

# Nine in ten accesses go to a twentieth of the memory.
declare -A fetched
for policy in lru fifo; do
	pages "hot and cold, $policy" --size=32M --local=3M --block=16K \
		--policy=$policy --prefetch=0 -- \
		--size=$((24 * m)) --pattern=hot --passes=3 --writes=10
	fetched[$policy]=$(json "$TMP/stats" .fetched_blocks)
done
note "fetched: lru ${fetched[lru]}, fifo ${fetched[fifo]}"
assert "lru fetches fewer hot blocks than fifo, by a tenth or more" \
	[ $((fetched[lru] * 10)) -lt $((fetched[fifo] * 9)) ]

# Written once, then read over and over: nothing is stored twice.
pages "read only" --size=32M --local=1M --block=64K -- \
	--size=$((16 * m)) --pattern=seq --passes=3 --writes=0
note "$(jq -c '{stored_blocks, dropped_clean, fetched_blocks}' "$TMP/stats")"
assert_eq "$(json "$TMP/stats" ".stored_blocks <= 16 * 16 and
	.dropped_clean > 16 * 16")" true "clean blocks are not written back"
unload
