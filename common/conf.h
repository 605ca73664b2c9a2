/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What a job is given and where each value comes from: the command line, the
 * environment, the partition's line in teramem.conf, its other lines, or a
 * default, in this order of precedence. One table (conf_keys.c) names every
 * setting in all of its forms; teramem.conf(5) says the same in words.
 *
 * Used by the Slurm plugin at submit, by its job helper on the nodes, and by
 * `teramem config`. Not by programs: they see the result, the server map.
 */
#ifndef TM_COMMON_CONF_H
#define TM_COMMON_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum tm_conf_key {
	TM_CONF_SIZE,
	TM_CONF_LOCAL,
	TM_CONF_LOCAL_SHARE,
	TM_CONF_BLOCK,
	TM_CONF_POLICY,
	TM_CONF_PLACEMENT,
	TM_CONF_PREFETCH,
	TM_CONF_ENGINE,
	TM_CONF_DONORS,
	TM_CONF_DONORS_MAX,
	TM_CONF_DONOR_PARTITION,
	TM_CONF_DONOR_NODES,
	TM_CONF_DONOR_MEM_MAX,
	TM_CONF_SIZE_MAX,
	TM_CONF_WAIT_TIME,
	TM_CONF_TIMEOUT,
	TM_CONF_PORTS,
	TM_CONF_PRELOAD,
	TM_CONF_NR_KEYS,
};

/** enum tm_conf_origin - weakest first */
enum tm_conf_origin {
	TM_CONF_FROM_DEFAULT,
	TM_CONF_FROM_FILE,
	TM_CONF_FROM_PARTITION,
	TM_CONF_FROM_ENVIRONMENT,
	TM_CONF_FROM_COMMAND_LINE,
};

#define TM_CONF_NAME_MAX 64
#define TM_CONF_NODES_MAX 256 /* no value is longer */
#define TM_CONF_ENGINE_AUTO 0
#define TM_CONF_ENGINE_KMOD 1

/**
 * struct tm_conf - every setting and its origin
 * @size_bytes: remote memory of each compute node; 0: none was asked for
 * @local_bytes: that a space may keep resident; 0: @local_share of the job's
 * @block_bytes: 0: auto, see doc/block-auto.md
 * @policy: 0 lru, 1 fifo
 * @placement: 0 simple, 1 rr
 * @engine: TM_CONF_ENGINE_AUTO, TM_CONF_ENGINE_KMOD, 2 uffd
 * @donors: 0: as few as @donor_mem_max allows
 * @donor_partition: "": the job's
 * @donor_nodes: "": any of that partition
 * @donor_mem_max_bytes, @size_max_bytes: 0: no limit
 * @port_first, @port_last: where servers listen
 * @preload_bytes: smallest allocation that unmodified programs get from remote
 *	memory; 0: no preload
 * @line: in teramem.conf, where a value came from there
 */
struct tm_conf {
	uint64_t size_bytes;
	uint64_t local_bytes;
	uint64_t local_share;
	uint64_t block_bytes;
	uint64_t policy;
	uint64_t placement;
	uint64_t prefetch_bytes;
	uint64_t engine;
	uint64_t donors;
	uint64_t donors_max;
	char donor_partition[TM_CONF_NAME_MAX];
	char donor_nodes[TM_CONF_NODES_MAX];
	uint64_t donor_mem_max_bytes;
	uint64_t size_max_bytes;
	uint64_t wait_s;
	uint64_t timeout_s;
	uint64_t port_first, port_last;
	uint64_t preload_bytes;
	enum tm_conf_origin origin[TM_CONF_NR_KEYS];
	unsigned int line[TM_CONF_NR_KEYS];
};

/** tm_conf_init() - the defaults */
void tm_conf_init(struct tm_conf *conf);

/**
 * tm_conf_set() - one value, unless a stronger origin has set it
 * @why: on failure, what is wrong with @text
 *
 * Returns 0 or -EINVAL; @text is checked in any case.
 */
int tm_conf_set(struct tm_conf *conf, enum tm_conf_key key, const char *text,
		enum tm_conf_origin origin, char *why, size_t why_len);

/**
 * tm_conf_load() - teramem.conf, for jobs of @partition (NULL: none)
 * @error: "FILE:LINE: cause", on failure
 *
 * All of the file is checked, the lines of other partitions too. A file that
 * does not exist is an error. Returns 0 or -errno.
 */
int tm_conf_load(struct tm_conf *conf, const char *path, const char *partition,
		 char *error, size_t error_len);

/** tm_conf_environment() - TERAMEM, TERAMEM_BLOCK, ...; as tm_conf_load() */
int tm_conf_environment(struct tm_conf *conf, char *error, size_t error_len);

/**
 * tm_conf_check() - what no single value tells: limits against each other
 * @error: names the option to change
 */
int tm_conf_check(const struct tm_conf *conf, char *error, size_t error_len);

/* ---- the table ----------------------------------------------------------- */

/** tm_conf_name() - as in teramem.conf; "Size" and others are not for it */
const char *tm_conf_name(enum tm_conf_key key);

/** tm_conf_option() - "teramem-block", NULL where there is no option */
const char *tm_conf_option(enum tm_conf_key key);

/** tm_conf_variable() - "TERAMEM_BLOCK", NULL where there is none */
const char *tm_conf_variable(enum tm_conf_key key);

/** tm_conf_in_file() - whether teramem.conf may set it */
bool tm_conf_in_file(enum tm_conf_key key);

/** tm_conf_find() - the key that teramem.conf calls @name, else NR_KEYS */
enum tm_conf_key tm_conf_find(const char *name);

/** tm_conf_format() - a value as tm_conf_set() takes it; returns @buf */
char *tm_conf_format(const struct tm_conf *conf, enum tm_conf_key key,
		     char *buf, size_t len);

#endif /* TM_COMMON_CONF_H */
