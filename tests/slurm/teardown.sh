#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Nothing of a job outlives it: whatever of it, or of Slurm, is killed, its
# servers are gone within 30 seconds, no node is drained, no byte was wrong, and
# the job ended or says why not. A node is declared down much later than that
# here, so that nothing but the servers' own leases can be the reason.
# shellcheck disable=SC2317 # functions for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"

chmod 755 "$TMP"
install -m 755 "$SRC/etc/epilog-slurmctld" "$TMP/epilog"
printf 'SlurmdTimeout=90\nMinJobAge=3600\nEpilogSlurmctld=%s\n' "$TMP/epilog" >"$TMP/slurm.conf"
cluster_up -n 5 --conf "$TMP/slurm.conf"
cd "$TMP/out" || exit
export PAGETEST=$BUILD/tests/paging/pagetest
install -m 755 "$SRC/tests/slurm/pages.sh" "$TMP/pages.sh"

# page NAME SECONDS [OPTION]...: a job that pages for so long
page() {
	local name=$1 seconds=$2
	shift 2
	submit "$name" --mem=150 --teramem=64M --teramem-local=20M "$@" \
		"$TMP/pages.sh" "$name" "$seconds"
}

begun() {
	[ -e "$1.begun" ]
}
wait_begun() {
	local name
	for name; do
		wait_until 40 begun "$name" || not_ok "$name: it began"
	done
	sleep 1 # it is at work
}

servers_gone() {
	[ -z "$(pids teramemd "$1")" ]
}
ended() {
	[ -s "$1.ended" ]
}

# succeeds NAME WHAT, fails NAME WHAT, either NAME WHAT: how the program ended;
# 135 is SIGBUS, whose cause must be told
succeeds() {
	wait_until 150 ended "$1"
	assert_eq "$(cat "$1.ended")" 0 "$2: the job succeeds"
}
fails() {
	wait_until 60 ended "$1"
	assert_eq "$(cat "$1.ended")" 135 "$2: the job's program gets SIGBUS"
	assert_match "$(cat "$1.out")" "^teramem: .*(lost|server)" \
		"$2: and says why"
}

# frees JOB WHAT
frees() {
	assert "$2: its servers are gone" wait_until 30 servers_gone "$1"
}

# --- ends that are in order, and processes that are killed -------------------

page limit 300 -t 1
page plain 3
page cancelled 300
page requeued 6
page server 300
page helper 300
page holder 25
page watcher 25
wait_begun plain cancelled requeued server helper holder watcher limit

run scancel "${ids[cancelled]}"
minicluster on ctl scontrol requeue "${ids[requeued]}"
kill -KILL "$(pids teramemd "${ids[server]}")"
# Of a heterogeneous job, the donors' component has the next number.
kill -KILL "$(pids teramem-job $((ids[helper] + 1)))"
older() {
	pids teramem-job "$1" | sort -n | head -n 1
}
younger() {
	pids teramem-job "$1" | sort -n | tail -n 1
}
was=$(younger "${ids[holder]}")
kill -KILL "$was"
kill -KILL "$(older "${ids[watcher]}")"
held_again() {
	local now
	now=$(younger "${ids[holder]}")
	[ -n "$now" ] && [ "$now" != "$was" ]
}
assert "what holds the servers is started again" wait_until 10 held_again

frees "${ids[cancelled]}" "scancel"
fails server "a server that is killed"
frees "${ids[server]}" "a server that is killed"
fails helper "a donor's helper that is killed"
frees "${ids[helper]}" "a donor's helper that is killed"
succeeds plain "an ordinary end"
frees "${ids[plain]}" "an ordinary end"
succeeds holder "what holds the servers is killed"
frees "${ids[holder]}" "what holds the servers is killed"
succeeds watcher "what watches that is killed"
frees "${ids[watcher]}" "what watches that is killed"


# --- slurmstepd and slurmd ---------------------------------------------------

# stepd JOB: its extern step's
stepd() {
	local pid
	for pid in $(pids slurmstepd "$1"); do
		grep -aq extern "/proc/$pid/cmdline" && echo "$pid"
	done
}
page donor_step 300
page step 6
wait_begun donor_step step
kill -KILL "$(stepd $((ids[donor_step] + 1)))"
kill -KILL "$(stepd "${ids[step]}")"
fails donor_step "a donor's slurmstepd that is killed"
frees "${ids[donor_step]}" "a donor's slurmstepd that is killed"
succeeds step "a job's slurmstepd that is killed"
frees "${ids[step]}" "a job's slurmstepd that is killed"

page slurmd 3 -w n1
wait_begun slurmd
donor=$(run squeue -h -j "${ids[slurmd]}" -o '%i %N' | sed -n "s/.*+1 //p")
kill -KILL "$(pids_on "$donor" slurmd)"
succeeds slurmd "a donor without slurmd"
frees "${ids[slurmd]}" "a donor without slurmd"
minicluster up >/dev/null

# --- the controller and munged -----------------------------------------------

controller() {
	minicluster status | sed -n 's/^ctl .* slurmctld=\([0-9]*\).*/\1/p'
}
munged() {
	minicluster status | sed -n "s/^$1 .* munged=\([0-9]*\).*/\1/p"
}
page controller 10 -w n1
wait_begun controller
written_down "${ids[controller]}"
kill -KILL "$(controller)"
succeeds controller "without slurmctld"
# That the job is over, nobody but the controller can tell its other nodes.
minicluster up >/dev/null
frees "${ids[controller]}" "without slurmctld"

page munged 4 -w n1
wait_begun munged
donor=$(run squeue -h -j "${ids[munged]}" -o '%i %N' | sed -n "s/.*+1 //p")
kill -KILL "$(munged n1)" "$(munged "$donor")"
succeeds munged "without munged"
minicluster up >/dev/null
frees "${ids[munged]}" "without munged"

succeeds requeued "requeue"
wait_until 60 job_over "${ids[requeued]}"
assert_eq "$(job_field "${ids[requeued]}" JobState) \
$(job_field "${ids[requeued]}" Restarts)" "COMPLETED 1" "requeue: it ran again"
frees "${ids[requeued]}" "requeue"
wait_until 150 job_over "${ids[limit]}"
assert_eq "$(job_field "${ids[limit]}" JobState)" TIMEOUT "the time limit"
frees "${ids[limit]}" "the time limit"

# --- nodes that are cut off, or crash ----------------------------------------

page cut 300 -w n1
wait_begun cut
donor=$(run squeue -h -j "${ids[cut]}" -o '%i %N' | sed -n "s/.*+1 //p")
minicluster on ctl ip link set "$donor" down
fails cut "a donor that is cut off"
frees "${ids[cut]}" "a donor that is cut off"
minicluster on ctl ip link set "$donor" up
# That the job ended Slurm tells it again within minutes (also of jobs without
# remote memory: 130 to 330 s were seen); when slurmd starts, at once.
kill -KILL "$(pids_on "$donor" slurmd)"
minicluster up >/dev/null

page crash 300 -w n1
submit idle -w n1 --mem=150 --teramem=64M \
	--wrap 'touch idle.begun; sleep 300'
wait_begun crash idle
minicluster on ctl ip link set n1 down
# The power goes.
# shellcheck disable=SC2046
kill -KILL $(ip netns pids minicluster-n1)
frees "${ids[crash]}" "a compute node that crashed while it paged"
frees "${ids[idle]}" "a compute node that crashed while it did not"
minicluster on ctl ip link set n1 up
minicluster up >/dev/null
run scancel "${ids[crash]}" "${ids[idle]}"
assert "the nodes come back" wait_until 100 nodes_idle

# --- what is left is found, and nothing else ---------------------------------

# leave NAME: a donor's server that hangs as its slurmd dies, and then the job
# ends; $id, $donor, $server
leave() {
	submit "$1" -w n1 --no-requeue --mem=150 --teramem=64M \
		--wrap "touch $1.begun; sleep 300"
	wait_begun "$1"
	donor=$(run squeue -h -j "$id" -o '%i %N' | sed -n "s/.*+1 //p")
	server=$(pids teramemd "$id")
	kill -KILL "$(pids_on "$donor" slurmd)" "$(stepd $((id + 1)))"
	kill -STOP "$server"
	minicluster on ctl scontrol update nodename="$donor" state=down \
		reason=test
	wait_until 60 job_over "$id" || not_ok "$1: the job ends"
}
# put_back NODE
put_back() {
	minicluster on ctl scontrol update nodename="$1" state=resume
	minicluster up >/dev/null
}
# birth PID: when it began, in ticks
birth() {
	sed 's/.*) //' "/proc/$1/stat" | cut -d' ' -f20
}
folder_gone() {
	! minicluster on "$donor" test -e "/run/teramem/$((id + 1))"
}
cleanup_on() {
	minicluster on "$donor" "$TERAMEM" cleanup "$@" 2>&1
}

leave cleanup
sleep 1000 &
stranger=$!
minicluster on "$donor" sh -c "
	echo '$stranger $(birth $stranger)
	$server 1' >>/run/teramem/$((id + 1))/processes
	mkdir /run/teramem/99999 && chown $job_user /run/teramem/99999"
got=$(cleanup_on --dry-run)
assert_match "$got" "^job $((id + 1)): would end process $server, teramemd$" \
	"cleanup --dry-run finds a server"
assert_match "$got" "^job $((id + 1)): would remove /run/teramem/" \
	"and the job's files"
assert "it ends nothing" alive "$server"
got=$(cleanup_on)
assert_eq "$?" 0 "cleanup"
assert_match "$got" "^job $((id + 1)): ended process $server, teramemd$" \
	"it ends the server"
assert "which is gone" gone "$server"
assert "the job's files are gone" folder_gone
assert "a process that is not ours is left alone" alive "$stranger"
assert_match "$got" "^left /run/teramem/99999, which is not root's" \
	"so is a folder that is not root's"
minicluster on "$donor" rm -r /run/teramem
kill "$stranger"
put_back "$donor"
assert_eq "$(cleanup_on)" "nothing is left of jobs that are gone" \
	"cleanup again finds nothing"

leave sweep
put_back "$donor"
page sweeping 1 -w "$donor"
succeeds sweeping "a job where another one left something"
assert "the prolog ended the server" gone "$server"
assert "and removed the files" folder_gone

# --- donors of their own job -------------------------------------------------

# lend JOB: as such a job looks to Slurm
lend() {
	run sbatch --parsable -o /dev/null -n1 --mem=10 -J teramem-donors \
		--comment="teramem: donors of job $1, start 0" \
		--wrap 'sleep 300' 2>/dev/null
}
page served 6
of_it=$(lend "${ids[served]}")
of_another=$(lend "${ids[served]}0")
succeeds served "a job with donors of their own job"
assert "EpilogSlurmctld cancels that" wait_until 30 job_over "$of_it"
assert_eq "$(job_field "$of_another" JobState)" RUNNING "and no other job's"
run scancel "$of_another"

# With nobody there who could end it by itself
submit powerless -w n1 --no-requeue --mem=150 --teramem=64M < <(
	printf '#!/bin/sh\ntouch powerless.begun\nsleep 300\n')
wait_begun powerless
lender=$(run squeue -h -n teramem-donors -o %i)
kill -STOP "$(pids teramem-job "${ids[powerless]}" | while read -r pid; do
	grep -aq hold "/proc/$pid/cmdline" && echo "$pid"
done)"
minicluster on ctl ip link set n1 down
# shellcheck disable=SC2046
kill -KILL $(ip netns pids minicluster-n1)
minicluster on ctl scontrol update nodename=n1 state=down reason=test
assert "EpilogSlurmctld ends donors of a node that crashed" \
	wait_until 30 job_over "$lender"
frees "$lender" "EpilogSlurmctld"
minicluster on ctl ip link set n1 up
put_back n1

# --- in the end --------------------------------------------------------------

assert_eq "$(grep -l '^not ok' ./*.out)" "" "no byte was wrong"
assert "nothing is left" wait_until 60 nothing_of
assert "no node is drained" wait_until 60 nodes_idle
done_testing
