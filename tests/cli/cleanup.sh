#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# teramem cleanup where there is nothing to clean up; the rest needs a cluster.
# shellcheck disable=SC2016 # scripts of others
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_root
[ -e "$BUILD/spank/teramem-job" ] || skip "built without the Slurm plugin"
[ ! -e /run/teramem ] || skip "jobs are running on this machine"

for option in "" --dry-run; do
	assert_eq "$("$TERAMEM" cleanup $option 2>&1; echo $?)" \
		"nothing is left of jobs that are gone"$'\n'0 \
		"cleanup $option"
done
assert_match "$("$TERAMEM" cleanup --help)" "^Usage: teramem cleanup \[--dry-run\]" \
	"--help"
assert_eq "$("$TERAMEM" cleanup now 2>&1; echo $?)" \
	"teramem: cleanup: now: not expected (see teramem cleanup --help)"$'\n'125 \
	"an operand is refused"
assert_eq "$("$TERAMEM" cleanup >/dev/full 2>/dev/null; echo $?)" 1 \
	"what cannot be said is a failure"
chmod 755 "$TMP"
cp "$TERAMEM" "$TMP/teramem"
assert_eq "$(setpriv --reuid=65534 --regid=65534 --clear-groups \
	"$TMP/teramem" cleanup 2>&1; echo $?)" \
	"teramem: cleanup: needs root: run it with sudo"$'\n'125 "not root"
unshare -m sh -c 'mount -t tmpfs -o mode=755 none /run && mkdir -m 777 /run/teramem &&
	"$0" cleanup' "$TERAMEM" >"$TMP/out" 2>&1
assert_eq "$? $(cat "$TMP/out")" "1 teramem: cleanup: use /run/teramem: others \
than root may write there; remove it" "a folder that others may write to"
unshare -m sh -c 'mount -t tmpfs -o mode=755 none /run &&
	mkdir /run/other /run/other/7 && ln -s other /run/teramem &&
	"$0" cleanup; ls /run/other' "$TERAMEM" >"$TMP/out" 2>&1
assert_match "$(cat "$TMP/out")" "^7$" "a link is not followed"
done_testing
