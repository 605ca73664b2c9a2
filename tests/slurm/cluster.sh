# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# For tests on a real cluster with the plugin: source it after functions.sh.
# Skips what cannot run here; whatever happens, the cluster goes at the end.
# Where machines are slow, patience is by how much.

requires_root
requires jq # what Slurm needs, minicluster installs
[ -e "$BUILD/spank/spank_teramem.so" ] || skip "built without the Slurm plugin"
[ -c /dev/userfaultfd ] || skip "no /dev/userfaultfd"
unshare --net true 2>/dev/null || skip "no network namespaces here"
requires_free "${free_mib:-4000}"

minicluster() {
	"$SRC/contrib/minicluster" "$@"
}

# run COMMAND...: as an ordinary user on the login machine
run() {
	timeout $((90 * ${patience:-1})) "$SRC/contrib/minicluster" run "$@"
}

# whom it runs commands as
job_user=${SUDO_USER:-root}
[ "$job_user" != root ] || job_user=mini

minicluster status >/dev/null
[ $? -eq 3 ] || skip "a minicluster is up already: minicluster down"
finish() {
	local status=$?
	minicluster down >/dev/null
	(exit "$status")
	cleanup
}
trap finish EXIT

# cluster_up [OPTION]...: $conf is its teramem.conf, $helper may be another job
# helper; jobs write to $TMP/out
cluster_up() {
	chmod 755 "$TMP"
	mkdir -m 777 "$TMP/out"
	conf=$TMP/teramem.conf
	[ -e "$conf" ] || echo 'DonorPartition=donor WaitTime=30' >"$conf"
	echo "required $BUILD/spank/spank_teramem.so conf=$conf" \
		"helper=${helper:-$BUILD/spank/teramem-job}" >"$TMP/plugstack"
	minicluster up --mem 1500 --plugstack "$TMP/plugstack" "$@" \
		>"$TMP/up" 2>&1 && return
	note "$(cat "$TMP/up")"
	not_ok "a cluster with the plugin"
	exit 1
}

# nodes: their names
nodes() {
	local ns
	for ns in /run/netns/minicluster-n*; do
		echo "${ns#/run/netns/minicluster-}"
	done
}

# pids_on NODE COMMAND_NAME [JOB]: such processes there, of that job
pids_on() {
	local pid
	for pid in $(ip netns pids "minicluster-$1"); do
		[ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || continue
		[ $# -eq 2 ] ||
			tr '\0' ' ' 2>/dev/null <"/proc/$pid/cmdline" |
			grep -Eq -- "--job=$3 |\[$3\." || continue
		echo "$pid"
	done
}

# pids COMMAND_NAME [JOB]: on all nodes
pids() {
	local node
	for node in $(nodes); do
		pids_on "$node" "$@"
	done
}

# nothing_of [JOB]: no process of ours is on any node
nothing_of() {
	[ -z "$(pids teramemd "$@")$(pids teramem-job "$@")" ]
}

nodes_idle() {
	[ "$(run sinfo -h -N -o %T | sort -u)" = idle ]
}

no_job() {
	[ -z "$(run squeue -h)" ]
}

# nothing_left: checked at the end
nothing_left() {
	local node
	assert "no node is drained" wait_until 30 nodes_idle
	assert "no process is left" wait_until 10 nothing_of
	for node in $(nodes); do
		assert "no file is left on $node" minicluster on "$node" \
			test ! -e /run/teramem
	done
}

# submit [--user NAME] NAME ARGUMENT...: sbatch; $id is the job's number, and
# ${ids[NAME]}. It does not wait: sbatch --wait polls too rarely.
declare -A ids
submit() {
	local user=()
	if [ "$1" = --user ]; then
		user=(--user "$2")
		shift 2
	fi
	id=$(run "${user[@]}" sbatch --parsable -t 5 -o "$1.out" "${@:2}" 2>"$1.err")
	# shellcheck disable=SC2034 # for those who source this
	ids[$1]=$id
	[ -n "$id" ] || note "$(cat "$1.err")"
}

# job_field JOB NAME: of its first component, as scontrol has it
job_field() {
	run scontrol -o show job "$1" 2>/dev/null | head -n 1 |
		grep -o " $2=[^ ]*" | cut -d= -f2
}

# job_over JOB: it runs no more, and is not queued any more
job_over() {
	case $(job_field "$1" JobState) in
	COMPLETED | FAILED | CANCELLED | TIMEOUT | NODE_FAIL | OUT_OF_MEMORY)
		return 0 ;;
	esac
	return 1
}

# state JOB: once it has ended
state() {
	wait_until 180 job_over "$1"
	job_field "$1" JobState
}

# written_down JOB: wait until the controller has it on disk, some seconds late: a
# job that it does not know it starts again, after it was killed
written_down() {
	touch "$TMP/known"
	minicluster on ctl scontrol update job="$1" comment=known
	wait_until 60 test /run/minicluster/spool/ctl/job_state -nt "$TMP/known"
}

# out NAME: what a job printed; slurmstepd may complain of a cgroup at its end
out() {
	grep -v '^slurmstepd.*cgroup' "$1.out"
}

# make_text LINES: in $TMP/text, nearly in order, as logs of several nodes are;
# $native is the sum of what sort makes of it
make_text() {
	awk -v lines="$1" 'BEGIN {
		for (i = 0; i < lines; i++)
			printf "%012d event of node %d\n",
				int(i / 8) * 8 + 7 - i % 8, i % 97
	}' >"$TMP/text"
	# shellcheck disable=SC2034 # for those who source this
	native=$(LC_ALL=C sort -S 200M "$TMP/text" | md5sum | cut -c -32)
}
