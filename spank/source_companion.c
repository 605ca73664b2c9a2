// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Donors as a job of their own, which the job helper submits once the job has
 * its nodes (job/companion.c): for what cannot be made heterogeneous, and, on
 * nodes that the administrator names, for all jobs of a partition.
 */
#include "spank/plugin.h"
#include "spank/source.h"

static bool static_serves(const struct tm_submission *s)
{
	return *s->conf->donor_nodes && !*s->lenders;
}

static bool companion_serves(const struct tm_submission *s)
{
	return true;
}

/* All that the nodes need are the values. */
static int submit(spank_t spank, const struct tm_submission *s)
{
	return tm_options_give(spank, s->conf);
}

const struct tm_donor_source_ops tm_source_static = {
	.name = "static",
	.serves = static_serves,
	.submit = submit,
};

const struct tm_donor_source_ops tm_source_companion = {
	.name = "companion",
	.serves = companion_serves,
	.submit = submit,
};
