// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What ordinary programs do with memory, done with remote memory whose pages
 * are absent. Each test runs in a process of its own, which starts its own
 * engine; prints TAP. SANITIZE is what it was built with: "none", "thread", ...
 */
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/paging/pattern.h"
#include "tests/paging/remote.h"

#define SKIP 77
#define AREA (16u << 20)
#define AREA_PAGES (AREA / PAGE)

#define CHECK(cond)                                                            \
	do {                                                                   \
		if (!(cond)) {                                                 \
			printf("# %s:%d: %s (errno %d)\n", __FILE__, __LINE__, \
			       #cond, errno);                                  \
			exit(1);                                               \
		}                                                              \
	} while (0)

static char *area, *filler;
static size_t filler_bytes; /* much more than there is local memory */
static const char *self;

static void get_area(void)
{
	struct teramalloc_stats s;

	area = remote_alloc(AREA);
	CHECK(area);
	CHECK(!remote_stats(&s));
	filler_bytes = s.limit_bytes * 4;
	filler = remote_alloc(filler_bytes);
	CHECK(filler);
	for (size_t i = 0; i < AREA_PAGES; i++)
		page_write(area + i * PAGE, i, 1);
}

static bool present(const void *addr)
{
	unsigned char vec;

	return mincore((void *)((uintptr_t)addr & ~(PAGE - 1)), PAGE, &vec) ||
	       vec & 1;
}

/* All of the area leaves local memory, but what may not. */
static void evict(void)
{
	for (size_t at = 0; at < filler_bytes; at += PAGE)
		filler[at]++;
}

static void evict_all(void)
{
	for (int i = 0; i < 10; i++) {
		evict();
		for (size_t p = 0; p <= AREA_PAGES; p++) {
			if (p == AREA_PAGES)
				return;
			if (present(area + p * PAGE))
				break;
		}
	}
	CHECK(!"the area can be evicted");
}

static void check_area(void)
{
	for (size_t i = 0; i < AREA_PAGES; i++)
		CHECK(page_check(area + i * PAGE, i, 1));
}

static void not_under(const char *sanitizer, const char *why)
{
	if (!strstr(SANITIZE, sanitizer))
		return;
	printf("# not under the %s sanitizer: %s\n", sanitizer, why);
	exit(SKIP);
}

static int temp_file(int flags)
{
	char name[] = "paging-XXXXXX";
	int fd = mkostemp(name, flags);

	if (fd >= 0)
		unlink(name);
	return fd;
}

static void test_files(void)
{
	int fd = temp_file(0);

	get_area();
	evict_all();
	CHECK(fd >= 0);
	CHECK(write(fd, area, AREA) == AREA);
	memset(area, 0, AREA);
	evict_all();
	CHECK(pread(fd, area, AREA, 0) == AREA);
	check_area();
	evict_all();
	check_area();
}

static void test_vectors(void)
{
	struct iovec iov[64];
	int fd = temp_file(0);

	get_area();
	evict_all();
	for (int i = 0; i < 64; i++)
		iov[i] = (struct iovec){area + (size_t)(i * 37 % 64) * 65536,
					65536};
	CHECK(writev(fd, iov, 64) == 64 * 65536);
	memset(area, 0, 64 * 65536);
	evict_all();
	CHECK(lseek(fd, 0, SEEK_SET) == 0);
	CHECK(readv(fd, iov, 64) == 64 * 65536);
	check_area();
}

static void test_direct(void)
{
	int fd = temp_file(O_DIRECT);

	if (fd < 0)
		exit(SKIP);
	get_area();
	evict_all();
	CHECK(write(fd, area, AREA) == AREA);
	memset(area, 0, AREA);
	evict_all();
	for (size_t at = 0; at < AREA; at += 1u << 20)
		CHECK(pread(fd, area + at, 1u << 20, (off_t)at) == 1u << 20);
	evict_all();
	check_area();
}

static void *sender(void *arg)
{
	int fd = *(int *)arg;

	for (size_t at = 0; at < AREA / 2;) {
		ssize_t n = send(fd, area + at, AREA / 2 - at, 0);

		CHECK(n > 0);
		at += (size_t)n;
	}
	return NULL;
}

static void test_sockets(void)
{
	pthread_t thread;
	int fd[2];

	not_under("thread", "it takes all threads' descriptors for the same");
	get_area();
	evict_all();
	CHECK(!socketpair(AF_UNIX, SOCK_STREAM, 0, fd));
	CHECK(!pthread_create(&thread, NULL, sender, &fd[0]));
	for (size_t at = AREA / 2; at < AREA;) {
		ssize_t n = recv(fd[1], area + at, AREA - at, 0);

		CHECK(n > 0);
		at += (size_t)n;
	}
	pthread_join(thread, NULL);
	evict_all();
	CHECK(!memcmp(area, area + AREA / 2, AREA / 2));
}

static volatile sig_atomic_t alarms;
static size_t alarm_page;

static void on_alarm(int sig)
{
	size_t i = mix(++alarm_page) % AREA_PAGES;

	alarms++;
	if (!page_check(area + i * PAGE, i, 1))
		_exit(1);
}

static void test_signals(void)
{
	struct sigaction act = {.sa_handler = on_alarm};
	struct itimerval often = {{0, 500}, {0, 500}};
	struct itimerval never = {{0, 0}, {0, 0}};

	not_under("thread", "it delays signals until a system call");
	get_area();
	sigaction(SIGALRM, &act, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int pass = 0; pass < 4; pass++) {
		evict();
		check_area();
	}
	setitimer(ITIMER_REAL, &never, NULL);
	CHECK(alarms > 20);
}

static void test_mlock(void)
{
	not_under("address", "it makes mlock() do nothing");
	not_under("thread", "it makes mlock() do nothing");
	get_area();
	evict_all();
	CHECK(!mlock(area + 5 * PAGE, 3 * PAGE));
	for (int i = 5; i < 8; i++)
		CHECK(present(area + (size_t)i * PAGE));
	evict();
	evict();
	for (int i = 5; i < 8; i++)
		CHECK(present(area + (size_t)i * PAGE));
	check_area();
	CHECK(!munlock(area + 5 * PAGE, 3 * PAGE));
	evict_all();
	check_area();
}

static void test_mprotect(void)
{
	get_area();
	CHECK(!mprotect(area + 9 * PAGE, 2 * PAGE, PROT_READ));
	evict();
	evict();
	CHECK(page_check(area + 9 * PAGE, 9, 1));
	CHECK(!mprotect(area + 9 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE));
	evict_all();
	CHECK(!mprotect(area + 9 * PAGE, 2 * PAGE, PROT_READ));
	check_area();
	evict();
	evict();
	CHECK(!mprotect(area + 9 * PAGE, 2 * PAGE, PROT_READ | PROT_WRITE));
	check_area();
	evict_all();
	check_area();
}

static int wait_for(pid_t pid)
{
	int status;

	CHECK(waitpid(pid, &status, 0) == pid);
	return status;
}

static void test_fork(void)
{
	char *p;
	pid_t pid;
	int status;

	get_area();
	evict_all();
	for (int i = 0; i < 2; i++) {
		/* Absent or present, the child finds nothing. */
		pid = fork();
		if (!pid)
			_exit(*(volatile char *)area ? 1 : 2);
		status = wait_for(pid);
		CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
		(void)*(volatile char *)area;
	}
	/* Nothing else appears at these addresses. */
	pid = fork();
	if (!pid) {
		p = mmap(area, AREA, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		_exit(p == area || p == MAP_FAILED);
	}
	CHECK(wait_for(pid) == 0);
	check_area();
	evict_all();
	check_area();
}

static void test_fork_engine(void)
{
	pid_t pid[3];
	int status;

	get_area();
	for (int i = 0; i < 3; i++) {
		pid[i] = fork();
		if (pid[i])
			continue;
		get_area();
		evict_all();
		check_area();
		if (!fork()) {
			get_area();
			evict_all();
			check_area();
			_exit(0);
		}
		CHECK(wait(&status) > 0 && status == 0);
		_exit(0);
	}
	evict_all();
	check_area();
	for (int i = 0; i < 3; i++)
		CHECK(wait_for(pid[i]) == 0);
}

static void test_exec(void)
{
	pid_t pid;

	get_area();
	pid = vfork();
	if (!pid) {
		execl(self, self, "files", NULL);
		_exit(99);
	}
	CHECK(wait_for(pid) == 0);
	evict_all();
	check_area();
	execl(self, self, "files", NULL);
}

static void *short_life(void *arg)
{
	for (size_t i = (size_t)arg; i < AREA_PAGES; i += 97)
		if (!page_check(area + i * PAGE, i, 1))
			return area;
	return NULL;
}

static void test_threads(void)
{
	pthread_t thread[8];
	void *bad;

	get_area();
	for (int round = 0; round < 20; round++) {
		for (size_t i = 0; i < 8; i++)
			CHECK(!pthread_create(&thread[i], NULL, short_life,
					      (void *)i));
		evict();
		for (size_t i = 0; i < 8; i++) {
			CHECK(!pthread_join(thread[i], &bad));
			CHECK(!bad);
		}
	}
}

static void test_discard(void)
{
	size_t block, i;

	get_area();
	block = remote_block();
	for (int round = 0; round < 3; round++) {
		if (round == 1)
			evict_all();
		remote_discard(area, AREA / 2);
		for (i = 0; i < AREA_PAGES / 2; i++)
			CHECK(page_check(area + i * PAGE, i, 0));
		for (; i < AREA_PAGES; i++)
			CHECK(page_check(area + i * PAGE, i, 1));
		for (i = 0; i < AREA_PAGES / 2; i++)
			page_write(area + i * PAGE, i, 1);
	}
	remote_discard(area + block, block);
	for (i = 0; i < block / PAGE; i++)
		CHECK(page_check(area + block + i * PAGE, 0, 0));
}

/* Programs that become daemons close what they do not know. */
static void test_closed(void)
{
	not_under("thread", "it takes all threads' descriptors for the same");
	get_area();
	for (int fd = 3; fd < 1024; fd++)
		close(fd);
	evict_all();
	check_area();
	evict_all();
	remote_discard(area, AREA);
	for (size_t i = 0; i < AREA_PAGES; i++)
		CHECK(page_check(area + i * PAGE, i, 0));
}

/*
 * A page that the program removed behind our back never turns into zeros: an
 * access ends in SIGBUS, or finds what was written where its block was not
 * mapped at that moment.
 */
static void test_removed(void)
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		alarm(100);
		get_area();
		page_write(area + 2 * PAGE, 2, 1);
		madvise(area + 3 * PAGE, PAGE, MADV_DONTNEED);
		_exit(page_check(area + 3 * PAGE, 3, 1) ? 0 : 1);
	}
	status = wait_for(pid);
	CHECK(!status || (WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS));
}

static void *worker_end(void *arg)
{
	usleep(100000);
	check_area();
	return NULL;
}

/* A process ends when the last thread of the program does. */
static void test_last_thread(void)
{
	pthread_t thread;

	not_under("thread", "its own thread is one more of the program's");
	get_area();
	evict_all();
	alarm(100);
	pthread_create(&thread, NULL, worker_end, NULL);
	pthread_exit(NULL);
}

/* A raw system call of its own, or a uid that changes, in another thread. */
static void test_setuid(void)
{
	get_area();
	if (setuid(getuid() ? getuid() : 65534))
		exit(SKIP);
	evict_all();
	check_area();
}

static const struct {
	const char *name;
	void (*run)(void);
} tests[] = {
	{"files", test_files},
	{"vectors", test_vectors},
	{"direct", test_direct},
	{"sockets", test_sockets},
	{"signals", test_signals},
	{"mlock", test_mlock},
	{"mprotect", test_mprotect},
	{"fork", test_fork},
	{"fork-engine", test_fork_engine},
	{"exec", test_exec},
	{"threads", test_threads},
	{"discard", test_discard},
	{"closed", test_closed},
	{"removed", test_removed},
	{"last-thread", test_last_thread},
	{"setuid", test_setuid},
};
#define NR_TESTS (sizeof(tests) / sizeof(tests[0]))

int main(int argc, char **argv)
{
	int status, failed = 0;
	pid_t pid;

	self = argv[0];
	setvbuf(stdout, NULL, _IOLBF, 0);
	for (size_t i = 0; argc > 1 && i < NR_TESTS; i++) {
		if (strcmp(argv[1], tests[i].name))
			continue;
		tests[i].run();
		return 0;
	}
	printf("1..%zu\n", NR_TESTS);
	for (size_t i = 0; i < NR_TESTS; i++) {
		pid = fork();
		if (!pid) {
			alarm(300);
			tests[i].run();
			exit(0);
		}
		status = wait_for(pid);
		if (WIFEXITED(status) && WEXITSTATUS(status) == SKIP) {
			printf("ok %zu - %s # SKIP not possible here\n", i + 1,
			       tests[i].name);
			continue;
		}
		if (status)
			printf("# ended with %#x\n", status);
		printf("%sok %zu - %s\n", status ? "not " : "", i + 1,
		       tests[i].name);
		failed |= status;
	}
	return failed != 0;
}
