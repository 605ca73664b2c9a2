/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server map: the JSON file that tells a program where its remote memory
 * is and how to use it. It holds no secrets. Written by `teramem run`, the
 * Slurm plugin, or by hand; read by libteramalloc. See teramem.map(5).
 *
 *	{
 *	  "version": 1,
 *	  "job": 4711,
 *	  "size": "8G",              capacity for the job's programs together
 *	  "local": "1G",             local limit, for them together
 *	  "block": "auto",           or a size, such as "256K"
 *	  "policy": "lru",           or "fifo"
 *	  "placement": "simple",     or "rr"
 *	  "prefetch": "4M",          read ahead at most this much, 0 = off
 *	  "timeout": 10,             seconds without a sign of life: server dead
 *	  "servers": [
 *	    { "address": "tcp:10.0.0.1:7000", "capacity": "4G", "auth": "munge"
 *}, { "address": "unix:/run/teramem/1/s0", "capacity": "4G", "auth": "peercred"
 *}
 *	  ]
 *	}
 *
 * Sizes are numbers of bytes or texts for tm_size_parse(). Unknown keys are
 * errors. "version", "size", "local" and "servers" with "address" and
 * "capacity" are required.
 */
#ifndef TM_COMMON_MAP_H
#define TM_COMMON_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TM_MAP_SERVERS_MAX 256
#define TM_MAP_ADDRESS_MAX 108
#define TM_MAP_FILE_MAX (1u << 20)

enum tm_auth { TM_MAP_AUTH_PEERCRED, TM_MAP_AUTH_MUNGE };

struct tm_map_server {
	char address[TM_MAP_ADDRESS_MAX]; /* "tcp:HOST:PORT", "unix:/PATH" */
	uint64_t capacity_bytes;
	enum tm_auth auth; /* default: peercred for unix, munge for tcp */
};

#define TM_MAP_VERSION 1

/*
 * With "block": "auto": the unit of paging at best, with the module, and where
 * pages cannot be moved, so that nothing comes around a fault; and the most
 * that does. tm_map_auto_block() says the first.
 */
#define TM_MAP_AUTO_BLOCK (4u << 10)
#define TM_MAP_AUTO_KERNEL (16u << 10)
#define TM_MAP_AUTO_COPIED (256u << 10)
#define TM_MAP_AUTO_AROUND (1u << 20)

struct tm_map {
	uint64_t job;
	uint64_t size_bytes;
	uint64_t local_bytes;
	uint64_t block_bytes;
	bool block_auto; /* the engine decides, at best for block_bytes */
	uint64_t prefetch_bytes;
	unsigned int timeout_s;
	bool fifo; /* replacement: else LRU */
	bool rr;   /* placement: else simple */
	unsigned int nr_servers;
	struct tm_map_server server[TM_MAP_SERVERS_MAX];
};

/** tm_map_init() - what holds where nothing is said; no servers */
void tm_map_init(struct tm_map *map);

/**
 * tm_map_parse() - read a map from text
 * @error: one line that says what is wrong and where, on failure
 *
 * Returns 0, -EINVAL or -ENOMEM.
 */
int tm_map_parse(const char *text, size_t len, struct tm_map *map, char *error,
		 size_t error_len);

/** tm_map_load() - the same from a file; also -errno of opening it */
int tm_map_load(const char *path, struct tm_map *map, char *error,
		size_t error_len);

/** tm_map_save() - write @path, new, mode 0600; 0 or -errno */
int tm_map_save(const char *path, const struct tm_map *map);

/**
 * tm_map_auto_block() - the unit of paging with "block": "auto", in bytes
 * @entry_bytes: what the pager keeps of a block, wherever that is
 *
 * The smallest of 4K, 16K and 64K with which that takes no more than an eighth
 * of local memory, or 16 MiB, were all remote memory used.
 */
uint64_t tm_map_auto_block(const struct tm_map *map, size_t entry_bytes);

/** tm_map_check() - what parse checks too: limits, sums, addresses */
int tm_map_check(const struct tm_map *map, char *error, size_t error_len);

#endif /* TM_COMMON_MAP_H */
