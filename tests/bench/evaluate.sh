#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# tests/bench/evaluate: what it refuses; and with "smoke", that it measures and
# draws each figure at tiny sizes, and leaves the machine as it was.
# shellcheck disable=SC2317 # functions for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq
evaluate=$SRC/tests/bench/evaluate document=$SRC/doc/evaluation.md
export BUILD TMPDIR=$TMP

# refuses STATUS MESSAGE ARGUMENT...
refuses() {
	local wanted=$1 message=$2 status
	shift 2
	env BUILD="${built:-$BUILD}" "$evaluate" "$@" >"$TMP/out" 2>"$TMP/err"
	status=$?
	assert_eq "$status" "$wanted" "evaluate $*: exit status $wanted"
	assert_match "$(cat "$TMP/out" "$TMP/err")" "$message" "... and says why"
}

arguments() {
	local name built=''
	refuses 2 'nonsense: no such figure' nonsense
	refuses 2 'nonsense: no such figure' --without=sort,nonsense
	refuses 2 'not allowed with' --quick --full
	refuses 2 'unrecognized arguments: --rounds' --rounds=3
	refuses 1 'no results of these figures' --publish --results="$TMP" sort
	built=$TMP refuses 1 'no .*workload: meson setup' sort
	assert_eq "$("$evaluate" --help | grep -cE '^  [1-6] [a-z-]+ +[A-Z1]')" 16 \
		"--help names the figures"
	for name in $("$evaluate" --help | sed -nE 's/^  [1-6] ([a-z-]+) .*/\1/p'); do
		assert_eq "$(grep -cE "^<!-- (end of )?$name -->" "$document")" 2 \
			"$name has its place in the document"
	done
}

# state: of the machine, where baselines need to change it
state() {
	cat /proc/swaps /proc/sys/vm/page-cluster /proc/sys/vm/swappiness
	ls /sys/block
	find /var/tmp -maxdepth 1 -name 'teramem-evaluate-*'
	find /sys/fs/cgroup -maxdepth 2 -name 'teramem-evaluate-*'
}

# interrupted: a run that is ended by two signals undoes what it set up, and
# keeps what it had
interrupted() {
	local before=$1
	start "$evaluate" --smoke latency write --results="$TMP/ended" \
		>"$TMP/out" 2>"$TMP/err"
	wait_until 300 test -e "$TMP/ended/latency.png"
	wait_until 300 swap_is_on
	kill "$started"
	assert "it says how to go on" wait_until 60 \
		grep -q 'resume goes on' "$TMP/err"
	kill "$started" 2>/dev/null
	wait "$started"
	assert_eq $? 143 "ended by signals"
	assert "... keeps what it had" test -s "$TMP/ended/latency.json"
	assert_eq "$(state)" "$before" "... the machine is as before"
}

swap_is_on() {
	[ "$(wc -l </proc/swaps)" -gt 1 ]
}

# resumed: what is there is kept, and what is not is measured
resumed() {
	rm "$TMP/results/latency.json"
	"$evaluate" --smoke --resume --without=jobs --results="$TMP/results" \
		>"$TMP/out" 2>"$TMP/err"
	assert_eq $? 0 "what is lacking is measured"
	assert_eq "$(grep -c ': was there$' "$TMP/err")" 13 "... and nothing else"
	assert "... which it was" test -s "$TMP/results/latency.json"
}

smoke() {
	local before result name
	requires sqlite3 munged mkswap
	requires_root
	requires_paging
	requires_free 3000
	# sockets' names are limited, and a swap file is no good in tmpfs
	export TMPDIR=/var/tmp
	before=$(state)
	"$evaluate" --smoke --without=jobs --results="$TMP/results" \
		>"$TMP/out" 2>"$TMP/err"
	assert_eq $? 0 "all figures are measured"
	note "$(cat "$TMP/err")"
	assert_eq "$(state)" "$before" "the machine is as before"
	for result in "$TMP"/results/*.json; do
		name=$(basename "$result" .json)
		assert_eq "$(jq '[.cases[].samples | length > 0] | all' "$result")" \
			true "$name: each case has samples"
		assert_eq "$(jq '[.cases[].samples[] | has("failed")] | any' \
			"$result")" false "$name: none failed"
		assert "$name: plots" test -s "${result%json}svg" -a \
			-s "${result%json}png"
	done
	assert_eq "$(find "$TMP/results" -name '*.json' | wc -l)" 14 "14 figures"
	assert_eq "$(jq '[.cases[] | select(.series | test("RR|Simple")) |
		.samples[].stats.bytes_in > 0] | length > 0 and all' \
		"$TMP/results/sequential.json")" true "remote memory was read"
	resumed
	interrupted "$before"
	assert_eq "$(jq '.about.machine | has("kernel") and has("commit")' \
		"$TMP/results/sequential.json")" true "the machine is described"
}

case ${1:-arguments} in
arguments) arguments ;;
smoke) smoke ;;
*)
	echo "evaluate.sh: arguments or smoke" >&2
	exit 2
	;;
esac
done_testing
