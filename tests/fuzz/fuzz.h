/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What every fuzz target is: one function that takes any bytes and must come
 * back. Driven by libFuzzer (-Dfuzz=true) or by replay.c over the corpus.
 */
#ifndef TM_TESTS_FUZZ_H
#define TM_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for any input, with or without assertions. */
#define fuzz_check(cond)                                                       \
	do {                                                                   \
		if (!(cond))                                                   \
			abort();                                               \
	} while (0)

#endif /* TM_TESTS_FUZZ_H */
