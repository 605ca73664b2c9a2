// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramemd, the memory server: one job, one owner, a fixed capacity. Starts
 * the parts in order, says that it serves, and ends them in reverse.
 */
#include <errno.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "common/log.h"
#include "server/server.h"

static struct tm_server server = {
	.listener.source.fd = -1,
	.lease.signals.fd = -1,
	.quiet.lock = PTHREAD_MUTEX_INITIALIZER,
};

/* Each is undone if its init was begun, in reverse order. */
static const struct part {
	int (*init)(struct tm_server *server);
	void (*fini)(struct tm_server *server);
} parts[] = {
	{tm_store_init, tm_store_fini},
	{tm_loops_init, tm_loops_fini},
	{tm_lease_init, tm_lease_fini}, /* blocks signals: before threads */
	{tm_sessions_init, tm_sessions_fini},
	{tm_keeper_init, tm_keeper_fini},
	{tm_threads_init, tm_threads_fini},
	{tm_verifier_init, tm_verifier_fini},
	{tm_listener_init, tm_listener_fini},
};

#define NR_PARTS (sizeof(parts) / sizeof(parts[0]))

void tm_server_stop(struct tm_server *s)
{
	unsigned int i;

	tm_store_release(&s->stopping, true);
	for (i = 0; i < s->nr_loops; i++)
		tm_loop_wake(s->loop[i]);
}

/* One line, so that whoever started us knows when, and where to dial. */
static int announce(void)
{
	struct json_object *line = json_object_new_object();
	bool ok;

	json_object_object_add(line, "teramemd",
			       json_object_new_string("ready"));
	json_object_object_add(line, "address",
			       json_object_new_string(server.listener.address));
	json_object_object_add(
		line, "capacity",
		json_object_new_uint64(server.store.capacity_bytes));
	json_object_object_add(
		line, "extent",
		json_object_new_uint64(server.store.extent_bytes));
	json_object_object_add(line, "job",
			       json_object_new_uint64(server.options.job));
	json_object_object_add(
		line, "auth",
		json_object_new_string(server.options.auth == TM_AUTH_MUNGE
					       ? "munge"
					       : "peercred"));
	json_object_object_add(line, "pid", json_object_new_int(getpid()));
	ok = puts(json_object_to_json_string_ext(
		     line, JSON_C_TO_STRING_PLAIN |
				   JSON_C_TO_STRING_NOSLASHESCAPE)) != EOF &&
	     fflush(stdout) == 0;
	json_object_put(line);
	if (ok)
		return 0;
	tm_err("say that it serves on stdout: %s", strerrordesc_np(errno));
	return -EIO;
}

/* Each connection needs a descriptor. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) ||
	    limit.rlim_cur >= 2 * TM_CONNECTIONS_MAX)
		return;
	limit.rlim_cur = limit.rlim_max < 2 * TM_CONNECTIONS_MAX
				 ? limit.rlim_max
				 : 2 * TM_CONNECTIONS_MAX;
	setrlimit(RLIMIT_NOFILE, &limit);
}

int main(int argc, char **argv)
{
	size_t begun = 0;
	int ret;

	tm_log_init("teramemd", TM_LOG_WARNING);
	ret = tm_options_parse(argc, argv, &server.options);
	if (ret)
		return ret < 0 ? 2 : 0;
	/* Session keys and the job's memory are no one else's to look at. */
	prctl(PR_SET_DUMPABLE, 0);
	raise_descriptor_limit();
	while (!ret && begun < NR_PARTS)
		ret = parts[begun++].init(&server);
	if (!ret)
		ret = announce();
	if (!ret)
		tm_loop_run(server.loop[0]);
	while (begun > 0)
		parts[--begun].fini(&server);
	return ret ? 1 : 0;
}
