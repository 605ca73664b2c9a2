#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The one-machine cluster is a real one, mends itself, and leaves nothing: not
# after "down", not after kill -9 of its parts, not after an "up" that died
# anywhere on its way.
# shellcheck disable=SC2317 # functions that trap and wait_until call
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires_root
requires slurmctld slurmd srun munged ip
unshare --net true 2>/dev/null || skip "no network namespaces here"
requires_free 2000

minicluster() {
	"$SRC/contrib/minicluster" "$@"
}

minicluster status >/dev/null
[ $? -eq 3 ] || skip "a minicluster is up already: minicluster down"
finish() {
	local status=$?
	minicluster down >/dev/null
	(exit "$status")
	cleanup
}
trap finish EXIT

# What a cluster could leave. Processes: those of its users and names, and all
# in network namespaces other than ours; the dead that wait for their parent
# are not counted, nor what is just ending and has no namespaces any more.
snapshot() {
	local process ours net
	ours=$(readlink /proc/self/ns/net)
	for process in /proc/[0-9]*; do
		alive "${process#/proc/}" || continue
		net=$(readlink "$process/ns/net") || continue
		if [ "$net" != "$ours" ] ||
		   grep -Eq 'slurm|^minicluster$' "$process/comm" ||
		   [ "$(stat -c %U "$process")" = slurm ]; then
			echo "process $(tr '\0' ' ' <"$process/cmdline")"
		fi
	done 2>/dev/null
	ip netns list
	ip -o link | cut -d: -f2
	find /sys/fs/cgroup -type d \( -name '*slurm*' -o -name minicluster \)
	find /run /dev/shm -maxdepth 1
	find /tmp -maxdepth 1 \( -user slurm -o -user munge -o \
		-name '*minicluster*' \)
	ls -l /usr/sbin/policy-rc.d* 2>/dev/null
	grep -E 'netns|minicluster' /proc/self/mounts
	cat /etc/passwd /etc/group /etc/shadow /etc/subuid /etc/subgid
}

assert_nothing_left() {
	local diff
	diff=$(diff "$TMP/before" <(snapshot) | grep '^[<>]')
	assert_eq "$diff" '' "$1"
}

# pid_of MACHINE DAEMON
pid_of() {
	minicluster status | sed -n "s/^$1 .* $2=\([0-9]*\).*/\1/p"
}

states() {
	minicluster run sinfo -h -N -p compute -o '%N %T' | tr '\n' ' '
}

milliseconds() {
	date +%s%3N
}

snapshot >"$TMP/before"

# --- it refuses what it cannot do, and leaves nothing of the attempt ---------

refused() {
	local name=$1 wanted=$2 got
	shift 2
	got=$(minicluster "$@" 2>&1) && got+=" (exit 0)"
	assert_match "$got" "^minicluster: .*$wanted" "refused: $name"
	assert_eq "$(wc -l <<<"$got")" 1 "in one line: $name"
}
refused "10 nodes" "'10' is not 1 to 9" up -n 10
refused "a size that is none" "'1x' is not a number" up --mem 1000,1x
refused "a folder that exists" "name a new folder" up --dir "$TMP"
refused "a file that does not exist" "cannot read" up --conf "$TMP/none"
refused "run while it is down" "run 'minicluster up' first" run true
echo 'SlurmctldPort=none' >"$TMP/bad.conf"
refused "slurm.conf that Slurm rejects" "slurmctld.*none" up -n 1 \
	--conf "$TMP/bad.conf"
# The tree may be root's alone
chmod 755 "$TMP"
install -m 755 "$SRC/contrib/minicluster" "$TMP/copy"
got=$(setpriv --reuid=65534 --clear-groups "$TMP/copy" up 2>&1)
assert_match "$got" "run it with sudo" "refused: not root"
assert_nothing_left "a refused up leaves nothing"

# --- a real cluster ----------------------------------------------------------

start=$(milliseconds)
minicluster up -n 5 --mem 500,400 --user mini-a --user mini-b >/dev/null
assert_eq $? 0 "up -n 5"
note "up: $(($(milliseconds) - start)) ms"
assert_eq "$(states)" "n1 idle n2 idle n3 idle n4 idle n5 idle " "5 nodes idle"
assert_eq "$(minicluster run --user mini-a srun -N5 sh -c 'hostname; id -un' |
	sort -u | tr '\n' ' ')" "mini-a n1 n2 n3 n4 n5 " \
	"srun of an ordinary user runs on 5 nodes"
assert_eq "$(minicluster run --user mini-b id -un)" mini-b "another user"
assert_eq "$(stat -c %U "/proc/$(pid_of ctl slurmctld)")" slurm \
	"slurmctld runs as SlurmUser"
assert_eq "$(echo text | minicluster run srun cat)" text "standard input"
minicluster run srun sh -c 'exit 7' 2>/dev/null
assert_eq $? 7 "exit status"
start "$SRC/contrib/minicluster" run sleep 60
assert "run becomes the command" \
	wait_until 5 grep -q '^sleep$' "/proc/$started/comm"
kill -TERM "$started"
wait "$started"
assert_eq $? 143 "and gets its signals"

minicluster on n1 touch /run/here /dev/shm/here
assert_eq "$(minicluster on n2 ls /run /dev/shm | grep here)" '' \
	"each node has its own /run and /dev/shm"

# --- memory is scheduled and enforced ----------------------------------------

got=$(minicluster run srun -w n2 --mem=450 true 2>&1)
assert_match "$got" "node configuration is not available" \
	"more memory than the node has is refused"
minicluster run sbatch -w n3 --mem=300 --wrap 'sleep 60' -o /dev/null >/dev/null
minicluster run sbatch -w n3 --mem=300 --wrap 'sleep 60' -o /dev/null >/dev/null
waits() {
	[ "$(minicluster run squeue -h -o '%t %r' | sort | tr '\n' ' ')" = \
		"PD Resources R None " ]
}
assert "two jobs of more memory than the node's run one by one" \
	wait_until 10 waits
minicluster run scancel -t PD -t R --me
minicluster on ctl scancel -p compute
# tail has to keep the line, which has no end
got=$(minicluster run srun -w n4 --mem=50 \
	sh -c 'head -c 200m /dev/zero | tail -n 1 | wc -c' 2>&1)
assert_match "$got" "oom-kill|Out Of Memory" "a job beyond its --mem is killed"
minicluster run srun -w n4 --mem=300 \
	sh -c 'head -c 200m /dev/zero | tail -n 1 | wc -c' >"$TMP/out" 2>&1
assert_match "$(cat "$TMP/out")" "^209715200$" "the same within its --mem is not"
quiet() {
	[ "$(states)" = "n1 idle n2 idle n3 idle n4 idle n5 idle " ]
}
assert "no node is drained" wait_until 20 quiet

# --- a heterogeneous job -----------------------------------------------------

printf '#!/bin/sh\nsrun --het-group=0,1 hostname\n' >"$TMP/het.sh"
start=$(milliseconds)
mkdir -m 777 "$TMP/out.d"
chmod 755 "$TMP/het.sh"
minicluster run sbatch -W -o "$TMP/out.d/het" -w n1 --mem=100 : -p donor \
	-N2 -n2 -w n2,n3 --mem=200 "$TMP/het.sh" >/dev/null
assert_eq "$(sort "$TMP/out.d/het" | tr '\n' ' ')" "n1 n2 n3 " \
	"a heterogeneous job runs on all its nodes"
note "het job: $(($(milliseconds) - start)) ms"

# --- up again: no change, refusal, repair ------------------------------------

before=$(minicluster status)
minicluster up -n 5 --mem 500,400 --user mini-a --user mini-b >/dev/null
assert_eq "$(minicluster status)" "$before" "up again changes nothing"
refused "up with other settings" "minicluster down" up -n 4

minicluster run sbatch -w n4 -o /dev/null --wrap 'sleep 600' >/dev/null
started_on_n4() {
	ip netns pids minicluster-n4 | xargs ps -o args= -p | grep -q 'sleep 600'
}
wait_until 10 started_on_n4
victims="$(pid_of ctl slurmctld) $(pid_of n1 munged) $(pid_of n2 slurmd)"
# the process that holds a machine is all of it: its power goes
victims+=" $(pgrep -f '^minicluster n4 ')"
on_n4=$(ip netns pids minicluster-n4)
# shellcheck disable=SC2086
kill -KILL $victims
all_gone() {
	local pid
	for pid; do
		alive "$pid" && return 1
	done
	return 0
}
# shellcheck disable=SC2086
wait_until 5 all_gone $victims
got=$(minicluster status)
assert_eq "$? $(grep -c dead <<<"$got")" "1 4" "status shows what is dead"
minicluster up >/dev/null
assert_eq $? 0 "up mends it"
minicluster status >/dev/null
assert_eq $? 0 "nothing is dead then"
# shellcheck disable=SC2086
assert "all that ran on the node without power is gone" all_gone $on_n4
minicluster on ctl scancel -p compute
assert "all nodes come back" wait_until 40 quiet
assert_eq "$(minicluster run srun -N5 hostname | sort | tr '\n' ' ')" \
	"n1 n2 n3 n4 n5 " "and run jobs"

# --- down, with jobs, a suspended one and dead daemons -----------------------

minicluster run sbatch -N5 -o /dev/null --wrap \
	'srun --mem=50 sh -c "setsid -f sleep 600; sleep 600"' >/dev/null
minicluster run srun -w n1 --mem=50 sleep 600 2>/dev/null &
started_on_n5() {
	ip netns pids minicluster-n5 | xargs ps -o args= -p | grep -q 'sleep 600'
}
assert "jobs run" wait_until 20 started_on_n5
minicluster on ctl scontrol suspend \
	"$(minicluster run squeue -h -o %A -n wrap)"
kill -KILL "$(pid_of n5 slurmd)" "$(pid_of n1 munged)" \
	"$(pgrep -f '^minicluster n2 ')"
start=$(milliseconds)
minicluster down >/dev/null
assert_eq $? 0 "down"
note "down: $(($(milliseconds) - start)) ms"
wait
assert_nothing_left "nothing is left"
assert_eq "$(minicluster down)" "minicluster: is down" "down again"

# --- an up that dies ---------------------------------------------------------

# up_ended_at SIGNAL CONDITION...: its exit status, when it gets the signal as
# soon as the condition holds
up_ended_at() {
	local signal=$1 up
	shift
	"$SRC/contrib/minicluster" up -n 3 >/dev/null 2>&1 &
	up=$!
	wait_until 20 "$@"
	kill "-$signal" $up
	wait $up 2>/dev/null
}
runs() {
	pgrep -f "^$1" >/dev/null
}

# In the order in which they start. Up has still to wait for idle nodes when
# the last one runs.
stages=('minicluster ctl ' 'minicluster n3 ' 'munged --key-file=/run/minicluster'
	slurmctld 'slurmd -N n3')
up_ended_at KILL test -e /run/minicluster
assert_eq $? 137 "up killed when it has a folder"
minicluster down >/dev/null
assert_nothing_left "then down"
for stage in "${stages[@]}"; do
	up_ended_at KILL runs "$stage"
	assert_eq $? 137 "up killed when it has started $stage"
	if [ "$stage" = slurmctld ]; then
		minicluster up -n 1 >/dev/null
		assert_eq "$(states)" "n1 idle " "up clears what a crash left"
	fi
	minicluster down >/dev/null
	assert_nothing_left "then down"
done
for stage in "${stages[@]}"; do
	up_ended_at TERM runs "$stage"
	assert_eq $? 143 "up told to end when it has started $stage"
	assert_nothing_left "it clears up itself"
done

# --- configuration -----------------------------------------------------------

cat >"$TMP/conf" <<-END
	SlurmdTimeout=17
	PartitionName=extra Nodes=n1 MaxMemPerNode=123
END
echo "optional $TMP/no-such-plugin.so" >"$TMP/plugstack"
minicluster up -n 1 --dir "$TMP/files" --conf "$TMP/conf" \
	--plugstack "$TMP/plugstack" >/dev/null
assert_eq $? 0 "up with files elsewhere and lines of its own"
assert_eq "$(readlink -f /run/minicluster)" "$TMP/files" "--dir"
got=$(minicluster run scontrol show config 2>&1)
assert_match "$got" "^SlurmdTimeout *= 17 sec" "--conf replaces a line"
assert_eq "$(grep -c 'specified more' <<<"$got")" 0 "without a complaint"
assert_match "$(minicluster run scontrol show partition)" \
	"MaxMemPerNode=123" "--conf adds a partition"
assert_match "$(minicluster run srun true 2>&1)" "no-such-plugin.so" \
	"--plugstack is read"
minicluster down >/dev/null
assert "its files are gone" test ! -e "$TMP/files"
assert_nothing_left "nothing is left in the end"
done_testing
