#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The job of tests that break things: pages and checks each word of it, and
# leaves NAME.begun, then in NAME.ended how that went. Started again, it writes
# both anew.
#
#	pages.sh NAME SECONDS
name=$1
rm -f "$name.ended"
touch "$name.begun"
"$PAGETEST" --size=40000000 --pattern=random --seconds="$2"
echo $? >"$name.ended"
