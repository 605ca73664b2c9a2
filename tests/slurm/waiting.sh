#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Jobs whose donors are not free: those in a queue wait there, with a reason
# that squeue shows, and then run; those that cannot go back say so and fail.
# However many want donors at once, all finish.
# shellcheck disable=SC2016,SC2317 # jobs' scripts; functions for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"

echo WaitTime=6 >"$TMP/teramem.conf"
# A requeued job would wait for two minutes
echo AuthInfo=cred_expire=5 >"$TMP/slurm.conf"
cluster_up -n 5 --conf "$TMP/slurm.conf"
cd "$TMP/out" || exit
printf '#!/bin/sh\njq -r .size $TERAMEM_JOB_MAP\nsleep 1\n' >"$TMP/size.sh"
chmod 755 "$TMP/size.sh"

running() {
	[ "$(run squeue -h -t running -n "$1" | wc -l)" -eq "$2" ]
}

# others_take NODES: they are somebody else's from now on
others_take() {
	run sbatch -o /dev/null -J others --exclusive --mem=0 -w "$1" \
		--wrap 'sleep 600' >/dev/null
	wait_until 20 running others 1
}
others_leave() {
	run scancel -n others
}

# --- in the queue ------------------------------------------------------------

others_take n2,n3,n4,n5
id=$(run sbatch --parsable --teramem=64M -o queued.out <"$TMP/size.sh")
back_in_queue() {
	[ "$(run squeue -h -j "$id" -o '%T %r')" = "PENDING BeginTime" ]
}
says_why() {
	[[ "$(run squeue -h -j "$id" -o '%T %r %k')" =~ \
	^"PENDING BeginTime teramem: no donors were free for 6 s (WaitTime); tries again at "[0-9:]+$ ]]
}
assert "a job whose donors are not free goes back to the queue and says why" \
	wait_until 30 says_why
donors_pending() {
	[ "$(run squeue -h -n teramem-donors | wc -l)" -gt 0 ]
}
assert "its donors' job does not wait meanwhile" \
	wait_until 5 eval '! donors_pending'
others_leave
assert "once there are donors it runs" wait_until 60 no_job
assert_eq "$(grep -v cgroup queued.out)" 64M "with its remote memory"
assert_eq "$(job_field "$id" JobState)" COMPLETED "and succeeds"
assert_eq "$(run scontrol show job "$id" | grep -c 'Comment=teramem')" 0 \
	"nothing in its comment is about waiting any more"

# --- what cannot go back -----------------------------------------------------

others_take n2,n3,n4,n5
got=$(run srun -n4 --teramem=64M echo "it ran" 2>&1)
assert_eq "$? $(grep -c 'it ran' <<<"$got")" "1 0" \
	"srun alone fails when there are no donors"
assert_eq "$(grep -c "error: teramem: no donors were free for 6 s" <<<"$got")" 1 \
	"and says so, once"
id=$(run sbatch --parsable --no-requeue --teramem=64M -o no-requeue.out \
	<"$TMP/size.sh")
wait_until 60 job_over "$id"
assert_eq "$(job_field "$id" JobState)" FAILED \
	"a job that must not be requeued fails"
assert_match "$(cat no-requeue.out)" "teramem: no donors were free for 6 s" \
	"and says so"
id=$(run sbatch --parsable --teramem=64M -o /dev/null --comment mine \
	<"$TMP/size.sh")
wait_until 30 back_in_queue
assert_eq "$(run squeue -h -j "$id" -o %k)" mine "a user's comment stays"
run scancel "$id"
id=$(run sbatch --parsable --teramem=64M -o /dev/null <"$TMP/size.sh")
assert "a job waits for its donors" wait_until 20 donors_pending
lender=$(run squeue -h -n teramem-donors -o %i)
assert "they are before it in the queue" test \
	"$(job_field "$lender" Priority)" -gt "$(job_field "$id" Priority)"
run scancel "$id"
only_others() {
	[ "$(run squeue -h -o %j | sort -u)" = others ]
}
assert "it can be cancelled then, and its donors' job goes, too" \
	wait_until 20 only_others
others_leave
wait_until 20 nodes_idle

# --- all want donors at once -------------------------------------------------

# Each takes a whole node, so none could have donors if they all kept theirs
echo WaitTime=12 >"$TMP/teramem.conf"
first=
for i in 1 2 3 4 5; do
	id=$(run sbatch --parsable -o "whole$i.out" --exclusive --mem=0 \
		--teramem=64M <"$TMP/size.sh")
	first=${first:-$id}
done
assert "5 jobs of whole nodes on 5 nodes all finish" wait_until 180 no_job
assert_eq "$(cat whole?.out | grep -v cgroup | paste -sd ' ')" "64M 64M 64M 64M 64M" \
	"all of them had their remote memory"
assert_eq "$(job_field "$first" Restarts)" 0 "the first one needed not wait"

nothing_left
done_testing
