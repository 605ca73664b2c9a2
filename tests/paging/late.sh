#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# A process that comes late gets its part of a job's local memory, though two
# busy ones hold all of it.
# shellcheck source=tests/functions.sh
. "$(dirname "$0")/../functions.sh"
requires jq
requires_paging
export XDG_RUNTIME_DIR=$TMP
keeper=$BUILD/tests/paging/keeper

cat >"$TMP/job" <<END
cd "$TMP"
$keeper 64 1 first >first.json & $keeper 64 2 second >second.json &
until [ -e first.held ] && [ -e second.held ]; do sleep 0.1; done
$keeper 40 3 >late.json
touch first second
wait
END
# Odd sizes: what is free does not come in whole blocks.
for options in "--local=48M" "--local=61M --block=1M" "--local=21M --block=16K"; do
	rm -f "$TMP"/first* "$TMP"/second*
	# shellcheck disable=SC2086
	timeout 120 "$TERAMEM" run --size=256M $options -- bash "$TMP/job" \
		2>"$TMP/err"
	assert_eq "$(cd "$TMP" && jq -s -c 'map([.seed, .wrong, .bytes_in > 0])' \
		late.json first.json second.json)" \
		"[[3,0,true],[1,0,true],[2,0,true]]" "$options"
	note "$(cat "$TMP/err")"
done
done_testing
