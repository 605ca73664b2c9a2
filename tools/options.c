// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Command lines: those helpers that every command uses, and `teramem run`'s.
 * Checks all that can be checked without touching the machine.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/log.h"
#include "common/size.h"
#include "tools/tool.h"

int tm_option_bad(const char *name, const char *value, const char *why)
{
	tm_err("--%s=%s: %s", name, value, why);
	return -EINVAL;
}

int tm_option_size(const char *name, const char *text, uint64_t *bytes)
{
	const char *why;

	return tm_size_parse(text, bytes, &why) ? tm_option_bad(name, text, why)
						: 0;
}

int tm_option_number(const char *name, const char *text, uint64_t min,
		     uint64_t max, uint64_t *number)
{
	char why[80], *end;

	errno = 0;
	*number = strtoull(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && !errno && *number >= min &&
	    *number <= max)
		return 0;
	snprintf(why, sizeof(why),
		 "not a whole number from %" PRIu64 " to %" PRIu64, min, max);
	return tm_option_bad(name, text, why);
}

int tm_option_unknown(int key, char **argv, const char *command)
{
	tm_err("%s: %s (see teramem %s --help)", argv[optind - 1],
	       key == ':'      ? "a value is missing"
	       : optopt >= 256 ? "takes no value"
			       : "unknown option",
	       command);
	return -EINVAL;
}

int tm_option_rest(int argc, char **argv, const char *command)
{
	if (optind == argc)
		return 0;
	tm_err("%s: %s: not expected (see teramem %s --help)", command,
	       argv[optind], command);
	return -EINVAL;
}

int tm_option_flag(int argc, char **argv, const char *command, const char *flag,
		   const char *usage, bool *set)
{
	const struct option options[] = {
		{flag, no_argument, NULL, 'f'},
		{"help", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	int key;

	opterr = 0;
	while ((key = getopt_long(argc, argv, "+:", options, NULL)) != -1) {
		if (key == 'h') {
			fputs(usage, stdout);
			return 1;
		}
		if (key != 'f')
			return tm_option_unknown(key, argv, command);
		*set = true;
	}
	return tm_option_rest(argc, argv, command);
}

int tm_written(const char *command, int status)
{
	if (!fflush(stdout) && !ferror(stdout))
		return status;
	tm_err("%s: write to stdout: %s", command, strerror(errno));
	return TM_EXIT_FAILURE;
}

enum option_key {
	OPT_SIZE = 256,
	OPT_LOCAL,
	OPT_DONORS,
	OPT_ENGINE,
	OPT_BLOCK,
	OPT_POLICY,
	OPT_PLACEMENT,
	OPT_PREFETCH,
	OPT_MMAP,
	OPT_THRESHOLD,
	OPT_STATS,
	OPT_MAP,
	OPT_TRANSPORT,
	OPT_OVERCOMMIT,
	OPT_BIND,
	OPT_TIMEOUT,
	OPT_QUIET,
	OPT_HELP,
};
#define BIT(key) (1u << ((key)-OPT_SIZE))

static const struct option long_options[] = {
	{"size", required_argument, NULL, OPT_SIZE},
	{"local", required_argument, NULL, OPT_LOCAL},
	{"donors", required_argument, NULL, OPT_DONORS},
	{"engine", required_argument, NULL, OPT_ENGINE},
	{"block", required_argument, NULL, OPT_BLOCK},
	{"policy", required_argument, NULL, OPT_POLICY},
	{"placement", required_argument, NULL, OPT_PLACEMENT},
	{"prefetch", required_argument, NULL, OPT_PREFETCH},
	{"mmap", no_argument, NULL, OPT_MMAP},
	{"threshold", required_argument, NULL, OPT_THRESHOLD},
	{"stats", required_argument, NULL, OPT_STATS},
	{"map", required_argument, NULL, OPT_MAP},
	{"transport", required_argument, NULL, OPT_TRANSPORT},
	{"overcommit", no_argument, NULL, OPT_OVERCOMMIT},
	{"bind", no_argument, NULL, OPT_BIND},
	{"timeout", required_argument, NULL, OPT_TIMEOUT},
	{"quiet", no_argument, NULL, OPT_QUIET},
	{"help", no_argument, NULL, OPT_HELP},
	{NULL, 0, NULL, 0},
};

static const char usage[] =
	"Usage: teramem run --size=SIZE --local=SIZE [OPTION]... -- "
	"COMMAND...\n"
	"Run an unmodified program whose large memory is remote.\n"
	"\n"
	"  --size=SIZE         remote memory, for all processes together\n"
	"  --local=SIZE        local memory that holds parts of it\n"
	"  --donors=N          memory servers to start on this machine (2)\n"
	"  --engine=NAME       what pages: uffd (user space), kmod (kernel "
	"module,\n"
	"                      root only), or auto: kmod where it can be "
	"(uffd)\n"
	"  --block=SIZE        unit of paging, 4K to 2M, or auto: 4K, and as "
	"much\n"
	"                      at a time as the program uses; 16K with much "
	"remote\n"
	"                      memory, 256K before Linux 6.8 (auto)\n"
	"  --policy=NAME       replacement: lru or fifo (lru)\n"
	"  --placement=NAME    on the servers: simple or rr (simple)\n"
	"  --prefetch=SIZE     read ahead at most so much; 0: never (4M)\n"
	"  --threshold=SIZE    smallest allocation that is remote (1M)\n"
	"  --mmap              large anonymous mappings too\n"
	"  --stats=FILE        write what was paged as JSON\n"
	"  --map=FILE          use the servers that this map names; start "
	"none\n"
	"  --transport=NAME    unix, or tcp with MUNGE (unix)\n"
	"  --overcommit        more --size than this machine has free\n"
	"  --bind              the program on one CPU, servers on the others\n"
	"  --timeout=SECONDS   a silent server is given up after so long (10)\n"
	"  --quiet             no summary\n"
	"\n"
	"SIZE: digits, then K, M, G or T. See teramem-run(1).\n";

static int choose(const char *name, const char *text, const char *first,
		  const char *other, bool *second)
{
	char why[80];

	*second = !strcmp(text, other);
	if (*second || !strcmp(text, first))
		return 0;
	snprintf(why, sizeof(why), "unknown (use %s or %s)", first, other);
	return tm_option_bad(name, text, why);
}

static int choose_engine(const char *text, enum tm_engine_kind *engine)
{
	static const char *const names[] = {
		[TM_ENGINE_UFFD] = "uffd",
		[TM_ENGINE_KMOD] = "kmod",
		[TM_ENGINE_AUTO] = "auto",
	};
	unsigned int i;

	for (i = 0; i < sizeof(names) / sizeof(*names); i++) {
		if (strcmp(text, names[i]))
			continue;
		*engine = i;
		return 0;
	}
	return tm_option_bad("engine", text,
			     "unknown (use uffd, kmod or auto)");
}

int tm_option_block(const char *arg, struct tm_map *map)
{
	map->block_auto = !strcmp(arg, "auto");
	map->block_bytes = TM_MAP_AUTO_BLOCK;
	return map->block_auto
		       ? 0
		       : tm_option_size("block", arg, &map->block_bytes);
}

static int parse_one(int key, const char *arg, struct tm_run_options *o)
{
	struct tm_map *map = &o->map;
	uint64_t n = 0;
	int err = 0;

	switch (key) {
	case OPT_SIZE:
		return tm_option_size("size", arg, &map->size_bytes);
	case OPT_LOCAL:
		return tm_option_size("local", arg, &map->local_bytes);
	case OPT_BLOCK:
		return tm_option_block(arg, map);
	case OPT_PREFETCH:
		return tm_option_size("prefetch", arg, &map->prefetch_bytes);
	case OPT_POLICY:
		return choose("policy", arg, "lru", "fifo", &map->fifo);
	case OPT_PLACEMENT:
		return choose("placement", arg, "simple", "rr", &map->rr);
	case OPT_TRANSPORT:
		return choose("transport", arg, "unix", "tcp", &o->tcp);
	case OPT_ENGINE:
		return choose_engine(arg, &o->engine);
	case OPT_DONORS:
		err = tm_option_number("donors", arg, 1, TM_DONORS_MAX, &n);
		o->donors = (unsigned int)n;
		break;
	case OPT_TIMEOUT:
		err = tm_option_number("timeout", arg, 1, 3600, &n);
		map->timeout_s = (unsigned int)n;
		break;
	case OPT_THRESHOLD:
		o->threshold = arg;
		err = tm_option_size("threshold", arg, &n);
		if (!err && !n)
			err = tm_option_bad("threshold", arg,
					    "at least 1 is needed");
		break;
	case OPT_MMAP:
		o->mmap = true;
		break;
	case OPT_STATS:
		o->stats_file = arg;
		break;
	case OPT_OVERCOMMIT:
		o->overcommit = true;
		break;
	case OPT_BIND:
		o->bind = true;
		break;
	case OPT_QUIET:
		o->quiet = true;
		break;
	}
	return err;
}

/* --map comes first, wherever it stands: the others then change what it says.
 */
static int parse_map(int argc, char **argv, struct tm_run_options *o)
{
	char why[256];
	int key, err;

	while ((key = getopt_long(argc, argv, "+:", long_options, NULL)) != -1)
		if (key == OPT_MAP)
			o->map_file = optarg;
	optind = 0;
	if (!o->map_file)
		return 0;
	err = tm_map_load(o->map_file, &o->map, why, sizeof(why));
	return err ? tm_option_bad("map", o->map_file, why) : 0;
}

static int check_given(const struct tm_run_options *o, unsigned int given)
{
	static const struct {
		unsigned int bit;
		const char *name;
	} ours[] = {{BIT(OPT_DONORS), "donors"},
		    {BIT(OPT_TRANSPORT), "transport"},
		    {BIT(OPT_OVERCOMMIT), "overcommit"}};
	size_t i;

	if (!o->map_file && (given & (BIT(OPT_SIZE) | BIT(OPT_LOCAL))) !=
				    (BIT(OPT_SIZE) | BIT(OPT_LOCAL))) {
		tm_err("run: --size and --local are needed (try --size=4G "
		       "--local=512M)");
		return -EINVAL;
	}
	for (i = 0; o->map_file && i < sizeof(ours) / sizeof(*ours); i++) {
		if (!(given & ours[i].bit))
			continue;
		tm_err("--%s: not with --map, which names the servers",
		       ours[i].name);
		return -EINVAL;
	}
	if (!o->command[0]) {
		tm_err("run: no command (try teramem run ... -- COMMAND)");
		return -EINVAL;
	}
	return 0;
}

int tm_option_map(const struct tm_run_options *o)
{
	struct tm_map map = o->map;
	char why[256];

	if (!o->map_file) {
		/* Stands for the servers that will be there. */
		map.nr_servers = 1;
		strcpy(map.server[0].address, "unix:/");
		map.server[0].capacity_bytes = map.size_bytes;
	}
	if (!tm_map_check(&map, why, sizeof(why)))
		return 0;
	tm_err("--%s", why);
	return -EINVAL;
}

int tm_run_options_parse(int argc, char **argv, struct tm_run_options *o)
{
	unsigned int given = 0;
	int key, err;

	*o = (struct tm_run_options){.donors = 2};
	tm_map_init(&o->map);
	opterr = 0;
	err = parse_map(argc, argv, o);
	if (err)
		return err;
	while ((key = getopt_long(argc, argv, "+:", long_options, NULL)) !=
	       -1) {
		if (key == '?' || key == ':')
			return tm_option_unknown(key, argv, "run");
		if (key == OPT_HELP) {
			fputs(usage, stdout);
			return 1;
		}
		err = parse_one(key, optarg, o);
		if (err)
			return err;
		given |= BIT(key);
	}
	o->command = argv + optind;
	err = check_given(o, given);
	return err ? err : tm_option_map(o);
}
