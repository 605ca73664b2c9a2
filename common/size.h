/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sizes as people write them: "512M", "1T", "262144".
 */
#ifndef TM_COMMON_SIZE_H
#define TM_COMMON_SIZE_H

#include <stddef.h>
#include <stdint.h>

/**
 * tm_size_parse() - bytes from text
 * @text: decimal digits, then K, M, G or T (powers of 1024; an optional "B" or
 *	"iB" follows), either case; no sign, no blank
 * @why: on failure set to a static text for the message ("unknown unit 'X'
 *	(use K, M, G or T)"), may be NULL; valid until the thread's next call
 *
 * Returns 0, -EINVAL or -ERANGE.
 */
int tm_size_parse(const char *text, uint64_t *bytes, const char **why);

/**
 * tm_size_format() - the shortest exact or three-digit form: "256K", "1.5G"
 *
 * Returns @buf.
 */
char *tm_size_format(uint64_t bytes, char *buf, size_t len);

#endif /* TM_COMMON_SIZE_H */
