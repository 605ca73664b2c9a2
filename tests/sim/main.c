// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * sim --seed=S [--runs=R] [--steps=N] [--verbose] [--sabotage=KIND] [--huge]
 *
 * Runs R seeds from S on, each for N steps and then to its end without further
 * faults. Prints one line in all, or seed, step and trace of the first failure;
 * exit status 1 then. With --huge all runs have huge blocks, and lies are told
 * about those.
 */
#include <getopt.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "tests/sim/sim.h"

#define TRACE_LINES 400
#define CALM_STEPS 2000000ull
#define HANG_S 120

struct sim sim;

static char trace[TRACE_LINES][160];
static u64 nr_traced, nr_huge, nr_huge_split;
static bool verbose;

void sim_trace(const char *fmt, ...)
{
	char *line = trace[nr_traced++ % TRACE_LINES];
	va_list args;
	int n;

	n = snprintf(line, sizeof(trace[0]),
		     "%8llu %10llu us: ", (unsigned long long)sim.step,
		     (unsigned long long)(sim.now / 1000));
	va_start(args, fmt);
	vsnprintf(line + n, sizeof(trace[0]) - (size_t)n, fmt, args);
	va_end(args);
	if (verbose)
		puts(line);
}

static void report(const char *what)
{
	u64 i = nr_traced > TRACE_LINES ? nr_traced - TRACE_LINES : 0;

	for (; !verbose && i < nr_traced; i++)
		puts(trace[i % TRACE_LINES]);
	printf("FAILED: --seed=%llu --steps=%llu%s: at step %llu: %s\n",
	       (unsigned long long)sim.config.seed,
	       (unsigned long long)sim.steps, sim.huge_only ? " --huge" : "",
	       (unsigned long long)sim.step, what);
	fflush(stdout);
}

void sim_fail(const char *fmt, ...)
{
	char what[256];
	va_list args;

	va_start(args, fmt);
	vsnprintf(what, sizeof(what), fmt, args);
	va_end(args);
	report(what);
	_exit(1);
}

/* The core stopped itself, crashed, or hangs: say where. */
static void on_signal(int signal)
{
	report(signal == SIGILL	   ? "TM_BUG_ON"
	       : signal == SIGALRM ? "hangs"
				   : "crash");
	_exit(1);
}

static void run_until(bool (*done)(void), const char *what)
{
	u64 end = sim.step + CALM_STEPS;

	while (!done()) {
		sim_check(sim.step < end, "never ends: %s", what);
		sched_step();
	}
}

/* Also faults that nobody waits for any more are served or given up. */
static bool quiet(void)
{
	struct tm_pager_usage usage;

	tm_pager_usage(sim.pager, &usage);
	return sched_all_idle() && sched_balanced() && !net_under_way() &&
	       !usage.waiting_faults;
}

static void check_stats(void)
{
	static struct tm_stats all;
	u64 fetches;
	unsigned int i;

	memset(&all, 0, sizeof(all));
	for (i = 0; i < sim.config.pager.nr_lanes; i++)
		tm_stats_merge(&all,
			       tm_lane_stats(tm_pager_lane(sim.pager, i)));
	fetches = all.fetch_requests;
	sim_check(fetches == sim.fetches, "counted %llu of %llu fetches",
		  (unsigned long long)fetches, (unsigned long long)sim.fetches);
	sim_check(all.store_requests == sim.stores,
		  "counted %llu of %llu stores",
		  (unsigned long long)all.store_requests,
		  (unsigned long long)sim.stores);
	sim_check(all.faults == sim.faults, "counted %llu of %llu faults",
		  (unsigned long long)all.faults,
		  (unsigned long long)sim.faults);
	sim_check(all.dropped_clean <= all.evicted, "more clean than evicted");
	sim_check(all.prefetch_used + all.prefetch_dropped <= all.prefetched,
		  "more prefetches used than done");
	sim_check(all.huge_split <= all.huge_blocks,
		  "more huge blocks split than made");
	nr_huge += all.huge_blocks;
	nr_huge_split += all.huge_split;
}

static void check_usage(u64 used_most, bool empty)
{
	struct tm_pager_usage usage;

	tm_pager_usage(sim.pager, &usage);
	sim_check(usage.idle, "not idle when nothing is under way");
	sim_check(usage.used_frames <= used_most,
		  "%llu frames used, limit %llu",
		  (unsigned long long)usage.used_frames,
		  (unsigned long long)used_most);
	if (!empty)
		return;
	sim_check(!usage.used_frames && !usage.remote_blocks &&
			  !usage.lost_blocks,
		  "%llu frames, %llu remote and %llu lost blocks at the end",
		  (unsigned long long)usage.used_frames,
		  (unsigned long long)usage.remote_blocks,
		  (unsigned long long)usage.lost_blocks);
}

static void run(u64 seed, u64 steps, enum sim_sabotage sabotage, bool huge)
{
	int err;

	memset(&sim, 0, sizeof(sim));
	sim.rng = seed;
	sim.steps = steps;
	sim.huge_only = huge;
	nr_traced = 0;
	sim_config_draw(&sim.config, seed);
	sim.config.sabotage = sabotage;
	sim.creating = true;
	err = tm_pager_create(&sim.config.pager, &glue_ops, NULL, &sim.pager);
	sim_check(!err || err == -ENOMEM, "tm_pager_create: %d", err);
	sim.creating = false;
	sim.calm = true;
	if (err)
		err = tm_pager_create(&sim.config.pager, &glue_ops, NULL,
				      &sim.pager);
	sim.calm = false;
	sim_check(!err, "tm_pager_create: %d", err);
	tm_pager_extents_limit_set(sim.pager, sim.config.extents_limit);
	sched_init();
	glue_init();
	net_init();
	program_init();

	alarm(HANG_S);
	while (sim.step < steps)
		sched_step();

	/* From here on nothing goes wrong any more, so all must end well. */
	sim.calm = true;
	run_until(program_idle, "an access");
	tm_pager_limit_set(sim.pager, sim.config.pager.nr_frames);
	program_sweep();
	run_until(program_idle, "reading all blocks");
	run_until(quiet, "background work");
	check_usage(sim.config.pager.nr_frames, false);
	program_discard_all();
	run_until(program_idle, "discard");
	run_until(quiet, "background work after discard");
	check_usage(0, true);
	net_check_empty();
	check_stats();
	glue_check_empty();
	alarm(0);
	tm_pager_destroy(sim.pager);
}

static const char *const sabotages[] = {
	[SABOTAGE_NONE] = "none",
	[SABOTAGE_CHECKSUM] = "checksum",
	[SABOTAGE_FINGERPRINT] = "fingerprint",
	[SABOTAGE_DIRTY] = "dirty",
	[SABOTAGE_STORE] = "store",
	[SABOTAGE_ZERO] = "zero",
	[SABOTAGE_WAKE] = "wake",
	[SABOTAGE_SPLIT] = "split",
};

static enum sim_sabotage sabotage_find(const char *name)
{
	unsigned int i;

	for (i = 0; i < sizeof(sabotages) / sizeof(sabotages[0]); i++)
		if (!strcmp(sabotages[i], name))
			return (enum sim_sabotage)i;
	fprintf(stderr, "sim: --sabotage=%s: unknown kind\n", name);
	exit(2);
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{"seed", required_argument, NULL, 's'},
		{"runs", required_argument, NULL, 'r'},
		{"steps", required_argument, NULL, 'n'},
		{"sabotage", required_argument, NULL, 'x'},
		{"verbose", no_argument, NULL, 'v'},
		{"huge", no_argument, NULL, 'h'},
		{NULL, 0, NULL, 0},
	};
	u64 seed = 1, runs = 1, steps = 10000, i, all_steps = 0, accesses = 0;
	u64 faults = 0, failed = 0;
	enum sim_sabotage sabotage = SABOTAGE_NONE;
	bool huge = false;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (option) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 'r':
			runs = strtoull(optarg, NULL, 0);
			break;
		case 'n':
			steps = strtoull(optarg, NULL, 0);
			break;
		case 'x':
			sabotage = sabotage_find(optarg);
			break;
		case 'v':
			verbose = true;
			break;
		case 'h':
			huge = true;
			break;
		default:
			return 2;
		}
	}
	signal(SIGILL, on_signal);
	signal(SIGSEGV, on_signal);
	signal(SIGALRM, on_signal);
	for (i = 0; i < runs; i++) {
		run(seed + i, steps, sabotage, huge);
		all_steps += sim.step;
		accesses += sim.accesses;
		faults += sim.faults;
		failed += sim.failed_accesses;
	}
	printf("%llu runs, %llu steps, %llu accesses, %llu faults, %llu failed "
	       "for a cause, %llu huge blocks, %llu of them split, "
	       "0 wrong bytes\n",
	       (unsigned long long)runs, (unsigned long long)all_steps,
	       (unsigned long long)accesses, (unsigned long long)faults,
	       (unsigned long long)failed, (unsigned long long)nr_huge,
	       (unsigned long long)nr_huge_split);
	return 0;
}
