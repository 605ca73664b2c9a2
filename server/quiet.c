// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages that others can cause as often as they like: so many in so long,
 * then their number, or a peer could fill the disk.
 *
 * The lock is innermost.
 */
#include "common/log.h"
#include "server/server.h"

#define QUIET_MS 10000
#define QUIET_LINES 20

void tm_quiet_warn(struct tm_quiet *quiet, const char *action, const char *why)
{
	uint64_t now_ms = tm_now_ms();
	unsigned int unsaid = 0;
	bool say;

	pthread_mutex_lock(&quiet->lock);
	if (now_ms >= quiet->until_ms) {
		if (quiet->lines > QUIET_LINES)
			unsaid = quiet->lines - QUIET_LINES;
		quiet->until_ms = now_ms + QUIET_MS;
		quiet->lines = 0;
	}
	say = quiet->lines++ < QUIET_LINES;
	pthread_mutex_unlock(&quiet->lock);
	if (unsaid)
		tm_warn("%u messages like the next were left out", unsaid);
	if (say)
		tm_warn("%s: %s", action, why);
}
