// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * What userfaultfd this process may have, and what to do for more. Only probes;
 * the engine makes its own.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/tool.h"

/* Debian 12's headers lack them; the kernel below may have them. */
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif
#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

/* Out of the way of programs that count on low numbers. */
#define DEVICE_FD_MIN 100

static uint64_t features_of(int fd)
{
	struct uffdio_api api = {.api = UFFD_API};

	return ioctl(fd, UFFDIO_API, &api) ? 0 : api.features;
}

static int new_by_device(void)
{
	int device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
	int fd, err;

	if (device < 0)
		return -errno;
	fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);
	err = -errno;
	close(device);
	return fd < 0 ? err : fd;
}

void tm_uffd_probe(struct tm_uffd_probe *probe)
{
	int device = new_by_device(), fd;

	*probe = (struct tm_uffd_probe){.device_err = device < 0 ? device : 0};
	fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK);
	if (fd >= 0) {
		probe->way = TM_UFFD_SYSCALL;
		if (device >= 0)
			close(device);
	} else if (device >= 0) {
		probe->way = TM_UFFD_DEVICE;
		fd = device;
	} else {
		fd = (int)syscall(SYS_userfaultfd,
				  O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
		probe->way = fd >= 0 ? TM_UFFD_LIMITED : TM_UFFD_NONE;
	}
	if (fd >= 0) {
		probe->features = features_of(fd);
		close(fd);
	}
}

const char *tm_uffd_remedy(const struct tm_uffd_probe *probe)
{
	if (probe->way == TM_UFFD_NONE)
		return "use a kernel with CONFIG_USERFAULTFD, and allow the "
		       "system call (containers: seccomp profile)";
	if (probe->device_err == -EACCES || probe->device_err == -EPERM)
		return "as root: chgrp GROUP /dev/userfaultfd && chmod 660 "
		       "/dev/userfaultfd (GROUP: one of yours), or sysctl "
		       "vm.unprivileged_userfaultfd=1";
	return "as root: sysctl vm.unprivileged_userfaultfd=1";
}

int tm_uffd_device(void)
{
	int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC), high, err;

	if (fd < 0)
		return -errno;
	high = fcntl(fd, F_DUPFD, DEVICE_FD_MIN);
	err = -errno;
	close(fd);
	return high < 0 ? err : high;
}
