#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# sbatch and salloc --teramem on a real cluster: unmodified programs page over
# donors of their own job and get the right answer; what cannot work is refused
# in one line; nothing is left afterwards.
# shellcheck disable=SC2016,SC2317 # jobs' scripts; functions for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"

cat >"$TMP/teramem.conf" <<-END
	DonorPartition=donor WaitTime=10
	Partition=large BlockSize=1M Policy=fifo SizeMax=2G
	Partition=bad   DonorPartition=nowhere
	Partition=small DonorMemMax=512M DonorsMax=3
END
cp "$TMP/teramem.conf" "$TMP/good.conf"
for name in large bad small; do
	echo "PartitionName=$name"
done >"$TMP/slurm.conf"
cluster_up -n 5 --conf "$TMP/slurm.conf"
cd "$TMP/out" || exit

# --- it is there -------------------------------------------------------------

for command in sbatch salloc srun; do
	assert_eq "$(run $command --help | grep -c '\[teramem\]')" 9 \
		"$command --help lists the options"
done
assert_eq "$(nm -D --defined-only "$BUILD/spank/spank_teramem.so" |
	awk '$3 !~ /^(slurm_spank_|plugin_|spank_plugin_version)/')" "" \
	"the plugin exports nothing but what Slurm looks for"

# --- it refuses at submit, in a line, and no job comes about ------------------

refused() {
	local name=$1 wanted=$2 got status
	shift 2
	got=$(run "$@" 2>&1 </dev/null)
	status=$?
	assert_match "$got" "error: teramem: .*$wanted" "refused: $name"
	assert "with an exit status: $name" test $status -ne 0
	assert_eq "$(run squeue -h -t pending,running)" "" "without a job: $name"
}
refused "a size that is none" "--teramem=1X: unknown unit 'X'" \
	sbatch --teramem=1X --wrap true
refused "no size" "--teramem=: empty" sbatch --teramem= --wrap true
refused "a small size" "not from 4M" sbatch --teramem=1K --wrap true
refused "a block of 3K" "not from 4K to 2M" \
	sbatch --teramem=1G --teramem-block=3K --wrap true
refused "a block of 12K" "power of two" \
	sbatch --teramem=1G --teramem-block=12K --wrap true
refused "a policy" "use lru or fifo" \
	salloc --teramem=1G --teramem-policy=x true
refused "a placement" "use simple or rr" \
	sbatch --teramem=1G --teramem-placement=x --wrap true
refused "0 donors" "from 1 to 256" \
	sbatch --teramem=1G --teramem-donors=0 --wrap true
refused "an option without --teramem" "without --teramem=SIZE" \
	sbatch --teramem-block=1M --wrap true
refused "a role" "use donor" sbatch --teramem-role=x --wrap true
refused "a bad environment" "environment TERAMEM_BLOCK=7: " \
	env TERAMEM_BLOCK=7 sbatch --teramem=1G --wrap true
refused "more than the partition allows" "at most 2G.*SizeMax" \
	sbatch -p large --teramem=3G --wrap true
refused "large donors" "at most 512M each.*--teramem-donors" \
	sbatch -p small --teramem=1G --teramem-donors=1 --wrap true
refused "many donors" "donors are needed, at most 3" \
	sbatch -p small --teramem=2G --wrap true
refused "a partition of donors that does not exist" "no partition nowhere" \
	sbatch -p bad --teramem=1G --wrap true
printf 'BlockSize=1M\nBlocksize=3\n' >"$conf"
refused "a bad value in teramem.conf" "$conf:2: BlockSize=3" \
	sbatch --teramem=1G --wrap true
echo 'Blocks=1M' >"$conf"
refused "an unknown key in teramem.conf" "$conf:1: unknown key 'Blocks'" \
	sbatch --teramem=1G --wrap true
rm "$conf"
refused "no teramem.conf" "cannot read $conf: No such file" \
	sbatch --teramem=1G --wrap true
submit plain --wrap 'echo works; env | grep TERAMEM'
assert_eq "$(state "$id") $(out plain)" "FAILED works" \
	"jobs without --teramem do not need it"
cp "$TMP/good.conf" "$conf"

# --- a real program ----------------------------------------------------------

make_text 1500000
cat >"$TMP/sort.sh" <<END
#!/bin/bash
#SBATCH -t 5
LC_ALL=C sort -S 200M "\$1" | md5sum | cut -c -32 >"\$2.md5"
$TERAMEM status --json >"\$2.json"
END
sed '2a #SBATCH --teramem=1G --teramem-local=48M\
#SBATCH --mem=150 --teramem-preload' "$TMP/sort.sh" >"$TMP/directives.sh"
chmod 755 "$TMP/sort.sh" "$TMP/directives.sh"
options=(--mem=150 --teramem=1G --teramem-local=48M --teramem-preload)

# sorted NAME: the job got the right answer, and paged for it
sorted() {
	assert_eq "$(state "${ids[$1]}") $(cat "$1.md5")" "COMPLETED $native" \
		"$1: the same as native"
	assert_eq "$(jq '.stats.bytes_in > 20000000 and
		.stats.bytes_out > 20000000 and .local_bytes == 50331648' \
		"$1.json")" true "$1: it paged"
}
submit script "${options[@]}" "$TMP/sort.sh" "$TMP/text" script
sorted script
submit directives "$TMP/directives.sh" "$TMP/text" directives
sorted directives
submit wrap "${options[@]}" --teramem-donors=2 --teramem-placement=rr \
	--wrap "$TMP/sort.sh $TMP/text wrap"
sorted wrap
assert_eq "$(json wrap.json '.servers | length')" 2 "from two donors"
run salloc "${options[@]}" srun "$TMP/sort.sh" "$TMP/text" salloc 2>salloc.err
ids[salloc]=$(awk '/Granted job allocation/ { print $NF }' salloc.err)
sorted salloc
id=$(run env TERAMEM=1G TERAMEM_LOCAL=48M TERAMEM_PRELOAD=1M sbatch --mem=150 \
	--parsable -o environment.out "$TMP/sort.sh" "$TMP/text" environment)
ids[environment]=$id
sorted environment

# --- settings ----------------------------------------------------------------

# job NAME OPTION... COMMAND: its output
job() {
	submit "$1" "${@:2:$#-2}" --wrap "${*: -1}"
	state "$id" >"$1.state"
	out "$1"
}
map='jq -r "[.block, .policy, .size, .local, (.servers | length)] | join(\" \")" $TERAMEM_JOB_MAP'
assert_eq "$(job default --teramem=64M "$map")" "auto lru 64M 50M 1" \
	"defaults; half of the job's memory is local"
assert_eq "$(job large -p large --teramem=64M "$map")" "1M fifo 64M 50M 1" \
	"the partition's block size and policy"
assert_eq "$(job override -p large --teramem=64M --teramem-block=512K "$map")" \
	"512K fifo 64M 50M 1" "the command line overrides the partition"
assert_eq "$(job small -p small --teramem=1G "$map")" "auto lru 1G 50M 3" \
	"as many donors as their limit asks for"
assert_eq "$(job memory --teramem=512M 'echo $SLURM_MEM_PER_NODE')" 100 \
	"the job's own memory is not the donors'"
assert_eq "$(job step --teramem=64M --export=NONE \
	'srun /bin/sh -c "/usr/bin/jq -r .size \$TERAMEM_JOB_MAP"')" 64M \
	"steps have it, too, with --export=NONE"
assert_eq "$(job nodes --teramem=64M -N2 -n2 \
	'srun sh -c "jq -r .size \$TERAMEM_JOB_MAP"' | paste -sd ' ')" \
	"64M 64M" "and each of two nodes has its own"
assert_match "$(job unknown --teramem=64M -n2 --ntasks-per-node=1 \
	'srun echo "it ran"')" "say how many --nodes" \
	"more nodes than was said at submit are refused"
assert_match "$(job local --teramem=64M --mem=100 --teramem-local=200M true)" \
	"teramem-local=200M: not less than the job's memory" \
	"more local memory than the job has is refused"
assert_eq "$(cat local.state)" FAILED "and fails the job"
[ -e /dev/teramem-control ] ||
	assert_match "$(job module --teramem=64M --teramem-engine=kmod true)" \
		"kernel engine: load module teramem: none for this kernel; build" \
		"the kernel engine is refused on nodes without the module"

assert_eq "$(job outputs --teramem=64M --teramem-donors=2 '
	env | grep ^TERAMEM_JOB | sort | sed s:/$SLURM_JOB_ID/:/ID/:
	readlink /proc/self/fd/$TERAMEM_UFFD_FD
	stat -c "%U %a" /run/teramem /run/teramem/$SLURM_JOB_ID
	squeue -h -j $SLURM_JOB_ID -o "%j %C" | sort')" "\
TERAMEM_JOB_BLOCK=auto
TERAMEM_JOB_DONORS=2
TERAMEM_JOB_FILE=/run/teramem/ID/job
TERAMEM_JOB_LOCAL=52428800
TERAMEM_JOB_MAP=/run/teramem/ID/map
TERAMEM_JOB_SIZE=67108864
/dev/userfaultfd
root 755
root 711
teramem-donors 2
wrap 1" "what a job is given, and what squeue shows of it"
assert_eq "$(job own --teramem=64M : --teramem-role=donor -N2 --mem=150 \
	'jq -r ".servers[].capacity" $TERAMEM_JOB_MAP' | paste -sd ' ')" \
	"84M 84M" "a user's own component of donors"
assert_match "$(job nested --teramem=64M \
	'sbatch -o /dev/null --wrap true >&2; squeue -h -o %i | grep -v +')" \
	'^[0-9]+$' "a job that a job submits has no donors for that"
assert_match "$(job late-step 'srun --teramem=64M echo "it ran"')" \
	"given, which is nothing: give the option to sbatch" \
	"a step cannot ask for remote memory"
assert_eq "$(grep -c 'it ran' late-step.out)" 0 "and does not run without"

# --- a job's end, and that of its parts --------------------------------------

two_servers() {
	[ "$(pids teramemd | wc -l)" -eq 2 ]
}
one_server() {
	[ "$(pids teramemd | wc -l)" -eq 1 ]
}
# lent NAME: a job that sleeps, with two donors
lent() {
	submit "$1" --teramem=64M --teramem-donors=2 --wrap 'sleep 300'
	wait_until 20 two_servers
}
wait_until 20 nodes_idle
lent cancelled
uid=$(id -u "$job_user")
for pid in $(pids teramemd); do
	assert_eq "$(stat -c %U "/proc/$pid/environ")" root \
		"nobody but root looks into a server"
	assert_eq "$(awk '/^Uid/ { print $2, $3, $4, $5 }' "/proc/$pid/status")" \
		"$uid $uid $uid $uid" \
		"a server runs as the job's user"
	assert_match "$(cat "/proc/$pid/cgroup")" "/job_[0-9]+/step_extern" \
		"in the job's cgroup"
done
run scancel "$id"
assert "scancel ends the servers" wait_until 10 nothing_of
wait_until 20 nodes_idle
lent killed
for pid in $(pids teramemd | head -n 1); do
	parent=$(awk '/^PPid/ { print $2 }' "/proc/$pid/status")
	kill -KILL "$parent"
done
assert "a server ends with the process that watches it" \
	wait_until 5 one_server
for pid in $(pids slurmstepd); do
	grep -aq extern "/proc/$pid/cmdline" && kill -KILL "$pid"
done
assert "servers end with slurmstepd" wait_until 5 nothing_of
run scancel "$id"
assert "no node is drained by that" wait_until 30 nodes_idle

# --- donors that do not come -------------------------------------------------

for node in $(nodes); do
	minicluster on "$node" sh -c 'umask 0; mkdir -p /run/teramem; >/run/teramem/x'
done
got=$(job closed --teramem=64M 'echo "it ran"')
assert_match "$got" "teramem: no remote memory was prepared" \
	"a job without its memory does not start"
assert_eq "$(grep -c 'it ran' <<<"$got")" 0 "not even for a moment"
for node in $(nodes); do
	minicluster on "$node" rm -r /run/teramem
done
# Everybody's ports are taken on the donors
sed -i 's/$/ Ports=1024-1087/' "$conf"
mkdir "$TMP/ports"
cat >"$TMP/ports/take" <<-'END'
	import socket, time
	taken = [socket.create_server(("", port)) for port in range(1024, 1088)]
	time.sleep(300)
END
for node in n2 n3 n4 n5; do
	start "$SRC/contrib/minicluster" on "$node" python3 "$TMP/ports/take"
done
sleep 1
got=$(job late -w n1 --teramem=64M --teramem-donors=2 'echo "it ran"')
assert_match "$got" "teramem: 0/2 donors ready, missing n2 n3" \
	"donors that do not get ready are named"
assert_eq "$(grep -c 'it ran' <<<"$got")" 0 "and the job does not start"

# --- nothing is left ---------------------------------------------------------

nothing_left
done_testing
