#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Jobs under cgroup v2, which a VM has and the host may not: there limits hold,
# for jobs and for servers, and no cgroup is left.
#
#	tests/vm/cgroup.sh KERNEL
# shellcheck disable=SC2016,SC2119,SC2317 # jobs' scripts; for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
kernel=$1
# shellcheck source=tests/vm/jobs.sh
. "$SRC/tests/vm/jobs.sh"

# The other way round: jobs run on n1, and the VM lends them memory.
printf '%s\n' "DonorPartition=donor WaitTime=100" \
	"Partition=borrow DonorPartition=vm" >"$TMP/teramem.conf"
vm_cluster_up "PartitionName=borrow Nodes=n1"
assert_eq "$(on_vm awk '$3 ~ /^cgroup/ { print $3 }' /proc/mounts)" cgroup2 \
	"cgroup v2 and no other"
# no_cgroup JOB: nor one of its processes
no_cgroup() {
	vm_idle && nothing_of && [ "$(on_vm sh -c '
		find /sys/fs/cgroup -name "job_$0"
		pgrep teramem; pgrep pagetest; echo end' "$1")" = end ]
}

# Whether Slurm hears of the kill before the step has ended is a race of its own.
run sbatch -W -o limit.out --mem=50 \
	--wrap 'head -c 100M /dev/zero | tail -c 90M >/dev/null' >limit.id 2>&1
assert_match "$(job_field "$(grep -o '[0-9]*$' limit.id)" JobState)" \
	'^(OUT_OF_MEMORY|FAILED)$' \
	"a job that takes more memory than it has fails"
note "$(cat limit.out)"

sorts uffd 'cgroup=$(sed "s/^0:://" /proc/self/cgroup)
	echo "$cgroup"
	cd "/sys/fs/cgroup${cgroup%%/step_batch/*}"
	cat memory.max memory.peak' --teramem-engine=uffd
assert_match "$(sed -n 1p uffd.look)" "/job_[0-9]+/step_batch/" \
	"one whose memory is remote does not"
assert_eq "$(sed -n 2p uffd.look)" $((50 << 20)) "with the same limit"
assert "under which it stays" [ "$(sed -n 3p uffd.look)" -le $((50 << 20)) ]
id=$(grep -o '[0-9]*$' uffd.err)
assert "it leaves nothing" wait_until 200 no_cgroup "$id"

page borrow -p borrow --teramem-engine=uffd
# The donors' component has the next number.
lends() {
	on_vm sh -c 'cat "$(find /sys/fs/cgroup -name "job_$0")/memory.current"' \
		$((id + 1)) >current
	[ "$(cat current)" -gt $((16 << 20)) ]
}
assert "what a server lends counts in its component's cgroup" wait_until 200 lends
note "$(cat current)"
on_vm sh -c 'cat "/proc/$(pgrep -x teramemd)/cgroup"
	cat "$(find /sys/fs/cgroup -name "job_$0")/memory.max"' $((id + 1)) >server
assert_match "$(sed -n 1p server)" "/job_$((id + 1))/step_extern/" \
	"which it is in"
assert_eq "$(sed -n 2p server)" \
	"$(($(job_field $((id + 1)) MinMemoryNode | tr -d M) << 20))" \
	"and that limits it to the component's memory"
run scancel "$id"
assert "a cancelled job leaves nothing" wait_until 200 no_cgroup $((id + 1))
# Not shut_down: what the kernel says of an OOM kill looks like a complaint.
power_off
done_testing
