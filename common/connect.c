// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Making the first connections of a session; see connect.h. No locks.
 */
#include <poll.h>
#include <stdio.h>
#include <time.h>

#include "common/auth.h"
#include "common/connect.h"

static int ms_until(u64 deadline)
{
	struct timespec ts;
	u64 now;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	now = (u64)ts.tv_sec * 1000000000 + (u64)ts.tv_nsec;
	return now < deadline ? (int)((deadline - now) / 1000000) + 1 : 0;
}

int tm_connect_prepare(struct tm_dial_target *target,
		       const struct tm_map_server *server, uint64_t job,
		       unsigned int timeout_ms)
{
	*target = (struct tm_dial_target){
		.name = server->address,
		.auth = server->auth,
		.job = job,
		.timeout_ms = timeout_ms,
	};
	return tm_auth_random(target->key, sizeof(target->key));
}

int tm_connect(struct tm_dial *dial, const struct tm_dial_target *target,
	       uint32_t channel, uint64_t deadline_ns)
{
	int err = tm_dial_start(dial, target, channel, 1);

	while (!err) {
		struct pollfd p = {.fd = dial->fd};
		int left = ms_until(deadline_ns);

		err = tm_dial_step(dial, target);
		if (err != -EAGAIN)
			break;
		if (!left) {
			tm_dial_cancel(dial);
			snprintf(dial->why, sizeof(dial->why),
				 "no answer in time (is it reachable?)");
			return -ETIMEDOUT;
		}
		p.events = tm_dial_events(dial);
		poll(&p, 1, left);
		err = 0;
	}
	return err;
}

int tm_connect_first(struct tm_dial *dial, struct tm_dial_target *target,
		     uint64_t deadline_ns)
{
	struct tm_address list[TM_ADDRESSES_MAX];
	int i, nr, err = 0;

	nr = tm_address_resolve(target->name, list, dial->why,
				sizeof(dial->why));
	if (nr < 0)
		return nr;
	for (i = 0; i < nr; i++) {
		target->address = list[i];
		err = tm_connect(dial, target, 0, deadline_ns);
		if (!err || err == -ETIMEDOUT)
			break;
	}
	if (!err)
		target->session = tm_le64_to_cpu(dial->welcome.session);
	return err;
}
