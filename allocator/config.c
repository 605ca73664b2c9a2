/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The environment's table and its parser; see config.h. Runs inside malloc:
 * no allocation, no stdio.
 */
#include "allocator/config.h"

#include <errno.h>
#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>

#include "common/log.h"
#include "common/size.h"

extern char **environ;

enum kind { KIND_PATH, KIND_BYTES, KIND_NUMBER, KIND_CHOICE };

/* One variable; @choices are the words whose index is stored. */
static const struct variable {
	const char *name;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *const choices[4];
	const char *remedy;
} variables[] = {
#define AT(field) offsetof(struct tm_config, field)
	{"TERAMEM_JOB_MAP", KIND_PATH, AT(map), .remedy = "use a shorter path"},
	{"TERAMEM_JOB_FILE", KIND_PATH, AT(job),
	 .remedy = "use a shorter path"},
	{"TERAMEM_JOB_DEVICE", KIND_PATH, AT(device),
	 .remedy = "use a shorter path"},
	{"TERAMALLOC_THRESHOLD", KIND_BYTES, AT(threshold_bytes), 1, INT64_MAX,
	 .remedy = "use bytes, or a number with K, M, G or T"},
	{"TERAMALLOC_MMAP", KIND_CHOICE, AT(mmap), .choices = {"0", "1"},
	 .remedy = "use 0 or 1"},
	{"TERAMALLOC_FALLBACK", KIND_CHOICE, AT(fallback),
	 .choices = {"fail", "local"}, .remedy = "use fail or local"},
	{"TERAMALLOC_MECHANISM", KIND_CHOICE, AT(mechanism),
	 .choices = {"auto", "move", "copy"},
	 .remedy = "use auto, move or copy"},
	{"TERAMALLOC_LANES", KIND_NUMBER, AT(lanes), 1, TM_CONFIG_LANES_MAX,
	 .remedy = "use a number from 1 to 8"},
	{"TERAMALLOC_SPIN_US", KIND_NUMBER, AT(spin_us), 0, 1000000,
	 .remedy = "use microseconds from 0 to 1000000"},
	{"TERAMALLOC_UFFD", KIND_CHOICE, AT(uffd),
	 .choices = {"full", "limited"}, .remedy = "use full or limited"},
#undef AT
};
#define NR_VARIABLES (sizeof(variables) / sizeof(variables[0]))

static struct tm_config config = {
	.threshold_bytes = 1 << 20,
	.spin_us = -1,
};

static int parse(const struct variable *v, const char *text, void *field)
{
	const char *end;
	uint64_t number = 0;

	switch (v->kind) {
	case KIND_PATH:
		if (strlen(text) >= PATH_MAX)
			return -EINVAL;
		strcpy(field, text);
		return 0;
	case KIND_CHOICE:
		for (unsigned int i = 0; v->choices[i]; i++) {
			if (!strcmp(text, v->choices[i])) {
				*(unsigned int *)field = i;
				return 0;
			}
		}
		return -EINVAL;
	case KIND_NUMBER:
		for (end = text; *end >= '0' && *end <= '9'; end++) {
			if (end - text == 9)
				return -EINVAL;
			number = number * 10 + (unsigned int)(*end - '0');
		}
		if (end == text || *end || number < v->min || number > v->max)
			return -EINVAL;
		*(unsigned int *)field = (unsigned int)number;
		return 0;
	case KIND_BYTES:
		if (tm_size_parse(text, &number, NULL) || number < v->min ||
		    number > v->max)
			return -EINVAL;
		*(uint64_t *)field = number;
		return 0;
	}
	return -EINVAL;
}

static void load(void)
{
	const struct variable *v;
	const char *text;

	for (v = variables; v < variables + NR_VARIABLES; v++) {
		text = secure_getenv(v->name);
		if (!text || !parse(v, text, (char *)&config + v->offset))
			continue;
		tm_err("read %s: '%.64s' is not a valid value; %s", v->name,
		       text, v->remedy);
		_exit(TM_CONFIG_EXIT);
	}
}

const struct tm_config *tm_config_get(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;

	pthread_once(&once, load);
	return &config;
}

static bool known(const char *entry, size_t len)
{
	const struct variable *v;

	for (v = variables; v < variables + NR_VARIABLES; v++)
		if (strlen(v->name) == len && !memcmp(v->name, entry, len))
			return true;
	return false;
}

void tm_config_warn_unknown(void)
{
	static const char prefix[] = "TERAMALLOC_";
	size_t len;

	if (getauxval(AT_SECURE))
		return;
	for (char **e = environ; e && *e; e++) {
		len = strcspn(*e, "=");
		if (strncmp(*e, prefix, sizeof(prefix) - 1) || known(*e, len))
			continue;
		tm_warn("read environment: unknown variable %.*s is ignored; "
			"see teramalloc(3) for those that exist",
			len > 64 ? 64 : (int)len, *e);
	}
}
