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
#include <sys/ioctl.h>
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

static void fill_totals(const struct tm_uapi_query *query,
			struct tm_job_totals *totals)
{
	totals->processes = query->nr_regions;
	totals->processes_all = (unsigned int)query->regions_opened;
	totals->capacity_bytes = query->capacity_bytes;
	totals->capacity_drawn_bytes = query->committed_bytes;
	totals->capacity_peak_bytes = query->committed_peak_bytes;
	totals->local_bytes = query->local_bytes;
	totals->local_drawn_bytes = query->resident_bytes;
	totals->block_bytes = query->block_bytes;
	totals->gauges = (struct tm_job_gauges){
		.resident_bytes = query->resident_bytes,
		.remote_bytes = query->remote_bytes,
		.resident_peak_bytes = query->resident_peak_bytes,
		.remote_peak_bytes = query->remote_peak_bytes,
	};
	totals->stats = (struct tm_stats){
		.faults = query->faults,
		.faults_zero = query->faults_zero,
		.faults_remote = query->faults_remote,
		.faults_cached = query->faults_cached,
		.fetched_blocks = query->fetched_blocks,
		.stored_blocks = query->stored_blocks,
		.bytes_in = query->bytes_in,
		.bytes_out = query->bytes_out,
		.fetch_requests = query->fetch_requests,
		.store_requests = query->store_requests,
		.prefetched = query->prefetched,
		.prefetch_used = query->prefetch_used,
		.evicted = query->evicted,
		.dropped_clean = query->dropped_clean,
		.checksum_errors = query->checksum_errors,
		.lost = query->lost_blocks,
		.reconnects = query->reconnects,
		.fault_ns.count = query->faults,
	};
}

void tm_agent_outcome(const struct tm_agent *agent, struct tm_outcome *out)
{
	struct tm_uapi_query query;

	if (tm_space_query(agent->space, &query))
		return;
	out->fault_ns_p50 = query.fault_ns_p50;
	out->fault_ns_p99 = query.fault_ns_p99;
	fill_totals(&query, &out->totals);
}

int tm_agent_view(const char *device, struct tm_job_totals *totals)
{
	int fd = open(device, O_RDWR | O_CLOEXEC), err;
	struct tm_uapi_query query = {0};

	if (fd < 0)
		return -errno;
	err = ioctl(fd, TM_IOC_SPACE_QUERY, &query) ? -errno : 0;
	close(fd);
	if (err)
		return err;
	query.nr_regions--; /* this one */
	fill_totals(&query, totals);
	return 0;
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
