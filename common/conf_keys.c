// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The table of settings: names, kinds, limits; and single values from and to
 * text. See conf.h. Lock order: none.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/conf.h"
#include "common/size.h"

enum kind {
	KIND_SIZE,
	KIND_NUMBER,
	KIND_CHOICE,
	KIND_NAME,
	KIND_NODES,
	KIND_PORTS
};

#define IN_FILE 1u

/*
 * @zero: the word for 0, where there is one
 * @text: what an option without a value means
 * @initial: the default, as in teramem.conf
 */
static const struct key {
	const char *name, *variable, *option;
	unsigned int flags;
	enum kind kind;
	size_t offset;
	uint64_t min, max;
	const char *choices[4];
	const char *zero, *text, *initial;
} keys[TM_CONF_NR_KEYS] = {
#define AT(field) offsetof(struct tm_conf, field)
#define SIZE_LIMIT (1ULL << 46)
	[TM_CONF_SIZE] = {"Size", "TERAMEM", "teramem", 0, KIND_SIZE,
			  AT(size_bytes), 4 << 20, SIZE_LIMIT, .zero = "none",
			  .initial = "none"},
	[TM_CONF_LOCAL] = {"Local", "TERAMEM_LOCAL", "teramem-local", IN_FILE,
			   KIND_SIZE, AT(local_bytes), 16 << 20, SIZE_LIMIT,
			   .zero = "auto", .initial = "auto"},
	[TM_CONF_LOCAL_SHARE] = {"LocalShare", NULL, NULL, IN_FILE, KIND_NUMBER,
				 AT(local_share), 1, 90, .initial = "50"},
	[TM_CONF_BLOCK] = {"BlockSize", "TERAMEM_BLOCK", "teramem-block",
			   IN_FILE, KIND_SIZE, AT(block_bytes), 4 << 10,
			   2 << 20, .zero = "auto", .initial = "auto"},
	[TM_CONF_POLICY] = {"Policy", "TERAMEM_POLICY", "teramem-policy",
			    IN_FILE, KIND_CHOICE, AT(policy),
			    .choices = {"lru", "fifo"}, .initial = "lru"},
	[TM_CONF_PLACEMENT] = {"Placement", "TERAMEM_PLACEMENT",
			       "teramem-placement", IN_FILE, KIND_CHOICE,
			       AT(placement), .choices = {"simple", "rr"},
			       .initial = "simple"},
	[TM_CONF_PREFETCH] = {"Prefetch", NULL, NULL, IN_FILE, KIND_SIZE,
			      AT(prefetch_bytes), 4 << 10, 1 << 30,
			      .zero = "off", .initial = "4M"},
	[TM_CONF_ENGINE] = {"Engine", "TERAMEM_ENGINE", "teramem-engine",
			    IN_FILE, KIND_CHOICE, AT(engine),
			    .choices = {"auto", "kmod", "uffd"},
			    .initial = "auto"},
	[TM_CONF_DONORS] = {"Donors", "TERAMEM_DONORS", "teramem-donors",
			    IN_FILE, KIND_NUMBER, AT(donors), 1, 256,
			    .zero = "auto", .initial = "auto"},
	[TM_CONF_DONORS_MAX] = {"DonorsMax", NULL, NULL, IN_FILE, KIND_NUMBER,
				AT(donors_max), 1, 256, .initial = "64"},
	[TM_CONF_DONOR_PARTITION] = {"DonorPartition", NULL, NULL, IN_FILE,
				     KIND_NAME, AT(donor_partition),
				     .initial = ""},
	[TM_CONF_DONOR_NODES] = {"DonorNodes", NULL, NULL, IN_FILE, KIND_NODES,
				 AT(donor_nodes), .initial = ""},
	[TM_CONF_DONOR_MEM_MAX] = {"DonorMemMax", NULL, NULL, IN_FILE,
				   KIND_SIZE, AT(donor_mem_max_bytes),
				   256 << 20, SIZE_LIMIT, .zero = "none",
				   .initial = "none"},
	[TM_CONF_SIZE_MAX] = {"SizeMax", NULL, NULL, IN_FILE, KIND_SIZE,
			      AT(size_max_bytes), 4 << 20, SIZE_LIMIT,
			      .zero = "none", .initial = "none"},
	[TM_CONF_WAIT_TIME] = {"WaitTime", NULL, NULL, IN_FILE, KIND_NUMBER,
			       AT(wait_s), 1, 3600, .initial = "60"},
	[TM_CONF_TIMEOUT] = {"Timeout", NULL, NULL, IN_FILE, KIND_NUMBER,
			     AT(timeout_s), 1, 3600, .initial = "10"},
	[TM_CONF_PORTS] = {"Ports", NULL, NULL, IN_FILE, KIND_PORTS,
			   AT(port_first), .initial = "21000-24999"},
	[TM_CONF_PRELOAD] = {"Preload", "TERAMEM_PRELOAD", "teramem-preload",
			     IN_FILE, KIND_SIZE, AT(preload_bytes), 4 << 10,
			     SIZE_LIMIT, .zero = "off", .text = "1M",
			     .initial = "off"},
#undef AT
};

static bool is_text(const struct key *key)
{
	return key->kind == KIND_NAME || key->kind == KIND_NODES;
}

const char *tm_conf_name(enum tm_conf_key key)
{
	return keys[key].name;
}

const char *tm_conf_option(enum tm_conf_key key)
{
	return keys[key].option;
}

const char *tm_conf_variable(enum tm_conf_key key)
{
	return keys[key].variable;
}

bool tm_conf_in_file(enum tm_conf_key key)
{
	return keys[key].flags & IN_FILE;
}

enum tm_conf_key tm_conf_find(const char *name)
{
	enum tm_conf_key key;

	for (key = 0; key < TM_CONF_NR_KEYS; key++)
		if (!strcasecmp(keys[key].name, name))
			break;
	return key;
}

/* As Slurm has it: a number alone means MiB. */
static int parse_size(const struct key *key, const char *text, uint64_t *bytes,
		      char *why, size_t why_len)
{
	char with_unit[32], min[32], max[32];
	const char *cause;

	if (*text && strspn(text, "0123456789") == strlen(text) &&
	    snprintf(with_unit, sizeof(with_unit), "%sM", text) <
		    (int)sizeof(with_unit))
		text = with_unit;
	if (tm_size_parse(text, bytes, &cause)) {
		snprintf(why, why_len, "%s", cause);
		return -EINVAL;
	}
	if (*bytes >= key->min && *bytes <= key->max)
		return 0;
	snprintf(why, why_len, "not from %s to %s",
		 tm_size_format(key->min, min, sizeof(min)),
		 tm_size_format(key->max, max, sizeof(max)));
	return -EINVAL;
}

static int parse_number(const char *text, uint64_t min, uint64_t max,
			uint64_t *number, char *why, size_t why_len)
{
	size_t len = strspn(text, "0123456789");

	if (len && len < 8 && !text[len]) {
		*number = strtoull(text, NULL, 10);
		if (*number >= min && *number <= max)
			return 0;
	}
	snprintf(why, why_len,
		 "not a whole number from %" PRIu64 " to %" PRIu64, min, max);
	return -EINVAL;
}

static int parse_choice(const struct key *key, const char *text,
			uint64_t *index, char *why, size_t why_len)
{
	for (*index = 0; key->choices[*index]; (*index)++)
		if (!strcmp(key->choices[*index], text))
			return 0;
	snprintf(why, why_len, "unknown (use %s%s%s or %s)", key->choices[0],
		 key->choices[2] ? ", " : "",
		 key->choices[2] ? key->choices[1] : "",
		 key->choices[2] ? key->choices[2] : key->choices[1]);
	return -EINVAL;
}

#define PORTS_MIN 64

static int parse_ports(const char *text, uint64_t ports[2], char *why,
		       size_t why_len)
{
	char first[8];
	size_t len = strcspn(text, "-");

	if (text[len] == '-' && len < sizeof(first)) {
		memcpy(first, text, len);
		first[len] = '\0';
		if (!parse_number(first, 1024, 65535, &ports[0], why,
				  why_len) &&
		    !parse_number(text + len + 1, 1024, 65535, &ports[1], why,
				  why_len) &&
		    ports[1] >= ports[0] + PORTS_MIN - 1)
			return 0;
	}
	snprintf(why, why_len,
		 "not a range of at least %d ports (like 21000-24999)",
		 PORTS_MIN);
	return -EINVAL;
}

#define NAME_CHARS                                                             \
	"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

/* What reaches a command line of ours: a partition's name, a list of nodes. */
static int parse_name(const struct key *key, const char *text, char *name,
		      char *why, size_t why_len)
{
	bool nodes = key->kind == KIND_NODES;
	size_t max = nodes ? TM_CONF_NODES_MAX : TM_CONF_NAME_MAX;
	size_t len = strspn(text, NAME_CHARS);

	if (nodes)
		len = strspn(text, NAME_CHARS "[],");
	if (len < max && !text[len] && *text != '-') {
		strcpy(name, text);
		return 0;
	}
	snprintf(why, why_len,
		 nodes ? "not a list of nodes (like n4,n[7-9])"
		       : "not the name of a partition");
	return -EINVAL;
}

static int parse(const struct key *key, const char *text, void *value,
		 char *why, size_t why_len)
{
	if (is_text(key))
		return parse_name(key, text, value, why, why_len);
	if (key->zero && !strcmp(text, key->zero)) {
		*(uint64_t *)value = 0;
		return 0;
	}
	switch (key->kind) {
	case KIND_SIZE:
		return parse_size(key, text, value, why, why_len);
	case KIND_NUMBER:
		return parse_number(text, key->min, key->max, value, why,
				    why_len);
	case KIND_CHOICE:
		return parse_choice(key, text, value, why, why_len);
	default:
		return parse_ports(text, value, why, why_len);
	}
}

int tm_conf_set(struct tm_conf *conf, enum tm_conf_key key, const char *text,
		enum tm_conf_origin origin, char *why, size_t why_len)
{
	const struct key *k = &keys[key];
	union {
		uint64_t number[2];
		char name[TM_CONF_NODES_MAX];
	} value;
	size_t size = k->kind == KIND_NAME    ? TM_CONF_NAME_MAX
		      : k->kind == KIND_NODES ? TM_CONF_NODES_MAX
		      : k->kind == KIND_PORTS ? sizeof(value.number)
					      : sizeof(value.number[0]);
	uint64_t *block = &value.number[0];

	if (!text || (!*text && k->text))
		text = k->text ? k->text : "";
	if (parse(k, text, &value, why, why_len))
		return -EINVAL;
	if (key == TM_CONF_BLOCK && (*block & (*block - 1)) && *block) {
		snprintf(why, why_len, "not a power of two from 4K to 2M");
		return -EINVAL;
	}
	if (origin < conf->origin[key])
		return 0;
	memcpy((char *)conf + k->offset, &value, size);
	conf->origin[key] = origin;
	conf->line[key] = 0;
	return 0;
}

char *tm_conf_format(const struct tm_conf *conf, enum tm_conf_key key,
		     char *buf, size_t len)
{
	const struct key *k = &keys[key];
	const uint64_t *value = (const void *)((const char *)conf + k->offset);

	if (is_text(k))
		snprintf(buf, len, "%s", (const char *)value);
	else if (k->kind == KIND_PORTS)
		snprintf(buf, len, "%" PRIu64 "-%" PRIu64, value[0], value[1]);
	else if (k->kind == KIND_CHOICE)
		snprintf(buf, len, "%s", k->choices[*value]);
	else if (!*value && k->zero)
		snprintf(buf, len, "%s", k->zero);
	else if (k->kind == KIND_NUMBER)
		snprintf(buf, len, "%" PRIu64, *value);
	else if (*value % (1 << 20) == 0 && (*value >> 20) % 1024)
		snprintf(buf, len, "%" PRIu64 "M", *value >> 20);
	else if (*value % (1 << 30) == 0)
		snprintf(buf, len, "%" PRIu64 "G", *value >> 30);
	else
		snprintf(buf, len, "%" PRIu64 "K", *value >> 10);
	return buf;
}

void tm_conf_init(struct tm_conf *conf)
{
	enum tm_conf_key key;
	char why[128];

	memset(conf, 0, sizeof(*conf));
	for (key = 0; key < TM_CONF_NR_KEYS; key++)
		if (tm_conf_set(conf, key, keys[key].initial,
				TM_CONF_FROM_DEFAULT, why, sizeof(why)))
			abort(); /* the table is wrong */
}
