// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sizes to and from text; see size.h. No locale, no allocation.
 */
#include "common/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char units[] = "KMGT";

/* Names the unit in the message, without letting control bytes through. */
static const char *unknown_unit(const char *unit)
{
	static __thread char text[64];
	char shown[12];
	size_t i;

	for (i = 0; unit[i] && i < sizeof(shown) - 1; i++)
		shown[i] = unit[i] < ' ' || unit[i] > '~' ? '?' : unit[i];
	shown[i] = '\0';
	snprintf(text, sizeof(text), "unknown unit '%s' (use K, M, G or T)",
		 shown);
	return text;
}

static int unit_shift(char c)
{
	const char *unit;

	if (c >= 'a' && c <= 'z')
		c -= 'a' - 'A';
	unit = strchr(units, c);
	return c && unit ? 10 * (int)(unit - units + 1) : -1;
}

int tm_size_parse(const char *text, uint64_t *bytes, const char **why)
{
	const char *ignored, *p = text;
	uint64_t n = 0;
	int shift = 0;

	if (!why)
		why = &ignored;
	if (*p < '0' || *p > '9') {
		*why = *p ? "not a number (use digits, then K, M, G or T)"
			  : "empty (use digits, then K, M, G or T)";
		return -EINVAL;
	}
	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(n, 10, &n) ||
		    __builtin_add_overflow(n, (uint64_t)(*p - '0'), &n))
			goto err_range;
	}
	if (*p == '.' || *p == ',') {
		*why = "not a whole number (use a smaller unit)";
		return -EINVAL;
	}
	if (*p) {
		const char *unit = p;

		shift = unit_shift(*p++);
		if (shift > 0 && (p[0] == 'i' || p[0] == 'I') &&
		    (p[1] == 'B' || p[1] == 'b'))
			p += 2;
		else if (shift > 0 && (*p == 'B' || *p == 'b'))
			p++;
		if (shift < 0 || *p) {
			*why = unknown_unit(unit);
			return -EINVAL;
		}
	}
	if (n > UINT64_MAX >> shift)
		goto err_range;
	*bytes = n << shift;
	return 0;

err_range:
	*why = "too large (at most 16777215T)";
	return -ERANGE;
}

char *tm_size_format(uint64_t bytes, char *buf, size_t len)
{
	unsigned int shift = 0;
	uint64_t whole, thousandths;

	while (shift < 40 && bytes >> shift >= 1024)
		shift += 10;
	whole = bytes >> shift;
	/* Below 2^40 parts per unit, so that 1000 of them do not overflow. */
	thousandths = (bytes - (whole << shift)) * 1000 >> shift;
	if (!shift)
		snprintf(buf, len, "%" PRIu64, bytes);
	else if (whole >= 100 || !thousandths)
		snprintf(buf, len, "%" PRIu64 "%c", whole,
			 units[shift / 10 - 1]);
	else {
		unsigned int digits = whole >= 10 ? 1 : 2;
		uint64_t part = thousandths / (digits == 1 ? 100 : 10);

		if (digits == 2 && part % 10 == 0) {
			part /= 10;
			digits = 1;
		}
		if (part)
			snprintf(buf, len, "%" PRIu64 ".%0*" PRIu64 "%c", whole,
				 (int)digits, part, units[shift / 10 - 1]);
		else
			snprintf(buf, len, "%" PRIu64 "%c", whole,
				 units[shift / 10 - 1]);
	}
	return buf;
}
