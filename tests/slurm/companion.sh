#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Donors for what sbatch and salloc cannot make heterogeneous: srun alone, a
# script on standard input, job arrays, other heterogeneous jobs. Those that the
# administrator names, and those that the user writes down.
# shellcheck disable=SC2016,SC2317 # jobs' scripts; functions for wait_until
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"

cat >"$TMP/teramem.conf" <<-END
	DonorPartition=donor WaitTime=30
	Partition=standing DonorNodes=n[4-5]
	Partition=small SizeMax=64M DonorsMax=1 DonorMemMax=256M
END
printf 'PartitionName=%s\n' standing small >"$TMP/slurm.conf"
# A requeued job would wait for two minutes; there is room for all at once
echo AuthInfo=cred_expire=5 >>"$TMP/slurm.conf"
cluster_up -n 5 --cpus 8 --conf "$TMP/slurm.conf"
cd "$TMP/out" || exit

make_text 400000
cat >"$TMP/sort.sh" <<END
#!/bin/bash
name=\${1:-\$SLURM_JOB_NAME}\${SLURM_ARRAY_TASK_ID-}
[ "\$SLURM_NNODES" = 1 ] || name+=.\$SLURM_NODEID
export LC_ALL=C PATH=/usr/bin:/bin
sort -S 100M "$TMP/text" | md5sum | cut -c -32 >"\$name.md5"
$BUILD/tests/paging/keeper 48 7 >"\$name.keeper"
$TERAMEM status --json >"\$name.json"
exit \${2:-0}
END
chmod 755 "$TMP/sort.sh"
options=(--mem=150 --teramem=256M --teramem-local=16M --teramem-preload)

# sorted NAME: the job got the right answer, and paged for it
sorted() {
	assert_eq "$(cat "$1.md5")" "$native" "$1: the same as native"
	assert_eq "$(jq '.stats.bytes_in > 3000000 and
		.stats.bytes_out > 3000000 and .local_bytes == 16777216' \
		"$1.json")" true "$1: it paged"
	assert_eq "$(jq -c '[.seed, .wrong, .bytes_in > 0, .bytes_out > 0]' \
		"$1.keeper")" "[7,0,true,true]" "$1: a linked program, paged"
}

all_ended() {
	wait_until 120 no_job || not_ok "all jobs end: $(run squeue)"
}
donors='jq -r ".servers[].address" $TERAMEM_JOB_MAP | cut -d: -f2 |
	sed s/10.77.0.1/n/ | sort | paste -sd " "'

# --- srun alone --------------------------------------------------------------

run srun "${options[@]}" "$TMP/sort.sh" srun 7 >srun.out 2>&1
assert_eq $? 7 "srun alone: the program's exit status"
sorted srun
run env TERAMEM=256M TERAMEM_LOCAL=16M TERAMEM_PRELOAD=1M \
	srun --mem=150 "$TMP/sort.sh" environment >environment.out 2>&1
sorted environment
run srun "${options[@]}" -N2 -n2 "$TMP/sort.sh" two >two.out 2>&1
sorted two.0
sorted two.1
got=$(run srun --teramem=64M squeue -h -o '%j %k' 2>&1)
assert_match "$got" "^teramem-donors teramem: donors of job [0-9]+, start 0$" \
	"squeue shows which job lends, and to whom"

# --- scripts on standard input, arrays, several nodes ------------------------

submit file -J file "${options[@]}" <"$TMP/sort.sh"
submit pipe -J pipe < <(sed "1a #SBATCH ${options[*]}" "$TMP/sort.sh")
# shellcheck disable=SC2002 # a pipe is what is tested
cat "$TMP/sort.sh" | run env TERAMEM=256M TERAMEM_LOCAL=16M \
	TERAMEM_PRELOAD=1M sbatch -o none.out -J none --export=NONE --mem=150 \
	>none.sbatch 2>&1
submit nodes -N2 -n2 "${options[@]}" \
	< <(printf '#!/bin/sh\nsrun %s nodes\n' "$TMP/sort.sh")
submit array --array=1-8 "${options[@]}" "$TMP/sort.sh" array
all_ended
sorted file
sorted pipe
sorted none
sorted nodes.0
sorted nodes.1
for i in 1 2 3 4 5 6 7 8; do
	sorted "array$i"
done

# --- heterogeneous jobs, an administrator's donors ---------------------------

cat >"$TMP/het.sh" <<END
#!/bin/sh
#SBATCH --teramem=64M -w n1
#SBATCH hetjob
#SBATCH -w n2
#SBATCH hetjob
#SBATCH --teramem-role=donor --mem=150 -w n3
$donors
END
submit het --teramem=64M -w n1 : -w n2 --wrap "$donors"
submit het-none -p standing --teramem=64M -w n4 : -p standing -w n5 \
	--wrap 'echo "it ran"'
# Their name is not what counts
submit own --teramem=64M -w n1 : -w n2 : --teramem-role=donor -J lender \
	--mem=150 -w n3,n4 --wrap "$donors"
submit directives "$TMP/het.sh"
submit standing -p standing -w n1 --teramem=64M --teramem-donors=2 \
	--wrap "$donors; squeue -h -j \$SLURM_JOB_ID -o %i | grep -c +"
submit standing-own -p standing -w n4 --teramem=64M --wrap "$donors"
submit standing-none -p standing -w n4 --teramem=64M --teramem-donors=2 \
	--wrap 'echo "it ran"'
run salloc -p standing -w n2 --teramem=64M srun sh -c "$donors" \
	>standing-salloc.out 2>salloc.err
all_ended
assert_match "$(out het)" "^n[345]$" \
	"a heterogeneous job without donors gets some"
assert_match "$(cat het-none.out)" "submit a job for the donors: " \
	"but none that another component computes on"
assert_eq "$(out own)" "n3 n4" \
	"a user's own component of donors, among others"
assert_eq "$(out directives)" n3 "the same in #SBATCH lines"
assert_eq "$(out standing)" $'n4 n5\n0' \
	"DonorNodes, without a component for them"
assert_eq "$(out standing-own)" n5 "none that the job computes on"
assert_match "$(cat standing-salloc.out)" "^n[45]$" "the same with salloc"
assert_match "$(cat standing-none.out)" "submit a job for the donors: " \
	"more than there are: the job says so"
assert_eq "$(state "${ids[standing-none]}") $(grep -c 'it ran' standing-none.out)" \
	"FAILED 0" "and fails, without starting"

# --- what is refused ---------------------------------------------------------

got=$(run srun -p small --teramem=128M true 2>&1)
assert_match "$got" "teramem: .*at most 64M is allowed here \(SizeMax" \
	"srun alone: more than the partition allows"
got=$(run sbatch -p small --teramem=128M <"$TMP/het.sh" 2>&1)
assert_match "$got" "teramem: .*SizeMax" "also for a script that is read"
submit limit < <(printf '#!/bin/sh\n#SBATCH -p small --teramem=128M\n')
submit steps --teramem=64M --wrap 'srun --teramem=64M echo same
	srun --teramem=128M echo "it ran"
	srun --teramem-block=1M echo "it ran"'
all_ended
assert_eq "$(state "${ids[limit]}")" FAILED "a script on a pipe: the job fails"
assert_match "$(cat limit.out)" "teramem: .*SizeMax" "and says so"
got=$(run sbatch -p standing --teramem=64M --teramem-donors=3 --wrap true 2>&1)
assert_match "$got" "3 donors: DonorNodes of partition standing has 2 nodes" \
	"more donors than the administrator names"
got=$(run srun --teramem-block=1M true 2>&1)
assert_match "$got" "without --teramem=SIZE" "srun: an option without --teramem"
assert_eq "$(grep -c same steps.out)" 1 "a step may ask for what its job has"
assert_eq "$(grep -c 'it ran' steps.out)" 0 "but for nothing else"
assert_match "$(cat steps.out)" \
	"--teramem=128M: steps have what their job was given, 64M" "it is told so"
assert_match "$(cat steps.out)" \
	"--teramem-block=1M: steps have .* which is nothing" "of any option"

# --- the donors' job ends with the job it serves -----------------------------

serving() {
	[ "$(pids teramemd | wc -l)" -eq 1 ]
}
id=$(echo '#!/bin/sh
sleep 300' | run sbatch --parsable -o /dev/null -w n1 --teramem=64M)
assert "a donor serves" wait_until 20 serving
assert_eq "$(run squeue -h -o %u | sort -u)" "$job_user" "as the job's user"
lender=$(run squeue -h -n teramem-donors -o %i)
run scancel "$id"
wait_until 20 no_job
assert_eq "$(job_field "$lender" JobState)" CANCELLED \
	"scancel ends the donors' job, too"
id=$(echo '#!/bin/sh
sleep 300' | run sbatch --parsable -o /dev/null -w n1 --teramem=64M)
wait_until 20 serving
minicluster on n1 rm "/run/teramem/$id/donors"
run scancel "$id"
assert "it ends by itself when nobody ends it" wait_until 30 no_job

# --- nothing is left ---------------------------------------------------------

nothing_left
done_testing
