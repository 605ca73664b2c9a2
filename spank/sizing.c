// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * How many donors a job needs, and of what size. By the plugin as a job is
 * submitted, and by the job helper where it is not known before the job starts
 * how many nodes it has.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "common/size.h"
#include "spank/shared.h"

#define MIB (1ULL << 20)

int tm_size_donors(const struct tm_conf *conf, const char *conf_path,
		   uint64_t nodes, struct tm_donors *donors, char *error,
		   size_t len)
{
	uint64_t size = tm_whole_extents(conf->size_bytes);
	uint64_t total = size * nodes, most = conf->donor_mem_max_bytes;
	uint64_t room, share;
	char text[2][32];

	donors->nr = conf->donors ? conf->donors : 1;
	room = most ? most - TM_DONOR_OVERHEAD : 0;
	if (!conf->donors && most && total > room)
		donors->nr = (total + room - 1) / room;
	share = tm_whole_extents((total + donors->nr - 1) / donors->nr);
	donors->mem_bytes = (share + TM_DONOR_OVERHEAD + MIB - 1) & ~(MIB - 1);
	tm_size_format(donors->mem_bytes, text[0], sizeof(text[0]));
	if (most && donors->mem_bytes > most) {
		snprintf(error, len,
			 "%" PRIu64 " donors of %s each: at most %s each are "
			 "allowed here (DonorMemMax in %s): use more "
			 "--teramem-donors",
			 donors->nr, text[0],
			 tm_size_format(most, text[1], sizeof(text[1])),
			 conf_path);
		return -EINVAL;
	}
	if (donors->nr > conf->donors_max) {
		snprintf(error, len,
			 "%" PRIu64 " donors are needed, at most %" PRIu64
			 " are allowed here (DonorsMax in %s): use a smaller "
			 "--teramem",
			 donors->nr, conf->donors_max, conf_path);
		return -EINVAL;
	}
	return 0;
}
