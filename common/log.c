// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Messages on stderr; see log.h. Keeps errno, so that a message never changes
 * what the caller returns. Lock order: none; a line is one write(2).
 */
#include "common/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 1024

static const char *log_name = "teramem";
static enum tm_log_level log_max = TM_LOG_WARNING;

void tm_log_init(const char *name, enum tm_log_level max)
{
	log_name = name;
	log_max = max;
}

void tm_log(enum tm_log_level level, const char *fmt, ...)
{
	char line[LINE_MAX_BYTES];
	int saved = errno, head, body;
	size_t len, i;
	ssize_t n;
	va_list ap;

	if (level > log_max)
		return;
	head = snprintf(line, sizeof(line) / 2, "%s: ", log_name);
	va_start(ap, fmt);
	body = vsnprintf(line + head, sizeof(line) - head - 1, fmt, ap);
	va_end(ap);
	if (head < 0 || body < 0) {
		errno = saved;
		return;
	}
	len = (size_t)head + body;
	if (len > sizeof(line) - 2)
		len = sizeof(line) - 2;
	for (i = 0; i < len; i++)
		if ((unsigned char)line[i] < ' ' || line[i] == 0x7f)
			line[i] = '?';
	line[len++] = '\n';
	do {
		n = write(STDERR_FILENO, line, len);
	} while (n < 0 && errno == EINTR);
	errno = saved;
}
