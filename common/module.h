/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * teramem.ko on this machine: is it there, load it, drop it. Blocks, allocates.
 */
#ifndef TM_COMMON_MODULE_H
#define TM_COMMON_MODULE_H

#include <stddef.h>

/**
 * struct tm_module_probe - what of the kernel engine there is
 * @err: 0: this process can use it; -EPERM it may not, -ENOENT there is no
 *	module for this kernel
 * @found: in a few words
 * @remedy: "" when @err is 0
 */
struct tm_module_probe {
	int err;
	char found[160];
	char remedy[256];
};

/** tm_module_probe() - loads nothing */
void tm_module_probe(struct tm_module_probe *probe);

/**
 * tm_module_load() - so that there is a TM_CONTROL_DEVICE
 * @why: on failure the cause and the remedy
 *
 * Returns 0 or -errno.
 */
int tm_module_load(char *why, size_t why_len);

/** tm_module_unload() - unless somebody uses it */
void tm_module_unload(void);

#endif /* TM_COMMON_MODULE_H */
