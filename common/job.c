// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The job file: budget and statistics that the processes of a job share; see
 * job.h.
 *
 * A holder of the mutex may be killed anywhere. So nothing in the file is
 * derived: what is drawn in all is summed from the slots each time, and the
 * one step that spans two places (folding a slot's statistics into those of
 * the past) is made whole by a single store. Recovery is then to mark the
 * mutex consistent and go on.
 *
 * Lock order: the file's mutex only; no other lock is taken under it.
 */
#include "common/job.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define JOB_MAGIC 0x3142524d41524554ULL /* "TERAMRB1" */

/*
 * A process that asked for more and did not ask again within this time does
 * not need it any more.
 */
#define HUNGER_NS 1000000000ULL

/* The fault path may ask for memory; it does not wait for a stopped holder. */
#define LOCK_WAIT_NS 100000000ULL

/*
 * A process. @start and @pid_ns make the pid unique; @pid is written last and
 * cleared first. All else is guarded by the mutex, except @excess_bytes and
 * the gauges: stores by one, loads by any.
 */
struct slot {
	int32_t pid;
	uint32_t nr_lanes; /* of them have statistics */
	uint64_t start;	   /* clock ticks after boot */
	uint64_t pid_ns;
	uint64_t instance; /* never used twice in a file */
	uint64_t capacity_bytes;
	uint64_t local_bytes;
	uint64_t hunger_bytes; /* asked for and not granted */
	uint64_t hunger_ns;    /* when */
	uint64_t excess_bytes;
	struct tm_job_gauges gauges;
};

/*
 * @past_ref: which of @past counts, in bit 0, and above it the instance that
 *	was folded into it last
 * @peak: of the sums over processes, as sampled
 */
struct job_file {
	uint64_t magic;
	uint64_t bytes; /* sizeof(struct job_file): both sides agree */
	uint64_t capacity_bytes;
	uint64_t local_bytes;
	pthread_mutex_t mutex;
	uint64_t next_instance;
	uint64_t past_ref;
	struct tm_job_gauges peak;
	uint64_t capacity_peak_bytes;
	uint32_t processes_max;
	uint32_t nr_slots; /* used so far; the rest was never touched */
	struct tm_stats past[2];
	struct slot slot[TM_JOB_PROCESSES_MAX];
	struct tm_stats stats[TM_JOB_PROCESSES_MAX][TM_JOB_LANES_MAX];
};

struct tm_job {
	struct job_file *file;
	struct slot *slot; /* NULL: only looking */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/*
 * After a lock that may have found its holder dead. The only thing that can
 * have been left half done is slot_retire(): folded, but not yet free.
 */
static int recover(struct job_file *file, int err)
{
	unsigned int i;

	if (err != EOWNERDEAD)
		return err;
	for (i = 0; i < file->nr_slots; i++)
		if (file->slot[i].instance == file->past_ref >> 1)
			tm_store_release(&file->slot[i].pid, 0);
	return pthread_mutex_consistent(&file->mutex);
}

static void lock(struct job_file *file)
{
	TM_BUG_ON(recover(file, pthread_mutex_lock(&file->mutex)));
}

static bool lock_soon(struct job_file *file)
{
	uint64_t until = now_ns() + LOCK_WAIT_NS;
	struct timespec ts = {
		.tv_sec = (time_t)(until / 1000000000ULL),
		.tv_nsec = (long)(until % 1000000000ULL),
	};
	int err = recover(file, pthread_mutex_clocklock(
					&file->mutex, CLOCK_MONOTONIC, &ts));

	TM_BUG_ON(err && err != ETIMEDOUT);
	return !err;
}

static void unlock(struct job_file *file)
{
	pthread_mutex_unlock(&file->mutex);
}

/*
 * What /proc says about a process. A zombie with no other thread has ended;
 * one whose first thread merely left early has not.
 */
static bool process_start(pid_t pid, uint64_t *start)
{
	char path[32], text[1024], *p;
	long threads;
	ssize_t n;
	char state;
	int fd;

	snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	do {
		n = read(fd, text, sizeof(text) - 1);
	} while (n < 0 && errno == EINTR);
	close(fd);
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* The name before it may hold anything, ")" too. */
	p = strrchr(text, ')');
	if (!p || sscanf(p + 1,
			 " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u "
			 "%*d %*d %*d %*d %ld %*d %" SCNu64,
			 &state, &threads, start) != 3)
		return false;
	return state != 'X' && (state != 'Z' || threads > 1);
}

static uint64_t own_pid_ns(void)
{
	struct stat st;

	return stat("/proc/self/ns/pid", &st) ? 0 : st.st_ino;
}

/* A process of another pid namespace cannot be judged from here. */
static bool slot_is_dead(const struct slot *slot, uint64_t pid_ns)
{
	uint64_t start;

	if (!slot->pid || slot->pid_ns != pid_ns)
		return false;
	return !process_start(slot->pid, &start) || start != slot->start;
}

/*
 * Fold a slot's statistics into the past, once: whoever is killed here has
 * either not switched past_ref yet, and then nothing happened, or it has, and
 * then recover() frees the slot.
 */
static void slot_fold(struct job_file *file, struct slot *slot)
{
	struct tm_stats *stats = file->stats[slot - file->slot];
	unsigned int from = file->past_ref & 1, i;

	if (!slot->nr_lanes)
		return;
	file->past[!from] = file->past[from];
	for (i = 0; i < slot->nr_lanes; i++)
		tm_stats_merge(&file->past[!from], &stats[i]);
	tm_store_release(&file->past_ref, slot->instance << 1 | !from);
}

static void raise_to(uint64_t *peak, uint64_t value)
{
	if (value > *peak)
		*peak = value;
}

static void slot_retire(struct job_file *file, struct slot *slot)
{
	slot_fold(file, slot);
	raise_to(&file->peak.remote_peak_bytes, slot->gauges.remote_peak_bytes);
	raise_to(&file->peak.resident_peak_bytes,
		 slot->gauges.resident_peak_bytes);
	tm_store_release(&slot->pid, 0);
}

static void reap(struct job_file *file)
{
	uint64_t pid_ns = own_pid_ns();
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++)
		if (slot_is_dead(&file->slot[i], pid_ns))
			slot_retire(file, &file->slot[i]);
}

/*
 * What the slots add up to.
 */
struct sums {
	uint64_t capacity_bytes;
	uint64_t local_bytes;
	struct tm_job_gauges gauges;
	unsigned int processes;
};

static struct sums sum(const struct job_file *file)
{
	struct sums s = { 0 };
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++) {
		const struct slot *slot = &file->slot[i];

		if (!slot->pid)
			continue;
		s.processes++;
		s.capacity_bytes += slot->capacity_bytes;
		s.local_bytes += slot->local_bytes;
		s.gauges.resident_bytes +=
			tm_load_relaxed(&slot->gauges.resident_bytes);
		s.gauges.remote_bytes +=
			tm_load_relaxed(&slot->gauges.remote_bytes);
	}
	return s;
}

static int map_file(const char *path, struct job_file **file, int *fd_out)
{
	struct stat st;
	int fd, err;

	fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	err = -EINVAL;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode) ||
	    st.st_size != (off_t)sizeof(**file))
		goto err_close;
	*file = mmap(NULL, sizeof(**file), PROT_READ | PROT_WRITE, MAP_SHARED,
		     fd, 0);
	if (*file == MAP_FAILED) {
		err = -errno;
		goto err_close;
	}
	if (tm_load_acquire(&(*file)->magic) != JOB_MAGIC ||
	    (*file)->bytes != sizeof(**file)) {
		munmap(*file, sizeof(**file));
		goto err_close;
	}
	*fd_out = fd;
	return 0;

err_close:
	close(fd);
	return err;
}

int tm_job_create(const char *path, uint64_t capacity_bytes,
		  uint64_t local_bytes)
{
	pthread_mutexattr_t attr;
	struct job_file *file;
	int fd, err;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		  0600);
	if (fd < 0)
		return -errno;
	/*
	 * Sparse, but with room for what is written before the first slot is
	 * taken: a full disk must be an error here, not a SIGBUS later.
	 */
	err = -posix_fallocate(fd, 0, offsetof(struct job_file, stats));
	if (!err && ftruncate(fd, sizeof(*file)))
		err = -errno;
	if (err)
		goto err_unlink;
	file = mmap(NULL, sizeof(*file), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
		    0);
	if (file == MAP_FAILED) {
		err = -errno;
		goto err_unlink;
	}
	close(fd);
	file->bytes = sizeof(*file);
	file->capacity_bytes = capacity_bytes;
	file->local_bytes = local_bytes;
	file->next_instance = 1;
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
	pthread_mutex_init(&file->mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	tm_store_release(&file->magic, JOB_MAGIC);
	munmap(file, sizeof(*file));
	return 0;

err_unlink:
	close(fd);
	unlink(path);
	return err;
}

/* A free slot, its statistics zeroed and backed by the disk. */
static int slot_take(struct job_file *file, int fd, pid_t pid, uint64_t start,
		     struct slot **taken)
{
	uint64_t pid_ns = own_pid_ns();
	struct slot *slot;
	unsigned int i;
	int err;

	for (i = 0; i < file->nr_slots; i++) {
		slot = &file->slot[i];
		if (slot->pid == pid && slot->pid_ns == pid_ns &&
		    slot->start == start)
			slot_retire(file, slot);
	}
	for (i = 0; i < file->nr_slots && file->slot[i].pid; i++)
		;
	if (i == TM_JOB_PROCESSES_MAX)
		return -EUSERS;
	slot = &file->slot[i];
	err = -posix_fallocate(fd,
			       (char *)file->stats[i] - (char *)file,
			       sizeof(file->stats[i]));
	if (err)
		return err;
	memset(file->stats[i], 0, slot->nr_lanes * sizeof(struct tm_stats));
	*slot = (struct slot){
		.start = start,
		.pid_ns = pid_ns,
		.instance = file->next_instance++,
	};
	if (i == file->nr_slots)
		file->nr_slots++;
	tm_store_release(&slot->pid, pid);
	*taken = slot;
	return 0;
}

/* Not from malloc, which may be ours. */
static struct tm_job *job_new(struct job_file *file, struct slot *slot)
{
	struct tm_job *job = tm_alloc(sizeof(*job));

	if (job)
		*job = (struct tm_job){ .file = file, .slot = slot };
	return job;
}

int tm_job_attach(const char *path, struct tm_job **job)
{
	struct job_file *file;
	struct slot *slot;
	unsigned int n;
	uint64_t start;
	int fd, err;

	if (!process_start(getpid(), &start))
		return -ENOSYS; /* no /proc */
	err = map_file(path, &file, &fd);
	if (err)
		return err;
	lock(file);
	reap(file);
	err = slot_take(file, fd, getpid(), start, &slot);
	if (!err) {
		n = sum(file).processes;
		if (n > file->processes_max)
			file->processes_max = n;
	}
	unlock(file);
	close(fd);
	if (!err) {
		*job = job_new(file, slot);
		if (*job)
			return 0;
		lock(file);
		slot_retire(file, slot);
		unlock(file);
		err = -ENOMEM;
	}
	munmap(file, sizeof(*file));
	return err;
}

int tm_job_view(const char *path, struct tm_job **job)
{
	struct job_file *file;
	int fd, err;

	err = map_file(path, &file, &fd);
	if (err)
		return err;
	close(fd);
	*job = job_new(file, NULL);
	if (*job)
		return 0;
	munmap(file, sizeof(*file));
	return -ENOMEM;
}

void tm_job_forget(struct tm_job *job)
{
	munmap(job->file, sizeof(*job->file));
	tm_free(job, sizeof(*job));
}

void tm_job_detach(struct tm_job *job)
{
	if (job->slot) {
		lock(job->file);
		slot_retire(job->file, job->slot);
		unlock(job->file);
	}
	tm_job_forget(job);
}

int tm_job_capacity_draw(struct tm_job *job, uint64_t bytes)
{
	struct job_file *file = job->file;
	uint64_t drawn;
	int err = 0;

	lock(file);
	drawn = sum(file).capacity_bytes;
	if (bytes > file->capacity_bytes - drawn) {
		reap(file);
		drawn = sum(file).capacity_bytes;
	}
	if (bytes > file->capacity_bytes - drawn) {
		err = -ENOMEM;
	} else {
		job->slot->capacity_bytes += bytes;
		raise_to(&file->capacity_peak_bytes, drawn + bytes);
	}
	unlock(file);
	return err;
}

void tm_job_capacity_return(struct tm_job *job, uint64_t bytes)
{
	lock(job->file);
	TM_BUG_ON(bytes > job->slot->capacity_bytes);
	job->slot->capacity_bytes -= bytes;
	unlock(job->file);
}

/*
 * The balance of local memory between the processes: what is free, what those
 * below their fair share still want up to it, and what those above it hold
 * beyond it.
 */
struct shares {
	uint64_t share_bytes;
	uint64_t free_bytes;
	uint64_t need_bytes; /* of others than the one that asks */
	uint64_t over_bytes;
};

static uint64_t slot_need(const struct slot *slot, uint64_t share, uint64_t now)
{
	uint64_t room;

	if (!slot->pid || slot->local_bytes >= share ||
	    now - slot->hunger_ns > HUNGER_NS)
		return 0;
	room = share - slot->local_bytes;
	return slot->hunger_bytes < room ? slot->hunger_bytes : room;
}

static uint64_t slot_over(const struct slot *slot, uint64_t share)
{
	return slot->pid && slot->local_bytes > share ?
		       slot->local_bytes - share :
		       0;
}

static struct shares share_out(const struct job_file *file,
			       const struct slot *asks, uint64_t now)
{
	struct sums total = sum(file);
	struct shares s = {
		.share_bytes = file->local_bytes /
			       (total.processes ? total.processes : 1),
		.free_bytes = file->local_bytes - total.local_bytes,
	};
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++) {
		if (&file->slot[i] != asks)
			s.need_bytes += slot_need(&file->slot[i], s.share_bytes,
						  now);
		s.over_bytes += slot_over(&file->slot[i], s.share_bytes);
	}
	return s;
}

/* Ask those above their share for what those below it lack, in proportion. */
static void spread_excess(struct job_file *file, uint64_t now)
{
	struct shares s = share_out(file, NULL, now);
	uint64_t lack = s.need_bytes > s.free_bytes ?
				s.need_bytes - s.free_bytes :
				0;
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++) {
		struct slot *slot = &file->slot[i];
		uint64_t over = slot_over(slot, s.share_bytes);
		uint64_t excess = 0;

		if (over && lack)
			excess = (uint64_t)(((__uint128_t)over * lack +
					     s.over_bytes - 1) /
					    s.over_bytes);
		tm_store_relaxed(&slot->excess_bytes,
				 excess < over ? excess : over);
	}
}

/*
 * What may be granted now: a process below its share takes what is free up to
 * it; beyond it, only what no other needs.
 */
static uint64_t grantable(const struct slot *slot, const struct shares *s,
			  uint64_t want)
{
	uint64_t room = slot->local_bytes < s->share_bytes ?
				s->share_bytes - slot->local_bytes :
				0;
	uint64_t spare = s->free_bytes > s->need_bytes ?
				 s->free_bytes - s->need_bytes :
				 0;
	uint64_t granted = want < s->free_bytes ? want : s->free_bytes;
	uint64_t most = room > spare ? room : spare;

	return granted < most ? granted : most;
}

uint64_t tm_job_local_draw(struct tm_job *job, uint64_t want)
{
	struct job_file *file = job->file;
	struct slot *slot = job->slot;
	uint64_t now = now_ns(), granted;
	struct shares s;

	if (!lock_soon(file))
		return 0;
	s = share_out(file, slot, now);
	granted = grantable(slot, &s, want);
	if (granted < want) {
		reap(file);
		s = share_out(file, slot, now);
		granted = grantable(slot, &s, want);
	}
	slot->local_bytes += granted;
	slot->hunger_bytes = want - granted;
	slot->hunger_ns = now;
	spread_excess(file, now);
	unlock(file);
	return granted;
}

void tm_job_local_return(struct tm_job *job, uint64_t bytes)
{
	lock(job->file);
	TM_BUG_ON(bytes > job->slot->local_bytes);
	job->slot->local_bytes -= bytes;
	spread_excess(job->file, now_ns());
	unlock(job->file);
}

uint64_t tm_job_local_excess(struct tm_job *job)
{
	return tm_load_relaxed(&job->slot->excess_bytes);
}

uint64_t tm_job_local_held(const struct tm_job *job)
{
	return tm_load_relaxed(&job->slot->local_bytes);
}

struct tm_stats *tm_job_stats(struct tm_job *job, unsigned int lane)
{
	struct slot *slot = job->slot;

	TM_BUG_ON(lane >= TM_JOB_LANES_MAX);
	lock(job->file);
	if (slot->nr_lanes <= lane)
		slot->nr_lanes = lane + 1;
	unlock(job->file);
	return &job->file->stats[slot - job->file->slot][lane];
}

struct tm_job_gauges *tm_job_gauges(struct tm_job *job)
{
	return &job->slot->gauges;
}

void tm_job_totals(struct tm_job *job, struct tm_job_totals *totals)
{
	struct job_file *file = job->file;
	struct sums now;
	unsigned int i, lane;

	lock(file);
	reap(file);
	now = sum(file);
	raise_to(&file->peak.remote_peak_bytes, now.gauges.remote_bytes);
	raise_to(&file->peak.resident_peak_bytes, now.gauges.resident_bytes);
	*totals = (struct tm_job_totals){
		.stats = file->past[file->past_ref & 1],
		.gauges = now.gauges,
		.capacity_bytes = file->capacity_bytes,
		.capacity_drawn_bytes = now.capacity_bytes,
		.capacity_peak_bytes = file->capacity_peak_bytes,
		.local_bytes = file->local_bytes,
		.local_drawn_bytes = now.local_bytes,
		.processes = now.processes,
		.processes_max = file->processes_max,
		.processes_all = (unsigned int)(file->next_instance - 1),
	};
	totals->gauges.remote_peak_bytes = file->peak.remote_peak_bytes;
	totals->gauges.resident_peak_bytes = file->peak.resident_peak_bytes;
	for (i = 0; i < file->nr_slots; i++) {
		const struct slot *slot = &file->slot[i];

		if (!slot->pid)
			continue;
		raise_to(&totals->gauges.remote_peak_bytes,
			 tm_load_relaxed(&slot->gauges.remote_peak_bytes));
		raise_to(&totals->gauges.resident_peak_bytes,
			 tm_load_relaxed(&slot->gauges.resident_peak_bytes));
		for (lane = 0; lane < slot->nr_lanes; lane++)
			tm_stats_merge(&totals->stats, &file->stats[i][lane]);
	}
	unlock(file);
}
