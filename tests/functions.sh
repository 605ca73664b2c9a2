# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# For every shell test: source it first. Gives a temporary folder ($TMP) that
# is removed at the end, whatever happens; results as TAP, one line a check;
# and helpers to start what is tested and to look at what it left.
#
# BUILD names the build folder (meson sets it); SRC is this tree.

set -u
SRC=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$SRC/build}
TERAMEM=$BUILD/tools/teramem
TERAMEMD=$BUILD/server/teramemd
PRELOAD=$BUILD/allocator/libteramalloc-preload.so
export LC_ALL=C
# shellcheck disable=SC2034 # for those who source this
readonly SRC BUILD TERAMEM TERAMEMD PRELOAD

# The tree may belong to another user than root, who runs the tests.
git() {
	command git -c safe.directory="$SRC" "$@"
}

TMP=$(mktemp -d "${TMPDIR:-/tmp}/teramem-test-XXXXXX")
tap_count=0
tap_failed=0
started_pids=()

# Some programs end by a signal, on purpose; a sanitizer would make that an exit.
# What it finds goes to files: a lane has no standard error.
export ASAN_OPTIONS=handle_sigbus=0:handle_segv=0:log_path=$TMP/sanitizer
export TSAN_OPTIONS=$ASAN_OPTIONS:die_after_fork=0
export UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:log_path=$TMP/sanitizer

# All that a test started and did not wait for, by pid.
cleanup() {
	local status=$? pid log
	for pid in "${started_pids[@]+"${started_pids[@]}"}"; do
		kill -KILL "$pid" 2>/dev/null
		wait "$pid" 2>/dev/null
	done
	for log in "$TMP"/sanitizer.*; do
		[ ! -s "$log" ] || { note "$(<"$log")" && tap_failed=1; }
	done
	rm -rf "$TMP"
	if [ "$status" -eq 0 ] && [ "$tap_failed" -gt 0 ]; then
		status=1
	fi
	exit "$status"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# skip REASON: the whole test, seen by meson as skipped
skip() {
	echo "1..0 # SKIP $*"
	exit 77
}

# requires COMMAND...: skip unless they are there
requires() {
	local command
	for command in "$@"; do
		command -v "$command" >/dev/null ||
			skip "$command is not installed"
	done
}

requires_root() {
	[ "$(id -u)" -eq 0 ] || skip "not root"
}

# requires_paging: skip where teramem run cannot work at all
requires_paging() {
	"$TERAMEM" check >"$TMP/check" 2>&1 ||
		skip "no paging here: $(grep -m1 fail "$TMP/check")"
}

# requires_free MIB: skip when less memory is free
requires_free() {
	local free
	free=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
	[ "$free" -ge "$1" ] || skip "needs $1 MiB of memory, $free are free"
}

ok() {
	tap_count=$((tap_count + 1))
	echo "ok $tap_count - $*"
}

not_ok() {
	tap_count=$((tap_count + 1))
	tap_failed=$((tap_failed + 1))
	echo "not ok $tap_count - $*"
}

# note TEXT: shown with the result, line by line
note() {
	printf '# %s\n' "${*//$'\n'/$'\n'# }"
}

# assert_eq GOT WANTED NAME
assert_eq() {
	if [ "$1" = "$2" ]; then
		ok "$3"
	else
		not_ok "$3"
		note "got:    $1"$'\n'"wanted: $2"
	fi
}

# assert_match TEXT REGEX NAME: an extended regular expression, anywhere in it
assert_match() {
	if grep -Eq -- "$2" <<<"$1"; then
		ok "$3"
	else
		not_ok "$3"
		note "got:    $1"$'\n'"wanted: /$2/"
	fi
}

# assert NAME COMMAND...: it succeeds
assert() {
	local name=$1
	shift
	if "$@"; then ok "$name"; else not_ok "$name"; fi
}

# done_testing: the plan, last of all
done_testing() {
	echo "1..$tap_count"
	[ "$tap_failed" -eq 0 ]
	exit
}

# json FILE EXPRESSION: jq, raw
json() {
	jq -r "$2" "$1"
}

# wait_until SECONDS COMMAND...: until it succeeds
wait_until() {
	local deadline=$((SECONDS + $1 + 1))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$deadline" ] || return 1
		sleep 0.02
	done
}

# start COMMAND...: in the background, where a shell without job control would
# ignore ^C for it, and nohup a hangup; $started is its pid
start() {
	env --default-signal=HUP,INT,QUIT "$@" &
	started=$!
	started_pids+=("$started")
}

# start_server NAME [OPTION]...: teramemd on a unix socket in $TMP, or as the
# options say; waits until it serves. $started is its pid, $TMP/NAME.ready its
# line, $TMP/NAME.log what it said.
start_server() {
	local name=$1 listen=(--listen="unix:$TMP/$1.sock") option
	shift
	for option in "$@"; do
		case $option in --listen=*) listen=() ;; esac
	done
	"$TERAMEMD" "${listen[@]+"${listen[@]}"}" "$@" \
		>"$TMP/$name.ready" 2>"$TMP/$name.log" &
	started=$!
	started_pids+=("$started")
	wait_until 15 test -s "$TMP/$name.ready" || {
		note "$(cat "$TMP/$name.log")"
		not_ok "server $name serves"
		return 1
	}
}

# start_munged: one of our own, whose socket TERAMEM_MUNGE_SOCKET names
start_munged() {
	export TERAMEM_MUNGE_SOCKET=$TMP/munge
	head -c 64 /dev/urandom >"$TMP/munge.key" && chmod 600 "$TMP/munge.key"
	chmod 755 "$TMP"
	start munged --foreground --force --key-file="$TMP/munge.key" \
		--socket="$TMP/munge" --pid-file="$TMP/munge.pid" \
		--log-file="$TMP/munge.log" --seed-file="$TMP/munge.seed" \
		>"$TMP/munged" 2>&1
	wait_until 120 test -S "$TMP/munge" || {
		note "$(cat "$TMP/munged")"
		not_ok "munged starts"
		return 1
	}
}

# start_proxied [OPTION]...: a teramemd with MUNGE behind a proxy, which
# listens at $proxied and does what proxy() asks for
start_proxied() {
	start_munged || return
	coproc PROXY { "$BUILD/tests/net/proxy" tcp:127.0.0.1:0 \
		"unix:$TMP/proxied.sock"; }
	read -r proxied <&"${PROXY[0]}"
	start_server proxied --auth=munge --address="$proxied" "$@"
}

# proxy COMMAND: see tests/net/proxy.c
proxy() {
	echo "$*" >&"${PROXY[1]}"
	read -r _ <&"${PROXY[0]}"
}

# server_address NAME
server_address() {
	json "$TMP/$1.ready" .address
}

# write_map FILE SIZE LOCAL ADDRESS CAPACITY [ADDRESS CAPACITY]...
write_map() {
	local file=$1 size=$2 local=$3 servers='' address
	shift 3
	while [ $# -gt 0 ]; do
		address=$1
		servers+="${servers:+,}{\"address\":\"$address\",\"capacity\":\"$2\"}"
		shift 2
	done
	printf '{"version":1,"size":"%s","local":"%s","servers":[%s]}\n' \
		"$size" "$local" "$servers" >"$file"
}

# children_of PID: pids of its children
children_of() {
	cat /proc/"$1"/task/*/children 2>/dev/null
}

# alive PID: it runs (a zombie does not)
alive() {
	[ -r "/proc/$1/stat" ] && ! grep -q ') [ZX] ' "/proc/$1/stat" 2>/dev/null
}

gone() {
	! alive "$1"
}
