# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# For every test of teramem.ko that runs in a VM: source it first. The module
# ($MODULE, from tests/vm/module) is loaded then.
# shellcheck source=tests/functions.sh
. "$(dirname "${BASH_SOURCE[0]}")/../functions.sh"
requires jq
PAGETEST=$BUILD/tests/paging/pagetest
export XDG_RUNTIME_DIR=$TMP
# shellcheck disable=SC2034 # for those who source this
bus=135 m=$((1 << 20)) patience=1
[ ! -e /sys/kernel/debug/kmemleak ] || patience=6 # a debug kernel is slow
# shellcheck disable=SC2034
readonly PAGETEST bus m patience

modprobe -a libcrc32c 2>/dev/null; # load: with what it needs
load() {
	local needed
	for needed in $(modinfo -F depends "$MODULE" | tr , ' '); do
		modprobe "$needed" || return
	done
	insmod "$MODULE"
}
load || {
	not_ok "the module is loaded"
	done_testing
}

# kmod OPTION... -- COMMAND...: it pages with the kernel engine; what it says
# and what teramem run says is in $TMP/out, its numbers in $TMP/stats
kmod() {
	rm -f "$TMP/stats"
	timeout -s KILL $((200 * patience)) "$TERAMEM" run --engine=kmod --stats="$TMP/stats" \
		"$@" >"$TMP/out" 2>&1
}


# sound: the numbers of a run say that it paged, and lost nothing
sound() {
	[ "$(json "$TMP/stats" '.config.engine == "kmod" and .bytes_in > 0 and
		.bytes_out > 0 and .checksum_errors == 0 and .lost == 0')" = true ]
}

# pages NAME OPTION... -- ARGUMENT...: of pagetest
pages() {
	local name=$1 options=() status=0
	shift
	while [ "$1" != -- ]; do
		options+=("$1")
		shift
	done
	shift
	kmod "${options[@]}" -- env -u LD_PRELOAD "$PAGETEST" "$@" || status=$?
	if [ $status -eq 0 ] && sound; then
		ok "$name"
	else
		not_ok "$name (exit status $status)"
	fi
	note "$(cat "$TMP/out")"
}

# unload: at the end nothing holds the module, and nothing of it stays
unload() {
	assert "the module is unloaded" wait_until $((10 * patience)) rmmod teramem
	assert_eq "$(find /dev/teramem* 2>/dev/null)" "" "no device is left"
	done_testing
}
