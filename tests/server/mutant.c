// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramemd-mutant: the server's own objects, linked with a store that lies. It
 * takes teramemd's options and, before them or among them:
 *
 *	--mutant=KIND       zero: the block was lost; stale: an older version;
 *	                    misdirect: another block; flip: one bit is wrong;
 *	                    refuse: writes are refused
 *	--mutant-rate=1/N   one read, or write, in N (default 1/1)
 *	--seed=S            which ones (default 1)
 *
 * On its end it says on stderr how many lies it told, counting only reads whose
 * bytes really differ from the right ones.
 *
 * The linker puts __wrap_X() in the place of X(); __real_X() is the server's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "server/server.h"

int __wrap_main(int argc, char **argv);
int __real_main(int argc, char **argv);
const uint8_t *__wrap_tm_store_read_ptr(struct tm_store *store, uint64_t addr,
					uint32_t bytes);
const uint8_t *__real_tm_store_read_ptr(struct tm_store *store, uint64_t addr,
					uint32_t bytes);
uint8_t *__wrap_tm_store_write_ptr(struct tm_store *store, uint64_t addr,
				   uint32_t bytes);
uint8_t *__real_tm_store_write_ptr(struct tm_store *store, uint64_t addr,
				   uint32_t bytes);

bool __wrap_tm_request_start(struct tm_conn *conn, const char *why);
bool __real_tm_request_start(struct tm_conn *conn, const char *why);

/* Replies under way hold on to their bytes; far more than there can be. */
#define COPIES 1024

/* Returns bytes that differ from @right, or NULL if there are none. */
typedef const uint8_t *damage_fn(struct tm_store *store, uint64_t addr,
				 const uint8_t *right, uint32_t bytes,
				 uint64_t random);

static damage_fn zero, stale, misdirect, flip;

static const struct {
	const char *name;
	damage_fn *damage;
} kinds[] = {
	{"zero", zero},
	{"stale", stale},
	{"misdirect", misdirect},
	{"flip", flip},
};

static damage_fn *kind;
static bool refuses;
static uint64_t rate = 1, seed = 1, asked, lies;
static uint8_t *older; /* what each write replaced, by address */

/* splitmix64 */
static uint64_t scramble(uint64_t x)
{
	x += 0x9e3779b97f4a7c15;
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
	x = (x ^ x >> 27) * 0x94d049bb133111eb;
	return x ^ x >> 31;
}

/* One in @rate is; @random is for what is done to it. */
static bool chosen(uint64_t *random)
{
	*random = scramble(seed ^ scramble(__atomic_fetch_add(
					  &asked, 1, __ATOMIC_RELAXED)));
	return *random % rate == 0;
}

static const uint8_t *differing(const uint8_t *wrong, const uint8_t *right,
				uint32_t bytes)
{
	return memcmp(wrong, right, bytes) ? wrong : NULL;
}

static const uint8_t *zero(struct tm_store *store, uint64_t addr,
			   const uint8_t *right, uint32_t bytes,
			   uint64_t random)
{
	static const uint8_t zeros[TM_PROTO_IO_MAX];

	return differing(zeros, right, bytes);
}

static const uint8_t *stale(struct tm_store *store, uint64_t addr,
			    const uint8_t *right, uint32_t bytes,
			    uint64_t random)
{
	return older ? differing(older + addr, right, bytes) : NULL;
}

static const uint8_t *misdirect(struct tm_store *store, uint64_t addr,
				const uint8_t *right, uint32_t bytes,
				uint64_t random)
{
	uint64_t places = store->capacity_bytes / bytes, other, i;
	const uint8_t *wrong = NULL;

	for (i = 0; i < 64 && !wrong; i++) {
		other = scramble(random + i) % places * bytes;
		if (tm_store_owns(store,
				  store->owner[addr >> store->extent_shift],
				  other, bytes))
			wrong = differing(store->base + other, right, bytes);
	}
	return wrong;
}

static const uint8_t *flip(struct tm_store *store, uint64_t addr,
			   const uint8_t *right, uint32_t bytes,
			   uint64_t random)
{
	static uint8_t *copies[COPIES];
	static unsigned int next;
	uint8_t **copy =
		&copies[__atomic_fetch_add(&next, 1, __ATOMIC_RELAXED) %
			COPIES];

	free(*copy);
	*copy = malloc(bytes);
	if (!*copy)
		abort();
	memcpy(*copy, right, bytes);
	(*copy)[random / 8 % bytes] ^= 1 << random % 8;
	return *copy;
}

const uint8_t *__wrap_tm_store_read_ptr(struct tm_store *store, uint64_t addr,
					uint32_t bytes)
{
	const uint8_t *right = __real_tm_store_read_ptr(store, addr, bytes);
	const uint8_t *wrong;
	uint64_t random;

	if (!kind || !chosen(&random))
		return right;
	wrong = kind(store, addr, right, bytes, scramble(random));
	if (!wrong)
		return right;
	__atomic_fetch_add(&lies, 1, __ATOMIC_RELAXED);
	return wrong;
}

bool __wrap_tm_request_start(struct tm_conn *conn, const char *why)
{
	bool goes_on = __real_tm_request_start(conn, why);
	uint64_t random;

	if (!goes_on || !refuses || conn->msg.type != TM_WIRE_WRITE ||
	    !chosen(&random))
		return goes_on;
	conn->sink = NULL;
	conn->status = TM_STATUS_INTERNAL;
	__atomic_fetch_add(&lies, 1, __ATOMIC_RELAXED);
	return true;
}

uint8_t *__wrap_tm_store_write_ptr(struct tm_store *store, uint64_t addr,
				   uint32_t bytes)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	uint8_t *right = __real_tm_store_write_ptr(store, addr, bytes);

	if (kind != stale)
		return right;
	pthread_mutex_lock(&lock);
	if (!older)
		older = mmap(
			NULL, store->capacity_bytes, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	pthread_mutex_unlock(&lock);
	if (older == MAP_FAILED)
		abort();
	memcpy(older + addr, right, bytes);
	return right;
}

/* Returns true if the argument was ours. */
static bool take_option(const char *arg)
{
	size_t i;

	if (strncmp(arg, "--seed=", 7) == 0) {
		seed = strtoull(arg + 7, NULL, 0);
		return true;
	}
	if (strncmp(arg, "--mutant-rate=1/", 16) == 0) {
		rate = strtoull(arg + 16, NULL, 0);
		if (rate)
			return true;
	}
	if (strcmp(arg, "--mutant=refuse") == 0) {
		refuses = true;
		return true;
	}
	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (strncmp(arg, "--mutant=", 9) ||
		    strcmp(arg + 9, kinds[i].name))
			continue;
		kind = kinds[i].damage;
		return true;
	}
	return false;
}

int __wrap_main(int argc, char **argv)
{
	int kept = 1, i, ret;

	for (i = 1; i < argc; i++)
		if (!take_option(argv[i]))
			argv[kept++] = argv[i];
	argv[kept] = NULL;
	ret = __real_main(kept, argv);
	fprintf(stderr, "teramemd-mutant: %llu lies in %llu\n",
		(unsigned long long)lies, (unsigned long long)asked);
	return ret;
}
