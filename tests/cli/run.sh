#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# teramem run around a program: exit status, signals, standard streams,
# environment, and that nothing is left, however it ends.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq pgrep python3
requires_paging
export XDG_RUNTIME_DIR=$TMP
good=(--size=64M --local=8M)

# shellcheck disable=SC2317 # called by wait_until
servers() {
	pgrep -f "teramemd --listen=unix:$TMP/" || true
}

# shellcheck disable=SC2317
no_servers() {
	[ -z "$(servers)" ]
}

# ends STATUS NAME COMMAND...
ends() {
	local want=$1 name=$2
	shift 2
	"$TERAMEM" run "${good[@]}" -- "$@" 2>"$TMP/err"
	assert_eq $? "$want" "$name"
}

ends 0 "exit status 0" true
ends 7 "exit status 7" sh -c 'exit 7'
ends 255 "exit status 255" sh -c 'exit 255'
ends 127 "a program that is not there" /nonexistent
assert_eq "$(cat "$TMP/err")" \
	"teramem: run /nonexistent: No such file or directory" "... one line"
ends 126 "a file that is not executable" /etc/passwd
# shellcheck disable=SC2016 # for the inner shell
ends 139 "ended by SIGSEGV" sh -c 'kill -SEGV $$'
# shellcheck disable=SC2016
ends 137 "ended by SIGKILL" sh -c 'kill -KILL $$'

out=$(printf 'a\nb\n' | "$TERAMEM" run "${good[@]}" --quiet -- cat 2>"$TMP/err")
assert_eq "$out" $'a\nb' "standard input and output pass through"
assert_eq "$(cat "$TMP/err")" "" "--quiet says nothing"

# shellcheck disable=SC2016
LD_PRELOAD=/nonexistent/x.so TERAMALLOC_THRESHOLD=7M "$TERAMEM" run "${good[@]}" \
	--quiet --mmap -- sh -c '
	echo "$LD_PRELOAD"
	echo "$TERAMALLOC_MMAP $TERAMALLOC_THRESHOLD"
	stat -c %a "$TERAMEM_JOB_MAP" "$TERAMEM_JOB_FILE" "${TERAMEM_JOB_MAP%/*}"
	cat "$TERAMEM_JOB_MAP"' >"$TMP/env" 2>/dev/null
assert_eq "$(sed -n 1p "$TMP/env")" "$PRELOAD:/nonexistent/x.so" \
	"the preload comes before others"
assert_eq "$(sed -n 2p "$TMP/env")" "1 7M" "--mmap, and what was set before"
assert_eq "$(sed -n 3,5p "$TMP/env" | xargs)" "600 600 700" "files are private"
sed -n '6,$p' "$TMP/env" >"$TMP/map"
assert_eq "$(json "$TMP/map" '[.size, .local, .block, .policy, .placement,
	.prefetch, (.servers | length)] | join(" ")')" \
	"64M 8M auto lru simple 4M 2" "the map has the defaults"
# shellcheck disable=SC2016
"$TERAMEM" run --size=1G --local=16M --donors=3 --block=4K --policy=fifo \
	--placement=rr --prefetch=0 --timeout=3 --quiet \
	-- sh -c 'cat "$TERAMEM_JOB_MAP"' >"$TMP/map"
assert_eq "$(json "$TMP/map" '[.size, .local, .block, .policy, .placement,
	.prefetch, .timeout, .servers[].capacity] | join(" ")')" \
	"1G 16M 4K fifo rr 0 3 344M 344M 344M" "the map has what was asked for"

# Sent to teramem alone, a signal reaches the program, once.
for sig in TERM HUP INT QUIT USR1; do
	: >"$TMP/$sig"
	# shellcheck disable=SC2016
	start "$TERAMEM" run "${good[@]}" --quiet -- bash -c '
		trap "echo $0 >>$1/$0" "$0"
		: >"$1/ready"
		until [ -s "$1/$0" ]; do sleep 0.02; done
		sleep 0.1
		exit 3' "$sig" "$TMP"
	wait_until 15 test -e "$TMP/ready"
	rm -f "$TMP/ready"
	kill -"$sig" "$started"
	wait "$started"
	assert_eq "$? $(xargs <"$TMP/$sig")" "3 $sig" "SIG$sig is passed on"
done

# ^C from a terminal: the program gets it from there, so only once.
cat >"$TMP/terminal.py" <<'EOF'
import os, pty, sys, time
pid, fd = pty.fork()
if pid == 0:
    os.execv(sys.argv[1], sys.argv[1:])
text = b""
while b"ready" not in text:
    text += os.read(fd, 1000)
os.write(fd, b"\x03")
while True:
    try:
        part = os.read(fd, 1000)
    except OSError:
        break
    if not part:
        break
    text += part
status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
print(text.count(b"interrupted"), status)
EOF
assert_eq "$(python3 "$TMP/terminal.py" "$TERAMEM" run "${good[@]}" --quiet -- \
	bash -c 'trap "echo interrupted" INT; echo ready; sleep 10; sleep 0.2; exit 4')" \
	"1 4" "^C on a terminal is got once, and the servers stay"

assert "no server is left" no_servers
# shellcheck disable=SC2144
assert "no folder is left" test ! -e "$TMP"/teramem-run-*

# Killed, teramem can end nothing any more: the servers see it by themselves.
start "$TERAMEM" run "${good[@]}" --quiet -- sleep 1000
teramem=$started
wait_until 15 pgrep -P "$teramem" -x sleep >/dev/null
program=$(pgrep -P "$teramem" -x sleep)
started_pids+=("$program")
assert_eq "$(servers | wc -l)" 2 "two servers run"
kill -KILL "$teramem"
assert "2 s after kill -9 of teramem no server is left" wait_until 2 no_servers
assert "the program goes on" alive "$program"
kill "$program"
# shellcheck disable=SC2144
assert "its folder is left" test -e "$TMP"/teramem-run-*
"$TERAMEM" run "${good[@]}" --quiet -- true
# shellcheck disable=SC2144
assert "... until the next run" test ! -e "$TMP"/teramem-run-*

# A server that dies is named.
start "$TERAMEM" run "${good[@]}" -- sh -c "until [ -e $TMP/go ]; do sleep 0.1; done" \
	2>"$TMP/err"
wait_until 15 pgrep -P "$started" -x sh >/dev/null
victim=$(servers | head -n 1)
kill -KILL "$victim"
wait_until 5 grep -q 'ended by signal 9' "$TMP/err"
: >"$TMP/go"
wait "$started"
assert_eq $? 0 "a program that does not need the dead server ends well"
assert_match "$(cat "$TMP/err")" \
	"^teramem: server s[01] \(pid $victim\) ended by signal 9 .*SIGBUS$" \
	"a dead server is named"
done_testing
