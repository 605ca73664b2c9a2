// SPDX-License-Identifier: GPL-2.0 OR BSD-3-Clause
/*
 * A module of core/ alone. It is compiled and linked, never loaded: it proves
 * that core/ builds unchanged in the kernel and calls nothing that the kernel
 * does not export.
 */
#include <linux/module.h>

static int __init tm_core_init(void)
{
	return 0;
}
module_init(tm_core_init);

static void __exit tm_core_exit(void)
{
}
module_exit(tm_core_exit);

MODULE_DESCRIPTION("Teramem paging core, compile check");
MODULE_LICENSE("Dual BSD/GPL");
