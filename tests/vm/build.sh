#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# teramem.ko builds for the oldest kernel too, without a warning of the compiler
# or of sparse. (Those that it is tested in are built by tests/vm/module.)
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires make gcc-12 sparse

for kernel in 5.10 6.12; do
	folder=$("$SRC/tests/vm/kernels" "$kernel" 2>"$TMP/err") || {
		note "$(cat "$TMP/err")"
		not_ok "$kernel can be had"
		continue
	}
	# core/ hands locks from function to function: lockdep looks at those.
	"$SRC/kmod/build" "$SRC" "$TMP/$kernel" 0 "$folder/headers" CC=gcc-12 \
		C=1 CF=-Wno-context >"$TMP/log" 2>&1
	assert_eq $? 0 "$kernel: it builds"
	said=$(grep -E '(warning|error):' "$TMP/log" | grep "$TMP/$kernel")
	assert_eq "$said" "" "$kernel: no warning of gcc or sparse"
done
done_testing
