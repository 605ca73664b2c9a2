// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What a command asks Slurm for. A plugin cannot ask sbatch or salloc for its
 * options, so those few that matter are read once more: from the command line,
 * else the environment, else the script's #SBATCH lines.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "spank/plugin.h"
#include "spank/source.h"

#define COMMAND_LINE_MAX (4u << 20)
#define SCRIPT_LINE_MAX 4096
#define ARGS_MAX 256

/* Their short options that take a value; sbatch's -W does not. */
#define WITH_VALUE "AabBcCdDeFGiJLmMnNopPqStTUwx"
#define WITH_VALUE_SALLOC WITH_VALUE "W"
#define WITH_VALUE_SRUN "AbBcCdDeFGiJLmMnNopPqrStTwWxZ"

enum wanted {
	WANT_NODES,
	WANT_PARTITION,
	WANT_ARRAY,
	WANT_TIME,
	WANT_ACCOUNT,
	WANT_WRAP,
	WANT_NAME,
	WANT_ROLE,
	WANT_MEM,
	WANT_MEM_PER_CPU,
	WANT_MEM_PER_GPU,
	WANT_JOBID,
	WANT_NR,
};

static const struct want {
	const char *name;
	char letter;
	const char *variable; /* after SBATCH_, SALLOC_ or SLURM_ */
} wants[WANT_NR] = {
	[WANT_NODES] = {"nodes", 'N', NULL},
	[WANT_PARTITION] = {"partition", 'p', "PARTITION"},
	[WANT_ARRAY] = {"array", 'a', "ARRAY_INX"},
	[WANT_TIME] = {"time", 't', "TIMELIMIT"},
	[WANT_ACCOUNT] = {"account", 'A', "ACCOUNT"},
	[WANT_WRAP] = {"wrap", 0, "WRAP"},
	[WANT_NAME] = {"job-name", 'J', "JOB_NAME"},
	[WANT_ROLE] = {"teramem-role", 0, NULL},
	[WANT_MEM] = {"mem", 0, "MEM_PER_NODE"},
	[WANT_MEM_PER_CPU] = {"mem-per-cpu", 0, "MEM_PER_CPU"},
	[WANT_MEM_PER_GPU] = {"mem-per-gpu", 0, "MEM_PER_GPU"},
	[WANT_JOBID] = {"jobid", 0, NULL},
};

/*
 * @wanted: the component whose values count; @component: that is read now
 * @lenders: of all components
 */
struct found {
	const char *with_value;
	const char *value[WANT_NR];
	unsigned int wanted, component;
	bool het;
	char lenders[TM_TEXT_MAX];
};

static void begin_component(struct found *found)
{
	found->het = true;
	found->component++;
}

static void take(struct found *found, size_t want, const char *value)
{
	size_t used = strlen(found->lenders);

	if (want == WANT_ROLE)
		snprintf(found->lenders + used, sizeof(found->lenders) - used,
			 "%s%u", used ? "," : "", found->component);
	if (found->component == found->wanted)
		found->value[want] = value;
}

/*
 * --partition=x, --partition x, and what getopt takes for short: --part=x, but
 * not --teramem, which is an option itself.
 */
static int long_option(const char *arg, const char *next, struct found *found)
{
	size_t len = strcspn(arg, "="), i;

	for (i = 0; i < WANT_NR; i++) {
		if (len < (i == WANT_ROLE ? strlen("teramem-r") : 3) ||
		    len > strlen(wants[i].name) ||
		    strncmp(arg, wants[i].name, len))
			continue;
		take(found, i, arg[len] ? arg + len + 1 : next);
		return arg[len] ? 0 : 1;
	}
	return 0;
}

static int short_options(const char *arg, const char *next, struct found *found)
{
	size_t i;

	for (; *arg; arg++) {
		const char *value = arg[1] ? arg + 1 : next;

		if (!strchr(found->with_value, *arg))
			continue;
		for (i = 0; i < WANT_NR; i++)
			if (wants[i].letter == *arg)
				take(found, i, value);
		return arg[1] ? 0 : 1;
	}
	return 0;
}

static void scan(int argc, char **argv, struct found *found)
{
	int i;

	for (i = 0; i < argc && argv[i]; i++) {
		const char *next = i + 1 < argc ? argv[i + 1] : NULL;

		if (!strcmp(argv[i], ":"))
			begin_component(found);
		else if (!strncmp(argv[i], "--", 2))
			i += long_option(argv[i] + 2, next, found);
		else if (argv[i][0] == '-')
			i += short_options(argv[i] + 1, next, found);
	}
}

/* As sbatch does: up to the first line that is neither empty nor a comment. */
static bool scan_script(const char *path, struct found *found)
{
	char line[SCRIPT_LINE_MAX], *argv[ARGS_MAX], *text, *p, *q;
	FILE *file = fopen(path, "re");
	bool readable = file;
	int argc;

	while (file && fgets(line, sizeof(line), file)) {
		if (*line != '#' && line[strspn(line, " \t\r\n")])
			break;
		if (strncmp(line, "#SBATCH", 7))
			continue;
		text = strdup(line + 7);
		if (!text)
			break;
		/* Words, with quotes; what follows a # is a comment. */
		for (p = text, argc = 0; argc < ARGS_MAX;) {
			char quote = 0;

			p += strspn(p, " \t\r\n");
			if (!*p || *p == '#')
				break;
			argv[argc++] = q = p;
			for (; *p && (quote || !strchr(" \t\r\n", *p)); p++) {
				if (*p == quote)
					quote = 0;
				else if (!quote && strchr("'\"", *p))
					quote = *p;
				else
					*q++ = *p;
			}
			if (*p)
				p++;
			*q = '\0';
		}
		if (argc && !strcmp(argv[0], "hetjob"))
			begin_component(found);
		scan(argc, argv, found);
	}
	if (file)
		fclose(file);
	return readable;
}

static void scan_environment(const char *prefix, struct found *found)
{
	char name[64];
	size_t i;

	for (i = 0; i < WANT_NR; i++) {
		if (!wants[i].variable)
			continue;
		snprintf(name, sizeof(name), "%s_%s", prefix,
			 wants[i].variable);
		if (getenv(name))
			found->value[i] = getenv(name);
	}
}

static int read_command_line(struct tm_submission *s)
{
	char *text = malloc(COMMAND_LINE_MAX), *p;
	int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
	size_t len = 0;
	ssize_t n = -1;

	while (text && fd >= 0 && len < COMMAND_LINE_MAX &&
	       (n = read(fd, text + len, COMMAND_LINE_MAX - len)) > 0)
		len += (size_t)n;
	if (fd >= 0)
		close(fd);
	if (n != 0 || !len)
		return -EIO;
	for (p = text; p < text + len; p += strlen(p) + 1)
		s->argc++;
	s->argv = calloc((size_t)s->argc + 1, sizeof(*s->argv));
	if (!s->argv)
		return -ENOMEM;
	s->argc = 0;
	for (p = text; p < text + len; p += strlen(p) + 1)
		s->argv[s->argc++] = p;
	return 0;
}

/* "4", "2-4", "1-2:4"; the most that is named */
static uint64_t most_nodes(const char *text)
{
	uint64_t most = 0, n;

	while (text && *text) {
		if (*text < '0' || *text > '9') {
			text++;
			continue;
		}
		n = strtoull(text, (char **)&text, 10);
		if (*text == 'k' || *text == 'K')
			n *= 1024;
		if (n > most)
			most = n;
	}
	return most ? most : 1;
}

static void copy(char *to, const char *from)
{
	snprintf(to, TM_TEXT_MAX, "%s", from ? from : "");
}

/* Once more: what was a file is read from its beginning. */
static bool scan_standard_input(struct found *found)
{
	struct stat st;

	return !fstat(STDIN_FILENO, &st) && S_ISREG(st.st_mode) &&
	       scan_script("/proc/self/fd/0", found);
}

int tm_submission_read(struct tm_submission *s, unsigned int component,
		       int command)
{
	struct found found = {.wanted = component};
	const char *name;
	bool more;
	int err;

	err = read_command_line(s);
	if (err)
		return err;
	name = strrchr(s->argv[0], '/');
	name = name ? name + 1 : s->argv[0];
	s->batch = !strcmp(name, "sbatch");
	s->interactive = !strcmp(name, "salloc");
	found.with_value = s->batch	    ? WITH_VALUE
			   : s->interactive ? WITH_VALUE_SALLOC
					    : WITH_VALUE_SRUN;
	s->command = command < s->argc ? command : s->argc;
	more = s->command < s->argc && !strcmp(s->argv[s->command], ":");
	if (s->batch && s->command == s->argc)
		s->unread = !scan_standard_input(&found);
	else if (s->batch && !more && !component)
		scan_script(s->argv[s->command], &found);
	scan_environment(s->batch	  ? "SBATCH"
			 : s->interactive ? "SALLOC"
					  : "SLURM",
			 &found);
	found.component = 0;
	scan((more ? s->argc : s->command) - 1, s->argv + 1, &found);

	s->nodes = most_nodes(found.value[WANT_NODES]);
	copy(s->partition, found.value[WANT_PARTITION]);
	s->partition[strcspn(s->partition, ",")] = '\0';
	copy(s->time, found.value[WANT_TIME]);
	copy(s->account, found.value[WANT_ACCOUNT]);
	copy(s->lenders, found.lenders);
	s->array = found.value[WANT_ARRAY];
	s->wrap = found.value[WANT_WRAP];
	s->unread &= !s->wrap;
	s->inside = !s->batch && !s->interactive && found.value[WANT_JOBID];
	s->name = found.value[WANT_NAME];
	s->mem = found.value[WANT_MEM] || found.value[WANT_MEM_PER_CPU] ||
		 found.value[WANT_MEM_PER_GPU];
	s->het = found.het;
	return 0;
}
