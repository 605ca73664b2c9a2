// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Patterns of scientific programs: after STREAM, after RandomAccess of the HPC
 * Challenge (GUPS), and a sparse matrix times a vector. What counts is how much
 * slower they are with less memory; the figures are none of these benchmarks'.
 */
#include <stdlib.h>

#include "tests/bench/workload.h"

/* Less than 1 / (1 + sqrt(2)), so that nothing grows without bounds */
#define SCALAR 0.4

/* From 1 to 2, and nothing that zram could compress */
static double start_of(uint64_t i)
{
	return 1 + (double)(word_at(i, 0) >> 12) * 0x1p-52;
}

static bool nearly(double x, double y)
{
	return x - y < 1e-9 * y && y - x < 1e-9 * y;
}

/* Copy, scale, add, triad: ten arrays read or written in a round. */
static void run_stream(struct work *w)
{
	const uint64_t n = w->bytes / 3 / sizeof(double);
	double *a = memory(w, n * sizeof(double));
	double *b = memory(w, n * sizeof(double));
	double *c = memory(w, n * sizeof(double));
	uint64_t begin, i, round;
	double want;

	for (i = 0; i < n; i++)
		a[i] = b[i] = c[i] = start_of(i);
	begin = now_ns();
	while (w->ns < w->ms * 1000000) {
		for (i = 0; i < n; i++)
			c[i] = a[i];
		for (i = 0; i < n; i++)
			b[i] = SCALAR * c[i];
		for (i = 0; i < n; i++)
			c[i] = a[i] + b[i];
		for (i = 0; i < n; i++)
			a[i] = b[i] + SCALAR * c[i];
		w->ns = now_ns() - begin;
		w->moved += 10 * n * sizeof(double);
		w->count++;
	}
	for (want = 1, round = 0; round < w->count; round++)
		want = SCALAR * want + SCALAR * (want + SCALAR * want);
	for (i = 0; i < n; i++)
		verify(nearly(a[i], want * start_of(i)), "stream");
}

static uint64_t next_random(uint64_t x)
{
	x ^= x << 13;
	x ^= x >> 7;
	return x ^ x << 17;
}

/* Doing all updates twice undoes them. */
static void run_gups(struct work *w)
{
	uint64_t size, *table, r, i, begin;

	for (size = 1; size * 2 <= w->bytes / sizeof(*table);)
		size *= 2;
	table = memory(w, size * sizeof(*table));
	for (i = 0; i < size; i++)
		table[i] = word_at(i, 0);
	begin = now_ns();
	for (r = 1; w->count % 64 || w->ns < w->ms * 1000000; w->count++) {
		r = next_random(r);
		table[r >> 20 & (size - 1)] ^= r;
		if (w->count % 64 == 63)
			w->ns = now_ns() - begin;
	}
	w->moved = w->count * sizeof(*table) * 2;
	for (r = 1, i = 0; i < w->count; i++) {
		r = next_random(r);
		table[r >> 20 & (size - 1)] ^= r;
	}
	for (i = 0; i < size; i++)
		verify(table[i] == word_at(i, 0), "gups");
}

#define ROW_ENTRIES 16
#define BAND 2048

/* Most entries are near the diagonal; the last one is anywhere. */
static uint64_t column_of(uint64_t row, uint64_t k, uint64_t n)
{
	const uint64_t hash = next_random(word_at(row * ROW_ENTRIES + k, 0));

	if (k == ROW_ENTRIES - 1)
		return hash % n;
	return (row + n + hash % BAND - BAND / 2) % n;
}

static double value_of(uint64_t row, uint64_t k)
{
	return (double)(word_at(row * ROW_ENTRIES + k, 0) >> 44);
}

static void run_spmv(struct work *w)
{
	/* Values, columns; x and y. All sums are exact in a double. */
	const uint64_t n = w->bytes / (ROW_ENTRIES * 12 + 16);
	double *values = memory(w, n * ROW_ENTRIES * sizeof(*values));
	uint32_t *columns = memory(w, n * ROW_ENTRIES * sizeof(*columns));
	double *x = memory(w, n * sizeof(*x)), *y = memory(w, n * sizeof(*y));
	uint64_t row, i, k, begin;
	double sum;

	for (row = 0; row < n; row++) {
		x[row] = (double)(row % 1024);
		y[row] = 0;
		for (k = 0; k < ROW_ENTRIES; k++) {
			i = row * ROW_ENTRIES + k;
			values[i] = value_of(row, k);
			columns[i] = (uint32_t)column_of(row, k, n);
		}
	}
	begin = now_ns();
	while (w->ns < w->ms * 1000000) {
		for (row = 0; row < n; row++) {
			for (sum = 0, k = 0; k < ROW_ENTRIES; k++) {
				i = row * ROW_ENTRIES + k;
				sum += values[i] * x[columns[i]];
			}
			y[row] = sum;
		}
		w->ns = now_ns() - begin;
		w->moved += n * (ROW_ENTRIES * 20 + 8);
		w->count += n * ROW_ENTRIES;
	}
	for (row = 0; row < n; row++) {
		for (sum = 0, k = 0; k < ROW_ENTRIES; k++)
			sum += value_of(row, k) *
			       (double)(column_of(row, k, n) % 1024);
		verify(y[row] == sum, "spmv");
	}
}

const struct pattern compute_patterns[] = {
	{"stream", run_stream},
	{"gups", run_gups},
	{"spmv", run_spmv},
	{NULL, NULL},
};
