#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Job after job, of several kinds and ends; then the machine is as it was before
# the first: processes, ports, cgroups, /run, /dev/shm, nodes.
#
#	cycles.sh [N]
# shellcheck disable=SC2016,SC2119,SC2317 # scripts of others; wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"

count=${1:-12}
at_once=3
cluster_up -n 4
cd "$TMP/out" || exit
export PAGETEST=$BUILD/tests/paging/pagetest
install -m 755 "$SRC/tests/slurm/pages.sh" "$TMP/pages.sh"
node_names=$(nodes)

# What jobs could leave on the nodes. Slurm's own daemons come and go with their
# requests; sockets in TIME_WAIT are the kernel's.
snapshot() {
	local node pid
	for node in $node_names; do
		for pid in $(ip netns pids "minicluster-$node"); do
			alive "$pid" && echo "$node process" \
				"$(tr '\0' ' ' <"/proc/$pid/cmdline")"
		done 2>/dev/null | sort
		minicluster on "$node" sh -c '
			ss -Hltnu | awk "{ print \"port\", \$5 }" | sort
			ss -Htn | awk "\$1 !~ /TIME-WAIT/ && \
				\$4 ~ /:2[1-4][0-9][0-9][0-9]\$/ { print \"session\", \$4 }"
			find /run /dev/shm ! -path "/run/minicluster/*"
			find /dev/shm /tmp -maxdepth 1 -user "'"$job_user"'"
			find /sys/fs/cgroup -type d \
				-path "*/slurm_$(hostname)/*/job_*"
		' 2>/dev/null | sed "s/^/$node /"
	done
	run sinfo -h -N -o '%N %T'
}

# Jobs differ by their number: ends, cancelled early or late, of two nodes, of
# two donors, and one that wants more memory than its donors have
submit_nr() {
	local i=$1 options=(--mem=150 --teramem=64M --teramem-local=20M)
	local job=("$TMP/pages.sh" "job$i" 1)
	case $((i % 6)) in
	1) job[2]=300 ;;
	2) options+=(-N2 -n2) ;;
	3) options+=(--teramem-donors=2 --teramem-placement=rr) ;;
	4) job[2]=300 ;;
	5) options+=(--begin=now+2) ;;
	esac
	submit "job$i" "${options[@]}" "${job[@]}"
}

settled() {
	nothing_of && nodes_idle && no_job
}

# One before the first look: what Slurm makes for the first job, it keeps.
submit_nr 0
wait_until 60 job_over "$id"
wait_until 60 settled || not_ok "the first job ends"
snapshot >"$TMP/before"

cycle() {
	local i=$1 end
	case $((i % 6)) in
	1) # while it starts
		sleep "0.$((i % 10))"
		run scancel "$id" ;;
	4) # while it pages
		wait_until 60 test -e "job$i.begun"
		sleep 0.5
		run scancel "$id" ;;
	esac
	wait_until 90 job_over "$id" || not_ok "job $i ends"
	end=$(job_field "$id" JobState)
	case $((i % 6)) in
	1 | 4) [ "$end" = CANCELLED ] ;;
	*) [ "$end" = COMPLETED ] && [ "$(cat "job$i.ended")" = 0 ] ;;
	esac && return
	not_ok "job $i ends as it should"
	note "$end: $(tail -n 3 "job$i.out")"
}

start=$SECONDS
for ((i = 1; i <= count; i++)); do
	submit_nr $i
	(
		tap_failed=0
		cycle $i
		exit $tap_failed
	) >"$TMP/cycle$i" &
	running+=($!)
	if [ ${#running[@]} -eq $at_once ]; then
		wait "${running[0]}" || failed+=("$i")
		running=("${running[@]:1}")
	fi
done
wait
for ((i = 1; i <= count; i++)); do
	[ ! -s "$TMP/cycle$i" ] || note "$(cat "$TMP/cycle$i")"
done
note "$count jobs in $((SECONDS - start)) s"
assert_eq "$(cat "$TMP"/cycle* | grep -c '^not ok')" 0 \
	"$count jobs end as they should"
assert "nothing of them runs, and all nodes are idle" wait_until 60 settled
same() {
	snapshot >"$TMP/after"
	cmp -s "$TMP/before" "$TMP/after"
}
wait_until 20 same
assert_eq "$(diff "$TMP/before" "$TMP/after")" "" "the machine is as before"
done_testing
