#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: calls at random of the devices, without and with a space that works.
# Nothing of it is left, and it still works.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

for seed in 1 2; do
	timeout -s KILL $((200 * patience)) "$BUILD/tests/vm/random" $seed \
		>"$TMP/out" 2>&1
	assert_eq $? 0 "without a space, seed $seed"
	note "$(cat "$TMP/out")"
done
kmod --size=64M --local=4M --block=64K -- \
	env -u LD_PRELOAD "$BUILD/tests/vm/random" 3
assert_eq $? 0 "with a region"
note "$(cat "$TMP/out")"
pages "and it works" --size=64M --local=2M --block=64K -- --size=$((16 * m))
unload
