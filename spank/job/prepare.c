// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Prolog and epilog: on a compute node, the job's remote memory is there before
 * its first process; on a donor, what the server will need is written down,
 * since the job's cgroup does not exist yet.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/job.h"
#include "common/log.h"
#include "common/paths.h"
#include "common/size.h"
#include "spank/job/job.h"

#define LOCAL_UNIT_BYTES (2 << 20) /* of any block, a whole number */
#define PAUSE_NS 50000000L

__attribute__((format(printf, 3, 4))) static int
fail(struct tm_job_request *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, ap);
	va_end(ap);
	return err;
}

static int read_settings(struct tm_job_request *r)
{
	if (*r->error)
		return -EINVAL;
	if (tm_conf_load(&r->conf, r->conf_path, r->partition, r->error,
			 sizeof(r->error)))
		return -EINVAL;
	return tm_conf_check(&r->conf, r->error, sizeof(r->error));
}

/* Components start a moment one after the other. */
static int await_components(struct tm_job_request *r,
			    struct tm_cluster_job *job)
{
	const struct timespec pause = {0, PAUSE_NS};
	uint64_t tries = r->conf.wait_s * 1000000000ULL / PAUSE_NS;
	int err;

	do {
		err = tm_cluster_job(r, job, r->error, sizeof(r->error));
		if (err != -EAGAIN)
			return err;
		nanosleep(&pause, NULL);
	} while (tries--);
	return fail(r, -ETIMEDOUT,
		    "the donors' part of the job has not started after %" PRIu64
		    " s (WaitTime)",
		    r->conf.wait_s);
}

/* ---- compute node ------------------------------------------------------- */

static int choose_local(struct tm_job_request *r,
			const struct tm_cluster_job *job, uint64_t *local)
{
	char text[2][32];

	*local = r->conf.local_bytes;
	if (!job->memory_bytes) {
		if (*local)
			return 0;
		return fail(r, -EINVAL,
			    "Slurm does not schedule this job's memory: give "
			    "--teramem-local or --mem");
	}
	if (!*local)
		*local = job->memory_bytes / 100 * r->conf.local_share;
	*local &= ~(uint64_t)(LOCAL_UNIT_BYTES - 1);
	if (*local < job->memory_bytes)
		return 0;
	return fail(
		r, -EINVAL,
		"--teramem-local=%s: not less than the job's memory on this "
		"node, %s: give more --mem",
		tm_size_format(*local, text[0], sizeof(text[0])),
		tm_size_format(job->memory_bytes, text[1], sizeof(text[1])));
}

static int check_capacity(struct tm_job_request *r,
			  const struct tm_cluster_job *job,
			  const struct tm_map *map)
{
	uint64_t there = 0;
	unsigned int i;
	char text[2][32];

	for (i = 0; i < map->nr_servers; i++)
		there += map->server[i].capacity_bytes;
	if (map->size_bytes * job->nodes <= there)
		return 0;
	return fail(
		r, -ENOMEM,
		"--teramem=%s for each of %u nodes: the donors have %s: say "
		"how many --nodes at submit",
		tm_size_format(r->conf.size_bytes, text[0], sizeof(text[0])),
		job->nodes, tm_size_format(there, text[1], sizeof(text[1])));
}

static int make_map(struct tm_job_request *r, struct tm_map *map)
{
	static struct tm_cluster_job job;
	const struct tm_conf *conf = &r->conf;
	int err;

	err = tm_cluster_times(r);
	if (!err)
		err = await_components(r, &job);
	r->restart = job.restart;
	if (!err)
		err = choose_local(r, &job, &map->local_bytes);
	if (!err && !r->lenders)
		err = tm_companion_get(r, &job);
	if (err)
		return err;
	if (!job.nr_donors)
		return fail(r, -EINVAL, "no component of the job lends memory");
	*map = (struct tm_map){
		.job = r->leader,
		.local_bytes = map->local_bytes,
		.size_bytes = tm_whole_extents(conf->size_bytes),
		.block_bytes = conf->block_bytes ? conf->block_bytes
						 : TM_MAP_AUTO_BLOCK,
		.block_auto = !conf->block_bytes,
		.prefetch_bytes = conf->prefetch_bytes,
		.timeout_s = (unsigned int)conf->timeout_s,
		.fifo = conf->policy,
		.rr = conf->placement,
		.nr_servers = job.nr_donors,
	};
	err = tm_wait_donors(r, &job, (unsigned int)conf->wait_s * 1000,
			     map->server, r->error, sizeof(r->error));
	if (!err)
		err = check_capacity(r, &job, map);
	if (!err)
		err = tm_map_check(map, r->error, sizeof(r->error));
	return err;
}

static int hand_over(const struct tm_job_request *r, const char *path, int err)
{
	return err ? err : chown(path, r->uid, r->gid) ? -errno : 0;
}

static int write_files(struct tm_job_request *r, const struct tm_map *map)
{
	char map_path[PATH_MAX], job_path[PATH_MAX], library[PATH_MAX];
	char device[PATH_MAX];
	char text[5 * PATH_MAX], block[24] = "auto";
	int err, n;

	tm_job_folder_path(r->job, "map", map_path);
	tm_job_folder_path(r->job, "job", job_path);
	err = hand_over(r, map_path, tm_map_save(map_path, map));
	if (!err)
		err = hand_over(r, job_path,
				tm_job_create(job_path, map->size_bytes,
					      map->local_bytes));
	if (err)
		return fail(r, err, "write %s: %s", map_path, strerror(-err));
	err = tm_agent_start(r, map, device);
	if (err)
		return err;
	if (!map->block_auto)
		snprintf(block, sizeof(block), "%" PRIu64, map->block_bytes);
	n = snprintf(text, sizeof(text),
		     "restart=%" PRIu32 "\n"
		     "TERAMEM_JOB_MAP=%s\n"
		     "TERAMEM_JOB_FILE=%s\n"
		     "TERAMEM_JOB_SIZE=%" PRIu64 "\n"
		     "TERAMEM_JOB_LOCAL=%" PRIu64 "\n"
		     "TERAMEM_JOB_BLOCK=%s\n"
		     "TERAMEM_JOB_DONORS=%u\n",
		     r->restart, map_path, job_path, map->size_bytes,
		     map->local_bytes, block, map->nr_servers);
	if (*device)
		n += snprintf(text + n, sizeof(text) - (size_t)n,
			      "TERAMEM_JOB_DEVICE=%s\n", device);
	if (r->conf.preload_bytes) {
		if (tm_path_find("allocator/libteramalloc-preload.so", library))
			return fail(r, -ENOENT,
				    "--teramem-preload: the library is not on "
				    "this node");
		snprintf(text + n, sizeof(text) - (size_t)n,
			 "TERAMALLOC_THRESHOLD=%" PRIu64 "\n"
			 "LD_PRELOAD=%s\n",
			 r->conf.preload_bytes, library);
	}
	err = tm_job_folder_write(r->job, "ready", text);
	return err ? fail(r, err, "write %s: %s", map_path, strerror(-err)) : 0;
}

static int prepare_compute(struct tm_job_request *r)
{
	static struct tm_map map;
	int err = make_map(r, &map);

	return err ? err : write_files(r, &map);
}

/* ---- donor -------------------------------------------------------------- */

static int prepare_donor(struct tm_job_request *r)
{
	static struct tm_cluster_job job;
	char address[TM_CONF_NAME_MAX], text[512];
	int err;

	if (!r->node)
		return fail(r, -EINVAL,
			    "Slurm does not say which node this is");
	err = tm_cluster_job(r, &job, r->error, sizeof(r->error));
	if (!err)
		err = tm_cluster_address(r->node, address, r->error,
					 sizeof(r->error));
	if (err)
		return err;
	if (job.memory_bytes < TM_DONOR_OVERHEAD + TM_EXTENT_BYTES)
		return fail(r, -EINVAL,
			    "a donor needs a --mem of at least 68M, and a "
			    "Slurm that schedules memory (CR_Core_Memory)");
	snprintf(text, sizeof(text),
		 "%" PRIu32 " %u %u %" PRIu64 " %" PRIu64 " %" PRIu64
		 " %" PRIu64 " %" PRIu64 " %s\n",
		 r->leader, r->uid, r->gid,
		 (job.memory_bytes - TM_DONOR_OVERHEAD) &
			 ~(TM_EXTENT_BYTES - 1),
		 r->conf.port_first, r->conf.port_last, r->conf.wait_s,
		 r->conf.timeout_s, address);
	err = tm_job_folder_write(r->job, "donor", text);
	return err ? fail(r, err, "write donor: %s", strerror(-err)) : 0;
}

int tm_prolog(struct tm_job_request *r)
{
	int err;

	tm_sweep(r->job);
	err = tm_job_folder_make(r->job);
	if (err)
		return err;
	if (r->node)
		tm_job_folder_write(r->job, "node", r->node);
	err = read_settings(r);
	if (!err)
		err = r->donor ? prepare_donor(r) : prepare_compute(r);
	if (err) {
		tm_companion_end(r->job);
		tm_err("job %" PRIu32 ": %s", r->job, r->error);
		tm_job_folder_write(r->job, "failed", r->error);
	}
	return err;
}

int tm_epilog(struct tm_job_request *r)
{
	bool has_space = tm_agent_has_space(r->job);

	tm_companion_end(r->job);
	tm_job_folder_remove(r->job);
	if (has_space)
		tm_agent_ended(r->job);
	return 0;
}
