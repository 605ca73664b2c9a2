#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Real programs under the preload: they do what they do without it, and the
# environment is read as teramalloc(3) says.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"

preload=$1
own=$2
fixed=$3
requires python3 sort stress-ng

# with [NAME=VALUE]... COMMAND...: under the preload
with() {
	env LD_PRELOAD="$preload" "$@"
}

seq 300000 | awk '{ print ($1 * 7919) % 1000003, $1 }' >"$TMP/in"
sort "$TMP/in" >"$TMP/out"
for how in TERAMALLOC_THRESHOLD=1M TERAMALLOC_THRESHOLD=1 TERAMALLOC_MMAP=1; do
	with $how sort -S 50M "$TMP/in" >"$TMP/out2"
	assert "sort with $how" cmp "$TMP/out" "$TMP/out2"
	assert_eq "$(with $how ls -l /usr/bin)" "$(ls -l /usr/bin)" "ls with $how"
done

# Python itself, not a wrapper; it keeps its objects in mappings, too.
python=$(python3 -c 'import sys; print(sys.executable)')
cat >"$TMP/big.py" <<-'PY'
	import threading, mmap
	b = bytearray(50 << 20)
	b[-1] = 7
	c = b + b
	del b
	m = mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
	m[5] = 6
	l = []
	def work(n):
	    l.append(sum(len(bytearray(n << 18)) for _ in range(50)))
	t = [threading.Thread(target=work, args=(i + 1,)) for i in range(4)]
	for x in t: x.start()
	for x in t: x.join()
	try:
	    bytearray(1 << 40)
	except MemoryError:
	    print(c[-1], len(c), m[5], sum(l))
PY
for how in TERAMALLOC_THRESHOLD=1M TERAMALLOC_THRESHOLD=1 TERAMALLOC_MMAP=1; do
	assert_eq "$(with $how "$python" "$TMP/big.py" 2>&1)" \
		"7 104857600 6 131072000" "python3 with $how"
done

# A child does not see its parent's remote memory, but has its own.
cat >"$TMP/fork.py" <<-'PY'
	import os, subprocess
	b = bytearray(50 << 20)
	r = subprocess.run(["echo", "child"], capture_output=True).stdout
	if not os.fork():
	    d = bytearray(9 << 20)
	    os._exit(d[5])
	s = os.wait()[1]
	if not os.fork():
	    os._exit(b[5])
	print(r, s, os.wait()[1], b[5])
PY
assert_eq "$(with "$python" "$TMP/fork.py" 2>&1)" "b'child\\n' 0 11 0" \
	"python3 forks: SIGSEGV in its parent's memory, its own works"

assert "stress-ng --vm checks its memory" \
	with TERAMALLOC_MMAP=1 stress-ng --quiet --vm 2 --vm-bytes 64M \
	--verify --vm-ops 500 --timeout 20

# Other mallocs: one in the binary stays, its mappings may be served; one that
# is loaded behind ours serves what is small.
assert_match "$(with timeout 20 "$own" 2>&1 | tr '\n' ' ')" \
	'brings its own.* 7 text $' "a malloc in the binary stays"
assert_eq "$(with TERAMALLOC_MMAP=1 timeout 20 "$own" 2>&1)" "7 text" \
	"a malloc in the binary, its mappings served"
jemalloc=$(ldconfig -p | awk '/libjemalloc.so.2/ { print $NF; exit }')
for how in TERAMALLOC_THRESHOLD=64K TERAMALLOC_MMAP=1; do
	env LD_PRELOAD="$preload $jemalloc" $how timeout 30 \
		sort -S 50M "$TMP/in" >"$TMP/out2"
	assert_eq $? 0 "sort on jemalloc with $how: status"
	assert "sort on jemalloc with $how" cmp "$TMP/out" "$TMP/out2"
done

# A binary at a fixed address, which has malloc's address but no malloc.
assert_eq "$(with TEST_ENGINE_CAPACITY=67108864 timeout 20 "$fixed" 2>&1)" \
	"some, no more" "a malloc that is only a jump in the binary"

# Outside a job nothing of ours is read, not even what is wrong.
assert_eq "$(with TERAMEM_JOB_MAP= TERAMALLOC_THRESHOLD=nonsense \
	echo fine 2>&1)" fine "without a job the preload is not there"

err=$(with TERAMALLOC_THRESHOLD=1Q echo no 2>&1)
assert_eq $? 125 "a bad value ends the program: status"
assert_match "$err" "^teramem: .*TERAMALLOC_THRESHOLD.*1Q" \
	"a bad value ends the program: message"
for bad in TERAMALLOC_MMAP=yes TERAMALLOC_FALLBACK=remote \
	TERAMALLOC_MECHANISM=magic TERAMALLOC_LANES=0 TERAMALLOC_LANES=9 \
	TERAMALLOC_SPIN_US=-1 TERAMALLOC_UFFD=none TERAMALLOC_THRESHOLD=; do
	err=$(with "$bad" echo no 2>&1)
	assert_match "$? $err" "^125 teramem: .*${bad%%=*}" "$bad is refused"
done

err=$(with TERAMALLOC_FOO=1 TERAMALLOC_TRESHOLD=1 sort -S 9M /dev/null 2>&1)
assert_eq "$(grep -c 'unknown variable' <<<"$err")" 2 \
	"unknown variables warn, once each"

# More than there is: this allocation fails, or is local where that was said.
cat >"$TMP/more.py" <<-'PY'
	b = bytearray(40 << 20)
	try:
	    c = bytearray(80 << 20)
	    d = bytearray(80 << 20)
	    print(len(d))
	except MemoryError:
	    print("full")
PY
assert_eq "$(with TEST_ENGINE_CAPACITY=67108864 "$python" "$TMP/more.py" 2>&1)" \
	full "capacity exceeded: MemoryError, and the program lives"
out=$(with TEST_ENGINE_CAPACITY=67108864 TERAMALLOC_FALLBACK=local \
	"$python" "$TMP/more.py" 2>"$TMP/err")
assert_eq "$out" 83886080 "capacity exceeded, fallback local: local memory"
assert_eq "$(grep -c 'local memory is used' "$TMP/err")" 1 "and it is said once"

done_testing
