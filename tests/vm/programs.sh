#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: what programs do with memory (tests/paging/calls.c, as with
# userfaultfd), with the kernel engine. Not here: "direct", for which there is no
# file system; "mlock", which brings memory in but does not keep it, see
# teramem(7); "setuid", after which mincore(2) does not tell what is there;
# "removed", since MADV_DONTNEED keeps the bytes there, which device.c checks.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"

for call in files vectors sockets signals mprotect fork fork-engine exec \
	threads discard closed last-thread; do
	kmod --size=256M --local=4M --block=64K -- \
		env -u LD_PRELOAD "$BUILD/tests/paging/calls" $call
	status=$?
	[ $status -eq 0 ] || note "$(cat "$TMP/out")"
	assert_eq $status 0 "$call"
done
unload
