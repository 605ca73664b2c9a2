#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM, with teramem.ko from tests/vm/module: the device's errors and its
# memory; then the module goes, and nothing stays. More than once.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

for round in 1 2; do
	modprobe -a libcrc32c && insmod "$MODULE"
	assert_eq "$?" 0 "the module is loaded, $round"
	"$BUILD/tests/vm/abi" >"$TMP/out" 2>&1
	assert_eq "$?" 0 "every call does what it should, $round"
	note "$(grep -v '^ok' "$TMP/out")"
	assert "the module is unloaded, $round" rmmod teramem
done
assert_eq "$(find /dev/teramem* 2>/dev/null)" "" "no device is left"
done_testing
