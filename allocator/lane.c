// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A lane: the thread that serves faults. Its event loop takes faults first,
 * then completions, then, while nothing waits, the pager's background work.
 *
 * How long a program waits for its fault is mostly the time that the system
 * needs to wake the lane, and then the program; on a virtual machine waking an
 * idle processor costs more than the transfer. So after something happened the
 * lane looks again for a short while before it sleeps (spinning), but only
 * where that takes nothing away from anyone: not where it shares one processor
 * with the program, nor where it has to wait for a processor.
 *
 * Lock order: log_lock only.
 */
#include <fcntl.h>
#include <linux/close_range.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "allocator/config.h"
#include "allocator/engine_internal.h"

#define LANE_STACK_BYTES (256u << 10)
#define FAULTS_AT_ONCE 16
#define TICK_NS 100000000ull
#define EXIT_CHECK_NS 1000000000ull
#define SPIN_NS 60000ull
/* Processors are scarce where a lane waits for one for 1/8 of the time. */
#define CONTENDED_SHARE 8
/* It does not spin then, for so long at most. */
#define REST_MAX_NS 1000000000ull
#define LOG_BYTES 1024

/* The lane's own descriptors start here; below there is nothing to write to. */
#define LANE_FD_FIRST 3

static __thread struct tm_engine_lane *self
	__attribute__((tls_model("initial-exec")));

struct tm_engine_lane *tm_lane_self(void)
{
	return self;
}

bool tm_engine_thread(void)
{
	return self != NULL;
}

u64 tm_engine_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
}

void tm_lane_log(enum tm_log_level level, const char *fmt, ...)
{
	static pthread_mutex_t log_lock = PTHREAD_MUTEX_INITIALIZER;
	char text[LOG_BYTES];
	int pidfd, fd = -1;
	va_list args;

	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	if (!self) {
		tm_log(level, "%s", text);
		return;
	}
	/* Borrow the program's stderr for the time of one message. */
	pthread_mutex_lock(&log_lock);
	pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (pidfd >= 0) {
		fd = (int)syscall(SYS_pidfd_getfd, pidfd, STDERR_FILENO, 0);
		close(pidfd);
	}
	if (fd >= 0) {
		dup3(fd, STDERR_FILENO, O_CLOEXEC);
		close(fd);
		tm_log(level, "%s", text);
		dup3(STDIN_FILENO, STDERR_FILENO, O_CLOEXEC);
	}
	pthread_mutex_unlock(&log_lock);
}

/*
 * A descriptor table of our own, with nothing in it but the userfaultfd. The
 * program keeps its copy of that, so that the kernel serves faults until the
 * last of either is gone.
 */
static int own_descriptors(struct tm_uffd_engine *e)
{
	int fd, nowhere;

	if (syscall(SYS_close_range, ~0u, ~0u, CLOSE_RANGE_UNSHARE))
		return -errno;
	fd = fcntl(e->uffd.fd, F_DUPFD_CLOEXEC, LANE_FD_FIRST);
	nowhere = open("/", O_PATH | O_CLOEXEC);
	if (fd < 0 || nowhere < 0)
		return -errno;
	for (int i = 0; i < LANE_FD_FIRST; i++)
		if (i != nowhere && dup3(nowhere, i, O_CLOEXEC) < 0)
			return -errno;
	if (fd != LANE_FD_FIRST) {
		if (dup3(fd, LANE_FD_FIRST, O_CLOEXEC) < 0)
			return -errno;
	}
	e->uffd.fd = LANE_FD_FIRST;
	if (syscall(SYS_close_range, LANE_FD_FIRST + 1, ~0u, 0))
		return -errno;
	return 0;
}

static void serve(struct tm_engine_lane *lane, const struct uffd_msg *msg,
		  u64 now)
{
	struct tm_uffd_engine *e = lane->engine;
	struct tm_stats *stats = tm_lane_stats(lane->pager);
	u64 addr = msg->arg.pagefault.address, flags = msg->arg.pagefault.flags;
	u64 offset = addr - (uintptr_t)e->engine.base, spurious;

	TM_BUG_ON(msg->event != UFFD_EVENT_PAGEFAULT);
	if (tm_command_take(lane, addr))
		return;
	TM_BUG_ON(offset >= e->engine.size);
	/*
	 * Faults of several threads on one block: all but the first are
	 * spurious. But a page that is not there for good would fault forever.
	 */
	for (int i = 0; i < 3; i++) {
		spurious = stats->faults_spurious;
		tm_pager_fault(lane->pager, offset >> e->block_shift,
			       flags & (UFFD_PAGEFAULT_FLAG_WRITE |
					UFFD_PAGEFAULT_FLAG_WP),
			       now);
		if (stats->faults_spurious == spurious ||
		    flags & UFFD_PAGEFAULT_FLAG_WP ||
		    tm_uffd_page_there((void *)addr))
			return;
	}
	tm_lost_vanished(e, addr, (pid_t)msg->arg.pagefault.feat.ptid);
}

static unsigned int take_faults(struct tm_engine_lane *lane)
{
	struct tm_uffd_engine *e = lane->engine;
	struct uffd_msg msg[FAULTS_AT_ONCE];
	/* Several lanes share the work instead of one taking all of it. */
	size_t at_once = e->nr_lanes > 1 ? 2 : FAULTS_AT_ONCE;
	ssize_t len = read(e->uffd.fd, msg, at_once * sizeof(msg[0]));
	unsigned int nr = len > 0 ? (unsigned int)len / sizeof(msg[0]) : 0;
	u64 now = nr ? tm_engine_now() : 0;

	for (unsigned int i = 0; i < nr; i++)
		serve(lane, &msg[i], now);
	return nr;
}

/*
 * Whether and how long to spin, judged from time to time: not while the lane
 * has to wait for its processor, and with a longer rest each time that spinning
 * has brought that about. Being preempted says nothing: a program that was
 * woken on the lane's processor goes on there, comes back with its next fault,
 * and took no time from either.
 */
static void judge_spinning(struct tm_engine_lane *lane, u64 now)
{
	int set = tm_config_get()->spin_us;
	u64 ran_ns, past = now - lane->judged_ns, waited = 0;
	struct timespec t;
	cpu_set_t cpus;

	if (set >= 0) {
		lane->spin_ns = (u64)set * 1000;
		return;
	}
	if (past < TICK_NS)
		return;
	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
	ran_ns = (u64)t.tv_sec * 1000000000ull + (u64)t.tv_nsec;
	if (lane->judged_ns)
		waited = past - (ran_ns - lane->ran_ns) - lane->napped_ns;
	lane->judged_ns = now;
	lane->ran_ns = ran_ns;
	lane->napped_ns = 0;
	if (!sched_getaffinity(0, sizeof(cpus), &cpus) &&
	    CPU_COUNT(&cpus) == 1) {
		lane->spin_ns = 0;
		return;
	}
	if ((s64)waited > (s64)(past / CONTENDED_SHARE)) {
		if (lane->spin_ns && lane->rest_ns < REST_MAX_NS)
			lane->rest_ns += lane->rest_ns + TICK_NS;
		lane->spin_from_ns = now + lane->rest_ns;
	} else if (lane->spin_ns) {
		lane->rest_ns = 0;
	}
	lane->spin_ns = now < lane->spin_from_ns ? 0 : SPIN_NS;
}

static void nap(struct tm_engine_lane *lane)
{
	struct tm_uffd_engine *e = lane->engine;
	struct pollfd fds[1 + TM_SERVERS_MAX];
	struct tm_channel *channel;
	unsigned int nr = 1;
	int wait_ms = TICK_NS / 1000000, ms;

	fds[0] = (struct pollfd){.fd = e->uffd.fd, .events = POLLIN};
	for (unsigned int i = 0; i < e->map.nr_servers; i++) {
		channel = tm_session_channel(e->session[i], lane->index);
		fds[nr].fd = tm_channel_fd(channel, &fds[nr].events);
		fds[nr++].revents = 0;
		ms = tm_channel_wait_ms(channel);
		if (ms >= 0 && ms < wait_ms)
			wait_ms = ms;
	}
	poll(fds, nr, wait_ms);
}

static void tick(struct tm_engine_lane *lane, u64 now)
{
	lane->tick_ns = now;
	judge_spinning(lane, now);
	tm_transport_process(lane, true);
	tm_transport_tick(lane);
	if (lane->index)
		return;
	tm_budget_tick(lane->engine);
	if (now - lane->exit_check_ns < EXIT_CHECK_NS)
		return;
	lane->exit_check_ns = now;
	tm_exit_check(lane->engine);
}

static void run(struct tm_engine_lane *lane)
{
	struct tm_uffd_engine *e = lane->engine;
	unsigned int nr;
	bool more;
	u64 now;

	while (!tm_load_relaxed(&e->stopping)) {
		nr = take_faults(lane);
		if (nr)
			tm_budget_grow(e);
		tm_transport_flush(lane);
		nr += tm_transport_process(lane, false);
		if (lane->commands) {
			tm_command_step(lane);
			nr++;
		}
		more = false;
		if (!nr)
			more = tm_pager_balance(lane->pager);
		more |= tm_transport_flush(lane);
		now = tm_engine_now();
		if (now - lane->tick_ns >= TICK_NS)
			tick(lane, now);
		if (nr || more) {
			lane->active_ns = now;
			tm_budget_gauges(e);
			continue;
		}
		if (now - lane->active_ns < lane->spin_ns) {
			__builtin_ia32_pause();
			continue;
		}
		nap(lane);
		lane->napped_ns += tm_engine_now() - now;
		tm_transport_process(lane, true);
	}
}

static void *lane_main(void *arg)
{
	struct tm_engine_lane *lane = arg;
	struct tm_uffd_engine *e = lane->engine;
	char name[16];
	int err = 0;

	self = lane;
	lane->commands_end = &lane->commands;
	snprintf(name, sizeof(name), "teramem/%u", lane->index);
	prctl(PR_SET_NAME, name);
	if (!lane->index) {
		err = own_descriptors(e);
		if (err)
			tm_log(TM_LOG_ERROR,
			       "start engine: own descriptor table: %s; Linux "
			       "5.9 is needed",
			       strerror(-err));
		else
			err = tm_engine_set_up(e);
		e->start_err = err;
		tm_store_release(&e->ready, 1);
		syscall(SYS_futex, &e->ready, 1 /* FUTEX_WAKE */, INT_MAX, NULL,
			NULL, 0);
	}
	if (!err)
		run(lane);
	if (!lane->index) {
		for (unsigned int i = 1; i < e->nr_lanes; i++)
			if (e->lane[i].started)
				pthread_join(e->lane[i].thread, NULL);
		tm_transport_close(e);
	}
	return NULL;
}

int tm_lane_start(struct tm_engine_lane *lane)
{
	sigset_t all, old;
	pthread_attr_t attr;
	size_t bytes = LANE_STACK_BYTES;
	int err;

	sigfillset(&all);
	pthread_attr_init(&attr);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	/* A program with much thread-local data needs more stack. */
	do {
		pthread_attr_setstacksize(&attr, bytes);
		err = pthread_create(&lane->thread, &attr, lane_main, lane);
		bytes *= 4;
	} while (err == EINVAL && bytes <= 256u << 20);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	lane->started = !err;
	return -err;
}
