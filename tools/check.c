// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem check: what works on this machine, and the remedy for what does not.
 * Each line is found out by one function; a "fail" means that `teramem run`
 * would not work.
 */
#include <inttypes.h>
#include <json-c/json.h>
#include <linux/userfaultfd.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/auth.h"
#include "common/memory.h"
#include "common/log.h"
#include "common/module.h"
#include "common/size.h"
#include "tools/tool.h"

/* Not in the headers of Debian 12. */
#ifndef UFFD_FEATURE_MOVE
#define UFFD_FEATURE_MOVE (1 << 16)
#endif

/* Versions of munge in which CVE-2026-25506 is fixed. */
#define MUNGE_FIXED "0.5.18"
#define MUNGE_FIXED_DEBIAN "0.5.15-2+deb12u"

enum state { STATE_OK, STATE_WARN, STATE_FAIL };
static const char *const state_names[] = {"ok", "warn", "fail"};

struct finding {
	enum state state;
	char text[160];
	char remedy[256];
};

__attribute__((format(printf, 3, 4))) static void
find(struct finding *f, enum state state, const char *fmt, ...)
{
	va_list ap;

	f->state = state;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

__attribute__((format(printf, 2, 3))) static void remedy(struct finding *f,
							 const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(f->remedy, sizeof(f->remedy), fmt, ap);
	va_end(ap);
}

/* Returns the first line of a file, "" if it cannot be read. */
static char *file_line(const char *path, char *buf, size_t len)
{
	FILE *file = fopen(path, "re");

	if (!file || !fgets(buf, (int)len, file))
		buf[0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (file)
		fclose(file);
	return buf;
}

static void check_kernel(struct finding *f)
{
	struct utsname name;
	unsigned int major = 0, minor = 0;

	uname(&name);
	sscanf(name.release, "%u.%u", &major, &minor);
	if (major < 5 || (major == 5 && minor < 14)) {
		find(f, STATE_FAIL, "%s", name.release);
		remedy(f, "use Linux 5.14 or later; 6.8 or later is faster");
	} else {
		find(f, STATE_OK, "%s", name.release);
	}
}

static void check_uffd(struct finding *f)
{
	struct tm_uffd_probe probe;

	tm_uffd_probe(&probe);
	switch (probe.way) {
	case TM_UFFD_SYSCALL:
		find(f, STATE_OK, "full, by the system call");
		break;
	case TM_UFFD_DEVICE:
		find(f, STATE_OK, "full, by /dev/userfaultfd");
		break;
	case TM_UFFD_LIMITED:
		find(f, STATE_FAIL,
		     "limited: system calls into absent memory would fail");
		remedy(f,
		       "%s; for programs that do no I/O on their large memory: "
		       "export TERAMALLOC_UFFD=limited",
		       tm_uffd_remedy(&probe));
		break;
	case TM_UFFD_NONE:
		find(f, STATE_FAIL, "none");
		remedy(f, "%s", tm_uffd_remedy(&probe));
		break;
	}
}

static void check_device(struct finding *f)
{
	struct tm_uffd_probe probe;

	tm_uffd_probe(&probe);
	if (!probe.device_err) {
		find(f, STATE_OK, "may be opened");
	} else if (probe.way == TM_UFFD_SYSCALL) {
		find(f, STATE_OK, "%s; not needed",
		     strerror(-probe.device_err));
	} else {
		find(f, STATE_WARN, "%s", strerror(-probe.device_err));
		remedy(f, "%s", tm_uffd_remedy(&probe));
	}
}

static void check_mechanism(struct finding *f)
{
	struct tm_uffd_probe probe;

	tm_uffd_probe(&probe);
	if (probe.features & UFFD_FEATURE_MOVE)
		find(f, STATE_OK,
		     "move: pages change place, they are not copied");
	else if (probe.features & UFFD_FEATURE_PAGEFAULT_FLAG_WP)
		find(f, STATE_OK,
		     "copy: the kernel cannot move pages (Linux 6.8 can)");
	else {
		find(f, STATE_FAIL, "no write protection for userfaultfd");
		remedy(f, "use a kernel with CONFIG_PTE_MARKER_UFFD_WP or "
			  "userfaultfd write protection (x86-64: 5.7)");
	}
}

static void check_module(struct finding *f)
{
	struct tm_module_probe probe;

	tm_module_probe(&probe);
	find(f, probe.err ? STATE_WARN : STATE_OK, "%s", probe.found);
	remedy(f, "%s", probe.remedy);
}

static void check_memlock(struct finding *f)
{
	struct rlimit limit;
	char text[32];

	getrlimit(RLIMIT_MEMLOCK, &limit);
	if (!geteuid() || limit.rlim_cur == RLIM_INFINITY) {
		find(f, STATE_OK, "not limited");
		return;
	}
	find(f, STATE_WARN, "limited to %s: lent memory may be swapped out",
	     tm_size_format(limit.rlim_cur, text, sizeof(text)));
	remedy(f, "as root: memlock unlimited for this user in "
		  "/etc/security/limits.conf, or LimitMEMLOCK=infinity of its "
		  "service");
}

static void check_free(struct finding *f)
{
	char text[2][32];
	uint64_t cgroup = tm_memory_cgroup_headroom();

	tm_size_format(tm_memory_headroom(), text[0], sizeof(text[0]));
	if (cgroup == UINT64_MAX)
		find(f, STATE_OK, "%s may be lent; no memory cgroup limit",
		     text[0]);
	else
		find(f, STATE_OK,
		     "%s may be lent; the memory cgroup has %s left", text[0],
		     tm_size_format(cgroup, text[1], sizeof(text[1])));
}

static void check_overcommit(struct finding *f)
{
	char text[16];

	file_line("/proc/sys/vm/overcommit_memory", text, sizeof(text));
	if (strcmp(text, "2")) {
		find(f, STATE_OK, "mode %s", text);
	} else {
		find(f, STATE_WARN,
		     "mode 2: large reservations count as memory");
		remedy(f, "as root: sysctl vm.overcommit_memory=0");
	}
}

static void check_hugepages(struct finding *f)
{
	char thp[64], *open, *close;

	file_line("/sys/kernel/mm/transparent_hugepage/enabled", thp,
		  sizeof(thp));
	open = strchr(thp, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close)
		*close = '\0';
	find(f, STATE_OK, "transparent huge pages: %s",
	     close ? open + 1 : "none");
}

/* Runs one fixed program and reads its first line. */
static bool command_line(const char *const argv[], char *buf, size_t len)
{
	static char *const environment[] = {"PATH=/usr/sbin:/usr/bin",
					    "LC_ALL=C", NULL};
	posix_spawn_file_actions_t actions;
	int out[2], status = -1, err;
	FILE *file;
	pid_t pid;

	if (pipe(out))
		return false;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", 1, 0);
	posix_spawn_file_actions_addclose(&actions, out[0]);
	err = posix_spawn(&pid, argv[0], &actions, NULL, (char *const *)argv,
			  environment);
	posix_spawn_file_actions_destroy(&actions);
	close(out[1]);
	file = fdopen(out[0], "r");
	if (!file || !fgets(buf, (int)len, file))
		buf[0] = '\0';
	buf[strcspn(buf, "\n")] = '\0';
	if (file)
		fclose(file);
	else
		close(out[0]);
	if (!err)
		waitpid(pid, &status, 0);
	return !status && buf[0];
}

static bool munge_is_fixed(char *version, size_t len)
{
	static const char *const dpkg[] = {"/usr/bin/dpkg-query", "-W",
					   "--showformat=${Version}\\n",
					   "munge", NULL};
	static const char *const munged[] = {"/usr/sbin/munged", "--version",
					     NULL};
	unsigned int a = 0, b = 0, c = 0;
	const char *number;

	if (command_line(dpkg, version, len) &&
	    !strncmp(version, MUNGE_FIXED_DEBIAN, strlen(MUNGE_FIXED_DEBIAN)))
		return true;
	if (!version[0] && !command_line(munged, version, len)) {
		snprintf(version, len, "of unknown version");
		return false;
	}
	number = strpbrk(version, "0123456789");
	return number && sscanf(number, "%u.%u.%u", &a, &b, &c) == 3 &&
	       (a > 0 || b > 5 || (b == 5 && c >= 18));
}

static void check_munge(struct finding *f)
{
	char *cred = NULL, version[80], why[256];
	int err =
		tm_auth_munge_encode("", 0, geteuid(), &cred, why, sizeof(why));

	free(cred);
	if (err) {
		find(f, STATE_WARN,
		     "not usable; servers on other machines need it");
		remedy(f, "%s", why);
	} else if (munge_is_fixed(version, sizeof(version))) {
		find(f, STATE_OK, "works; %s", version);
	} else {
		find(f, STATE_WARN, "works, but %s may have CVE-2026-25506",
		     version);
		remedy(f, "install munge " MUNGE_FIXED
			  " or later, on Debian 12 " MUNGE_FIXED_DEBIAN
			  "1 or later");
	}
}

static void check_parts(struct finding *f)
{
	static const char *const parts[] = {
		"server/teramemd", "allocator/libteramalloc-preload.so"};
	char path[PATH_MAX];
	size_t i;

	for (i = 0; i < sizeof(parts) / sizeof(*parts); i++) {
		if (!tm_path_find(parts[i], path))
			continue;
		find(f, STATE_FAIL, "%s is missing", parts[i]);
		remedy(f, "install Teramem (meson install) or build all of it");
		return;
	}
	find(f, STATE_OK, "memory server and preload are in place");
}

static const struct check {
	const char *name;
	void (*check)(struct finding *f);
} checks[] = {
	{"kernel", check_kernel},
	{"userfaultfd", check_uffd},
	{"/dev/userfaultfd", check_device},
	{"mechanism", check_mechanism},
	{"kernel module", check_module},
	{"teramem", check_parts},
	{"memory", check_free},
	{"overcommit", check_overcommit},
	{"locked memory", check_memlock},
	{"huge pages", check_hugepages},
	{"munge", check_munge},
};
#define NR_CHECKS (sizeof(checks) / sizeof(*checks))

static void print_table(const struct finding *findings, bool works)
{
	size_t i;

	for (i = 0; i < NR_CHECKS; i++) {
		const struct finding *f = &findings[i];

		printf("%-17s %-5s %s\n", checks[i].name, state_names[f->state],
		       f->text);
		if (f->remedy[0])
			printf("%-17s       -> %s\n", "", f->remedy);
	}
	puts(works ? "\nteramem run works here."
		   : "\nteramem run does not work here yet; see the lines "
		     "marked fail.");
}

static void print_json(const struct finding *findings, bool works)
{
	struct json_object *root = json_object_new_object();
	struct json_object *list = json_object_new_array();
	size_t i;

	json_object_object_add(root, "works", json_object_new_boolean(works));
	for (i = 0; i < NR_CHECKS; i++) {
		struct json_object *one = json_object_new_object();

		json_object_object_add(one, "name",
				       json_object_new_string(checks[i].name));
		json_object_object_add(
			one, "state",
			json_object_new_string(state_names[findings[i].state]));
		json_object_object_add(
			one, "found", json_object_new_string(findings[i].text));
		json_object_object_add(
			one, "remedy",
			json_object_new_string(findings[i].remedy));
		json_object_array_add(list, one);
	}
	json_object_object_add(root, "checks", list);
	puts(json_object_to_json_string_ext(
		root, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
			      JSON_C_TO_STRING_NOSLASHESCAPE));
	json_object_put(root);
}

static const char usage[] =
	"Usage: teramem check [--json]\n"
	"Say what works on this machine, with the remedy for what does not.\n"
	"Exit status 0: teramem run works here. See teramem-check(1).\n";

int tm_check_main(int argc, char **argv)
{
	static struct finding findings[NR_CHECKS];
	bool json = false, works = true;
	size_t i;
	int err = tm_option_flag(argc, argv, "check", "json", usage, &json);

	if (err)
		return err > 0 ? 0 : TM_EXIT_FAILURE;
	for (i = 0; i < NR_CHECKS; i++) {
		checks[i].check(&findings[i]);
		works &= findings[i].state != STATE_FAIL;
	}
	if (json)
		print_json(findings, works);
	else
		print_table(findings, works);
	return tm_written("check", works ? 0 : 1);
}
