#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: what teramem.ko makes of servers that lie; see servers.py.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

timeout -s KILL 350 python3 "$SRC/tests/vm/servers.py" 2>&1 | sed -u 's/^/# /'
assert_eq "${PIPESTATUS[0]}" 0 "servers that lie"
unload
