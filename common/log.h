/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One line per message on stderr, "teramem: <action> <object>: <cause>", then
 * the remedy. Written with one write(2), no allocation, no stdio, so that the
 * paging threads may use it. Control bytes are shown as '?'.
 */
#ifndef TM_COMMON_LOG_H
#define TM_COMMON_LOG_H

enum tm_log_level {
	TM_LOG_ERROR,
	TM_LOG_WARNING,
	TM_LOG_INFO,
	TM_LOG_DEBUG,
};

/** tm_log_init() - name before the colon (default "teramem"), and how much */
void tm_log_init(const char *name, enum tm_log_level max);

void tm_log(enum tm_log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define tm_err(...) tm_log(TM_LOG_ERROR, __VA_ARGS__)
#define tm_warn(...) tm_log(TM_LOG_WARNING, __VA_ARGS__)
#define tm_info(...) tm_log(TM_LOG_INFO, __VA_ARGS__)
#define tm_debug(...) tm_log(TM_LOG_DEBUG, __VA_ARGS__)

#endif /* TM_COMMON_LOG_H */
