// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The job file: budget and statistics that the processes of a job share; see
 * job.h. How the budget is shared out is in job_budget.c.
 *
 * A holder of the mutex may be killed anywhere. So nothing in the file is
 * derived: what is drawn in all is summed from the slots each time, and the
 * one step that spans two places (folding a slot's statistics into those of
 * the past) is made whole by a single store. Recovery is then to mark the
 * mutex consistent and go on.
 */
#include "common/job_file.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOB_MAGIC 0x3142524d41524554ULL /* "TERAMRB1" */

/*
 * After a lock that may have found its holder dead. The only thing that can
 * have been left half done is slot_retire(): folded, but not yet free.
 */
int tm_job_recover(struct tm_job_file *file, int err)
{
	unsigned int i;

	if (err != EOWNERDEAD)
		return err;
	for (i = 0; i < file->nr_slots; i++)
		if (file->slot[i].instance == file->past_ref >> 1)
			tm_store_release(&file->slot[i].pid, 0);
	return pthread_mutex_consistent(&file->mutex);
}

void tm_job_lock(struct tm_job_file *file)
{
	TM_BUG_ON(tm_job_recover(file, pthread_mutex_lock(&file->mutex)));
}

void tm_job_unlock(struct tm_job_file *file)
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
static bool slot_is_dead(const struct tm_job_slot *slot, uint64_t pid_ns)
{
	uint64_t start;

	if (!slot->pid || slot->pid_ns != pid_ns)
		return false;
	return !process_start(slot->pid, &start) || start != slot->start;
}

/*
 * Fold a slot's statistics into the past, once: whoever is killed here has
 * either not switched past_ref yet, and then nothing happened, or it has, and
 * then tm_job_recover() frees the slot.
 */
static void slot_fold(struct tm_job_file *file, struct tm_job_slot *slot)
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

static void slot_retire(struct tm_job_file *file, struct tm_job_slot *slot)
{
	slot_fold(file, slot);
	tm_job_raise_to(&file->peak.remote_peak_bytes,
			slot->gauges.remote_peak_bytes);
	tm_job_raise_to(&file->peak.resident_peak_bytes,
			slot->gauges.resident_peak_bytes);
	tm_store_release(&slot->pid, 0);
}

void tm_job_reap(struct tm_job_file *file)
{
	uint64_t pid_ns = own_pid_ns();
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++)
		if (slot_is_dead(&file->slot[i], pid_ns))
			slot_retire(file, &file->slot[i]);
}

struct tm_job_sums tm_job_sum(const struct tm_job_file *file)
{
	struct tm_job_sums s = {0};
	unsigned int i;

	for (i = 0; i < file->nr_slots; i++) {
		const struct tm_job_slot *slot = &file->slot[i];

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

/* Returns the file's descriptor, or -errno. */
static int map_file(const char *path, struct tm_job_file **file)
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
	return fd;

err_close:
	close(fd);
	return err;
}

int tm_job_create(const char *path, uint64_t capacity_bytes,
		  uint64_t local_bytes)
{
	pthread_mutexattr_t attr;
	struct tm_job_file *file;
	int fd, err;

	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
		  0600);
	if (fd < 0)
		return -errno;
	/*
	 * Sparse, but with room for what is written before the first slot is
	 * taken: a full disk must be an error here, not a SIGBUS later.
	 */
	err = -posix_fallocate(fd, 0, offsetof(struct tm_job_file, stats));
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
static int slot_take(struct tm_job_file *file, int fd, pid_t pid,
		     uint64_t start, struct tm_job_slot **taken)
{
	uint64_t pid_ns = own_pid_ns();
	struct tm_job_slot *slot;
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
	err = -posix_fallocate(fd, (char *)file->stats[i] - (char *)file,
			       sizeof(file->stats[i]));
	if (err)
		return err;
	memset(file->stats[i], 0, slot->nr_lanes * sizeof(struct tm_stats));
	*slot = (struct tm_job_slot){
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
static struct tm_job *job_new(struct tm_job_file *file,
			      struct tm_job_slot *slot)
{
	struct tm_job *job = tm_alloc(sizeof(*job));

	if (job)
		*job = (struct tm_job){.file = file, .slot = slot};
	return job;
}

int tm_job_attach(const char *path, struct tm_job **job)
{
	struct tm_job_file *file;
	struct tm_job_slot *slot;
	unsigned int n;
	uint64_t start;
	int fd, err;

	if (!process_start(getpid(), &start))
		return -ENOSYS; /* no /proc */
	fd = map_file(path, &file);
	if (fd < 0)
		return fd;
	tm_job_lock(file);
	tm_job_reap(file);
	err = slot_take(file, fd, getpid(), start, &slot);
	if (!err) {
		n = tm_job_sum(file).processes;
		if (n > file->processes_max)
			file->processes_max = n;
	}
	tm_job_unlock(file);
	close(fd);
	if (!err) {
		*job = job_new(file, slot);
		if (*job)
			return 0;
		tm_job_lock(file);
		slot_retire(file, slot);
		tm_job_unlock(file);
		err = -ENOMEM;
	}
	munmap(file, sizeof(*file));
	return err;
}

int tm_job_view(const char *path, struct tm_job **job)
{
	struct tm_job_file *file;
	int fd = map_file(path, &file);

	if (fd < 0)
		return fd;
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
		tm_job_lock(job->file);
		slot_retire(job->file, job->slot);
		tm_job_unlock(job->file);
	}
	tm_job_forget(job);
}

void tm_job_block_set(struct tm_job *job, uint64_t bytes)
{
	tm_job_lock(job->file);
	job->file->block_bytes = bytes;
	tm_job_unlock(job->file);
}

struct tm_stats *tm_job_stats(struct tm_job *job, unsigned int lane)
{
	struct tm_job_slot *slot = job->slot;

	TM_BUG_ON(lane >= TM_JOB_LANES_MAX);
	tm_job_lock(job->file);
	if (slot->nr_lanes <= lane)
		slot->nr_lanes = lane + 1;
	tm_job_unlock(job->file);
	return &job->file->stats[slot - job->file->slot][lane];
}

struct tm_job_gauges *tm_job_gauges(struct tm_job *job)
{
	return &job->slot->gauges;
}

void tm_job_totals(struct tm_job *job, struct tm_job_totals *totals)
{
	struct tm_job_file *file = job->file;
	struct tm_job_sums now;
	unsigned int i, lane;

	tm_job_lock(file);
	tm_job_reap(file);
	now = tm_job_sum(file);
	tm_job_raise_to(&file->peak.remote_peak_bytes, now.gauges.remote_bytes);
	tm_job_raise_to(&file->peak.resident_peak_bytes,
			now.gauges.resident_bytes);
	*totals = (struct tm_job_totals){
		.stats = file->past[file->past_ref & 1],
		.gauges = now.gauges,
		.capacity_bytes = file->capacity_bytes,
		.capacity_drawn_bytes = now.capacity_bytes,
		.capacity_peak_bytes = file->capacity_peak_bytes,
		.local_bytes = file->local_bytes,
		.local_drawn_bytes = now.local_bytes,
		.block_bytes = file->block_bytes,
		.processes = now.processes,
		.processes_max = file->processes_max,
		.processes_all = (unsigned int)(file->next_instance - 1),
	};
	totals->gauges.remote_peak_bytes = file->peak.remote_peak_bytes;
	totals->gauges.resident_peak_bytes = file->peak.resident_peak_bytes;
	for (i = 0; i < file->nr_slots; i++) {
		const struct tm_job_slot *slot = &file->slot[i];

		if (!slot->pid)
			continue;
		tm_job_raise_to(
			&totals->gauges.remote_peak_bytes,
			tm_load_relaxed(&slot->gauges.remote_peak_bytes));
		tm_job_raise_to(
			&totals->gauges.resident_peak_bytes,
			tm_load_relaxed(&slot->gauges.resident_peak_bytes));
		for (lane = 0; lane < slot->nr_lanes; lane++)
			tm_stats_merge(&totals->stats, &file->stats[i][lane]);
	}
	tm_job_unlock(file);
}
