// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * As a job is submitted: everything is checked that can be checked before it
 * waits in a queue, the donors are sized, and a source gets them.
 */
#include <errno.h>
#include <inttypes.h>
#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/size.h"
#include "spank/plugin.h"
#include "spank/source.h"

#define EXTENT_BYTES ((uint64_t)4 << 20)
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

/* The default partition, if none was named; and that the donors' exists. */
static int look_up_partitions(struct tm_submission *s, const char *donor)
{
	partition_info_msg_t *all = NULL;
	bool found = !*donor;
	uint32_t i;

	if (slurm_load_partitions(0, &all, SHOW_ALL)) {
		slurm_error("teramem: ask the controller for partitions: %s",
			    slurm_strerror(slurm_get_errno()));
		return -1;
	}
	for (i = 0; i < all->record_count; i++) {
		const partition_info_t *p = &all->partition_array[i];

		if (!*s->partition && p->flags & PART_FLAG_DEFAULT)
			snprintf(s->partition, sizeof(s->partition), "%s",
				 p->name);
		found |= !strcmp(p->name, donor);
	}
	slurm_free_partition_info_msg(all);
	if (found)
		return 0;
	slurm_error("teramem: there is no partition %s (DonorPartition in %s)",
		    donor, tm_plugin.conf_path);
	return -1;
}

static int size_donors(struct tm_submission *s)
{
	const struct tm_conf *conf = s->conf;
	uint64_t size =
		(conf->size_bytes + EXTENT_BYTES - 1) & ~(EXTENT_BYTES - 1);
	uint64_t total = size * s->nodes, most = conf->donor_mem_max_bytes;
	uint64_t room, share;
	char text[2][32];

	s->donors = conf->donors ? conf->donors : 1;
	room = most ? most - TM_DONOR_OVERHEAD : 0;
	if (!conf->donors && most && total > room)
		s->donors = (total + room - 1) / room;
	share = (total + s->donors - 1) / s->donors;
	share = (share + EXTENT_BYTES - 1) & ~(EXTENT_BYTES - 1);
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
static int settle(struct tm_submission *s, char *error, size_t len)
{
	struct tm_conf *conf = &tm_plugin.conf;

	if (tm_conf_load(conf, tm_plugin.conf_path,
			 *s->partition ? s->partition : NULL, error, len))
		return -1;
	return tm_conf_check(conf, error, len);
}

int tm_submit(void)
{
	const struct tm_donor_source_ops *source = &tm_source_het;
	struct tm_conf *conf = &tm_plugin.conf;
	struct tm_submission s = {.conf = conf};
	char error[512] = "";
	int err;

	if (again || tm_plugin.donor)
		return 0;
	if (tm_conf_environment(conf, error, sizeof(error)))
		return refuse(error);
	if (!conf->size_bytes)
		return check_alone();
	err = tm_submission_read(&s);
	if (err)
		return refuse("cannot read the command line");
	if (!*s.partition && look_up_partitions(&s, ""))
		return -1;
	if (settle(&s, error, sizeof(error)))
		return refuse(error);
	if (conf->engine == TM_CONF_ENGINE_KMOD)
		return refuse(
			"--teramem-engine=kmod: not possible yet: use uffd");
	if (!source->check(&s, error, sizeof(error)))
		return refuse(error);
	if (!s.het &&
	    (size_donors(&s) || look_up_partitions(&s, conf->donor_partition)))
		return -1;
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
