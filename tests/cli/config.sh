#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# teramem config: what holds in a partition, and where each value comes from.
# shellcheck disable=SC2317 # functions
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
for name in $(compgen -v TERAMEM_); do
	unset "$name"
done
conf=$TMP/teramem.conf
cat >"$conf" <<-END
	# for all
	BlockSize=64K Policy=fifo WaitTime=10

	Partition=large BlockSize=1M SizeMax=2G
END

# value SETTING [ARGUMENT]...: its value and origin
value() {
	"$TERAMEM" config --conf="$conf" "${@:2}" |
		awk -v setting="$1" '$1 == setting {
			printf "%s", $2
			for (i = 4; i <= NF; i++)
				printf " %s", $i
		}'
}
assert_eq "$(value Placement)" "simple default" "a default"
assert_eq "$(value BlockSize)" "64K $conf:2" "what holds for all partitions"
assert_eq "$(value BlockSize --partition=large)" \
	"1M $conf:4 (Partition=large)" "a partition's own comes before that"
assert_eq "$(value Policy --partition=large)" "fifo $conf:2" \
	"what it does not say itself"
assert_eq "$(value BlockSize --partition=other)" "64K $conf:2" \
	"a partition that the file does not name"
assert_eq "$(TERAMEM_BLOCK=16K value BlockSize --partition=large)" \
	"16K environment (TERAMEM_BLOCK)" "the environment comes before both"

refused() {
	printf '%s\n' "$2" >"$conf"
	got=$("$TERAMEM" config --conf="$conf" 2>&1)
	assert_eq $? 1 "refused: $1"
	assert_match "$got" "^teramem: .*$3" "with file and line: $1"
}
refused "an unknown key" $'# one\nBlocksize=1M\nBlocks=1M' "$conf:3: .*Blocks"
refused "a bad value" "BlockSize=3" "$conf:1: BlockSize=3"
refused "a bad value for a partition" $'\nPartition=x Policy=best' \
	"$conf:2: Policy=best"
rm "$conf"
got=$("$TERAMEM" config --conf="$conf" 2>&1)
assert_match "$got" "^teramem: .*$conf: No such file" "no such file"
done_testing
