#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sbatch --teramem on teramem.ko, on a compute node that is a VM: the job helper
# loads the module, and drops it after the job; unmodified sort in a third of its
# memory gives the same bytes as without; a job that is cancelled leaves nothing
# there, and the donors of a node that crashed are free again.
#
#	tests/vm/node.sh KERNEL
# shellcheck disable=SC2119,SC2317 # functions for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
kernel=$1
# shellcheck source=tests/vm/jobs.sh
. "$SRC/tests/vm/jobs.sh"

vm_cluster_up
assert_match "$(on_vm uname -r)" "^${kernel/./[.]}[.]" "a node with kernel $kernel"

nothing_left() {
	vm_idle && nothing_of && [ "$(on_vm sh -c '
		ls -d /sys/module/teramem /dev/teramem* 2>/dev/null
		pgrep teramem; pgrep pagetest; echo end')" = end ]
}
# shellcheck disable=SC2016 # for the job
for engine in kmod auto; do
	sorts $engine 'stat -c "%U %a" "$TERAMEM_JOB_DEVICE"
		cd "/sys/class/teramem/job-$SLURM_JOB_ID/stats"
		cat fetched_blocks stored_blocks' \
		--teramem-engine=$engine --teramem-donors=2
	assert_match "$(paste -sd ' ' $engine.look)" \
		'^mini 600 [1-9][0-9]* [1-9][0-9]*$' \
		"$engine: through a space of the user's, by the module's counters"
	assert "$engine: then neither space nor module is left" \
		wait_until 200 nothing_left
done

page cancelled --teramem-engine=kmod
lends() {
	[ "$(awk '/^VmRSS/ { print $2 }' "/proc/$(pids teramemd "$id" |
		head -n 1)/status")" -gt $((16 << 10)) ]
}
assert "a job pages" wait_until 200 lends
run scancel "$id"
assert "cancelled, it leaves neither" wait_until 200 nothing_left
assert "and did not end by itself" [ ! -e cancelled.ended ]
shut_down

# Then it is idle only when it has come back.
minicluster on ctl scontrol update nodename=vm state=down reason=test
boot
page crashed --teramem-engine=kmod
assert "a job pages again" wait_until 200 lends
power_off
assert "the VM crashes: its donors are free" wait_until 100 nothing_of
assert "and the job is over" wait_until 200 job_over "$id"
done_testing
