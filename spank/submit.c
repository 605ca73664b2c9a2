// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As a job is submitted: everything is checked that can be checked before it
 * waits in a queue, the donors are sized, and a source gets them.
 */
#include <errno.h>
#include <getopt.h>
#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spank/plugin.h"
#include "spank/source.h"

static bool again; /* the command that a source made of the user's */

void tm_submit_init(void)
{
	const char *guard = getenv(TM_SUBMIT_GUARD);

	again |= guard && strtol(guard, NULL, 10) == getpid();
	unsetenv(TM_SUBMIT_GUARD);
}

static int refuse(const char *why)
{
	slurm_error("teramem: %s", why);
	return -1;
}

static int no_controller(const char *what)
{
	slurm_error("teramem: ask the controller for %s: %s", what,
		    slurm_strerror(slurm_get_errno()));
	return -1;
}

/* What holds for partitions that say nothing themselves. */
static int cluster_default_mem(uint64_t *mem)
{
	slurm_conf_t *conf = NULL;

	if (slurm_load_ctl_conf(0, &conf))
		return no_controller("its configuration");
	*mem = conf->def_mem_per_cpu;
	slurm_free_ctl_conf(conf);
	return 0;
}

/* The job's: the default one, if none was named, and its memory. */
static int look_up_partition(struct tm_submission *s,
			     const partition_info_msg_t *all)
{
	const partition_info_t *p, *ours = NULL;
	uint32_t i;

	for (i = 0; i < all->record_count; i++) {
		p = &all->partition_array[i];
		if (*s->partition ? !strcmp(p->name, s->partition)
				  : p->flags & PART_FLAG_DEFAULT)
			ours = p;
	}
	if (!ours) {
		slurm_error("teramem: there is no %s%s: see sinfo",
			    *s->partition ? "partition " : "default partition",
			    s->partition);
		return -1;
	}
	snprintf(s->partition, sizeof(s->partition), "%s", ours->name);
	s->default_mem = ours->def_mem_per_cpu;
	if (s->default_mem && s->default_mem != NO_VAL64)
		return 0;
	return cluster_default_mem(&s->default_mem);
}

static uint32_t count_nodes(const char *list)
{
	hostlist_t nodes = slurm_hostlist_create(list);
	int nr = nodes ? slurm_hostlist_count(nodes) : 0;

	if (nodes)
		slurm_hostlist_destroy(nodes);
	return nr > 0 ? (uint32_t)nr : 0;
}

/* Slurm would let a job wait for ever for more nodes than there are. */
static int check_donor_partition(const struct tm_submission *s,
				 const partition_info_msg_t *all)
{
	const char *own = s->conf->donor_partition;
	const char *name = *own ? own : s->partition;
	const char *named = s->conf->donor_nodes;
	uint64_t wanted = s->donors.nr;
	uint32_t i, there;

	for (i = 0; i < all->record_count; i++) {
		if (strcmp(all->partition_array[i].name, name))
			continue;
		there = *named ? count_nodes(named)
			       : all->partition_array[i].total_nodes;
		/* The job's first node is no donor. */
		if (!*named && !strcmp(name, s->partition))
			wanted++;
		if (wanted <= there)
			return 0;
		slurm_error("teramem: %" PRIu64 " donors: %s %s has %u nodes: "
			    "use fewer --teramem-donors",
			    s->donors.nr,
			    *named ? "DonorNodes of partition" : "partition",
			    *named ? s->partition : name, there);
		return -1;
	}
	slurm_error("teramem: there is no partition %s (DonorPartition in %s)",
		    name, tm_plugin.conf_path);
	return -1;
}

static int check_alone(void)
{
	enum tm_conf_key key;

	for (key = 0; key < TM_CONF_NR_KEYS; key++) {
		if (tm_plugin.conf.origin[key] != TM_CONF_FROM_COMMAND_LINE)
			continue;
		slurm_error("teramem: --%s: without --teramem=SIZE there is no "
			    "remote memory",
			    tm_conf_option(key));
		return -1;
	}
	return 0;
}

/* All values, by the partition that the job will most likely run in. */
static int settle(struct tm_submission *s, const partition_info_msg_t *all)
{
	struct tm_conf *conf = &tm_plugin.conf;
	const char *path = tm_plugin.conf_path;
	char error[512];

	/* Which partition only the script says: the nodes will check. */
	if (s->unread && !*s->partition)
		return tm_conf_load(conf, path, NULL, error, sizeof(error))
			       ? refuse(error)
			       : 0;
	if (look_up_partition(s, all))
		return -1;
	if (tm_conf_load(conf, path, s->partition, error, sizeof(error)) ||
	    tm_conf_check(conf, error, sizeof(error)))
		return refuse(error);
	if (*s->lenders) /* then it says itself who the donors are */
		return 0;
	if (tm_size_donors(conf, path, s->nodes, &s->donors, error,
			   sizeof(error)))
		return refuse(error);
	return check_donor_partition(s, all);
}

/* A step has what its job was given; anything else would be ignored. */
static int check_step(void)
{
	const struct tm_conf *conf = &tm_plugin.conf;
	char given[TM_CONF_NAME_MAX], job[TM_CONF_NAME_MAX];
	enum tm_conf_key key;

	if (tm_plugin.donor)
		return refuse("--teramem-role: is for a component of a job, "
			      "not for a step");
	for (key = 0; key < TM_CONF_NR_KEYS; key++) {
		if (conf->origin[key] != TM_CONF_FROM_COMMAND_LINE)
			continue;
		tm_conf_format(conf, key, given, sizeof(given));
		tm_options_of_job(key, job, sizeof(job));
		if (!strcmp(given, job))
			continue;
		slurm_error("teramem: --%s=%s: steps have what their job was "
			    "given, %s: give the option to sbatch or salloc",
			    tm_conf_option(key), given,
			    *job ? job : "which is nothing");
		return -1;
	}
	return 0;
}

static const struct tm_donor_source_ops *
choose_source(const struct tm_submission *s)
{
	static const struct tm_donor_source_ops *const sources[] = {
		&tm_source_static,
		&tm_source_het,
		&tm_source_companion,
	};
	size_t i = 0;

	while (!sources[i]->serves(s))
		i++;
	return sources[i];
}

int tm_submit_lenders(spank_t spank, const char *lenders)
{
	return spank_job_control_setenv(spank, TM_LENDERS_VARIABLE, lenders, 1)
		       ? -EIO
		       : 0;
}

int tm_submit(spank_t spank)
{
	const struct tm_donor_source_ops *source;
	struct tm_conf *conf = &tm_plugin.conf;
	struct tm_submission s = {.conf = conf};
	partition_info_msg_t *all = NULL;
	static unsigned int components;
	static int next;
	unsigned int component = components++;
	char error[512] = "";
	int err;

	/* Slurm has getopt read each component from its ":" on. */
	next += optind;
	if (tm_plugin.donor)
		return 0;
	if (again)
		return tm_submit_lenders(spank, "1");
	if (tm_conf_environment(conf, error, sizeof(error)))
		return refuse(error);
	if (!conf->size_bytes)
		return check_alone();
	if (tm_submission_read(&s, component, next))
		return refuse("cannot read the command line");
	if (s.inside)
		return check_step();
	if (slurm_load_partitions(0, &all, SHOW_ALL))
		return no_controller("partitions");
	err = settle(&s, all);
	slurm_free_partition_info_msg(all);
	if (err)
		return err;
	source = choose_source(&s);
	err = source->submit(spank, &s);
	if (err)
		slurm_error("teramem: get donors (%s): %s", source->name,
			    strerror(-err));
	return err;
}

int tm_submit_step(spank_t spank)
{
	return getenv("SLURM_JOB_ID") ? check_step() : tm_submit(spank);
}
