// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The agent of a space; see space.h. One thread, no locks: the kernel has the
 * connections that work, here are those that do not.
 *
 * A connection that broke is dialled again at once, or after a pause when it
 * did not last. It is for the kernel to judge how long that may go on, since it
 * knows the last sign of life; here a server is given up only when it is plain
 * that it will not come back.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "common/connect.h"
#include "common/log.h"
#include "common/module.h"
#include "common/space.h"

#define MS 1000000ull
#define IO_BYTES (1u << 20)
/* As allocator/engine_uffd.c has it: a fault waits longer than a server. */
#define STALL_TIMEOUTS 6

/* As common/renew.c has it. */
#define REFUSALS_MAX 2
#define PAUSE_NS (150 * MS)
/* A connection that lasted less is not dialled again at once. */
#define LASTED_NS (1000 * MS)

enum state { UP, DOWN, DIALING };

/**
 * struct connection - of one lane to one server
 * @since_ns: it is up
 * @due_ns: DOWN: dial then; DIALING: give the attempt up then
 * @refusals: since it broke
 */
struct connection {
	enum state state;
	uint32_t epoch;
	unsigned int refusals;
	uint64_t since_ns, due_ns;
	struct tm_dial dial;
};

struct server {
	struct tm_dial_target target;
	bool lost;
};

struct tm_space {
	int fd;
	const struct tm_map *map;
	unsigned int nr_lanes;
	char name[TM_UAPI_NAME_MAX];
	struct server server[TM_MAP_SERVERS_MAX];
	struct pollfd *fds;
	struct connection connection[]; /* by server, then by lane */
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static unsigned int nr_connections(const struct tm_space *space)
{
	return space->map->nr_servers * space->nr_lanes;
}

/* One kernel thread keeps a fast network busy; more serve more CPUs. */
static unsigned int choose_lanes(void)
{
	cpu_set_t cpus;

	return !sched_getaffinity(0, sizeof(cpus), &cpus) &&
			       CPU_COUNT(&cpus) >= 8
		       ? 2
		       : 1;
}

/* ---- making it ----------------------------------------------------------- */

/* Somebody may drop the module between the load and the open: once more. */
static int open_control(char *why, size_t why_len)
{
	unsigned int tries;
	int fd = -1, err = 0;

	for (tries = 0; fd < 0 && tries < 3; tries++) {
		err = tm_module_load(why, why_len);
		if (err)
			return err;
		fd = open(TM_CONTROL_DEVICE, O_RDWR | O_CLOEXEC | O_NONBLOCK);
		if (fd < 0 && errno != ENOENT && errno != ENXIO)
			break;
	}
	if (fd >= 0)
		return fd;
	err = -errno;
	snprintf(why, why_len, "open " TM_CONTROL_DEVICE ": %s%s",
		 strerror(-err),
		 err == -EACCES || err == -EPERM ? "; only root may" : "");
	return err;
}

static int create(int fd, const char *name, const struct tm_map *map, uid_t uid,
		  gid_t gid, unsigned int nr_lanes)
{
	const uint64_t block_bytes =
		map->block_auto ? TM_MAP_AUTO_KERNEL : map->block_bytes;
	struct tm_uapi_space space = {
		.version = TM_UAPI_VERSION,
		.uid = uid,
		.gid = gid,
		.policy = map->fifo ? TM_UAPI_FIFO : TM_UAPI_LRU,
		.placement = map->rr ? TM_UAPI_ROUND_ROBIN : TM_UAPI_SIMPLE,
		.block_bytes = (uint32_t)block_bytes,
		.io_bytes = block_bytes > IO_BYTES ? (uint32_t)block_bytes
						   : IO_BYTES,
		.readahead_bytes = (uint32_t)map->prefetch_bytes,
		.around_bytes = map->block_auto ? TM_MAP_AUTO_AROUND : 0,
		.timeout_ms = map->timeout_s * 1000,
		.stall_ms = map->timeout_s * 1000 * STALL_TIMEOUTS,
		.nr_servers = map->nr_servers,
		.nr_lanes = nr_lanes,
		.job = map->job,
		.capacity_bytes = map->size_bytes,
		.local_bytes = map->local_bytes,
	};

	if (strlen(name) >= sizeof(space.name))
		return -ENAMETOOLONG;
	strcpy(space.name, name);
	return ioctl(fd, TM_IOC_SPACE_CREATE, &space) ? -errno : 0;
}

static const char *create_remedy(int err)
{
	switch (err) {
	case -EEXIST:
		return " (a former one's programs still run: end them, or take "
		       "another name)";
	case -EINVAL:
		return " (is the loaded module of this version? are there at "
		       "least 8 blocks of local memory?)";
	default:
		return "";
	}
}

int tm_space_create(const char *name, const struct tm_map *map, uid_t uid,
		    gid_t gid, struct tm_space **result, char *why,
		    size_t why_len)
{
	unsigned int nr_lanes = choose_lanes();
	unsigned int nr = map->nr_servers * nr_lanes, i;
	struct tm_space *space;
	int fd, err;

	fd = open_control(why, why_len);
	if (fd < 0)
		return fd;
	err = create(fd, name, map, uid, gid, nr_lanes);
	space = calloc(1, sizeof(*space) + nr * sizeof(*space->connection));
	if (space)
		space->fds = calloc(nr + 2, sizeof(*space->fds));
	if (!err && (!space || !space->fds))
		err = -ENOMEM;
	if (err) {
		snprintf(why, why_len, "create space %s: %s%s", name,
			 strerror(-err), create_remedy(err));
		if (space)
			free(space->fds);
		free(space);
		close(fd);
		return err;
	}
	space->fd = fd;
	space->map = map;
	space->nr_lanes = nr_lanes;
	strcpy(space->name, name);
	for (i = 0; i < nr; i++) {
		space->connection[i].state = DOWN;
		space->connection[i].dial.fd = -1;
	}
	*result = space;
	return 0;
}

void tm_space_destroy(struct tm_space *space)
{
	unsigned int i;

	for (i = 0; i < nr_connections(space); i++)
		tm_dial_cancel(&space->connection[i].dial);
	/* While a program uses it, it goes on until that has ended. */
	ioctl(space->fd, TM_IOC_SPACE_DESTROY);
	close(space->fd);
	explicit_bzero(space->server, sizeof(space->server));
	free(space->fds);
	free(space);
}

int tm_space_query(const struct tm_space *space, struct tm_uapi_query *query)
{
	*query = (struct tm_uapi_query){0};
	strcpy(query->name, space->name);
	return ioctl(space->fd, TM_IOC_SPACE_QUERY, query) ? -errno : 0;
}

/* ---- connecting ---------------------------------------------------------- */

/* Hand a connection over; its descriptor is closed here in any case. */
static int attach(struct tm_space *space, unsigned int index)
{
	struct connection *c = &space->connection[index];
	const struct tm_wire_welcome *welcome = &c->dial.welcome;
	struct tm_uapi_attach attach = {
		.fd = c->dial.fd,
		.server = index / space->nr_lanes,
		.channel = index % space->nr_lanes,
		.epoch = c->epoch,
		.extent_bytes = tm_le64_to_cpu(welcome->extent_bytes),
		.io_max_bytes = tm_le32_to_cpu(welcome->io_max_bytes),
		.grace_ms = tm_le32_to_cpu(welcome->grace_ms),
	};
	int err = ioctl(space->fd, TM_IOC_SPACE_ATTACH, &attach) ? -errno : 0;

	if (err)
		snprintf(c->dial.why, sizeof(c->dial.why),
			 "the kernel refuses the connection: %s%s",
			 strerror(-err),
			 err == -EINVAL
				 ? " (its extents must be whole blocks, of one "
				   "size, and its requests as large as ours)"
				 : "");
	close(c->dial.fd);
	c->dial.fd = -1;
	if (!err) {
		c->state = UP;
		c->since_ns = now_ns();
	}
	return err;
}

static int connect_server(struct tm_space *space, unsigned int server,
			  uint64_t deadline)
{
	struct tm_dial_target *target = &space->server[server].target;
	struct connection *c = &space->connection[server * space->nr_lanes];
	unsigned int max = 1, i;
	int err;

	err = tm_connect_prepare(target, &space->map->server[server],
				 space->map->job, space->map->timeout_s * 1000);
	for (i = 0; i < space->nr_lanes && !err; i++) {
		if (i == max) {
			snprintf(c[0].dial.why, sizeof(c[0].dial.why),
				 "it allows %u connections, not %u", max,
				 space->nr_lanes);
			return -EUSERS;
		}
		c[i].epoch = 1;
		err = i ? tm_connect(&c[i].dial, target, i, deadline)
			: tm_connect_first(&c[0].dial, target, deadline);
		if (!err)
			err = attach(space, server * space->nr_lanes + i);
		if (!err)
			max = tm_le32_to_cpu(c[0].dial.welcome.channels_max);
		else if (i)
			memcpy(c[0].dial.why, c[i].dial.why,
			       sizeof(c[i].dial.why));
	}
	return err;
}

int tm_space_connect(struct tm_space *space, char *why, size_t why_len)
{
	uint64_t deadline =
		now_ns() + (uint64_t)space->map->timeout_s * 1000 * MS;
	unsigned int i;
	int err = 0;

	for (i = 0; i < space->map->nr_servers && !err; i++) {
		err = connect_server(space, i, deadline);
		if (err)
			snprintf(why, why_len, "connect to server %s: %s",
				 space->map->server[i].address,
				 space->connection[i * space->nr_lanes]
					 .dial.why);
	}
	return err;
}

/* ---- serving ------------------------------------------------------------- */

static void lost(struct tm_space *space, unsigned int server, const char *why)
{
	struct connection *c = &space->connection[server * space->nr_lanes];
	unsigned int i;

	if (space->server[server].lost)
		return;
	space->server[server].lost = true;
	for (i = 0; i < space->nr_lanes; i++) {
		tm_dial_cancel(&c[i].dial);
		c[i].state = UP; /* nothing to be done */
	}
	tm_err("use server %s: lost: %s; access to memory that only it had "
	       "ends in SIGBUS",
	       space->map->server[server].address, why);
}

static void lose(struct tm_space *space, unsigned int server, int err,
		 const char *why)
{
	struct tm_uapi_lose lose = {
		.server = server,
		.error = (uint32_t)-err,
	};

	ioctl(space->fd, TM_IOC_SPACE_LOSE, &lose);
	lost(space, server, why);
}

/* Judge a failed attempt: try again, or is the server lost? */
static void failed(struct tm_space *space, unsigned int index, int err,
		   uint64_t now)
{
	struct connection *c = &space->connection[index];
	unsigned int server = index / space->nr_lanes;

	c->state = DOWN;
	c->due_ns = now + PAUSE_NS;
	if (err == -ECONNREFUSED)
		c->refusals++;
	if (c->refusals == REFUSALS_MAX)
		lose(space, server, err, "no server there any more");
	else if (err == -EACCES || err == -EINVAL ||
		 c->dial.status == TM_STATUS_VERSION ||
		 c->dial.status == TM_STATUS_NO_SESSION)
		lose(space, server, err, c->dial.why);
}

static void renew(struct tm_space *space, unsigned int index, uint64_t now)
{
	struct connection *c = &space->connection[index];
	const struct tm_dial_target *target =
		&space->server[index / space->nr_lanes].target;
	int err = 0;

	if (c->state == DOWN) {
		c->state = DIALING;
		c->due_ns = now + space->map->timeout_s * 1000 * MS / 4;
		err = tm_dial_start(&c->dial, target, index % space->nr_lanes,
				    ++c->epoch);
	}
	if (!err)
		err = tm_dial_step(&c->dial, target);
	if (!err)
		err = attach(space, index);
	if (err && err != -EAGAIN) {
		failed(space, index, err, now);
	} else if (err && now >= c->due_ns) {
		tm_dial_cancel(&c->dial);
		c->state = DOWN;
	}
}

static void broken(struct tm_space *space, unsigned int index, uint64_t now)
{
	struct connection *c = &space->connection[index];

	if (c->state != UP || space->server[index / space->nr_lanes].lost)
		return;
	c->state = DOWN;
	c->refusals = 0;
	c->due_ns = now + (now - c->since_ns < LASTED_NS ? PAUSE_NS : 0);
}

static int take_events(struct tm_space *space, uint64_t now)
{
	struct tm_uapi_event events[16];
	size_t i, nr;
	ssize_t n;

	do {
		n = read(space->fd, events, sizeof(events));
		if (n < 0 && (errno == EAGAIN || errno == EINTR))
			return 0;
		if (n < 0)
			return -errno;
		if (!n) /* somebody ended the space */
			return -ENODEV;
		nr = (size_t)n / sizeof(*events);
		for (i = 0; i < nr; i++) {
			const struct tm_uapi_event *e = &events[i];

			if (e->server >= space->map->nr_servers ||
			    e->channel >= space->nr_lanes)
				return -EPROTO;
			if (e->kind == TM_EVENT_LOST)
				lost(space, e->server, strerror((int)e->error));
			else
				broken(space,
				       e->server * space->nr_lanes + e->channel,
				       now);
		}
	} while (nr == sizeof(events) / sizeof(*events));
	return 0;
}

/* What to wait for, and how long: ms, -1 for ever. */
static int collect(struct tm_space *space, int stop_fd, nfds_t *nr)
{
	uint64_t now = now_ns(), due = UINT64_MAX;
	unsigned int i;

	space->fds[0] = (struct pollfd){.fd = stop_fd, .events = POLLIN};
	space->fds[1] = (struct pollfd){.fd = space->fd, .events = POLLIN};
	*nr = 2;
	for (i = 0; i < nr_connections(space); i++) {
		struct connection *c = &space->connection[i];

		if (c->state == UP)
			continue;
		if (c->due_ns < due)
			due = c->due_ns;
		if (c->state == DIALING)
			space->fds[(*nr)++] = (struct pollfd){
				.fd = c->dial.fd,
				.events = tm_dial_events(&c->dial),
			};
	}
	if (due == UINT64_MAX)
		return -1;
	return due > now ? (int)((due - now) / MS) + 1 : 0;
}

int tm_space_serve(struct tm_space *space, int stop_fd)
{
	unsigned int i;
	int err = 0;

	while (!err) {
		nfds_t nr;
		int wait_ms = collect(space, stop_fd, &nr);
		uint64_t now;

		if (poll(space->fds, nr, wait_ms) < 0 && errno != EINTR) {
			err = -errno;
			break;
		}
		if (space->fds[0].revents)
			return 0;
		now = now_ns();
		err = take_events(space, now);
		for (i = 0; i < nr_connections(space); i++) {
			const struct connection *c = &space->connection[i];

			if (c->state == DIALING ||
			    (c->state == DOWN && now >= c->due_ns))
				renew(space, i, now);
		}
	}
	tm_err("serve space %s: %s", space->name, strerror(-err));
	return err;
}
