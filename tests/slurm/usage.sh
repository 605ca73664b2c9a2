#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Remote memory as people use it: two users on the same donors, tasks that share
# a node's, each way to start a job with a real program and with one of its own.
# And where something is broken: a line where the user looks, a job that failed,
# no drained node, nothing left.
# shellcheck disable=SC2016,SC2119,SC2317 # jobs' scripts; for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"
keeper=$BUILD/tests/paging/keeper

# Parts of what is tested get broken: a copy of them, laid out as the build
# folder.
tree=$TMP/tree
helper=$tree/spank/teramem-job
mkdir -p "$tree/spank" "$tree/server" "$tree/allocator"
parts=(spank/teramem-job server/teramemd allocator/libteramalloc-preload.so)
mend() {
	local part
	for part in "${parts[@]}"; do
		rm -f "$tree/$part"
		cp "$BUILD/$part" "$tree/$part"
	done
	cat >"$TMP/teramem.conf" <<-END
		DonorPartition=donor WaitTime=60
		Partition=large BlockSize=1M
		Partition=small BlockSize=16K
	END
}
mend
# All jobs share two donors, and most share a compute node.
cat >"$TMP/slurm.conf" <<-END
	PartitionName=compute Default=YES Nodes=n1,n2
	PartitionName=donor Nodes=n3,n4
	PartitionName=large Nodes=n1
	PartitionName=small Nodes=n1
END
cluster_up -n 4 --user anna --user bert --conf "$TMP/slurm.conf"
cd "$TMP/out" || exit

# --- two users ------------------------------------------------------------------

# hold.sh FILE SEED: until FILE is there
cat >"$TMP/hold.sh" <<END
#!/bin/bash
jq -r '.servers[].address' \$TERAMEM_JOB_MAP >\$1.servers
exec $keeper 96 \$2 \$1 >\$1.json
END
# What another user's job tries, from within a job on the same node: JOB is the
# other's number, PIDS its servers and its program. Each line that comes out is
# something that must not work, but did.
cat >"$TMP/try.sh" <<'END'
#!/bin/bash
job=$1 servers=$2 keeper=$3 folder=/run/teramem/$1
cat $folder/map >/dev/null && echo "reads the map"
cat $folder/job >/dev/null && echo "reads the job file"
ls $folder && echo "lists the folder"
touch $folder/x && echo "writes into the folder"
rm -f $folder/map && echo "removes the map"
for pid in "${@:4}"; do
	kill -TERM $pid && echo "signals $pid"
	head -c 1 /proc/$pid/environ >/dev/null && echo "reads the environment of $pid"
	ls /proc/$pid/map_files && echo "sees the memory of $pid"
	: </proc/$pid/mem && echo "opens the memory of $pid"
done
# With a map of one's own that names the other's job and servers
jq --arg job "$job" --argjson servers "$(jq -R -s 'split("\n")[:-1] |
	map({address: ., capacity: "512M"})' $servers)" \
	'.job = ($job | tonumber) | .servers = $servers' $TERAMEM_JOB_MAP >forged
TERAMEM_JOB_MAP=$PWD/forged $keeper 8 3 2>forged.err &&
	echo "uses the other's servers"
jq .job=$SLURM_JOB_ID forged >forged-own
TERAMEM_JOB_MAP=$PWD/forged-own $keeper 8 3 2>>forged.err &&
	echo "uses the other's servers for its own job"
exit 0
END
chmod 755 "$TMP"/*.sh
remote=(--mem=150 --teramem=512M --teramem-local=32M --teramem-donors=2)
submit --user anna anna "${remote[@]}" -w n1 "$TMP/hold.sh" anna 1
anna=$id
submit --user bert bert "${remote[@]}" -w n1 "$TMP/hold.sh" bert 2
bert=$id
both_hold() {
	[ -e anna.held ] && [ -e bert.held ]
}
assert "two users have remote memory at once" wait_until 60 both_hold
assert_eq "$(cut -d : -f 2 anna.servers | sort)" \
	"$(cut -d : -f 2 bert.servers | sort)" "on the same donors"
assert_eq "$(sort anna.servers bert.servers | uniq -d)" "" \
	"from different servers"
of_anna=$(for pid in $(pids teramemd) $(pids keeper); do
	[ "$(ps -o euser= -p "$pid")" = anna ] && echo "$pid"
done)
assert_eq "$(wc -w <<<"$of_anna")" 3 "anna has two servers and a program"
# shellcheck disable=SC2086
submit --user bert try "${remote[@]}" -w n1 "$TMP/try.sh" "$anna" anna.servers \
	"$keeper" $of_anna
assert_eq "$(state "$id")" COMPLETED "bert's next job runs"
assert_eq "$(grep -E '^[a-z]+s the|^signals|^uses' try.out)" "" \
	"bert gets nowhere near anna's memory"
assert_eq "$(grep -cE 'Permission denied|not permitted' try.out)" 17 \
	"everything that he tries is refused"
assert_eq "$(grep -cE 'access denied|belongs to job' forged.err)" 2 \
	"also by anna's servers"
touch anna bert
assert_eq "$(state "$anna") $(state "$bert")" "COMPLETED COMPLETED" \
	"both jobs end well"
assert_eq "$(jq -s -c 'map([.seed, .wrong, .bytes_in > 0, .bytes_out > 0])' \
	anna.json bert.json)" "[[1,0,true,true],[2,0,true,true]]" \
	"each found its own bytes, paged"

# --- tasks that share -------------------------------------------------------------

cat >"$TMP/tasks.sh" <<END
#!/bin/bash
srun sh -c '$keeper 100 \$((SLURM_PROCID + 1)) task\$SLURM_PROCID \
	>task\$SLURM_PROCID.json' &
until [ \$(ls task?.held 2>/dev/null | wc -l) = 4 ]; do
	[ \$((i++)) -lt 300 ] || exit 1
	sleep 0.1
done
srun --overlap -N2 -n2 --ntasks-per-node=1 sh -c '$TERAMEM status --json \
	>status\$SLURM_PROCID.json'
srun --overlap -N1 -n1 $keeper 60 9
touch task0 task1 task2 task3
wait %1
END
chmod 755 "$TMP/tasks.sh"
submit tasks -N2 -n4 --ntasks-per-node=2 --mem=250 --teramem=256M \
	--teramem-local=96M "$TMP/tasks.sh"
assert_eq "$(state "$id")" COMPLETED "2 nodes, 2 tasks on each"
assert_eq "$(jq -s -c 'map([.seed, .wrong, .bytes_in > 0]) | sort' task?.json)" \
	"[[1,0,true],[2,0,true],[3,0,true],[4,0,true]]" \
	"each task found its own bytes, paged"
assert_eq "$(jq -s -c 'map(.processes == 2 and
	.capacity_drawn_bytes >= 2 * 100 * 1048576 and
	.capacity_drawn_bytes <= .size_bytes and .size_bytes == 256 * 1048576 and
	.resident_bytes > 0 and .resident_bytes <= .local_bytes and
	.local_bytes == 96 * 1048576)' status?.json)" "[true,true]" \
	"two tasks share a node's remote and local memory"
note "$(jq -s -c 'map([.processes, .capacity_drawn_bytes, .resident_bytes])' \
	status?.json)"
assert_eq "$(grep -v ^srun: tasks.out)" \
	"keeper: teramalloc: Cannot allocate memory" "a third one does not fit"

# --- each way to start a job --------------------------------------------------------

make_text 1000000
# both.sh NAME SEED: an unmodified program, and one that asks for it
cat >"$TMP/both.sh" <<END
#!/bin/bash
LC_ALL=C sort -S 150M $TMP/text | md5sum | cut -c -32 >\$1.md5
$keeper 64 \$2 >\$1.json
$TERAMEM status --json >\$1.status
END
sed '1a #SBATCH --mem=150 --teramem=512M\
#SBATCH --teramem-preload --teramem-local=24M' "$TMP/both.sh" >"$TMP/directives.sh"
sed "s|^|srun |; 1s/.*/#!\/bin\/bash/" <<-END >"$TMP/steps.sh"

	$TMP/both.sh "\$@"
END
chmod 755 "$TMP"/*.sh
remote=(--mem=150 --teramem=512M --teramem-local=24M --teramem-preload)

# paged NAME: both programs got the right answer, and paged for it
paged() {
	assert_eq "$(state "${ids[$1]}") $(cat "$1.md5")" "COMPLETED $native" \
		"$1: sorted as native"
	assert_eq "$(jq -c '[.seed, .wrong, .bytes_in > 0, .bytes_out > 0]' \
		"$1.json")" "[7,0,true,true]" "$1: a linked program, paged"
	assert_eq "$(jq --slurpfile own "$1.json" '.processes_all > 1 and
		.stats.bytes_in > $own[0].bytes_in + 5000000' "$1.status")" true \
		"$1: sort paged, too"
}
submit script "${remote[@]}" "$TMP/both.sh" script 7
submit directives "$TMP/directives.sh" directives 7
submit wrap "${remote[@]}" --wrap "$TMP/both.sh wrap 7"
submit export-none "${remote[@]}" --export=NONE "$TMP/both.sh" export-none 7
submit step "${remote[@]}" "$TMP/steps.sh" step 7
submit step-none "${remote[@]}" --export=NONE "$TMP/steps.sh" step-none 7
submit large "${remote[@]}" -p large "$TMP/both.sh" large 7
submit small "${remote[@]}" -p small "$TMP/both.sh" small 7
run salloc "${remote[@]}" srun "$TMP/both.sh" salloc 7 2>salloc.err
ids[salloc]=$(awk '/Granted job allocation/ { print $NF }' salloc.err)
for name in script directives wrap export-none step step-none salloc large small; do
	paged $name
done
for name in large:1048576 small:16384; do
	assert_eq "$(jq '.stats | .bytes_in / .fetched_blocks' \
		"${name%:*}.status")" "${name#*:}" \
		"${name%:*}: in blocks of the partition's size"
done

# --- refused as it is submitted -------------------------------------------------

refused() {
	local name=$1 wanted=$2 got status
	shift 2
	got=$(run "$@" 2>&1)
	status=$?
	assert_match "$got" "error: .*$wanted" "refused: $name"
	assert "with an exit status: $name" test $status -ne 0
	assert_eq "$(run squeue -h -t pending,running)" "" "without a job: $name"
}
sed 's/--teramem-preload/--teramem-policy=best/' "$TMP/directives.sh" \
	>"$TMP/policy.sh"
refused "an unknown policy in a script" "teramem-policy=best: .*use lru or fifo" \
	sbatch "$TMP/policy.sh"
refused "an unknown policy in the environment" \
	"environment TERAMEM_POLICY=best: .*use lru or fifo" \
	env TERAMEM_POLICY=best sbatch --teramem=64M --wrap true
refused "more than any donor has" "Memory specification can not be satisfied" \
	sbatch --teramem=1T --wrap true
refused "more donors than there are" "3 donors: partition donor has 2 nodes" \
	sbatch --teramem=64M --teramem-donors=3 --wrap true

# --- broken after that -----------------------------------------------------------

idle() {
	nodes_idle && nothing_of
}

# fails NAME WANTED [OPTION]...: a job does, before its program runs
fails() {
	local name=$1 wanted=$2
	shift 2
	case $wanted in
	*missing*) sed -i 1s/=60/=3/ "$TMP/teramem.conf" ;; # in vain
	esac
	submit job --mem=150 --teramem=64M "$@" --wrap 'echo "it ran"'
	if [ -n "${meanwhile-}" ]; then
		$meanwhile
		run scontrol release "$id+0" "$id+1"
	fi
	assert_eq "$(state "$id")" FAILED "fails: $name"
	assert_match "$(cat job.out)" "error: teramem: .*$wanted" "says: $name"
	assert_eq "$(grep -c 'it ran' job.out)" 0 "does not start: $name"
	assert "leaves nothing: $name" wait_until 30 idle
	rm -f job.out
	mend
}
not_prepared="no remote memory was prepared.*slurmd log"
ln -sf /bin/false "$tree/server/teramemd"
fails "a server that cannot start" "0/1 donors ready, missing n3"
chmod -x "$tree/server/teramemd"
fails "a server that is not executable" "0/1 donors ready, missing n3"
rm "$tree/server/teramemd"
fails "no server" "0/1 donors ready, missing n3"
rm "$tree/allocator/libteramalloc-preload.so"
fails "no preload" "teramem-preload: the library is not on this node" \
	--teramem-preload
rm "$tree/spank/teramem-job"
fails "no helper" "$not_prepared"
assert_match "$(cat /run/minicluster/log/n1.log)" \
	"cannot run $tree/spank/teramem-job: is Teramem installed on this node" \
	"slurmd's log has the cause"
chmod -x "$tree/spank/teramem-job"
fails "a helper that is not executable" "$not_prepared"
printf '#!/bin/sh\nkill -KILL $$\n' >"$tree/spank/teramem-job"
fails "a helper that is killed" "$not_prepared"
break_conf() {
	sed -i 1s/=60/=six/ "$TMP/teramem.conf"
}
printf '#!/bin/sh\n%s "$@"\nsed -i s/^restart=0/restart=1/ %s 2>/dev/null\n' \
	"$BUILD/spank/teramem-job" '/run/teramem/*/ready' >"$tree/spank/teramem-job"
fails "a prolog that was for another start" "started again without a prolog"
meanwhile=break_conf
fails "a teramem.conf that broke meanwhile" "$TMP/teramem.conf:1: WaitTime=six" \
	--hold
meanwhile=

ln -sf /bin/false "$tree/server/teramemd"
submit waits --teramem=64M --wrap 'echo "it ran"'
runs() {
	[ "$(job_field "$id" JobState)" = RUNNING ]
}
assert "a job waits for its donors" wait_until 30 runs
sleep 1
run scancel "$id"
assert "once it is cancelled it does not" wait_until 30 job_over "$id"
assert "and leaves nothing" wait_until 30 idle
mend

# fill NODE: not a byte more fits into its /run
fill() {
	minicluster on "$1" sh -c 'cat /dev/zero >/run/full' 2>/dev/null
}
fill n1
fails "a full /run" "written to /run/teramem/[0-9]+ .*is /run full" -w n1
minicluster on n1 rm /run/full
for node in n3 n4; do
	fill $node
done
fails "a full /run on the donors" "0/1 donors ready, missing n3"
for node in n3 n4; do
	minicluster on $node rm /run/full
done

# --- nothing is left ---------------------------------------------------------

submit last "${remote[@]}" "$TMP/both.sh" last 7
paged last
nothing_left
done_testing
