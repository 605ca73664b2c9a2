// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kernel engine's part of a run: whether it can be had, its space, and the
 * child that serves it. The child ends with this process, however that ends,
 * and the space with both of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/log.h"
#include "common/module.h"
#include "common/space.h"
#include "tools/tool.h"

int tm_agent_choose(enum tm_engine_kind *engine)
{
	struct tm_module_probe probe;

	if (*engine == TM_ENGINE_UFFD)
		return 0;
	tm_module_probe(&probe);
	if (*engine == TM_ENGINE_AUTO)
		*engine = probe.err ? TM_ENGINE_UFFD : TM_ENGINE_KMOD;
	else if (probe.err)
		tm_err("--engine=kmod: %s: %s", probe.found, probe.remedy);
	return *engine == TM_ENGINE_KMOD ? probe.err : 0;
}

/* In a session of its own: what a terminal sends is for the program. */
static int start_child(struct tm_agent *agent)
{
	int stop[2];

	if (pipe2(stop, O_CLOEXEC))
		return -errno;
	agent->pid = fork();
	if (!agent->pid) {
		close(stop[1]);
		setsid();
		_exit(tm_space_serve(agent->space, stop[0]) ? TM_EXIT_FAILURE
							    : 0);
	}
	close(stop[0]);
	agent->stop_fd = stop[1];
	return agent->pid < 0 ? -EAGAIN : 0;
}

int tm_agent_start(struct tm_agent *agent, const struct tm_map *map)
{
	char name[TM_UAPI_NAME_MAX], why[512];
	int err;

	*agent = (struct tm_agent){.stop_fd = -1};
	snprintf(name, sizeof(name), "run-%d", getpid());
	snprintf(agent->device, sizeof(agent->device),
		 TM_SPACE_DEVICE_FOLDER "/%s", name);
	err = tm_space_create(name, map, geteuid(), getegid(), &agent->space,
			      why, sizeof(why));
	if (!err)
		err = tm_space_connect(agent->space, why, sizeof(why));
	if (!err) {
		err = start_child(agent);
		snprintf(why, sizeof(why), "start its agent: %s",
			 strerror(-err));
	}
	if (err)
		tm_err("run: kernel engine: %s", why);
	return err;
}

void tm_agent_outcome(const struct tm_agent *agent, struct tm_outcome *out)
{
	struct tm_job_totals *totals = &out->totals;
	struct tm_uapi_query q;

	if (tm_space_query(agent->space, &q))
		return;
	out->fault_ns_p50 = q.fault_ns_p50;
	out->fault_ns_p99 = q.fault_ns_p99;
	totals->processes = q.nr_regions;
	totals->processes_all = (unsigned int)q.regions_opened;
	totals->capacity_bytes = q.capacity_bytes;
	totals->capacity_drawn_bytes = q.committed_bytes;
	totals->capacity_peak_bytes = q.committed_peak_bytes;
	totals->local_bytes = q.local_bytes;
	totals->local_drawn_bytes = q.resident_bytes;
	totals->gauges = (struct tm_job_gauges){
		.resident_bytes = q.resident_bytes,
		.remote_bytes = q.remote_bytes,
		.resident_peak_bytes = q.resident_peak_bytes,
		.remote_peak_bytes = q.remote_peak_bytes,
	};
	totals->stats = (struct tm_stats){
		.faults = q.faults,
		.faults_zero = q.faults_zero,
		.faults_remote = q.faults_remote,
		.faults_cached = q.faults_cached,
		.fetched_blocks = q.fetched_blocks,
		.stored_blocks = q.stored_blocks,
		.bytes_in = q.bytes_in,
		.bytes_out = q.bytes_out,
		.fetch_requests = q.fetch_requests,
		.store_requests = q.store_requests,
		.prefetched = q.prefetched,
		.prefetch_used = q.prefetch_used,
		.evicted = q.evicted,
		.dropped_clean = q.dropped_clean,
		.checksum_errors = q.checksum_errors,
		.lost = q.lost_blocks,
		.reconnects = q.reconnects,
		.fault_ns.count = q.faults,
	};
}

bool tm_agent_reaped(struct tm_agent *agent, pid_t pid)
{
	if (!agent->space || pid != agent->pid)
		return false;
	agent->pid = 0;
	tm_warn("agent of %s (pid %d) ended: a connection that breaks now is "
		"not renewed",
		agent->device, pid);
	return true;
}

void tm_agent_end(struct tm_agent *agent)
{
	if (!agent->space)
		return;
	if (agent->stop_fd >= 0)
		close(agent->stop_fd);
	if (agent->pid > 0)
		waitpid(agent->pid, NULL, 0);
	tm_space_destroy(agent->space);
	agent->space = NULL;
}
