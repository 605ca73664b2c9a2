// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As a job is submitted: everything is checked that can be checked before it
 * waits in a queue, the donors are sized, and a source gets them.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "spank/plugin.h"
#include "spank/source.h"

#define MIB (1ULL << 20)

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

static int size_donors(struct tm_submission *s)
{
	const struct tm_conf *conf = s->conf;
	uint64_t size = tm_whole_extents(conf->size_bytes);
	uint64_t total = size * s->nodes, most = conf->donor_mem_max_bytes;
	uint64_t room, share;
	char text[2][32];

	s->donors = conf->donors ? conf->donors : 1;
	room = most ? most - TM_DONOR_OVERHEAD : 0;
	if (!conf->donors && most && total > room)
		s->donors = (total + room - 1) / room;
	share = tm_whole_extents((total + s->donors - 1) / s->donors);
	s->donor_mem_bytes = (share + TM_DONOR_OVERHEAD + MIB - 1) & ~(MIB - 1);
	tm_size_format(s->donor_mem_bytes, text[0], sizeof(text[0]));
	if (most && s->donor_mem_bytes > most) {
		slurm_error(
			"teramem: %" PRIu64
			" donors of %s each: at most %s each are allowed here "
			"(DonorMemMax in %s): use more --teramem-donors",
			s->donors, text[0],
			tm_size_format(most, text[1], sizeof(text[1])),
			tm_plugin.conf_path);
		return -1;
	}
	if (s->donors > conf->donors_max) {
		slurm_error("teramem: %" PRIu64
			    " donors are needed, at most %" PRIu64
			    " are allowed here (DonorsMax in %s): use a "
			    "smaller --teramem",
			    s->donors, conf->donors_max, tm_plugin.conf_path);
		return -1;
	}
	return 0;
}

/* Slurm would let a job wait for ever for more nodes than there are. */
static int check_donor_partition(const struct tm_submission *s,
				 const partition_info_msg_t *all)
{
	const char *own = s->conf->donor_partition;
	const char *name = *own ? own : s->partition;
	/* The job's first node is no donor. */
	uint64_t wanted = s->donors + !strcmp(name, s->partition);
	uint32_t i;

	for (i = 0; i < all->record_count; i++) {
		if (strcmp(all->partition_array[i].name, name))
			continue;
		if (wanted <= all->partition_array[i].total_nodes)
			return 0;
		slurm_error("teramem: %" PRIu64 " donors: partition %s has %u "
			    "nodes: use fewer --teramem-donors",
			    s->donors, name,
			    all->partition_array[i].total_nodes);
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
	char error[512];

	if (look_up_partition(s, all))
		return -1;
	if (tm_conf_load(conf, tm_plugin.conf_path, s->partition, error,
			 sizeof(error)) ||
	    tm_conf_check(conf, error, sizeof(error)))
		return refuse(error);
	if (s->het) /* then it says itself who the donors are */
		return 0;
	if (size_donors(s))
		return -1;
	return check_donor_partition(s, all);
}

int tm_submit(void)
{
	const struct tm_donor_source_ops *source = &tm_source_het;
	struct tm_conf *conf = &tm_plugin.conf;
	struct tm_submission s = {.conf = conf};
	partition_info_msg_t *all = NULL;
	static int next;
	char error[512] = "";
	int first = next, err;

	/* Slurm has getopt read each component from its ":" on. */
	next += optind;
	if (again || tm_plugin.donor)
		return 0;
	if (tm_conf_environment(conf, error, sizeof(error)))
		return refuse(error);
	if (!conf->size_bytes)
		return check_alone();
	if (tm_submission_read(&s, first, next))
		return refuse("cannot read the command line");
	if (!source->check(&s, error, sizeof(error)))
		return refuse(error);
	if (slurm_load_partitions(0, &all, SHOW_ALL))
		return no_controller("partitions");
	err = settle(&s, all);
	slurm_free_partition_info_msg(all);
	if (err)
		return err;
	err = source->submit(&s);
	if (err)
		slurm_error("teramem: start the command again with donors: %s",
			    strerror(-err));
	return err;
}

int tm_submit_step(void)
{
	const char *size = getenv("TERAMEM");

	if (getenv("SLURM_JOB_ID"))
		return 0;
	if (!tm_plugin.given && !(size && *size))
		return 0;
	return refuse("not possible yet for srun outside a job: use salloc, or "
		      "sbatch");
}
