// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * On a compute node, in the prolog: donors by a job of their own, for jobs that
 * cannot have them as a component.
 *
 * Such a job holds its nodes while it waits for others, so a few of them could
 * wait for each other for ever. Against that, jobs have an order, their number,
 * which they keep when they are requeued: only the oldest of those that wait
 * may go on; the younger ones give their nodes back and come again later. The
 * controller's queue is all that is needed to know. So the oldest one gets
 * donors as soon as there are any, and every job is the oldest one day. The
 * time of waiting is bounded besides.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <slurm/slurm.h>
#include <slurm/slurm_errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "common/log.h"
#include "spank/job/job.h"

#define PAUSE_MIN_MS 50
#define PAUSE_MAX_MS 1000
#define CHECKS 6 /* for older jobs that wait, while it waits */
#define COMMENT "teramem: "

/*
 * @info: the job, as it began; @whole: its number, or that of the heterogeneous
 *	job it belongs to
 * @donors: the job that lends; 0: not known yet
 * @first: this node submits it, and decides; @told: it said that it waits
 * @checked: how often it looked for older jobs
 */
struct wait {
	struct tm_job_request *r;
	struct tm_cluster_job *job;
	const job_info_t *info;
	uint32_t whole, donors;
	bool first, told;
	unsigned int checked;
	uint64_t begun_ms;
};

__attribute__((format(printf, 3, 4))) static int
fail(struct tm_job_request *r, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->error, sizeof(r->error), fmt, ap);
	va_end(ap);
	return err;
}

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
}

static void pause_ms(uint64_t ms)
{
	const struct timespec pause = {(time_t)(ms / 1000),
				       (long)(ms % 1000) * 1000000};

	nanosleep(&pause, NULL);
}

/* Of @all, the job of this number: others are of its array or het job. */
static const job_info_t *find(const job_info_msg_t *all, uint32_t job)
{
	uint32_t i;

	for (i = 0; i < all->record_count; i++)
		if (all->job_array[i].job_id == job)
			return &all->job_array[i];
	return NULL;
}

/* ---- the donors' job ----------------------------------------------------- */

void tm_companion_end(uint32_t job)
{
	char path[PATH_MAX];
	FILE *file = fopen(tm_job_folder_path(job, "donors", path), "re");
	uint32_t donors;

	if (!file)
		return;
	if (fscanf(file, "%" SCNu32, &donors) == 1 &&
	    slurm_kill_job(donors, SIGKILL, 0) &&
	    slurm_get_errno() != ESLURM_ALREADY_DONE &&
	    slurm_get_errno() != ESLURM_INVALID_JOB_ID)
		tm_warn("end the donors of job %" PRIu32 ", job %" PRIu32
			": %s; it ends by itself",
			job, donors, slurm_strerror(slurm_get_errno()));
	fclose(file);
	unlink(path);
}

static int begin(struct wait *w)
{
	char text[16];
	int err = tm_donors_job_submit(w->r, w->info, &w->donors);

	if (err)
		return err;
	snprintf(text, sizeof(text), "%" PRIu32 "\n", w->donors);
	err = tm_job_folder_write(w->r->job, "donors", text);
	if (!err)
		return 0;
	slurm_kill_job(w->donors, SIGKILL, 0);
	return fail(w->r, err, "write the number of the donors' job: %s",
		    strerror(-err));
}

/* Returns -EAGAIN while it waits for nodes. */
static int look(struct wait *w)
{
	job_info_msg_t *all = NULL;
	const job_info_t *donors;
	int err = -EAGAIN;

	if (slurm_load_job(&all, w->donors, SHOW_ALL))
		return slurm_get_errno() != ESLURM_INVALID_JOB_ID
			       ? -EAGAIN
			       : fail(w->r, -EBUSY,
				      "the donors' job %" PRIu32
				      " is gone from the controller",
				      w->donors);
	donors = find(all, w->donors);
	if (donors && donors->job_state == JOB_RUNNING)
		err = tm_cluster_add_donors(w->job, donors->nodes, w->r->error,
					    sizeof(w->r->error));
	else if (donors && (donors->job_state & JOB_STATE_BASE) > JOB_SUSPENDED)
		err = fail(w->r, -ESRCH,
			   "the donors' job %" PRIu32 " ended before it lent "
			   "anything: see the logs of slurmd there",
			   w->donors);
	slurm_free_job_info_msg(all);
	return err;
}

/* ---- what squeue shows ----------------------------------------------------
 */

/* @comment: none takes the place of a user's own. @begin: 0: no matter */
static void say(struct wait *w, const char *comment, time_t begin)
{
	const char *there = w->info->comment;
	bool ours =
		!there || !*there || !strncmp(there, COMMENT, strlen(COMMENT));
	job_desc_msg_t desc;

	slurm_init_job_desc_msg(&desc);
	desc.job_id = w->whole;
	desc.comment = ours ? (char *)comment : NULL;
	if (begin)
		desc.begin_time = begin;
	if ((ours || begin) && slurm_update_job(&desc))
		tm_warn("job %" PRIu32 ": update it: %s", w->r->job,
			slurm_strerror(slurm_get_errno()));
	w->told = true;
}

static void say_waiting(struct wait *w)
{
	char comment[64];

	snprintf(comment, sizeof(comment),
		 COMMENT "waits for its donors, job %" PRIu32, w->donors);
	say(w, comment, 0);
}

static void say_nothing(struct wait *w)
{
	if (w->told || (w->info->comment && *w->info->comment))
		say(w, "", 0);
}

/* ---- waiting ------------------------------------------------------------- */

/* Younger jobs go first; all go when it takes too long. */
static int check_patience(struct wait *w)
{
	uint64_t limit_ms = w->r->conf.wait_s * 1000;
	uint64_t waited_ms = now_ms() - w->begun_ms;

	if (waited_ms >= limit_ms)
		return fail(w->r, -ETIMEDOUT,
			    "no donors were free for %" PRIu64 " s (WaitTime)",
			    w->r->conf.wait_s);
	if (!tm_cluster_wants(w->r))
		return fail(w->r, -ECANCELED,
			    "the job ended while it waited for donors");
	if (!w->first || waited_ms * CHECKS / limit_ms <= w->checked)
		return 0;
	w->checked++;
	if (tm_donors_job_older(w->r->job))
		return fail(w->r, -EBUSY,
			    "no donors were free, and older jobs wait for "
			    "them");
	if (!w->told)
		say_waiting(w);
	return 0;
}

static int await(struct wait *w)
{
	uint64_t pause = PAUSE_MIN_MS;
	int err;

	for (;;) {
		if (!w->donors)
			w->donors = tm_donors_job_find(w->r);
		err = w->donors ? look(w) : -EAGAIN;
		if (err != -EAGAIN)
			return err;
		err = check_patience(w);
		if (err)
			return err;
		pause_ms(pause);
		pause = pause * 3 / 2 < PAUSE_MAX_MS ? pause * 3 / 2
						     : PAUSE_MAX_MS;
	}
}

/* ---- back to the queue --------------------------------------------------- */

/* As soon as it may, or up to WaitTime later: not all at once. */
static time_t choose_time(const struct tm_job_request *r)
{
	unsigned int random = 0;

	if (getrandom(&random, sizeof(random), 0) < 0)
		random = (unsigned int)getpid();
	return time(NULL) + r->pause_s +
	       (time_t)(random % (r->conf.wait_s + 1));
}

/* srun and salloc would go on without: they only fail. */
static bool put_back(struct wait *w)
{
	char comment[sizeof(w->r->error) + 64], at[16];
	time_t begin = choose_time(w->r);
	struct tm local;

	if (!w->info->batch_flag || !w->info->requeue)
		return false;
	if (slurm_requeue(w->whole, 0)) {
		tm_warn("job %" PRIu32 ": requeue it: %s", w->r->job,
			slurm_strerror(slurm_get_errno()));
		return false;
	}
	strftime(at, sizeof(at), "%T", localtime_r(&begin, &local));
	snprintf(comment, sizeof(comment), COMMENT "%s; tries again at %s",
		 w->r->error, at);
	say(w, comment, begin);
	return true;
}

/* ---- all of it ----------------------------------------------------------- */

static bool is_first(const job_info_t *job, const char *node)
{
	hostlist_t nodes = slurm_hostlist_create(job->nodes);
	char *name = nodes ? slurm_hostlist_shift(nodes) : NULL;
	bool first = name && node && !strcmp(name, node);

	free(name);
	if (nodes)
		slurm_hostlist_destroy(nodes);
	return first;
}

static int get(struct wait *w)
{
	int err;

	if (!w->info || !w->info->nodes)
		return fail(w->r, -ESRCH,
			    "the controller does not know the job's nodes");
	w->first = is_first(w->info, w->r->node);
	err = w->first ? begin(w) : 0;
	if (!err)
		err = await(w);
	w->r->leader = w->donors;
	if (!w->first)
		return err;
	if (err)
		tm_companion_end(w->r->job);
	if (err != -ECANCELED &&
	    !((err == -ETIMEDOUT || err == -EBUSY) && put_back(w)))
		say_nothing(w);
	return err;
}

int tm_companion_get(struct tm_job_request *r, struct tm_cluster_job *cluster)
{
	struct wait wait = {
		.r = r,
		.job = cluster,
		.whole = r->leader,
		.begun_ms = now_ms(),
	};
	job_info_msg_t *all = NULL;
	int err;

	if (slurm_load_job(&all, wait.whole, SHOW_ALL))
		return fail(r, -EIO, "ask the controller for the job: %s",
			    slurm_strerror(slurm_get_errno()));
	wait.info = find(all, r->job);
	err = get(&wait);
	slurm_free_job_info_msg(all);
	return err;
}
