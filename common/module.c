// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Loading teramem.ko, by its name only: where the system's modules are is where
 * root put it. See module.h. No locks.
 */
#include <errno.h>
#include <fcntl.h>
#include <libkmod.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "common/module.h"
#include "include/teramem/uapi.h"

#define MODULE "teramem"

static bool loaded(void)
{
	return !access(TM_CONTROL_DEVICE, F_OK);
}

static void say_missing(char *text, size_t len)
{
	struct utsname name;

	uname(&name);
	snprintf(text, len,
		 "build it with -Dkmod=enabled -Dkdir=/lib/modules/%s/build "
		 "and install it, or use DKMS",
		 name.release);
}

/* The module as depmod knows it, NULL if it does not. */
static struct kmod_module *find(struct kmod_ctx *ctx)
{
	struct kmod_module *module = NULL;
	struct kmod_list *list = NULL;

	if (!kmod_module_new_from_lookup(ctx, MODULE, &list) && list)
		module = kmod_module_get_module(list);
	kmod_module_unref_list(list);
	return module;
}

void tm_module_probe(struct tm_module_probe *probe)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_module *module = ctx ? find(ctx) : NULL;

	*probe = (struct tm_module_probe){0};
	if (loaded()) {
		snprintf(probe->found, sizeof(probe->found), "loaded");
	} else if (module) {
		snprintf(probe->found, sizeof(probe->found),
			 "installed; loaded when it is needed");
	} else {
		probe->err = -ENOENT;
		snprintf(probe->found, sizeof(probe->found),
			 "no module " MODULE " for this kernel");
		say_missing(probe->remedy, sizeof(probe->remedy));
	}
	if (!probe->err && geteuid()) {
		probe->err = -EPERM;
		snprintf(
			probe->remedy, sizeof(probe->remedy),
			"only root may make spaces: as root, or in a Slurm job "
			"with --teramem-engine=kmod");
	}
	if (module)
		kmod_module_unref(module);
	if (ctx)
		kmod_unref(ctx);
}

static int explain(int err, char *why, size_t len)
{
	int n = snprintf(why, len, "load module " MODULE ": ");

	if (n < 0 || (size_t)n >= len)
		return err;
	why += n;
	len -= (size_t)n;
	switch (err) {
	case -ENOENT:
		n = snprintf(why, len, "none for this kernel; ");
		say_missing(why + n, len - (size_t)n);
		break;
	case -EPERM:
	case -EACCES:
		snprintf(why, len, "%s; only root may (with CAP_SYS_MODULE)",
			 strerror(-err));
		break;
	case -ENOEXEC:
	case -EINVAL:
		snprintf(why, len,
			 "it was built for another kernel; build it again (the "
			 "kernel log says more)");
		break;
	case -ENODEV:
		snprintf(why, len,
			 "it is loaded, but there is no " TM_CONTROL_DEVICE
			 "; is /dev a devtmpfs?");
		break;
	case -ENOKEY:
	case -EKEYREJECTED:
		snprintf(why, len,
			 "%s; this machine wants signed modules: sign it with "
			 "a key that it knows",
			 strerror(-err));
		break;
	default:
		snprintf(why, len, "%s (the kernel log says more)",
			 strerror(-err));
	}
	return err;
}

int tm_module_load(char *why, size_t why_len)
{
	struct kmod_ctx *ctx;
	struct kmod_module *module;
	int err = -ENOENT;

	if (loaded())
		return 0;
	ctx = kmod_new(NULL, NULL);
	if (!ctx)
		return explain(-ENOMEM, why, why_len);
	module = find(ctx);
	if (module) {
		err = kmod_module_probe_insert_module(module, 0, NULL, NULL,
						      NULL, NULL);
		kmod_module_unref(module);
	}
	kmod_unref(ctx);
	if (!err && !loaded())
		err = -ENODEV;
	return err ? explain(err, why, why_len) : 0;
}

void tm_module_unload(void)
{
	struct kmod_ctx *ctx = kmod_new(NULL, NULL);
	struct kmod_module *module;

	if (!ctx)
		return;
	if (!kmod_module_new_from_name(ctx, MODULE, &module)) {
		/* In use by somebody else, or gone: both are fine. */
		kmod_module_remove_module(module, KMOD_REMOVE_NOWAIT);
		kmod_module_unref(module);
	}
	kmod_unref(ctx);
}
