// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A memory server that lies about sizes, for programs: tests/net/peer.c, with
 * its address on stdout. Serves until it is killed.
 *
 *	liar reply|extent
 *
 * reply: longer than was asked for; extent: not of the size that it said.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/net/peer.h"

int main(int argc, char **argv)
{
	static struct peer peer;
	bool reply = argc == 2 && !strcmp(argv[1], "reply");

	if (!reply && (argc != 2 || strcmp(argv[1], "extent"))) {
		fprintf(stderr, "usage: liar reply|extent\n");
		return 2;
	}
	peer_start(&peer, reply ? PEER_LONGER : PEER_EXTENT);
	puts(peer.address);
	fflush(stdout);
	pause();
	return 0;
}
