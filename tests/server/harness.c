// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Running teramemd and munged for tests; see harness.h.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <json-c/json.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/auth.h"
#include "tests/server/harness.h"
#include "tests/server/peer.h"

#define ARGS_MAX 24

static char folder_path[64];
static pid_t munged_pid;

void sleep_ms(unsigned int ms)
{
	const struct timespec ts = {ms / 1000, ms % 1000 * 1000000L};

	nanosleep(&ts, NULL);
}

uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

const char *folder(void)
{
	return folder_path;
}

const char *unix_address(const char *name)
{
	static char address[TM_PROTO_ADDRESS_MAX];

	snprintf(address, sizeof(address), "unix:%s/%s", folder_path, name);
	return address;
}

int write_text(const char *path, const char *text)
{
	ssize_t n;
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -1 : 0;
}

int skip_all(const char *why)
{
	printf("1..0 # SKIP %s\n", why);
	return 0;
}

int setup_folder(void **state)
{
	signal(SIGPIPE, SIG_IGN);
	peer_server_uid = getuid();
	strcpy(folder_path, "/tmp/teramem-test-XXXXXX");
	if (!mkdtemp(folder_path))
		return -1;
	/* Tests run as other users too; what is secret has its own mode. */
	return chmod(folder_path, 0755);
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	return remove(path);
}

int teardown_folder(void **state)
{
	return nftw(folder_path, remove_one, 8, FTW_DEPTH | FTW_PHYS);
}

/* In the child: nothing outlives the test program. */
static void die_with_parent(pid_t parent)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		_exit(127);
}

/* ---- munged ------------------------------------------------------------- */

static int write_key(const char *path)
{
	uint8_t key[128];
	int fd, ret;

	if (tm_auth_random(key, sizeof(key)))
		return -1;
	fd = open(path, O_CREAT | O_EXCL | O_WRONLY, 0600);
	ret = fd >= 0 && write(fd, key, sizeof(key)) == sizeof(key) ? 0 : -1;
	close(fd);
	return ret;
}

static void exec_munged(void)
{
	char key[96], sock[96], log[96], pid[96], seed[96];

	snprintf(key, sizeof(key), "--key-file=%s/munge.key", folder_path);
	snprintf(sock, sizeof(sock), "--socket=%s/munge.socket", folder_path);
	snprintf(log, sizeof(log), "--log-file=%s/munged.log", folder_path);
	snprintf(pid, sizeof(pid), "--pid-file=%s/munged.pid", folder_path);
	snprintf(seed, sizeof(seed), "--seed-file=%s/munged.seed", folder_path);
	/* --force: a folder in /tmp is fine for a key that lives a minute. */
	execlp("munged", "munged", "--foreground", "--force", key, sock, log,
	       pid, seed, "--num-threads=2", NULL);
	execl("/usr/sbin/munged", "munged", "--foreground", "--force", key,
	      sock, log, pid, seed, "--num-threads=2", NULL);
	_exit(127);
}

int setup_munged(void **state)
{
	char path[96], probe[1], *cred, why[200];
	pid_t parent = getpid();
	int i;

	if (setup_folder(state))
		return -1;
	snprintf(path, sizeof(path), "%s/munge.key", folder_path);
	if (write_key(path))
		return -1;
	munged_pid = fork();
	if (munged_pid == 0) {
		die_with_parent(parent);
		i = open("/dev/null", O_RDWR);
		dup2(i, STDERR_FILENO);
		exec_munged();
	}
	snprintf(path, sizeof(path), "%s/munge.socket", folder_path);
	setenv("TERAMEM_MUNGE_SOCKET", path, 1);
	for (i = 0; i < 100; i++) {
		if (!tm_auth_munge_encode(probe, 0, 0, &cred, why,
					  sizeof(why))) {
			free(cred);
			return 0;
		}
		sleep_ms(50);
	}
	fprintf(stderr, "munged does not start: %s\n", why);
	return -1;
}

int teardown_munged(void **state)
{
	int status;

	kill(munged_pid, SIGTERM);
	waitpid(munged_pid, &status, 0);
	return teardown_folder(state);
}

/* ---- teramemd ----------------------------------------------------------- */

static void spawn(struct server *server, va_list args)
{
	char *path = getenv("TERAMEMD");
	/* The limit on locked memory is not these tests' matter. */
	char *argv[ARGS_MAX] = {path, "--mlock=no"};
	int out[2], err[2], n = 2;
	pid_t parent = getpid();

	assert_non_null(path);
	while (n < ARGS_MAX - 1 && (argv[n] = va_arg(args, char *)))
		n++;
	memset(server, 0, sizeof(*server));
	assert_return_code(pipe2(out, O_CLOEXEC), errno);
	assert_return_code(pipe2(err, O_CLOEXEC), errno);
	server->pid = fork();
	assert_return_code(server->pid, errno);
	if (server->pid == 0) {
		die_with_parent(parent);
		dup2(out[1], STDOUT_FILENO);
		dup2(err[1], STDERR_FILENO);
		execv(path, argv);
		_exit(127);
	}
	close(out[1]);
	close(err[1]);
	server->out = out[0];
	server->err_fd = err[0];
}

static void read_errors(struct server *server)
{
	size_t len = strlen(server->err);
	ssize_t n;

	while (len < sizeof(server->err) - 1 &&
	       (n = read(server->err_fd, server->err + len,
			 sizeof(server->err) - 1 - len)) > 0)
		len += n;
	server->err[len] = '\0';
}

static void reaped(struct server *server)
{
	read_errors(server);
	close(server->out);
	close(server->err_fd);
	server->pid = 0;
}

void server_start(struct server *server, ...)
{
	struct pollfd pollfd = {.events = POLLIN};
	struct json_object *line, *field;
	char text[1024];
	va_list args;
	ssize_t n;

	va_start(args, server);
	spawn(server, args);
	va_end(args);
	pollfd.fd = server->out;
	assert_int_equal(poll(&pollfd, 1, 10000), 1);
	n = read(server->out, text, sizeof(text) - 1);
	if (n <= 0) {
		read_errors(server);
		fail_msg("not ready: %s", server->err);
	}
	text[n] = '\0';
	/* Exactly one line. */
	assert_ptr_equal(strchr(text, '\n'), text + n - 1);
	line = json_tokener_parse(text);
	assert_non_null(line);
	assert_true(json_object_object_get_ex(line, "teramemd", &field));
	assert_string_equal(json_object_get_string(field), "ready");
	assert_true(json_object_object_get_ex(line, "pid", &field));
	assert_int_equal(json_object_get_int(field), server->pid);
	assert_true(json_object_object_get_ex(line, "address", &field));
	snprintf(server->address, sizeof(server->address), "%s",
		 json_object_get_string(field));
	json_object_put(line);
}

int server_wait(struct server *server, unsigned int ms)
{
	uint64_t end = now_ms() + ms;
	int status;

	while (waitpid(server->pid, &status, WNOHANG) == 0) {
		if (now_ms() > end)
			return -1;
		sleep_ms(10);
	}
	reaped(server);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

int server_run(struct server *server, ...)
{
	va_list args;
	int status;

	va_start(args, server);
	spawn(server, args);
	va_end(args);
	status = server_wait(server, 10000);
	if (status < 0) {
		kill(server->pid, SIGKILL);
		waitpid(server->pid, NULL, 0);
		reaped(server);
	}
	return status;
}

void server_stop(struct server *server)
{
	assert_true(server->pid > 0);
	kill(server->pid, SIGTERM);
	assert_int_equal(server_wait(server, 10000), 0);
}

int as_user(uid_t uid, int (*test)(const struct server *server),
	    const struct server *server)
{
	pid_t parent = getpid(), pid = fork();
	int status;

	assert_return_code(pid, errno);
	if (pid == 0) {
		if (setgid(uid) || setuid(uid))
			_exit(126);
		die_with_parent(parent);
		_exit(test(server));
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
