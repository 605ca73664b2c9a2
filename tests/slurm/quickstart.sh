#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The first thing that a new user runs works, tells its story, and leaves
# nothing; also when it is interrupted. What a machine cannot do is said first.
# shellcheck disable=SC2016,SC2317 # the inner shell; functions for wait_until
export TMPDIR=/var/tmp # /tmp may be memory, which counts for a job
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
# shellcheck source=tests/slurm/cluster.sh
. "$SRC/tests/slurm/cluster.sh"
requires pgrep setsid
chmod 755 "$TMP"
mkdir -m 1777 "$TMP/tmp"
export TMPDIR=$TMP/tmp
unset MALLOC_PERTURB_ # meson's: sort would touch all that it allocates

quickstart() {
	timeout 300 "$SRC/contrib/quickstart" "$@" >"$TMP/out" 2>&1
}
as_before() {
	minicluster status >/dev/null
	[ $? -eq 3 ] && [ -z "$(ls -A "$TMPDIR")" ]
}

quickstart 24
assert_eq $? 0 "a sort as a Slurm job"
for line in 'sbatch --mem=220 --teramem=1G' 'teramem-donors.*RUNNING.*n\[2-3\]' \
	'server +tcp:10.77.0.12:' 'Both wrote the same bytes' \
	'by (1 process|[02-9]+ processes) \(' 'GiB went to the donors' 'us in the median' 'Time: .* s with Teramem'; do
	assert_match "$(cat "$TMP/out")" "$line" "it shows: $line"
done
assert "nothing is left" as_before

# In a session of its own, as in a terminal: all of it gets the signal
start setsid --fork --wait "$SRC/contrib/quickstart" 24 >"$TMP/out" 2>&1
submitted() {
	grep -q 'teramem=1G' "$TMP/out"
}
assert "it runs" wait_until 120 submitted
kill -INT -- "-$(pgrep -P "$started")"
wait "$started"
assert_eq $? 130 "interrupted"
assert "nothing is left" as_before

got=$(unshare -m sh -c 'mount --bind "$1" /dev/userfaultfd; exec "$0" 24' \
	"$SRC/contrib/quickstart" "$SRC/README.md" 2>&1)
assert_match "$got" '^quickstart: /dev/userfaultfd: .*Linux 6.1' \
	"a machine without userfaultfd is told"
got=$(setpriv --bounding-set -sys_admin --inh-caps -sys_admin \
	"$SRC/contrib/quickstart" 24 2>&1)
assert_match "$got" '^quickstart: network namespaces: ' \
	"and one without namespaces"
got=$(setpriv --reuid=65534 --clear-groups "$SRC/contrib/quickstart" 2>&1)
assert_match "$got" '^quickstart: not root: ' "and who is not root"
assert "nothing was begun" as_before
done_testing
