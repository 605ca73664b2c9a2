// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What the controller says about a job and its nodes, by Slurm's library.
 */
#include <errno.h>
#include <inttypes.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "spank/job/job.h"

/* How long a credential is known to a node after its job has left. */
#define CREDENTIAL_S 120
#define MARGIN_S 3

static int complain(char *error, size_t len, const char *action)
{
	snprintf(error, len, "%s: %s", action,
		 slurm_strerror(slurm_get_errno()));
	return -EIO;
}

/* Whether @lenders, "1,3", names the component. */
static bool lends(const char *lenders, const job_info_t *component)
{
	char *end;

	for (; lenders && *lenders; lenders = end + (*end == ',')) {
		if (strtoul(lenders, &end, 10) == component->het_job_offset)
			return true;
		if (*end && *end != ',')
			break;
	}
	return false;
}

static int add_donor(struct tm_cluster_job *job, const char *name, char *error,
		     size_t len)
{
	struct tm_node *node = &job->donor[job->nr_donors];

	if (job->nr_donors == TM_NODES_MAX ||
	    strlen(name) >= sizeof(node->name)) {
		snprintf(error, len, "more than %d donors", TM_NODES_MAX);
		return -E2BIG;
	}
	strcpy(node->name, name);
	job->nr_donors++;
	return tm_cluster_address(name, node->address, error, len);
}

int tm_cluster_add_donors(struct tm_cluster_job *job, const char *list,
			  char *error, size_t len)
{
	hostlist_t hosts = slurm_hostlist_create(list);
	char *name;
	int err = 0;

	while (!err && hosts && (name = slurm_hostlist_shift(hosts))) {
		err = add_donor(job, name, error, len);
		free(name);
	}
	if (hosts)
		slurm_hostlist_destroy(hosts);
	return err;
}

/* --mem=0 means all of the node, where memory is scheduled at all. */
static int read_node_memory(const char *node, uint64_t *mib)
{
	slurm_conf_t *conf = NULL;
	node_info_msg_t *nodes = NULL;
	bool scheduled;

	if (!node || slurm_load_ctl_conf(0, &conf))
		return -EIO;
	scheduled = conf->select_type_param & CR_MEMORY;
	slurm_free_ctl_conf(conf);
	if (!scheduled)
		return 0;
	if (slurm_load_node_single(&nodes, (char *)node, SHOW_ALL))
		return -EIO;
	if (nodes->record_count == 1)
		*mib = nodes->node_array[0].real_memory -
		       nodes->node_array[0].mem_spec_limit;
	slurm_free_node_info_msg(nodes);
	return 0;
}

static int read_memory(const job_info_t *component,
		       const struct tm_job_request *r,
		       struct tm_cluster_job *job, char *error, size_t len)
{
	uint64_t mib = component->pn_min_memory;

	if (mib == NO_VAL64)
		mib = 0;
	else if (!mib && read_node_memory(r->node, &mib))
		return complain(error, len,
				"ask the controller for the node's memory");
	else if (mib & MEM_PER_CPU)
		mib = (mib & ~MEM_PER_CPU) * component->num_cpus /
		      (component->num_nodes ? component->num_nodes : 1);
	job->memory_bytes = mib << 20;
	return 0;
}

static int read_components(const job_info_msg_t *all,
			   const struct tm_job_request *r,
			   struct tm_cluster_job *job, char *error, size_t len)
{
	uint32_t i;
	int err = 0;

	for (i = 0; i < all->record_count && !err; i++) {
		const job_info_t *component = &all->job_array[i];

		if (component->job_id == r->job) {
			job->nodes = component->num_nodes;
			job->restart = component->restart_cnt;
			err = read_memory(component, r, job, error, len);
		} else if (lends(r->lenders, component)) {
			err = component->nodes && *component->nodes
				      ? tm_cluster_add_donors(job,
							      component->nodes,
							      error, len)
				      : -EAGAIN;
		}
	}
	return err;
}

int tm_cluster_address(const char *node, char address[TM_CONF_NAME_MAX],
		       char *error, size_t len)
{
	node_info_msg_t *nodes = NULL;
	int err = 0;

	if (slurm_load_node_single(&nodes, (char *)node, SHOW_ALL))
		return complain(error, len, "ask the controller for a node");
	if (nodes->record_count != 1 || !nodes->node_array[0].node_addr ||
	    snprintf(address, TM_CONF_NAME_MAX, "%s",
		     nodes->node_array[0].node_addr) >= TM_CONF_NAME_MAX) {
		snprintf(error, len,
			 "the controller has no address for node %s", node);
		err = -ENOENT;
	}
	slurm_free_node_info_msg(nodes);
	return err;
}

/* AuthInfo=...,cred_expire=SECONDS */
static unsigned int credential_s(const char *auth_info)
{
	const char *text = auth_info ? strstr(auth_info, "cred_expire=") : NULL;

	return text ? (unsigned int)atoi(text + strlen("cred_expire="))
		    : CREDENTIAL_S;
}

int tm_cluster_times(struct tm_job_request *r)
{
	slurm_conf_t *conf = NULL;
	uint64_t limit_s;

	if (slurm_load_ctl_conf(0, &conf))
		return complain(r->error, sizeof(r->error),
				"ask the controller for its configuration");
	/* For the donors' nodes, and once more for their servers. */
	limit_s = conf->prolog_epilog_timeout / 2;
	if (conf->prolog_epilog_timeout != NO_VAL16 &&
	    r->conf.wait_s >= limit_s)
		r->conf.wait_s = limit_s > 2 ? limit_s - 2 : 1;
	r->pause_s = credential_s(conf->authinfo) + MARGIN_S;
	slurm_free_ctl_conf(conf);
	return 0;
}

int tm_cluster_job(const struct tm_job_request *r, struct tm_cluster_job *job,
		   char *error, size_t len)
{
	job_info_msg_t *all = NULL;
	int err;

	memset(job, 0, sizeof(*job));
	if (slurm_load_job(&all, r->leader, SHOW_ALL | SHOW_DETAIL))
		return complain(error, len, "ask the controller for the job");
	err = read_components(all, r, job, error, len);
	slurm_free_job_info_msg(all);
	return err;
}

/* Jobs that are over are kept for a while by the controller. */
static bool is_there(const job_info_t *job, const char *node)
{
	uint32_t state = job->job_state & JOB_STATE_BASE;
	hostlist_t hosts;
	bool there;

	if (job->job_state & JOB_COMPLETING)
		return true;
	if (state != JOB_RUNNING && state != JOB_SUSPENDED)
		return false;
	if (!*node)
		return true;
	hosts = slurm_hostlist_create(job->nodes);
	there = !hosts || slurm_hostlist_find(hosts, node) >= 0;
	if (hosts)
		slurm_hostlist_destroy(hosts);
	return there;
}

int tm_cluster_has(uint32_t job, const char *node)
{
	job_info_msg_t *all = NULL;
	int found = 0;
	uint32_t i;

	if (slurm_load_job(&all, job, SHOW_ALL | SHOW_DETAIL))
		return slurm_get_errno() == ESLURM_INVALID_JOB_ID ? 0 : -EIO;
	for (i = 0; i < all->record_count; i++)
		if (all->job_array[i].job_id == job)
			found |= is_there(&all->job_array[i], node);
	slurm_free_job_info_msg(all);
	return found;
}

bool tm_cluster_wants(const struct tm_job_request *r)
{
	job_info_msg_t *all = NULL;
	bool wanted = false;
	uint32_t i;

	if (slurm_load_job(&all, r->job, SHOW_ALL))
		return slurm_get_errno() != ESLURM_INVALID_JOB_ID;
	for (i = 0; i < all->record_count; i++) {
		const job_info_t *job = &all->job_array[i];
		uint32_t state = job->job_state & JOB_STATE_BASE;

		if (job->job_id == r->job && job->restart_cnt == r->restart)
			wanted = state == JOB_RUNNING || state == JOB_SUSPENDED;
	}
	slurm_free_job_info_msg(all);
	return wanted;
}
