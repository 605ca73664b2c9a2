// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * teramem.conf and the environment; see conf.h. Lock order: none.
 */
#include "common/conf.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common/size.h"

#define LINE_MAX_BYTES 4096
#define BLANKS " \t\r\n"

/*
 * The line that is read. @partition: it belongs to one; @ours: to the one that
 * was asked for.
 */
struct reader {
	struct tm_conf *conf;
	const char *path;
	unsigned int line;
	bool partition, ours;
	char *error;
	size_t error_len;
};

__attribute__((format(printf, 2, 3))) static int complain(struct reader *r,
							  const char *fmt, ...)
{
	size_t used;
	va_list ap;
	char *p;

	used = (size_t)snprintf(r->error, r->error_len, "%s:%u: ", r->path,
				r->line);
	if (used < r->error_len) {
		va_start(ap, fmt);
		vsnprintf(r->error + used, r->error_len - used, fmt, ap);
		va_end(ap);
	}
	for (p = r->error; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	return -EINVAL;
}

static int read_pair(struct reader *r, const char *name, const char *value)
{
	enum tm_conf_key key = tm_conf_find(name);
	enum tm_conf_origin origin =
		r->partition ? TM_CONF_FROM_PARTITION : TM_CONF_FROM_FILE;
	struct tm_conf checked = *r->conf;
	char why[128];

	if (key == TM_CONF_NR_KEYS)
		return complain(r, "unknown key '%s'; see teramem.conf(5)",
				name);
	if (!tm_conf_in_file(key))
		return complain(r,
				"%s: is for each job to say, not for this file",
				tm_conf_name(key));
	if (tm_conf_set(&checked, key, value, origin, why, sizeof(why)))
		return complain(r, "%s=%s: %s", tm_conf_name(key), value, why);
	if (r->partition && !r->ours)
		return 0;
	if (checked.origin[key] == origin)
		checked.line[key] = r->line;
	*r->conf = checked;
	return 0;
}

static int read_line(struct reader *r, char *line, const char *partition)
{
	char *word, *value, *rest = NULL;
	bool first = true;
	int err;

	line[strcspn(line, "#")] = '\0';
	r->partition = r->ours = false;
	for (word = strtok_r(line, BLANKS, &rest); word;
	     word = strtok_r(NULL, BLANKS, &rest), first = false) {
		value = strchr(word, '=');
		if (!value)
			return complain(
				r, "'%s' has no value (write Key=value)", word);
		*value++ = '\0';
		if (!strcasecmp(word, "Partition")) {
			if (!first)
				return complain(
					r,
					"Partition= must be first in its line");
			if (!*value)
				return complain(r, "Partition= has no name");
			r->partition = true;
			r->ours = partition && !strcmp(value, partition);
			continue;
		}
		err = read_pair(r, word, value);
		if (err)
			return err;
	}
	return 0;
}

int tm_conf_load(struct tm_conf *conf, const char *path, const char *partition,
		 char *error, size_t error_len)
{
	struct reader r = {
		.conf = conf,
		.path = path,
		.error = error,
		.error_len = error_len,
	};
	char line[LINE_MAX_BYTES];
	FILE *file = fopen(path, "re");
	int err = 0;

	while (file && !err && fgets(line, sizeof(line), file)) {
		r.line++;
		if (strlen(line) == sizeof(line) - 1)
			err = complain(&r, "line too long");
		else
			err = read_line(&r, line, partition);
	}
	if (!file || (!err && ferror(file))) {
		err = -errno;
		snprintf(error, error_len, "cannot read %s: %s", path,
			 strerror(-err));
	}
	if (file)
		fclose(file);
	return err;
}

int tm_conf_environment(struct tm_conf *conf, char *error, size_t error_len)
{
	enum tm_conf_key key;
	char why[128];

	for (key = 0; key < TM_CONF_NR_KEYS; key++) {
		const char *name = tm_conf_variable(key);
		const char *text = name ? secure_getenv(name) : NULL;

		if (!text || !*text ||
		    !tm_conf_set(conf, key, text, TM_CONF_FROM_ENVIRONMENT, why,
				 sizeof(why)))
			continue;
		snprintf(error, error_len, "environment %s=%.64s: %s", name,
			 text, why);
		return -EINVAL;
	}
	return 0;
}

int tm_conf_check(const struct tm_conf *conf, char *error, size_t error_len)
{
	char size[32], limit[32];

	if (!conf->size_bytes)
		return 0;
	tm_size_format(conf->size_bytes, size, sizeof(size));
	if (conf->size_max_bytes && conf->size_bytes > conf->size_max_bytes) {
		snprintf(error, error_len,
			 "--teramem=%s: at most %s is allowed here (SizeMax in "
			 "teramem.conf)",
			 size,
			 tm_size_format(conf->size_max_bytes, limit,
					sizeof(limit)));
		return -EINVAL;
	}
	if (conf->donors > conf->donors_max) {
		snprintf(error, error_len,
			 "--teramem-donors=%" PRIu64 ": at most %" PRIu64
			 " are allowed here (DonorsMax in teramem.conf)",
			 conf->donors, conf->donors_max);
		return -EINVAL;
	}
	return 0;
}
