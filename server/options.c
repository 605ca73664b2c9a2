// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramemd's command line. Checks what can be checked without touching the
 * system; says what is wrong in one line.
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/log.h"
#include "common/size.h"
#include "server/server.h"

#define EXTENT_MIN (64u << 10)
#define EXTENT_MAX (1u << 30)
#define HUGE_PAGE_BYTES (2u << 20)
#define SECONDS_MAX (7u * 24 * 3600)

enum option_key {
	OPT_LISTEN = 256,
	OPT_CAPACITY,
	OPT_EXTENT,
	OPT_JOB,
	OPT_OWNER,
	OPT_AUTH,
	OPT_ADDRESS,
	OPT_HUGEPAGES,
	OPT_MLOCK,
	OPT_THREADS,
	OPT_GRACE,
	OPT_IDLE_EXIT,
	OPT_WAIT,
	OPT_LEASE_FD,
	OPT_HELP,
	OPT_VERSION,
};

static const struct option long_options[] = {
	{"listen", required_argument, NULL, OPT_LISTEN},
	{"capacity", required_argument, NULL, OPT_CAPACITY},
	{"extent", required_argument, NULL, OPT_EXTENT},
	{"job", required_argument, NULL, OPT_JOB},
	{"owner", required_argument, NULL, OPT_OWNER},
	{"auth", required_argument, NULL, OPT_AUTH},
	{"address", required_argument, NULL, OPT_ADDRESS},
	{"hugepages", no_argument, NULL, OPT_HUGEPAGES},
	{"mlock", required_argument, NULL, OPT_MLOCK},
	{"threads", required_argument, NULL, OPT_THREADS},
	{"grace", required_argument, NULL, OPT_GRACE},
	{"idle-exit", required_argument, NULL, OPT_IDLE_EXIT},
	{"wait", required_argument, NULL, OPT_WAIT},
	{"lease-fd", required_argument, NULL, OPT_LEASE_FD},
	{"help", no_argument, NULL, OPT_HELP},
	{"version", no_argument, NULL, OPT_VERSION},
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"Usage: teramemd --listen=ADDRESS --capacity=SIZE [OPTION]...\n"
	"Lend this machine's memory to the programs of one job.\n"
	"\n"
	"  --listen=ADDRESS     tcp:ADDR:PORT (port 0: any) or unix:/PATH\n"
	"  --capacity=SIZE      memory to lend, rounded up to whole extents\n"
	"  --extent=SIZE        unit of lending, a power of two (4M)\n"
	"  --job=ID             the job that is served (0)\n"
	"  --owner=UID          its user; nobody else but root is served "
	"(own)\n"
	"  --auth=METHOD        munge (default for tcp) or peercred (unix)\n"
	"  --address=ADDRESS    as clients dial it (the bound one); its port "
	"0\n"
	"                       stands for the bound port\n"
	"  --hugepages          use reserved 2 MiB pages\n"
	"  --mlock=WHEN         yes, no, or require: never swap (yes)\n"
	"  --threads=N          threads that serve (1 per CPU, at most 4)\n"
	"  --grace=SECONDS      keep a broken session's memory so long (30)\n"
	"  --idle-exit=SECONDS  exit after so long without session (60; 0: "
	"never)\n"
	"  --wait=SECONDS       the same until the first session "
	"(--idle-exit)\n"
	"  --lease-fd=FD        exit when this descriptor is at its end\n"
	"  --help, --version\n"
	"\n"
	"When it serves, it prints one line of JSON. See teramemd(8).\n";

static int bad(const char *name, const char *value, const char *why)
{
	tm_err("--%s=%s: %s", name, value, why);
	return -EINVAL;
}

static int parse_number(const char *name, const char *text, uint64_t max,
			uint64_t *number)
{
	char why[80], *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || *number > max) {
		snprintf(why, sizeof(why), "not a number from 0 to %llu",
			 (unsigned long long)max);
		return bad(name, text, why);
	}
	return 0;
}

static int parse_seconds(const char *name, const char *text, unsigned int *ms)
{
	uint64_t seconds;
	int ret = parse_number(name, text, SECONDS_MAX, &seconds);

	if (!ret)
		*ms = (unsigned int)seconds * 1000;
	return ret;
}

static int parse_size(const char *name, const char *text, uint64_t *bytes)
{
	const char *why;

	return tm_size_parse(text, bytes, &why) ? bad(name, text, why) : 0;
}

static int parse_auth(const char *text, enum tm_wire_auth_method *auth)
{
	if (strcmp(text, "munge") == 0)
		*auth = TM_AUTH_MUNGE;
	else if (strcmp(text, "peercred") == 0)
		*auth = TM_AUTH_PEERCRED;
	else
		return bad("auth", text, "unknown (use munge or peercred)");
	return 0;
}

static int parse_mlock(const char *text, enum tm_mlock *mlock)
{
	if (strcmp(text, "yes") == 0)
		*mlock = TM_MLOCK_YES;
	else if (strcmp(text, "no") == 0)
		*mlock = TM_MLOCK_NO;
	else if (strcmp(text, "require") == 0)
		*mlock = TM_MLOCK_REQUIRE;
	else
		return bad("mlock", text, "unknown (use yes, no or require)");
	return 0;
}

static int parse_one(int key, const char *arg, struct tm_options *options)
{
	uint64_t n = 0;
	int ret = 0;

	switch (key) {
	case OPT_LISTEN:
		options->listen = arg;
		break;
	case OPT_CAPACITY:
		ret = parse_size("capacity", arg, &options->capacity_bytes);
		break;
	case OPT_EXTENT:
		ret = parse_size("extent", arg, &options->extent_bytes);
		break;
	case OPT_JOB:
		ret = parse_number("job", arg, UINT64_MAX, &options->job);
		break;
	case OPT_OWNER:
		ret = parse_number("owner", arg, UINT32_MAX - 1, &n);
		options->owner = (uid_t)n;
		break;
	case OPT_AUTH:
		ret = parse_auth(arg, &options->auth);
		break;
	case OPT_ADDRESS:
		options->address = arg;
		break;
	case OPT_HUGEPAGES:
		options->hugepages = true;
		break;
	case OPT_MLOCK:
		ret = parse_mlock(arg, &options->mlock);
		break;
	case OPT_THREADS:
		ret = parse_number("threads", arg, TM_LOOPS_MAX, &n);
		if (!ret && n == 0)
			ret = bad("threads", arg, "at least 1 is needed");
		options->threads = (unsigned int)n;
		break;
	case OPT_GRACE:
		ret = parse_seconds("grace", arg, &options->grace_ms);
		break;
	case OPT_IDLE_EXIT:
		ret = parse_seconds("idle-exit", arg, &options->idle_exit_ms);
		break;
	case OPT_WAIT:
		ret = parse_seconds("wait", arg, &options->wait_ms);
		break;
	case OPT_LEASE_FD:
		ret = parse_number("lease-fd", arg, INT_MAX, &n);
		options->lease_fd = (int)n;
		break;
	}
	return ret;
}

static int check_sizes(struct tm_options *options)
{
	uint64_t extent = options->extent_bytes;
	char text[32];

	tm_size_format(extent, text, sizeof(text));
	if (extent < EXTENT_MIN || extent > EXTENT_MAX ||
	    (extent & (extent - 1)))
		return bad("extent", text, "not a power of two from 64K to 1G");
	if (options->hugepages && extent < HUGE_PAGE_BYTES)
		return bad("extent", text,
			   "smaller than a huge page (use 2M or more)");
	tm_size_format(options->capacity_bytes, text, sizeof(text));
	if (options->capacity_bytes == 0)
		return bad("capacity", text, "nothing to lend");
	if (options->capacity_bytes > (uint64_t)1 << 46)
		return bad("capacity", text, "more than 64T");
	options->capacity_bytes =
		(options->capacity_bytes + extent - 1) & ~(extent - 1);
	return 0;
}

static int check(struct tm_options *options)
{
	bool local;

	if (!options->listen) {
		tm_err("--listen is missing (try --listen=tcp:127.0.0.1:0)");
		return -EINVAL;
	}
	if (!options->capacity_bytes) {
		tm_err("--capacity is missing, or 0 (try --capacity=1G)");
		return -EINVAL;
	}
	local = strncmp(options->listen, "unix:", 5) == 0;
	if (!local && strncmp(options->listen, "tcp:", 4) != 0)
		return bad("listen", options->listen,
			   "not an address (use tcp:ADDR:PORT or unix:/PATH)");
	if (!options->auth)
		options->auth = local ? TM_AUTH_PEERCRED : TM_AUTH_MUNGE;
	if (options->auth == TM_AUTH_PEERCRED && !local)
		return bad("auth", "peercred",
			   "proves nothing over tcp (use munge)");
	if (options->address &&
	    strlen(options->address) >= TM_PROTO_ADDRESS_MAX)
		return bad("address", options->address, "too long");
	if (options->lease_fd >= 0 && fcntl(options->lease_fd, F_GETFD) < 0) {
		tm_err("--lease-fd=%d: not an open descriptor",
		       options->lease_fd);
		return -EINVAL;
	}
	return check_sizes(options);
}

int tm_options_parse(int argc, char **argv, struct tm_options *options)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	int key, ret;

	*options = (struct tm_options){
		.extent_bytes = 4 << 20,
		.owner = getuid(),
		.mlock = TM_MLOCK_YES,
		.threads = cpus < 1   ? 1
			   : cpus > 4 ? 4
				      : (unsigned int)cpus,
		.grace_ms = 30000,
		.idle_exit_ms = 60000,
		.wait_ms = UINT_MAX,
		.lease_fd = -1,
	};
	opterr = 0;
	while ((key = getopt_long(argc, argv, ":", long_options, NULL)) != -1) {
		switch (key) {
		case OPT_HELP:
			fputs(usage, stdout);
			return 1;
		case OPT_VERSION:
			puts("teramemd " TM_VERSION);
			return 1;
		case ':':
			tm_err("%s: a value is missing (see --help)",
			       argv[optind - 1]);
			return -EINVAL;
		case '?':
			tm_err("%s: unknown option (see --help)",
			       argv[optind - 1]);
			return -EINVAL;
		default:
			ret = parse_one(key, optarg, options);
			if (ret)
				return ret;
		}
	}
	if (optind < argc) {
		tm_err("%s: not expected (see --help)", argv[optind]);
		return -EINVAL;
	}
	if (options->wait_ms == UINT_MAX)
		options->wait_ms = options->idle_exit_ms;
	return check(options);
}
