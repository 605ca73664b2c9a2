/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program with a malloc in its own binary (it is linked with a static
 * jemalloc). Prints what a large allocation holds, to show that it lives.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	char *p = malloc(5 << 20), *q;

	memset(p, 7, 5 << 20);
	p = realloc(p, 90 << 20);
	q = strdup("text");
	printf("%d %s\n", p[(5 << 20) - 1], q);
	free(q);
	free(p);
	return 0;
}
