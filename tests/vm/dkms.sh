#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# DKMS builds, installs and removes teramem.ko for both kernels, as dkms.conf
# says: in folders of this test, against the headers of tests/vm/kernels. No VM.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_root
requires make modinfo dkms
version=9.9

mkdir "$TMP/tree" "$TMP/modules"
"$SRC/kmod/stage" "$SRC" "$TMP/source/teramem-$version" $version

# run COMMAND OPTION...: of dkms
run() {
	dkms "$1" "teramem/$version" --dkmstree "$TMP/tree" \
		--sourcetree "$TMP/source" --installtree "$TMP/modules" \
		"${@:2}" >"$TMP/out" 2>&1
}

run add
assert_eq $? 0 "dkms add"
for kernel in 6.1 6.12; do
	folder=$("$SRC/tests/vm/kernels" "$kernel" 2>"$TMP/err") || {
		note "$(cat "$TMP/err")"
		not_ok "$kernel can be had"
		continue
	}
	release=$(cat "$folder/release")
	mkdir -p "$TMP/modules/$release"
	installed=$TMP/modules/$release/updates/dkms/teramem.ko
	run build -k "$release" --kernelsourcedir "$folder/headers"
	status=$?
	[ $status -eq 0 ] || note "$(cat "$TMP/out")"
	assert_eq $status 0 "$kernel: dkms build"
	run install -k "$release" --kernelsourcedir "$folder/headers" \
		--no-depmod
	assert_eq $? 0 "$kernel: dkms install"
	assert "$kernel: the module is there" test -s "$(ls "$installed"*)"
	assert_eq "$(modinfo -F vermagic "$(ls "$installed"*)" | cut -d " " -f 1)" "$release" \
		"$kernel: it is for that kernel"
	run uninstall -k "$release"
	assert_eq "$?, $(ls "$installed"* 2>/dev/null)" "0, " "$kernel: dkms uninstall"
done
run remove --all
assert_eq "$?, $(ls -A "$TMP/tree")" "0, " "dkms remove"
done_testing
