// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The job that lends to another one: what it asks Slurm for, how it is told
 * from others, and its script, which ends with the job that it serves.
 *
 * It is submitted through Slurm's library: no command line, no shell that reads
 * anything but the constant script below.
 */
#include <errno.h>
#include <inttypes.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "spank/job/job.h"

#define SCRIPT                                                                 \
	"#!/bin/sh\n"                                                          \
	"exec \"$TERAMEM_HELPER\" hold --job=\"$TERAMEM_SERVES\" "             \
	"--restart=\"$TERAMEM_START\"\n"
#define ROLE_OPTION "_SLURM_SPANK_OPTION_teramem_teramem_role=donor"

/* Before all others in the queue: their job holds nodes until they run. */
#define FIRST_IN_QUEUE 0xffffff00u

#define HOLD_POLL_S 5

/* Also read back: which job, and which start of it. */
#define TAG "teramem: donors of job %" PRIu32 ", start %" PRIu32
#define TAG_READ "teramem: donors of job %" SCNu32 ", start %" SCNu32

static int failed(struct tm_job_request *r, const char *action)
{
	snprintf(r->error, sizeof(r->error), "%s: %s", action,
		 slurm_strerror(slurm_get_errno()));
	return -EIO;
}

/* ---- where ----------------------------------------------------------------
 */

/* None of the heterogeneous job's components computes on a donor. */
static int exclude_own(struct tm_job_request *r, hostlist_t exclude)
{
	job_info_msg_t *all = NULL;
	uint32_t i;

	if (slurm_load_job(&all, r->leader, SHOW_ALL))
		return failed(r, "ask the controller for the job");
	for (i = 0; i < all->record_count; i++) {
		const job_info_t *part = &all->job_array[i];

		if ((part->job_id == r->job || part->het_job_id) && part->nodes)
			slurm_hostlist_push(exclude, part->nodes);
	}
	slurm_free_job_info_msg(all);
	return 0;
}

/* All of the partition that the administrator did not name. */
static void exclude_others(hostlist_t exclude, const char *partition_nodes,
			   const char *named)
{
	hostlist_t nodes = slurm_hostlist_create(partition_nodes);
	hostlist_t wanted = slurm_hostlist_create(named);
	char *name;

	while (nodes && wanted && (name = slurm_hostlist_shift(nodes))) {
		if (slurm_hostlist_find(wanted, name) < 0)
			slurm_hostlist_push_host(exclude, name);
		free(name);
	}
	if (nodes)
		slurm_hostlist_destroy(nodes);
	if (wanted)
		slurm_hostlist_destroy(wanted);
}

/* As long as the job, and a little: it goes on later than its donors. */
static uint32_t choose_time(const job_info_t *job, const partition_info_t *p)
{
	uint32_t minutes = job->time_limit;

	if (minutes != INFINITE)
		minutes++;
	return minutes < p->max_time ? minutes : p->max_time;
}

static int choose_place(struct tm_job_request *r, const job_info_t *job,
			job_desc_msg_t *desc)
{
	bool other = *r->conf.donor_partition;
	partition_info_msg_t *all = NULL;
	hostlist_t exclude = slurm_hostlist_create(NULL);
	uint32_t i;
	int err;

	desc->partition = other ? r->conf.donor_partition : job->partition;
	desc->account = job->account;
	if (!other) {
		desc->qos = job->qos;
		desc->reservation = job->resv_name;
	}
	err = exclude_own(r, exclude);
	if (!err && slurm_load_partitions(0, &all, SHOW_ALL))
		err = failed(r, "ask the controller for partitions");
	for (i = 0; !err && i < all->record_count; i++) {
		const partition_info_t *p = &all->partition_array[i];

		if (strcmp(p->name, desc->partition))
			continue;
		desc->time_limit = choose_time(job, p);
		if (*r->conf.donor_nodes)
			exclude_others(exclude, p->nodes, r->conf.donor_nodes);
	}
	desc->exc_nodes = slurm_hostlist_ranged_string_malloc(exclude);
	slurm_hostlist_destroy(exclude);
	slurm_free_partition_info_msg(all);
	return err;
}

/* ---- submit -------------------------------------------------------------- */

static int submit(struct tm_job_request *r, job_desc_msg_t *desc,
		  uint32_t *number)
{
	submit_response_msg_t *answer = NULL;
	char helper[PATH_MAX] = "TERAMEM_HELPER=", slurm_conf[PATH_MAX + 16];
	char serves[48], start[48], tag[96];
	const char *conf = getenv("SLURM_CONF");
	char *role = ROLE_OPTION, *env[8];
	size_t used = strlen(helper);
	ssize_t n = readlink("/proc/self/exe", helper + used,
			     sizeof(helper) - used - 1);

	if (n < 0)
		return -errno;
	helper[used + (size_t)n] = '\0';
	snprintf(serves, sizeof(serves), "TERAMEM_SERVES=%" PRIu32, r->job);
	snprintf(start, sizeof(start), "TERAMEM_START=%" PRIu32, r->restart);
	snprintf(tag, sizeof(tag), TAG, r->job, r->restart);
	env[desc->env_size++] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin";
	env[desc->env_size++] = helper;
	env[desc->env_size++] = serves;
	env[desc->env_size++] = start;
	if (conf && snprintf(slurm_conf, sizeof(slurm_conf), "SLURM_CONF=%s",
			     conf) < (int)sizeof(slurm_conf))
		env[desc->env_size++] = slurm_conf;
	desc->environment = env;
	desc->spank_job_env = &role;
	desc->spank_job_env_size = 1;
	desc->comment = tag;
	desc->admin_comment = tag;
	if (slurm_submit_batch_job(desc, &answer))
		return failed(r, "submit a job for the donors");
	*number = answer->job_id;
	slurm_free_submit_response_response_msg(answer);
	return 0;
}

int tm_donors_job_submit(struct tm_job_request *r, const job_info_t *job,
			 uint32_t *number)
{
	struct tm_donors donors;
	job_desc_msg_t desc;
	int err;

	err = tm_size_donors(&r->conf, r->conf_path, job->num_nodes, &donors,
			     r->error, sizeof(r->error));
	if (err)
		return err;
	slurm_init_job_desc_msg(&desc);
	desc.name = TM_DONOR_JOB_NAME;
	desc.user_id = r->uid;
	desc.group_id = r->gid;
	desc.script = SCRIPT;
	desc.work_dir = "/";
	desc.std_in = desc.std_out = desc.std_err = "/dev/null";
	desc.min_nodes = desc.max_nodes = (uint32_t)donors.nr;
	desc.num_tasks = desc.min_cpus = (uint32_t)donors.nr;
	desc.ntasks_per_node = 1;
	desc.cpus_per_task = 1;
	desc.pn_min_memory = donors.mem_bytes >> 20;
	desc.requeue = 0;
	desc.priority = FIRST_IN_QUEUE;
	desc.env_size = 0;
	err = choose_place(r, job, &desc);
	if (!err)
		err = submit(r, &desc, number);
	free(desc.exc_nodes);
	return err;
}

/* ---- find ---------------------------------------------------------------- */

/*
 * What users cannot write. Where @job is one that lends: the job it serves and
 * that one's start, else 0.
 */
static uint32_t serves(const job_info_t *job, uint32_t *start)
{
	uint32_t served;

	if (!job->admin_comment ||
	    sscanf(job->admin_comment, TAG_READ, &served, start) != 2)
		return 0;
	return served;
}

uint32_t tm_donors_job_find(const struct tm_job_request *r)
{
	job_info_msg_t *all = NULL;
	uint32_t i, start, number = 0;

	if (slurm_load_job_user(&all, r->uid, SHOW_ALL))
		return 0;
	for (i = 0; i < all->record_count; i++)
		if (serves(&all->job_array[i], &start) == r->job &&
		    start == r->restart)
			number = all->job_array[i].job_id;
	slurm_free_job_info_msg(all);
	return number;
}

bool tm_donors_job_older(uint32_t job)
{
	job_info_msg_t *all = NULL;
	uint32_t i, start, served;
	bool older = false;

	if (slurm_load_jobs(0, &all, SHOW_ALL))
		return false;
	for (i = 0; i < all->record_count && !older; i++) {
		if (all->job_array[i].job_state != JOB_PENDING)
			continue;
		served = serves(&all->job_array[i], &start);
		older = served && served < job;
	}
	slurm_free_job_info_msg(all);
	return older;
}

/* ---- its script ---------------------------------------------------------- */

int tm_hold(struct tm_job_request *r)
{
	while (tm_cluster_wants(r))
		sleep(HOLD_POLL_S);
	return 0;
}
