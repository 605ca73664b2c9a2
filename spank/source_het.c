// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Donors as a component of the job itself: the command is run once more as a
 * heterogeneous job, "... : --teramem-role=donor -N... script". Slurm starts
 * both together, on different nodes, or keeps both waiting, and ends both
 * together.
 */
#include <errno.h>
#include <inttypes.h>
#include <slurm/slurm.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spank/plugin.h"
#include "spank/source.h"

#define ADDED_MAX 40

static bool het_serves(const struct tm_submission *s)
{
	if (s->het)
		return *s->lenders;
	/* The command is run again, and no pipe can be read again. */
	return !s->array && (s->interactive || s->wrap ||
			     (s->batch && s->command < s->argc));
}

struct words {
	char *word[ADDED_MAX];
	int nr;
};

__attribute__((format(printf, 2, 3))) static void add(struct words *words,
						      const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	if (words->nr < ADDED_MAX &&
	    vasprintf(&words->word[words->nr], fmt, ap) >= 0)
		words->nr++;
	va_end(ap);
}

/* As options, they reach the job's nodes; the environment does not. */
static void add_environment(struct words *words, const struct tm_conf *conf)
{
	char value[TM_CONF_NAME_MAX];
	enum tm_conf_key key;

	for (key = 0; key < TM_CONF_NR_KEYS; key++)
		if (conf->origin[key] == TM_CONF_FROM_ENVIRONMENT)
			add(words, "--%s=%s", tm_conf_option(key),
			    tm_conf_format(conf, key, value, sizeof(value)));
}

/*
 * Where the job's component has no --mem or --job-name of its own, sbatch would
 * give it those of the donors. So it gets what it would have without donors.
 */
static void add_own(struct words *words, const struct tm_submission *s)
{
	if (!s->mem && s->default_mem & MEM_PER_CPU)
		add(words, "--mem-per-cpu=%" PRIu64 "M",
		    s->default_mem & ~MEM_PER_CPU);
	else if (!s->mem)
		add(words, "--mem=%" PRIu64 "M", s->default_mem);
	if (!s->name)
		add(words, "--job-name=%s",
		    s->command < s->argc ? basename(s->argv[s->command])
		    : s->batch		 ? "wrap"
					 : "interactive");
}

static void add_donors(struct words *words, const struct tm_submission *s)
{
	const char *partition = *s->conf->donor_partition
					? s->conf->donor_partition
					: s->partition;

	add(words, ":");
	add(words, "--teramem-role=donor");
	add(words, "--job-name=" TM_DONOR_JOB_NAME);
	add(words, "--nodes=%" PRIu64, s->donors.nr);
	add(words, "--ntasks=%" PRIu64, s->donors.nr);
	add(words, "--ntasks-per-node=1");
	add(words, "--cpus-per-task=1");
	add(words, "--mem=%" PRIu64 "M", s->donors.mem_bytes >> 20);
	if (*partition)
		add(words, "--partition=%s", partition);
	if (*s->time)
		add(words, "--time=%s", s->time);
	if (*s->account)
		add(words, "--account=%s", s->account);
}

static int het_submit(spank_t spank, const struct tm_submission *s)
{
	struct words front = {.nr = 0}, back = {.nr = 0};
	char **argv, guard[16];
	int options = s->command, n = 0;

	if (s->het)
		return tm_submit_lenders(spank, s->lenders);
	add_environment(&front, s->conf);
	add_own(&front, s);
	add_donors(&back, s);
	argv = calloc((size_t)(s->argc + front.nr + back.nr + 1),
		      sizeof(*argv));
	if (!argv)
		return -ENOMEM;
	if (options > 1 && !strcmp(s->argv[options - 1], "--"))
		options--;
	argv[n++] = s->argv[0];
	memcpy(argv + n, front.word, (size_t)front.nr * sizeof(*argv));
	n += front.nr;
	memcpy(argv + n, s->argv + 1, (size_t)(options - 1) * sizeof(*argv));
	n += options - 1;
	memcpy(argv + n, back.word, (size_t)back.nr * sizeof(*argv));
	n += back.nr;
	memcpy(argv + n, s->argv + s->command,
	       (size_t)(s->argc - s->command) * sizeof(*argv));
	/* The pid is kept: only this very process is meant. */
	snprintf(guard, sizeof(guard), "%d", getpid());
	setenv(TM_SUBMIT_GUARD, guard, 1);
	execv("/proc/self/exe", argv);
	return -errno;
}

const struct tm_donor_source_ops tm_source_het = {
	.name = "het",
	.serves = het_serves,
	.submit = het_submit,
};
