// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * In slurmstepd: gives a job's tasks their remote memory, or refuses to start
 * them; has the job helper start what lives as long as the job, in its cgroup:
 * on donors the server, on compute nodes what holds the servers.
 *
 * The prolog left one of these files in the job's folder, which is root's:
 * "ready" (its lines are environment variables), "failed" (why), "donor".
 * Where a job asked for remote memory and there is none of them, the prolog
 * did not run for this start of the job: then it is refused, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <slurm/slurm.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "spank/plugin.h"

#define FILE_MAX_BYTES 8192

static char refusal[512];
static bool has_memory;
static unsigned long prepared_start;
static int uffd_device = -1;

/* Returns bytes, or -errno; the text ends with a NUL. */
static ssize_t read_file(uint32_t job, const char *name, char *text, size_t len)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), TM_RUN_FOLDER "/%" PRIu32 "/%s", job,
		 name);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	n = read(fd, text, len - 1);
	if (n < 0)
		n = -errno;
	else
		text[n] = '\0';
	close(fd);
	return n;
}

/* Others' libraries stay, behind ours. */
static void preload(spank_t spank, const char *library)
{
	char others[4096], all[8192];

	if (spank_getenv(spank, "LD_PRELOAD", others, sizeof(others)) ||
	    !*others) {
		spank_setenv(spank, "LD_PRELOAD", library, 1);
		return;
	}
	if (strstr(others, library))
		return;
	snprintf(all, sizeof(all), "%s:%s", library, others);
	spank_setenv(spank, "LD_PRELOAD", all, 1);
}

static void set_environment(spank_t spank, char *text)
{
	char *line, *value, *rest = NULL;

	for (line = strtok_r(text, "\n", &rest); line;
	     line = strtok_r(NULL, "\n", &rest)) {
		value = strchr(line, '=');
		if (!value)
			continue;
		*value++ = '\0';
		if (!strcmp(line, "LD_PRELOAD"))
			preload(spank, value);
		else if (!strcmp(line, "restart"))
			prepared_start = strtoul(value, NULL, 10);
		else
			spank_setenv(spank, line, value, 1);
	}
}

/*
 * Each launch of a batch script has had a prolog of its own, or should have.
 * Slurm says only in a task's environment which launch it is.
 */
static bool is_of_this_start(spank_t spank)
{
	char text[16];
	uint32_t step = 0;
	unsigned long start = 0;

	if (spank_get_item(spank, S_JOB_STEPID, &step) ||
	    step != SLURM_BATCH_SCRIPT)
		return true;
	if (!spank_getenv(spank, "SLURM_RESTART_COUNT", text, sizeof(text)))
		start = strtoul(text, NULL, 10);
	return start == prepared_start;
}

/* The prolog says why, if it can write to the job's folder at all. */
static void refuse_unprepared(uint32_t job)
{
	char folder[64];

	snprintf(folder, sizeof(folder), TM_RUN_FOLDER "/%" PRIu32, job);
	if (access(folder, F_OK))
		strcpy(refusal, "no remote memory was prepared for this job on "
				"this node: give --teramem to sbatch or "
				"salloc; if you did, ask your administrator to "
				"look at the node's slurmd log");
	else
		snprintf(refusal, sizeof(refusal),
			 "nothing could be written to %s on this node: is /run "
			 "full? Ask your administrator",
			 folder);
}

int tm_step_user_init(spank_t spank)
{
	char text[FILE_MAX_BYTES];
	uint32_t job = 0;

	if (spank_get_item(spank, S_JOB_ID, &job))
		return 0;
	tm_options_forget_role(spank);
	if (read_file(job, "failed", text, sizeof(text)) > 0) {
		text[strcspn(text, "\n")] = '\0';
		snprintf(refusal, sizeof(refusal), "%.*s",
			 (int)sizeof(refusal) - 1, text);
	} else if (read_file(job, "ready", text, sizeof(text)) > 0) {
		has_memory = true;
		set_environment(spank, text);
	} else if (tm_plugin.conf.size_bytes && !tm_plugin.donor &&
		   read_file(job, "donor", text, sizeof(text)) < 0) {
		refuse_unprepared(job);
	}
	return 0;
}

int tm_step_task_privileged(spank_t spank)
{
	/*
	 * Left open for the program, which may not open it itself. Where there
	 * is none, the engine says what to do, if it has no other way.
	 */
	if (has_memory)
		uffd_device = open("/dev/userfaultfd", O_RDWR);
	return 0;
}

int tm_step_task(spank_t spank)
{
	char number[16];
	int task = 0;

	if (has_memory && !is_of_this_start(spank))
		strcpy(refusal, "the job was started again without a prolog, "
				"so without remote memory; submit it again");
	if (*refusal) {
		/* Once is enough for all tasks on this node. */
		if (spank_get_item(spank, S_TASK_ID, &task) || !task)
			slurm_error("teramem: %s", refusal);
		return -1;
	}
	if (uffd_device >= 0) {
		snprintf(number, sizeof(number), "%d", uffd_device);
		spank_setenv(spank, "TERAMEM_UFFD_FD", number, 1);
	}
	return 0;
}

/* The extern step has one: a sleeping one, in the job's cgroups. */
static pid_t only_child(void)
{
	FILE *file = fopen("/proc/thread-self/children", "re");
	int pid = 0;

	if (file && fscanf(file, "%d", &pid) != 1)
		pid = 0;
	if (file)
		fclose(file);
	return pid;
}

/*
 * The extern step lives as long as the job on its node, and holds the lease of
 * what the job helper starts there: the write end of a pipe, closed by whatever
 * way this process ends.
 */
int tm_step_forked(spank_t spank)
{
	char text[FILE_MAX_BYTES], numbers[4][32];
	char *argv[] = {NULL,	    NULL,	numbers[0], numbers[1],
			numbers[2], numbers[3], NULL};
	uint32_t job = 0, step = 0;
	uid_t uid = 0;
	gid_t gid = 0;
	int lease[2], ret;
	pid_t task;

	if (spank_get_item(spank, S_JOB_STEPID, &step) ||
	    step != SLURM_EXTERN_CONT ||
	    spank_get_item(spank, S_JOB_ID, &job) ||
	    spank_get_item(spank, S_JOB_UID, &uid) ||
	    spank_get_item(spank, S_JOB_GID, &gid))
		return 0;
	if (read_file(job, "donor", text, sizeof(text)) > 0)
		argv[1] = "donor";
	else if (read_file(job, "ready", text, sizeof(text)) > 0)
		argv[1] = "keep";
	else
		return 0;
	task = only_child();
	if (!task || pipe2(lease, O_CLOEXEC)) {
		slurm_error("teramem: %s of job %" PRIu32 ": %s", argv[1], job,
			    task ? strerror(errno) : "the step has no process");
		return 0;
	}
	snprintf(numbers[0], sizeof(numbers[0]), "--job=%" PRIu32, job);
	snprintf(numbers[1], sizeof(numbers[1]), "--uid=%u", uid);
	snprintf(numbers[2], sizeof(numbers[2]), "--gid=%u", gid);
	snprintf(numbers[3], sizeof(numbers[3]), "--task=%d", (int)task);
	ret = tm_helper_run(argv, lease[0]);
	close(lease[0]);
	if (ret)
		slurm_error("teramem: %s of job %" PRIu32
			    ": the job helper ended with %d",
			    argv[1], job, ret);
	return 0;
}
