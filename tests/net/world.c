// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Real processes for tests of sessions; see world.h. Children die with the
 * test (PR_SET_PDEATHSIG), so that a failed one leaves nothing running.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/net/world.h"

#define ARGS_MAX 16
#define PATH_BYTES 128

static void die(const char *what)
{
	fprintf(stderr, "world: %s: %m\n", what);
	abort();
}

/* Standard input and output are pipes; standard error, where not NULL, a file.
 */
static pid_t spawn(char *const argv[], int *in, int *out, const char *err)
{
	int to[2], from[2];
	pid_t parent = getpid(), pid;

	if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
		die("pipe");
	pid = fork();
	if (pid < 0)
		die("fork");
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(1);
		dup2(to[0], 0);
		dup2(from[1], 1);
		if (err && !freopen(err, "w", stderr))
			die(err);
		execvp(argv[0], argv);
		die(argv[0]);
	}
	close(to[0]);
	close(from[1]);
	if (in)
		*in = to[1];
	else
		close(to[1]);
	if (out)
		*out = from[0];
	else
		close(from[0]);
	return pid;
}

static void end(pid_t *pid)
{
	if (*pid <= 0)
		return;
	kill(*pid, SIGKILL);
	waitpid(*pid, NULL, 0);
	*pid = 0;
}

static void read_line(int fd, char *line, size_t len)
{
	size_t done = 0;

	while (done < len - 1) {
		if (read(fd, line + done, 1) != 1)
			die("a child ended early");
		if (line[done] == '\n')
			break;
		done++;
	}
	line[done] = '\0';
}

static const char *program(const char *name)
{
	const char *path = getenv(name);

	if (!path) {
		fprintf(stderr, "world: set %s\n", name);
		exit(99);
	}
	return path;
}

static void begin(struct world *world)
{
	memset(world, 0, sizeof(*world));
	strcpy(world->dir, "/tmp/tm-world-XXXXXX");
	if (!mkdtemp(world->dir) || chmod(world->dir, 0755))
		die("make a folder");
}

bool world_has_munge(void)
{
	return system("command -v munged >/dev/null 2>&1") == 0;
}

static void start_munged(struct world *world)
{
	enum { KEY, SOCKET, PID, LOG, SEED, NR };
	static const char *const options[NR] = {
		"--key-file=%s/key", "--socket=%s/munge",   "--pid-file=%s/pid",
		"--log-file=%s/log", "--seed-file=%s/seed",
	};
	char text[NR][PATH_BYTES], path[PATH_BYTES];
	char *argv[ARGS_MAX] = {"munged", "--foreground", "--force"};
	char key[64];
	int fd, i;

	snprintf(path, sizeof(path), "%s/key", world->dir);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);
	for (i = 0; i < (int)sizeof(key); i++)
		key[i] = rand();
	if (fd < 0 || write(fd, key, sizeof(key)) != sizeof(key))
		die(path);
	close(fd);
	for (i = 0; i < NR; i++) {
		snprintf(text[i], PATH_BYTES, options[i], world->dir);
		argv[3 + i] = text[i];
	}
	snprintf(path, sizeof(path), "%s/stderr", world->dir);
	world->munged = spawn(argv, NULL, NULL, path);
	snprintf(path, sizeof(path), "%s/munge", world->dir);
	for (i = 0; access(path, F_OK) && i < 500; i++)
		usleep(10000);
	setenv("TERAMEM_MUNGE_SOCKET", path, 1);
}

/* @address: NULL: the one that is bound, which is told to the caller */
static void start_server(struct world *world, const char *listen,
			 const char *address, const char *capacity,
			 const char *grace)
{
	char text[6][160], line[1024], *start, *stop;
	char *argv[ARGS_MAX] = {(char *)program("TEST_TERAMEMD")};
	int out, nr = 0;

	snprintf(text[nr++], 160, "--listen=%s", listen);
	snprintf(text[nr++], 160, "--capacity=%s", capacity);
	snprintf(text[nr++], 160, "--grace=%s", grace);
	snprintf(text[nr++], 160, "--job=%d", WORLD_JOB);
	if (address) {
		snprintf(text[nr++], 160, "--address=%s", address);
		snprintf(text[nr++], 160, "--auth=munge");
	}
	for (; nr > 0; nr--)
		argv[nr] = text[nr - 1];
	world->server = spawn(argv, NULL, &out, NULL);
	read_line(out, line, sizeof(line));
	start = strstr(line, "\"address\":\"");
	stop = start ? strchr(start + 11, '"') : NULL;
	if (!stop)
		die(line);
	*stop = '\0';
	snprintf(world->address, sizeof(world->address), "%s", start + 11);
	close(out);
}

void world_unix(struct world *world, const char *capacity, const char *grace)
{
	char listen[PATH_BYTES];

	begin(world);
	snprintf(listen, sizeof(listen), "unix:%s/server", world->dir);
	start_server(world, listen, NULL, capacity, grace);
}

void world_tcp(struct world *world, const char *capacity, const char *grace)
{
	begin(world);
	start_munged(world);
	start_server(world, "tcp:127.0.0.1:0", NULL, capacity, grace);
}

void world_proxy(struct world *world, const char *capacity, const char *grace)
{
	char listen[PATH_BYTES], address[108];
	char *argv[] = {(char *)program("TEST_PROXY"), "tcp:127.0.0.1:0",
			listen, NULL};

	begin(world);
	start_munged(world);
	snprintf(listen, sizeof(listen), "unix:%s/server", world->dir);
	world->proxy = spawn(argv, &world->proxy_in, &world->proxy_out, NULL);
	read_line(world->proxy_out, address, sizeof(address));
	start_server(world, listen, address, capacity, grace);
}

void world_command(struct world *world, const char *command)
{
	char line[64];

	dprintf(world->proxy_in, "%s\n", command);
	read_line(world->proxy_out, line, sizeof(line));
	if (strcmp(line, "ok"))
		die(command);
}

void world_kill_server(struct world *world)
{
	end(&world->server);
}

void world_end(struct world *world)
{
	char command[64];

	end(&world->server);
	if (world->proxy) {
		close(world->proxy_in);
		close(world->proxy_out);
	}
	end(&world->proxy);
	end(&world->munged);
	snprintf(command, sizeof(command), "rm -r %s", world->dir);
	if (system(command))
		die(command);
}
