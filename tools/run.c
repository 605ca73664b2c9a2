// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem run: servers on this machine, an unmodified program on top of them,
 * and what it did at the end.
 *
 * The program stays in this process group, so that terminals and shells treat
 * it as if it had been started alone. It is not killed when this process is:
 * what it has in local memory stays right, and its first access to what went
 * away with the servers ends in SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/auth.h"
#include "common/log.h"
#include "common/memory.h"
#include "common/session.h"
#include "common/size.h"
#include "tools/tool.h"

#define SAMPLE_NS 200000000L

struct run {
	struct tm_run_options options;
	struct tm_map map; /* as the program sees it */
	struct tm_servers servers;
	struct tm_agent agent;
	struct tm_run_files files;
	char preload[PATH_MAX];
	char folder[PATH_MAX];
	int folder_fd;
	int stats_fd;
	sigset_t old_mask;
	pid_t program;
};

static const int forwarded[] = {SIGTERM, SIGHUP,  SIGINT,
				SIGQUIT, SIGUSR1, SIGUSR2};

/* ---- before anything is started ----------------------------------------- */

static int check_memory(const struct tm_run_options *o)
{
	uint64_t room = tm_memory_headroom();
	uint64_t size = o->map.size_bytes, local = o->map.local_bytes;
	char text[3][32];

	if (o->map_file || o->overcommit ||
	    (local < room && size <= room - local))
		return 0;
	tm_size_format(size, text[0], sizeof(text[0]));
	tm_size_format(local, text[1], sizeof(text[1]));
	tm_size_format(room, text[2], sizeof(text[2]));
	tm_err("--size=%s: this machine has %s free for it and --local=%s (use "
	       "less, or --overcommit if the program will not touch it all)",
	       text[0], text[2], text[1]);
	return -ENOMEM;
}

static int check_munge(void)
{
	char *cred, why[256];
	int err =
		tm_auth_munge_encode("", 0, geteuid(), &cred, why, sizeof(why));

	if (err)
		tm_err("--transport=tcp: %s", why);
	else
		free(cred);
	return err;
}

static void ignore_session(void *ctx, struct tm_session *session)
{
}

static void ignore_lost(void *ctx, struct tm_session *session, const char *why)
{
}

/*
 * Servers that a map names were not started here: what is wrong with one is
 * better said now than by the program's failing allocations.
 */
static int check_servers(const struct tm_map *map)
{
	static const struct tm_session_ops ops = {ignore_lost, ignore_session};
	struct tm_session *session;
	unsigned int i;
	char why[256];
	int err;

	for (i = 0; i < map->nr_servers; i++) {
		const struct tm_session_config config = {
			.server = &map->server[i],
			.job = map->job,
			.timeout_ms = map->timeout_s * 1000,
			.nr_channels = 1,
			.depth = 1,
		};

		err = tm_session_open(&config, &ops, NULL, &session, why,
				      sizeof(why));
		if (err) {
			tm_err("run: %s", why);
			return err;
		}
		tm_session_close(session);
	}
	return 0;
}

static int check_uffd(void)
{
	const char *opt_in = getenv("TERAMALLOC_UFFD");
	struct tm_uffd_probe uffd;

	tm_uffd_probe(&uffd);
	if (uffd.way >= TM_UFFD_DEVICE ||
	    (uffd.way == TM_UFFD_LIMITED && opt_in &&
	     !strcmp(opt_in, "limited")))
		return 0;
	tm_err("run: no full userfaultfd for this user; %s",
	       tm_uffd_remedy(&uffd));
	return -EPERM;
}

static int check_machine(struct tm_run_options *o)
{
	int err = tm_agent_choose(&o->engine);

	if (!err && o->engine == TM_ENGINE_UFFD)
		err = check_uffd();
	if (!err)
		err = check_memory(o);
	if (!err && o->tcp)
		err = check_munge();
	if (!err && o->map_file)
		err = check_servers(&o->map);
	return err;
}

static int find_preload(char path[PATH_MAX])
{
	int err = tm_path_find("allocator/libteramalloc-preload.so", path);

	if (!err && strpbrk(path, ": \t")) {
		tm_err("preload %s: LD_PRELOAD cannot hold blanks or colons; "
		       "install it elsewhere",
		       path);
		err = -EINVAL;
	}
	return err;
}

static int open_stats(struct run *run)
{
	const char *file = run->options.stats_file;

	run->stats_fd = -1;
	if (!file)
		return 0;
	run->stats_fd =
		open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	return run->stats_fd < 0 ? tm_option_bad("stats", file, strerror(errno))
				 : 0;
}

static void block_signals(struct run *run, sigset_t *set)
{
	size_t i;

	sigemptyset(set);
	sigaddset(set, SIGCHLD);
	for (i = 0; i < sizeof(forwarded) / sizeof(*forwarded); i++)
		sigaddset(set, forwarded[i]);
	sigprocmask(SIG_BLOCK, set, &run->old_mask);
}

/* ---- the ground that the program stands on ------------------------------ */

/*
 * The last CPU is the program's; this process and the servers, which inherit
 * it, keep the others.
 */
static int split_cpus(cpu_set_t *program)
{
	cpu_set_t all;
	int cpu;

	if (sched_getaffinity(0, sizeof(all), &all))
		return -errno;
	if (CPU_COUNT(&all) < 2)
		return -EINVAL;
	for (cpu = CPU_SETSIZE - 1; !CPU_ISSET(cpu, &all); cpu--)
		;
	CPU_ZERO(program);
	CPU_SET(cpu, program);
	CPU_CLR(cpu, &all);
	return sched_setaffinity(0, sizeof(all), &all) ? -errno : 0;
}

static int prepare(struct run *run)
{
	int err = 0;

	run->folder_fd = tm_folder_create(run->folder);
	if (run->folder_fd < 0)
		return run->folder_fd;
	run->map = run->options.map;
	if (!run->options.map_file)
		err = tm_servers_start(&run->servers, run->folder,
				       &run->options, &run->map);
	if (!err)
		err = tm_folder_fill(run->folder, &run->map, &run->files);
	if (!err && run->options.engine == TM_ENGINE_KMOD)
		err = tm_agent_start(&run->agent, &run->map);
	return err;
}

static void clean_up(struct run *run)
{
	if (run->files.job)
		tm_job_detach(run->files.job);
	tm_agent_end(&run->agent);
	tm_servers_end(&run->servers);
	if (run->folder_fd >= 0)
		tm_folder_remove(run->folder, run->folder_fd);
	if (run->stats_fd >= 0)
		close(run->stats_fd);
}

/* ---- the program --------------------------------------------------------- */

static void set_environment(const struct run *run)
{
	const char *others = getenv("LD_PRELOAD");
	char *preload, number[16];
	int device = tm_uffd_device();

	if (asprintf(&preload, "%s%s%s", run->preload,
		     others && *others ? ":" : "", others ? others : "") < 0)
		_exit(TM_EXIT_FAILURE);
	setenv("LD_PRELOAD", preload, 1);
	setenv("TERAMEM_JOB_MAP", run->files.map_path, 1);
	setenv("TERAMEM_JOB_FILE", run->files.job_path, 1);
	if (run->agent.space)
		setenv("TERAMEM_JOB_DEVICE", run->agent.device, 1);
	if (run->options.mmap)
		setenv("TERAMALLOC_MMAP", "1", 1);
	if (run->options.threshold)
		setenv("TERAMALLOC_THRESHOLD", run->options.threshold, 1);
	/*
	 * Root may open it; a program that gives root up (su, setpriv) may not
	 * any more, but may use what it inherited.
	 */
	if (device >= 0) {
		snprintf(number, sizeof(number), "%d", device);
		setenv("TERAMEM_UFFD_FD", number, 1);
	}
}

static int start_program(struct run *run, const cpu_set_t *cpus)
{
	char **command = run->options.command;
	int err = 0, failed[2];
	ssize_t n;

	if (pipe2(failed, O_CLOEXEC))
		return -errno;
	run->program = fork();
	if (!run->program) {
		set_environment(run);
		if (cpus)
			sched_setaffinity(0, sizeof(*cpus), cpus);
		sigprocmask(SIG_SETMASK, &run->old_mask, NULL);
		execvp(command[0], command);
		err = errno;
		n = write(failed[1], &err, sizeof(err));
		_exit(n < 0 ? TM_EXIT_FAILURE : TM_EXIT_NOT_FOUND);
	}
	close(failed[1]);
	if (run->program < 0) {
		err = EAGAIN;
	} else {
		do {
			n = read(failed[0], &err, sizeof(err));
		} while (n < 0 && errno == EINTR);
		if (n == sizeof(err))
			waitpid(run->program, NULL, 0);
	}
	close(failed[0]);
	if (err)
		tm_err("run %s: %s", command[0], strerror(err));
	return -err;
}

/* Returns true when the program has ended. */
static bool reap(struct run *run, int *status)
{
	bool ended = false;
	int one;
	pid_t pid;

	while ((pid = waitpid(-1, &one, WNOHANG)) > 0) {
		if (pid == run->program) {
			*status = one;
			ended = true;
		} else if (!tm_agent_reaped(&run->agent, pid)) {
			tm_servers_reaped(&run->servers, pid, one);
		}
	}
	return ended;
}

/*
 * Whatever a terminal sends, the program has got too. What was sent to this
 * process alone is meant for the program.
 */
static void forward(const struct run *run, const siginfo_t *info)
{
	if (info->si_code <= 0 && info->si_pid != run->program)
		kill(run->program, info->si_signo);
}

/* Reading keeps the peaks. */
static void read_outcome(const struct run *run, struct tm_outcome *out)
{
	if (run->agent.space) {
		tm_agent_outcome(&run->agent, out);
		return;
	}
	tm_job_totals(run->files.job, &out->totals);
	out->fault_ns_p50 =
		tm_hist_percentile(&out->totals.stats.fault_ns, 500);
	out->fault_ns_p99 =
		tm_hist_percentile(&out->totals.stats.fault_ns, 990);
}

static int wait_program(struct run *run, const sigset_t *set,
			struct tm_outcome *out)
{
	const struct timespec sample = {0, SAMPLE_NS};
	siginfo_t info;
	int sig, status = 0;

	for (;;) {
		sig = sigtimedwait(set, &info, &sample);
		if (sig == SIGCHLD) {
			if (reap(run, &status))
				return status;
		} else if (sig > 0) {
			forward(run, &info);
		} else {
			read_outcome(run, out);
		}
	}
}

static double seconds_since(const struct timespec *then)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)(now.tv_sec - then->tv_sec) +
	       (double)(now.tv_nsec - then->tv_nsec) / 1e9;
}

static int run_program(struct run *run, const sigset_t *set,
		       const cpu_set_t *cpus)
{
	struct tm_outcome *out = calloc(1, sizeof(*out));
	struct timespec started;
	int err, status;

	if (!out)
		return TM_EXIT_FAILURE;
	clock_gettime(CLOCK_MONOTONIC, &started);
	err = start_program(run, cpus);
	if (err) {
		free(out);
		return err == -ENOENT ? TM_EXIT_NOT_FOUND
				      : TM_EXIT_NOT_EXECUTABLE;
	}
	status = wait_program(run, set, out);
	out->wall_s = seconds_since(&started);
	out->exit_status = WIFSIGNALED(status)
				   ? TM_EXIT_SIGNAL + WTERMSIG(status)
				   : WEXITSTATUS(status);
	read_outcome(run, out);
	if (!run->options.quiet)
		tm_summary_print(&run->options, &run->map, out);
	if (run->stats_fd >= 0) {
		err = tm_summary_write(run->stats_fd, &run->options, &run->map,
				       out);
		if (err)
			tm_err("write %s: %s", run->options.stats_file,
			       strerror(-err));
	}
	status = out->exit_status;
	free(out);
	return err && !status ? TM_EXIT_FAILURE : status;
}

int tm_run_main(int argc, char **argv)
{
	static struct run run = {.folder_fd = -1, .stats_fd = -1};
	int status = TM_EXIT_FAILURE, err;
	cpu_set_t cpus;
	sigset_t set;

	run.servers.lease_fd = run.agent.stop_fd = -1;
	err = tm_run_options_parse(argc, argv, &run.options);
	if (err)
		return err > 0 ? 0 : TM_EXIT_FAILURE;
	if (check_machine(&run.options) || find_preload(run.preload) ||
	    open_stats(&run))
		return TM_EXIT_FAILURE;
	if (run.options.bind && split_cpus(&cpus)) {
		tm_err("--bind: this process may use one CPU only");
		return TM_EXIT_FAILURE;
	}
	block_signals(&run, &set);
	if (!prepare(&run))
		status = run_program(&run, &set,
				     run.options.bind ? &cpus : NULL);
	clean_up(&run);
	return status;
}
