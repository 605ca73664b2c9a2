#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: the device interface of teramem.ko; see device.c.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

timeout -s KILL $((300 * patience)) "$BUILD/tests/vm/device" >"$TMP/out" 2>&1
assert_eq $? 0 "the devices"
note "$(cat "$TMP/out")"
unload
