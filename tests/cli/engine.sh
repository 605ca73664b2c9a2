#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Which engine: the kernel's where it can be had and is wanted, never something
# else silently. Where there is no module; with one, see tests/vm.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq
requires_paging
export XDG_RUNTIME_DIR=$TMP
run=("$TERAMEM" run --size=64M --local=8M)
none='no module teramem for this kernel: build it with -Dkmod=enabled'
bench=$BUILD/tools/bench-paging

# The module may be there, on somebody's machine.
if [ ! -e /dev/teramem-control ] && ! modinfo teramem >/dev/null 2>&1; then
	got=$("${run[@]}" --engine=kmod -- true 2>&1)
	assert_eq $? 125 "--engine=kmod without the module"
	assert_match "$got" "^teramem: --engine=kmod: $none -Dkdir=/lib/modules/$(uname -r)/build" \
		"... names the remedy"
	assert_eq "$(ls "$TMP")" check "... leaves nothing"
	"${run[@]}" --engine=auto --stats="$TMP/stats" -- true >/dev/null 2>&1
	assert_eq $? 0 "--engine=auto without the module"
	assert_eq "$(json "$TMP/stats" .config.engine)" uffd "... pages in user space"
	"$TERAMEM" check --json >"$TMP/json"
	assert_eq "$(json "$TMP/json" '.checks[] | select(.name == "kernel module") | .state')" \
		warn "teramem check says that there is none"
fi

# A device that is named is used, or nothing is: the map would do.
for device in /nowhere /dev/null; do
	got=$("${run[@]}" --quiet -- env -u LD_PRELOAD \
		"TERAMEM_JOB_DEVICE=$device" "$bench" read $((1 << 20)) 1 2>&1)
	assert "a device $device: the allocation fails" [ $? -ne 0 ]
	assert_match "$got" "start engine: use $device: .*(agent ended|not a device of teramem)" \
		"... with the cause"
done
done_testing
