# SPDX-License-Identifier: GPL-2.0-or-later
# shellcheck shell=bash
#
# For tests with a VM as a node of contrib/minicluster, on its network; the
# controller and the other nodes, n1 and n2, are namespaces of the host. Source
# it after functions.sh; the test's argument is the VM's kernel. Jobs are small
# enough for emulation.
requires_root
requires qemu-system-x86_64 busybox cpio modprobe
kernel=${1:?which kernel?}
patience=5
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"
export PAGETEST=$BUILD/tests/paging/pagetest

# From within the cluster's network it cannot be fetched.
"$SRC/tests/vm/kernels" "$kernel" >/dev/null || {
	not_ok "$kernel can be had"
	exit 1
}

vm=''
power_off() {
	[ -z "$vm" ] || { kill "$vm" && wait "$vm"; } 2>/dev/null
	vm=''
}
# shellcheck disable=SC2317 # by the trap
finish_all() {
	local status=$?
	power_off
	(exit "$status")
	finish
}
trap finish_all EXIT

# boot: the VM is a node until there is $TMP/stop
boot() {
	# By its pid it is to get signals.
	(cd "$SRC" && exec nsenter --net=/run/netns/minicluster-ctl \
		env TMPDIR="$TMP" tests/vm/module "$kernel" --timeout 1200 \
		--net tap:vm --address 10.77.0.30/24 --share /run/minicluster \
		--share "$TMP" -- tests/vm/node vm "$TMP") >"$TMP/vm.out" 2>&1 &
	vm=$!
	wait_until 300 vm_idle || {
		note "$(cat "$TMP/vm.out" /run/minicluster/log/vm.log)"
		not_ok "the VM becomes a node"
		exit 1
	}
}
vm_idle() {
	[ "$(run sinfo -h -n vm -o %T | sort -u)" = idle ]
}
# shut_down: and its kernel has not complained
shut_down() {
	touch "$TMP/stop"
	wait "$vm"
	assert_eq $? 0 "the VM's kernel did not complain"
	vm=''
	note "$(cat "$TMP/vm.out")"
	rm "$TMP/stop"
}
# on_vm COMMAND...: as the user
on_vm() {
	run srun -Q -p vm -n1 --mem=20 "$@"
}

# vm_cluster_up [LINE]...: of slurm.conf; then the VM. Slurm's own times are for
# real machines.
vm_cluster_up() {
	install -m 755 "$SRC/etc/epilog-slurmctld" "$TMP/epilog"
	printf '%s\n' MessageTimeout=100 TCPTimeout=30 BatchStartTimeout=300 \
		PrologEpilogTimeout=300 UnkillableStepTimeout=300 \
		SlurmdTimeout=60 MinJobAge=3600 \
		EpilogSlurmctld="$TMP/epilog" \
		"NodeName=vm NodeAddr=10.77.0.30 RealMemory=1000" \
		"PartitionName=vm Nodes=vm" \
		"PartitionName=compute Default=YES Nodes=vm" \
		"PartitionName=donor Nodes=n1,n2" "$@" >"$TMP/slurm.conf"
	cluster_up -n 2 --mem 700 --cpus 2 --conf "$TMP/slurm.conf"
	cd "$TMP/out" || exit
	minicluster on ctl ip tuntap add vm mode tap
	minicluster on ctl ip link set vm master eth0 up
	boot

	# Nearly in order, as logs of several nodes are
	awk 'BEGIN {
		for (i = 0; i < 300000; i++)
			printf "%012d event of node %d\n",
				int(i / 8) * 8 + 7 - i % 8, i % 97
	}' >"$TMP/text"
	native=$(sort -S 60M --parallel=1 "$TMP/text" | md5sum)
}

# sorts NAME LOOK OPTION...: a job, in which sort takes three times as much
# memory as it has, succeeds; after it there LOOK writes to NAME.look
sorts() {
	local name=$1
	cat >"$name.sh" <<-END
		#!/bin/bash
		export LC_ALL=C
		sort -S 60M --parallel=1 "$TMP/text" | md5sum
		$TERAMEM status --json >$name.json
		exec >$name.look
		$2
	END
	run sbatch -W -o "$name.out" --mem=50 --teramem=192M --teramem-local=20M \
		--teramem-preload "${@:3}" "$name.sh" >"$name.err" 2>&1
	assert_eq $? 0 "$name: the job succeeds"
	assert_eq "$(cat "$name.out")" "$native" "$name: the same as native"
	assert_eq "$(jq '.stats.bytes_in > 20000000 and
		.stats.bytes_out > 20000000 and .local_bytes == 20971520' \
		"$name.json")" true "$name: it paged"
	note "$(cat "$name.err" "$name.json" "$name.look")"
}

begun() {
	[ -e "$1.begun" ]
}

# page NAME [OPTION]...: a job that pages for long; $id
# shellcheck disable=SC2034 # for those who source this
page() {
	id=$(run sbatch --parsable -o "$1.out" --no-requeue --mem=50 \
		--teramem=64M --teramem-local=20M "${@:2}" \
		"$SRC/tests/slurm/pages.sh" "$1" 600 2>"$1.err")
	wait_until 300 begun "$1" || {
		note "$(cat "$1.err" "$1.out")"
		not_ok "$1: it began"
	}
}
