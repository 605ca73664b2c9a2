/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A program at a fixed address that takes the addresses of malloc and free, so
 * that the linker puts jumps to them in its binary. Prints whether there is
 * memory for 5 MiB, and for 80.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void)
{
	void *(*volatile take)(size_t) = malloc;
	void (*volatile give)(void *) = free;
	char *some = take(5 << 20), *more = take(80 << 20);

	if (some)
		memset(some, 7, 5 << 20);
	printf("%s, %s\n", some ? "some" : "none", more ? "more" : "no more");
	give(more);
	give(some);
	return 0;
}
