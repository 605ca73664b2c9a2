#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What teramem run says about a program that pages, in words and as JSON, adds
# up; with several processes, over all of them.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq sort
requires_paging
export XDG_RUNTIME_DIR=$TMP

"$SRC/contrib/make-text" 24 >"$TMP/text"
sort "$TMP/text" >"$TMP/native"
paged=(sort -S 256M --parallel=2 -T "$TMP" "$TMP/text")

"$TERAMEM" run --size=512M --local=48M --stats="$TMP/stats" -- "${paged[@]}" \
	-o "$TMP/paged" 2>"$TMP/err"
assert_eq $? 0 "sort ends well"
assert "its output is native's" cmp "$TMP/native" "$TMP/paged"
check() {
	assert_eq "$(json "$TMP/stats" "$2")" true "$1"
}
check "everything that was asked for is a number" \
	'[.faults, .bytes_in, .bytes_out, .dropped_clean, .fault_ns_p50,
	  .fault_ns_p99] | map(type == "number") | all'
check "faults have kinds" '.faults >= .faults_zero + .faults_remote + .faults_cached
	and .faults_zero > 0 and .faults_remote > 0'
# Two threads that wait for one block are timed once.
check "faults were timed" '.fault_ns_count <= .faults and
	.fault_ns_count > .faults * 0.9 and
	.fault_ns_p50 > 0 and .fault_ns_p99 >= .fault_ns_p50'
check "whole blocks came and went" '.bytes_in == .fetched_blocks * .config.block_bytes and
	.bytes_out == .stored_blocks * .config.block_bytes and .bytes_in > 0 and .bytes_out > 0'
check "evictions were stored, dropped clean or rescued" \
	'.evicted >= .dropped_clean and .stored_blocks <= .evicted + .evict_rescued'
check "local memory was kept to" '.resident_peak_bytes <= .config.local_bytes
	and .resident_peak_bytes > .config.local_bytes / 2'
check "remote memory was used" '.remote_peak_bytes > 16777216 and
	.capacity_peak_bytes <= .config.size_bytes'
check "nothing was damaged or lost" '.checksum_errors == 0 and .lost == 0'
check "one process" '.processes == 1 and .processes_max == 1'
check "the outcome" '.exit_status == 0 and .wall_s > 0 and .command[0] == "sort"'

assert_match "$(sed -n 1p "$TMP/err")" \
	'^teramem: sort: exit status 0 after [0-9.]+ s$' "summary: outcome"
assert_match "$(cat "$TMP/err")" \
	'^teramem:   memory   remote at most [0-9.]+M of 512M, local at most [0-9.]+M of 48M, by 1 process$' \
	"summary: memory"
assert_match "$(cat "$TMP/err")" \
	"^teramem:   faults   $(json "$TMP/stats" .faults): " "summary: faults"
assert_match "$(cat "$TMP/err")" '^teramem:   written  .* needed no transfer$' \
	"summary: transfers"

# Two at one time share local memory and capacity.
# shellcheck disable=SC2016 # for the inner shell
"$TERAMEM" run --size=1G --local=64M --stats="$TMP/stats" --quiet -- sh -c '
	out=$1
	shift
	"$@" -o "$out.1" & "$@" -o "$out.2"; wait' - "$TMP/two" "${paged[@]}"
assert "two sorts: the first" cmp "$TMP/native" "$TMP/two.1"
assert "two sorts: the second" cmp "$TMP/native" "$TMP/two.2"
check "both are counted" '.processes == 2 and .processes_max == 2'
check "together they kept to local memory" \
	'.resident_peak_bytes <= .config.local_bytes * 1.05'

# However short the program, what it held at most is known to the end.
"$TERAMEM" run --size=64M --local=8M --block=64K --stats="$TMP/stats" --quiet -- \
	"$BUILD/tests/paging/sparse" $((32 << 20)) $((64 << 10)) >"$TMP/out"
assert_eq $? 0 "a short program"
check "its peaks are known" '.resident_peak_bytes > 7000000 and
	.resident_peak_bytes <= .config.local_bytes and
	.remote_peak_bytes > 20000000'
note "$(jq -c '[.wall_s, .resident_peak_bytes, .remote_peak_bytes]' "$TMP/stats")"

# What auto means, the program's engine says.
# shellcheck disable=SC2016 # for the inner shell
for case in move:64M:4K move:4G:16K copy:64M:256K; do
	IFS=: read -r mechanism size block <<<"$case"
	got=$(TERAMALLOC_MECHANISM=$mechanism "$TERAMEM" run --size="$size" \
		--overcommit --local=8M --block=auto --quiet -- env -u LD_PRELOAD sh -c '"$1" status
			"$2" $((32 << 20)) $((64 << 10)) >&2; "$1" status' - \
		"$TERAMEM" "$BUILD/tests/paging/sparse" 2>"$TMP/err")
	if grep -q "mechanism 'move': this kernel" "$TMP/err"; then
		ok "$mechanism, status # SKIP not with this kernel"
		continue
	fi
	assert_eq "$(sed -n 's/.*blocks of \([^,]*\).*/\1/p' <<<"$got" | xargs)" \
		"auto $block" "$mechanism, $size: auto in status"
done

# Nothing large, nothing paged, and it says so.
got=$("$TERAMEM" run --size=64M --local=8M -- true 2>&1)
assert_match "$got" 'no remote memory was used: no allocation reached 1M' \
	"a program without large memory"

# Capacity used up: the program is told, and lives. Each of its arrays takes a
# block more than 8 MiB.
cat >"$TMP/greedy.py" <<'EOF'
kept = []
try:
    while True:
        kept.append(bytearray(8 << 20))
except MemoryError:
    print(len(kept))
EOF
if command -v python3 >/dev/null; then
	got=$("$TERAMEM" run --size=64M --local=16M --quiet -- python3 "$TMP/greedy.py" 2>"$TMP/err")
	assert_eq "$? $got" "0 7" "beyond --size malloc fails, the program goes on"
	note "$(cat "$TMP/err")"
fi
done_testing
