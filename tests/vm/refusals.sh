#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# In a VM: what cannot work with the kernel engine ends in one line of the tool
# and, where the kernel was asked, in one of its log; nothing is left behind.
# shellcheck source=tests/vm/kmod.sh
. "$(dirname "$0")/kmod.sh"
release=$(uname -r)
marks=0

# shellcheck disable=SC2317 # called by wait_until
no_space() {
	[ -z "$(find /dev/teramem -type c 2>/dev/null)" ]
}

# refused NAME REGEX KERNEL_REGEX COMMAND...: it fails, as one line says; "" is
# no line in the kernel's log
refused() {
	local name=$1 says=$2 kernel=$3 status=0 got
	shift 3
	echo "teramem-test: mark $((++marks))" >/dev/kmsg
	timeout -s KILL $((100 * patience)) "$@" >"$TMP/out" 2>&1 || status=$?
	assert "$name: it fails" [ $status -ne 0 ]
	# what the program says of it is its own
	assert_eq "$(grep '^teramem: ' "$TMP/out" | grep -vc 'allocate ')" 1 \
		"$name: one line"
	assert_match "$(cat "$TMP/out")" "^teramem: .*$says" "$name: it says why"
	got=$(dmesg | sed "1,/teramem-test: mark $marks\$/d" |
		grep -E 'teramem.*: ' || true)
	if [ -z "$kernel" ]; then
		assert_eq "$got" "" "$name: the kernel's log has none"
	else
		assert_match "$got" "$kernel" "$name: the kernel's log has it"
		assert_eq "$(wc -l <<<"$got")" 1 "$name: on one line"
	fi
	assert "$name: no space is left" wait_until $((10 * patience)) no_space
}
run=("$TERAMEM" run --engine=kmod --quiet --size=32M --local=2M --block=64K)
program=(env -u LD_PRELOAD "$PAGETEST" --size=$((8 * m)) --passes=1)

# map SETTINGS ADDRESS...: a server map for these
map() {
	local settings=$1 servers
	shift
	servers=$(printf ',{"address":"%s","capacity":"16M","auth":"peercred"}' "$@")
	echo '{"version":1,"size":"16M","local":"4M","timeout":5,'"$settings"'
		"servers":['"${servers#,}"']}' >"$TMP/map"
}
mapped=("$TERAMEM" run --engine=kmod --quiet --map="$TMP/map" --)

# Somebody else, and a device that is not there.
mkdir -m 700 "$TMP/nobody" && chown 65534:65534 "$TMP/nobody" && chmod 755 "$TMP"
refused "another user" "only root may make spaces" '' \
	setpriv --reuid=65534 --regid=65534 --clear-groups \
	env XDG_RUNTIME_DIR="$TMP/nobody" "${run[@]}" -- true
mv /dev/teramem-control /dev/teramem-hidden
mount -t tmpfs none /lib/modules
mkdir -p "/lib/modules/$release/updates"
cp "$MODULE" "/lib/modules/$release/updates"
depmod "$release" 2>"$TMP/err"
refused "no control device" "loaded, but there is no /dev/teramem-control" '' \
	"${run[@]}" -- true
mv /dev/teramem-hidden /dev/teramem-control
refused "no device" "use /dev/teramem/none: .*the job's agent ended" '' \
	"${run[@]}" -- env -u LD_PRELOAD TERAMEM_JOB_DEVICE=/dev/teramem/none \
	"$BUILD/tools/bench-paging" read "$m" 1

# A space of that name: the tool's is named after its process.
# shellcheck disable=SC2016 # for the inner shell
refused "a space that exists" "create space run-[0-9]*: File exists" \
	'create space run-[0-9]*: refused \(error 17\)' \
	bash -c '
		coproc HOLDER { PYTHONPATH=$1 python3 -c "
import sys, time
from servers import *
fd = os.open(CONTROL, os.O_RDWR)
fcntl.ioctl(fd, IOC_CREATE, space_settings(sys.argv[1]))
print(flush=True)
while os.path.exists(sys.argv[2]): time.sleep(0.1)" run-$$ /proc/$$; }
		read -r <&"${HOLDER[0]}"
		exec "${@:2}"' sh "$SRC/tests/vm" "${run[@]}" -- true

# No socket, for the tool and for the call.
: >"$TMP/file"
map '' "unix:$TMP/file"
refused "a file for a socket" "connect to server unix:$TMP/file: " '' \
	"${mapped[@]}" "${program[@]}"
refused "a descriptor that is no socket" "Socket operation on non-socket" \
	'attach a connection to space liars: refused \(error 88\)' \
	env PYTHONPATH="$SRC/tests/vm" python3 -c '
import sys
from servers import *
fd = os.open(CONTROL, os.O_RDWR)
fcntl.ioctl(fd, IOC_CREATE, space_settings(NAME))
try:
    fcntl.ioctl(fd, IOC_ATTACH, ATTACH.pack(fd, 0, 0, 1, EXTENT, 8 << 20, 10000))
except OSError as e:
    sys.exit("teramem: attach: " + e.strerror)'

# Servers whose sizes do not fit, and those that lie about them.
start_server small --capacity=64M --mlock=no --extent=64K --grace=1
map '"block":"256K",' "$(server_address small)"
refused "extents of no block" "kernel refuses the connection: Invalid argument" \
	'attach a connection to space run-[0-9]*: refused \(error 22\)' \
	"${mapped[@]}" "${program[@]}"
for lie in reply extent; do
	coproc LIAR { exec "$BUILD/tests/vm/liar" $lie; }
	liar=$LIAR_PID
	read -r address <&"${LIAR[0]}"
	map '"job":4711,"block":"64K",' "$address"
	status=0
	echo "teramem-test: mark $((++marks))" >/dev/kmsg
	timeout -s KILL $((100 * patience)) "${mapped[@]}" "${program[@]}" \
		>"$TMP/out" 2>&1 || status=$?
	assert_eq "$status" "$bus" "a lie about a $lie: SIGBUS"
	assert_match "$(cat "$TMP/out")" '^teramem: use server .*: lost: Protocol error' \
		"a lie about a $lie: the tool says so"
	said=$(dmesg | sed "1,/teramem-test: mark $marks\$/d")
	assert_eq "$(grep -c 'is lost: it broke the protocol too often' <<<"$said")" 1 \
		"a lie about a $lie: one line says that the server is lost"
	assert_match "$said" 'broke: (payload length out of bounds|an extent of another size)' \
		"a lie about a $lie: and why"
	kill "$liar" && wait "$liar"
	assert "a lie about a $lie: no space is left" wait_until $((10 * patience)) no_space
done

# No module for this kernel, and one for another.
rmmod teramem
rm "/lib/modules/$release/updates/teramem.ko"
depmod "$release" 2>"$TMP/err"
refused "no module" "no module teramem for this kernel" '' "${run[@]}" -- true
sed 's/\(vermagic=[^ ]*\) SMP /\1 SMQ /' "$MODULE" \
	>"/lib/modules/$release/updates/teramem.ko"
depmod "$release" 2>"$TMP/err"
refused "another kernel's module" "load module teramem: it was built for another kernel" \
	'version magic' "${run[@]}" -- true
assert_eq "$(lsmod | grep -c '^teramem')" 0 "it is not loaded"

# And with the right one it works, after all that.
cp "$MODULE" "/lib/modules/$release/updates"
depmod "$release" 2>"$TMP/err"
pages "loaded by the tool" --size=32M --local=2M --block=16K -- --size=$((8 * m))
unload
