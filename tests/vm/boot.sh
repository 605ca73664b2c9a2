#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The harness itself: both kernels boot, what a command says and how it ends
# comes out, and a kernel that complains, dies or hangs is seen.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_root
requires qemu-system-x86_64 busybox cpio modprobe

kernels=$SRC/tests/vm/kernels
for kernel in 6.1 6.12; do
	"$kernels" "$kernel" >"$TMP/$kernel" 2>"$TMP/err" || {
		note "$(cat "$TMP/err")"
		not_ok "$kernel can be had"
	}
done

# vm STATUS KERNEL ARGUMENT...: its output in $TMP/out and $TMP/err
vm() {
	local wanted=$1 status
	shift
	TMPDIR=$TMP "$SRC/tests/vm/run" "$@" >"$TMP/out" 2>"$TMP/err"
	status=$?
	[ "$status" = "$wanted" ] || note "$(cat "$TMP/err")"
	assert_eq "$status" "$wanted" "$1: exit status $wanted"
}

mkdir "$TMP/shared"
echo 'from outside' >"$TMP/shared/in"
# shellcheck disable=SC2016 # for the VM's shell
vm 3 6.12 --share "$TMP/shared" -- sh -c 'uname -r; id -u; cat "$1/in"
	echo "from inside" >"$1/out"; touch /etc/teramem-was-here; exit 3' \
	sh "$TMP/shared"
assert_eq "$(cat "$TMP/out")" "$(cat "$(cat "$TMP/6.12")/release")
0
from outside" "6.12 runs a command as root, and reads a shared folder"
assert_eq "$(cat "$TMP/shared/out")" "from inside" "what it writes there comes out"
assert "nothing else does" test ! -e /etc/teramem-was-here

# shellcheck disable=SC2016
vm 200 6.1 --log "$TMP/log" -- sh -c 'uname -r; echo "WARNING: said $0" >/dev/kmsg' me
assert_eq "$(cat "$TMP/out")" "$(cat "$(cat "$TMP/6.1")/release")" "6.1 runs a command"
assert_match "$(cat "$TMP/err")" 'WARNING: said me' "a complaint of the kernel is shown"
assert_match "$(cat "$TMP/log")" 'Linux version 6[.]1[.]' "all that it said is kept"

vm 201 6.12 -- sh -c 'sleep 1; echo c >/proc/sysrq-trigger'
assert_match "$(cat "$TMP/err")" 'Kernel panic' "a panic is shown"

vm 202 6.1 --timeout 3 -- sleep 1000
assert_match "$(cat "$TMP/err")" 'did not end in 3 s' "a hang is told"

vm 203 2.4 -- true
vm 203 6.1 --memory
done_testing
