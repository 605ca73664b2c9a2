#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: what a hostile caller of the devices is told, without and with a
# space that works; afterwards nothing of it is left.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

"$BUILD/tests/vm/ioctls" >"$TMP/out" 2>&1
assert_eq $? 0 "without a space"
note "$(grep -v '^ok' "$TMP/out")"
kmod --size=64M --local=4M --block=64K -- \
	env -u LD_PRELOAD "$BUILD/tests/vm/ioctls" 2
assert_eq $? 0 "with a region"
note "$(grep -v '^ok' "$TMP/out")"
pages "and it works" --size=64M --local=2M --block=64K -- --size=$((16 * m))
unload
