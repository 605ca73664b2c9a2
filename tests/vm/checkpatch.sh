#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The kernel's own checkpatch.pl has nothing to say about what is the kernel's
# alone. It comes with the source of the debug kernel, not with headers.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires perl

kernel=$("$SRC/tests/vm/kernels" debug) || {
	not_ok "the source of a kernel can be had"
	done_testing
}
cd "$SRC" || exit
perl "$kernel/headers/scripts/checkpatch.pl" --root="$kernel/headers" \
	--no-tree --no-summary --terse --file kmod/*.[ch] core/port/linux/* \
	include/teramem/uapi.h >"$TMP/out" 2>"$TMP/err"
assert_eq $? 0 "checkpatch"
assert_eq "$(cat "$TMP/out" "$TMP/err")" "" "it says nothing"
done_testing
