#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A program that catches SIGBUS goes on after its server is lost.
#
#	lost.sh PROGRAM
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_paging

start_server a --capacity=64M --mlock=no || done_testing
server=$started
printf '{"version": 1, "size": "64M", "local": "8M", "block": "64K",
	"servers": [{"address": "%s", "capacity": "64M"}]}' \
	"$(server_address a)" >"$TMP/map"
mkfifo "$TMP/line"
TERAMEM_JOB_MAP=$TMP/map TERAMALLOC_MMAP=1 start env LD_PRELOAD="$PRELOAD" \
	"$1" "$TMP/line" >"$TMP/out" 2>"$TMP/err"
program=$started
wait_until 30 grep -q ready "$TMP/out"
kill -KILL "$server"
wait "$server" 2>/dev/null
# Before that is known, an access may wait for a frame that no eviction frees.
wait_until 30 grep -q 'use server' "$TMP/err"
: >"$TMP/line"
wait "$program"
assert_eq $? 0 "the program lives"
assert_match "$(<"$TMP/out")" '^lost [1-9][0-9]*, wrong 0$' \
	"it lost memory, and what it has is right"
assert_match "$(<"$TMP/out")" '^raised in calls 0, refused 0$' \
	"a call on lost memory raises no signal, and keeps no lock"
note "$(cat "$TMP/out" "$TMP/err")"
done_testing
