// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Gives every file of a corpus to a fuzz target, for builds without libFuzzer.
 *
 *	TARGET FOLDER
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#define INPUT_MAX (1 << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay(const char *path)
{
	FILE *file = fopen(path, "rb");
	uint8_t *input;
	size_t size;

	if (!file) {
		perror(path);
		exit(1);
	}
	/* Exactly as large as the input, so that a read beyond it is seen. */
	input = malloc(INPUT_MAX);
	size = fread(input, 1, INPUT_MAX, file);
	input = realloc(input, size + !size);
	fclose(file);
	LLVMFuzzerTestOneInput(input, size);
	free(input);
}

int main(int argc, char **argv)
{
	char path[4096];
	struct dirent *entry;
	unsigned int nr = 0;
	DIR *dir;

	dir = argc == 2 ? opendir(argv[1]) : NULL;
	if (!dir) {
		fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
		return 2;
	}
	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), "%s/%s", argv[1], entry->d_name);
		replay(path);
		nr++;
	}
	closedir(dir);
	printf("%u inputs\n", nr);
	return nr == 0; /* an empty corpus tests nothing */
}
