#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Jobs that page while one part after the other is killed at random, ours and
# Slurm's; with donors as a part of the job, and by a job of their own. What died
# of Slurm is started again, as an administrator would. Then: no donor outlived
# its job, no node is drained, no byte was wrong, and each job succeeded, was
# started again, or says what happened to it.
#
#	kills.sh [N [SEED]]
# shellcheck disable=SC2016,SC2119,SC2317 # scripts of others; wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"

count=${1:-6}
seed=${2:-$RANDOM}
RANDOM=$seed
note "seed $seed: kills.sh $count $seed"
# As long as its munged is dead, a node does not answer: it is not to be down.
echo SlurmdTimeout=180 >"$TMP/slurm.conf"
cluster_up -n 5 --conf "$TMP/slurm.conf"
cd "$TMP/out" || exit
export PAGETEST=$BUILD/tests/paging/pagetest
install -m 755 "$SRC/tests/slurm/pages.sh" "$TMP/pages.sh"
cat >"$TMP/named.sh" <<-END
	#!/bin/bash
	exec $TMP/pages.sh \$SLURM_JOB_NAME\${SLURM_ARRAY_TASK_ID+.}\$SLURM_ARRAY_TASK_ID 10
END

# submit_kind KIND NAME: a job of that kind; job[NAME] is its number; of an array,
# there are two
declare -A job
submit_kind() {
	local kind=$1 name=$2
	local options=(-J "$name" --mem=150 --teramem=64M --teramem-local=20M
		--teramem-donors=$((1 + RANDOM % 2)))
	case $kind in
	het) submit "$name" "${options[@]}" "$TMP/named.sh" ;;
	input) submit "$name" "${options[@]}" <"$TMP/named.sh" ;;
	array) submit "$name" -o "$name.%a.out" --array=1-2 "${options[@]}" \
		"$TMP/named.sh" ;;
	srun)
		run srun "${options[@]}" "$TMP/pages.sh" "$name" 10 \
			>"$name.out" 2>&1 &
		srun=$!
		wait_until 20 queued "$name"
		id=$(run squeue -h -n "$name" -o %A) ;;
	esac
	job=()
	case $kind in
	array) job=([$name.1]=${id}_1 [$name.2]=${id}_2) ;;
	*) job=([$name]=$id) ;;
	esac
}
queued() {
	[ -n "$(run squeue -h -n "$1")" ]
}
# each FUNCTION [ARGUMENT]...: it holds for all of the jobs, by name
each() {
	local name
	for name in "${!job[@]}"; do
		"$@" "$name" || return
	done
}

# victims: every process that may be killed now, "what pid"
victims() {
	local name pid node
	for name in teramemd teramem-job slurmstepd slurmd munged pagetest; do
		for pid in $(pids $name); do
			echo "$name $pid"
		done
	done
	for pid in $(ip netns pids minicluster-ctl); do
		case $(cat "/proc/$pid/comm" 2>/dev/null) in
		slurmctld | munged) echo "$(cat "/proc/$pid/comm") $pid" ;;
		esac
	done
}

no_servers() {
	[ -z "$(pids teramemd)" ]
}
begun() {
	[ -e "$1.begun" ]
}
known() {
	written_down "${job[$1]}"
}
over() {
	job_over "${job[$1]}"
}
ended_or_over() {
	[ -s "$1.ended" ] || over "$1"
}
quiet() {
	nothing_of && nodes_idle && no_job
}

# verdict NAME VICTIM: what became of the job, as its program and Slurm have it
verdict() {
	local status state
	status=$(cat "$1.ended" 2>/dev/null)
	state=$(job_field "${job[$1]}" JobState)
	if grep -qs '^not ok' "$1.out" || [ "$status" = 1 ]; then
		echo "wrong bytes"
	elif [ "$status" = 0 ]; then
		echo success
	elif [ "$status" = 135 ] && grep -q '^teramem: ' "$1.out"; then
		echo "clear failure"
	elif [ "$status" = 137 ] || [ "$2" = slurmstepd ]; then
		echo "killed"
	elif [ "$state" = FAILED ] && grep -q 'teramem: ' "$1.out"; then
		echo "clear failure"
	elif [ "$state" = NODE_FAIL ]; then
		echo "clear failure"
	else
		echo "unclear: $state, exit status '$status'"
	fi
}

declare -A died ends
kinds=(het srun het input het array)
for ((i = 1; i <= count; i++)); do
	kind=${kinds[i % ${#kinds[@]}]}
	submit_kind "$kind" "job$i"
	wait_until 90 each begun || not_ok "job $i, $kind, begins"
	sleep 0.$((RANDOM % 10))
	mapfile -t all < <(victims)
	mapfile -t whats < <(printf '%s\n' "${all[@]% *}" | sort -u)
	what=${whats[RANDOM % ${#whats[@]}]}
	mapfile -t all < <(printf '%s\n' "${all[@]}" | grep "^$what ")
	pid=${all[RANDOM % ${#all[@]}]#* }
	[ "$what" != slurmctld ] || each known
	died[$what]=$((${died[$what]-0} + 1))
	kill -KILL "$pid" 2>/dev/null
	# Half of the time, Slurm is mended only after the job.
	mend=$((RANDOM % 2))
	[ $mend = 1 ] || minicluster up >"$TMP/mend" 2>&1 ||
		note "$(cat "$TMP/mend")"
	wait_until 60 each ended_or_over
	[ $mend = 0 ] || minicluster up >"$TMP/mend" 2>&1 ||
		note "$(cat "$TMP/mend")"
	# What Slurm itself notices late or never: the end of a batch script's
	# slurmstepd; that of srun, told to a controller that was not there.
	case $what-$kind in
	slurmstepd-* | slurmctld-srun | munged-srun)
		wait_until 10 each over ||
			run scancel "${job[@]}" 2>/dev/null ;;
	esac
	wait_until 60 each over
	wait_until 30 no_servers ||
		not_ok "kill $i, $what, $kind: no donor outlives the job"
	for name in "${!job[@]}"; do
		end=$(verdict "$name" "$what")
		ends[${end%%:*}]=$((${ends[${end%%:*}]-0} + 1))
		case $end in
		unclear* | wrong*)
			not_ok "kill $i, $what, $kind: how the job ended"
			note "$end"$'\n'"$(tail -n 5 "$name.out")" ;;
		esac
	done
	[ "$kind" != srun ] || wait_until 30 gone "$srun" ||
		not_ok "kill $i, $what: srun ends"
	if ! wait_until 60 quiet; then
		not_ok "kill $i, $what, $kind: all is quiet again"
		note "$(run squeue; run sinfo -N)"
		break
	fi
done
for what in "${!died[@]}"; do
	note "killed: $what ${died[$what]}"
done
for end in "${!ends[@]}"; do
	note "jobs: $end ${ends[$end]}"
done
assert_eq "$tap_failed" 0 "$count kills"
assert "no node is drained" nodes_idle
done_testing
