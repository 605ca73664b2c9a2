#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# teramem check: the same findings as a table and as JSON; as an ordinary user
# without /dev/userfaultfd it fails, and says what to do.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq

"$TERAMEM" check --json >"$TMP/json"
status=$?
"$TERAMEM" check >"$TMP/table"
assert_eq $? "$status" "same exit status in both forms"
assert_eq "$(json "$TMP/json" .works)" \
	"$([ "$status" -eq 0 ] && echo true || echo false)" "exit status is .works"
assert_eq "$(json "$TMP/json" '.checks[] | select(.state == "fail") | .name' | wc -l)" \
	"$(grep -Ec '^.{17} fail ' "$TMP/table")" "same failures in both forms"
assert_eq "$(json "$TMP/json" '[.checks[] | select(.state != "ok" and .remedy == "")] | length')" \
	0 "whatever is not ok has its remedy"
for name in kernel userfaultfd /dev/userfaultfd mechanism memory overcommit \
	"kernel module" "locked memory" "huge pages" munge; do
	assert_eq "$(jq --arg n "$name" '[.checks[] | select(.name == $n)] | length' "$TMP/json")" \
		1 "$name is checked"
done
assert_eq "$("$TERAMEM" check >/dev/full 2>&1; echo $?)" "125" \
	"a table that cannot be written is a failure"

if [ "$(id -u)" -eq 0 ] && command -v setpriv >/dev/null &&
	[ "$(cat /proc/sys/vm/unprivileged_userfaultfd)" = 0 ] &&
	[ "$(stat -c %a /dev/userfaultfd)" = 600 ]; then
	cp "$TERAMEM" "$TMP/teramem"
	chmod 755 "$TMP"
	user=(setpriv --reuid=65534 --regid=65534 --clear-groups --
		"$TMP/teramem")
	got=$("${user[@]}" check 2>/dev/null)
	assert_eq $? 1 "without a full userfaultfd check fails"
	assert_match "$got" '^userfaultfd +fail +limited' "... names the cause"
	assert_match "$got" '-> as root: chgrp GROUP /dev/userfaultfd' \
		"... and the remedy"
	got=$("${user[@]}" run --size=64M --local=8M -- true 2>&1)
	assert_eq $? 125 "... and run refuses"
	assert_match "$got" '^teramem: run: no full userfaultfd for this user; as root: chgrp GROUP' \
		"... with the same remedy"
fi
done_testing
