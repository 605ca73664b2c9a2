// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/teramem-control: the agent's calls. A descriptor serves one space in its
 * life; its last close ends that. See include/teramem/uapi.h.
 *
 * Lock order: control->lock, tm_spaces_lock. Calls that use the space's parts
 * hold tm_spaces_lock, under which they may go.
 */
#define pr_fmt(fmt) "teramem: " fmt

#include <linux/fs.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kmod/internal.h"

/**
 * struct tm_control - an open file
 * @lock: one creation at a time
 * @space: set once; its memory stays while the file is open
 */
struct tm_control {
	struct mutex lock;
	struct tm_space *space;
};

static struct tm_space *own_space(struct tm_control *control)
{
	/* pairs with the release in control_create() */
	return smp_load_acquire(&control->space);
}

static int control_open(struct inode *inode, struct file *file)
{
	struct tm_control *control;

	if (!capable(CAP_SYS_ADMIN))
		return -EPERM;
	control = kzalloc(sizeof(*control), GFP_KERNEL);
	if (!control)
		return -ENOMEM;
	mutex_init(&control->lock);
	file->private_data = control;
	return stream_open(inode, file);
}

static int control_release(struct inode *inode, struct file *file)
{
	struct tm_control *control = file->private_data;

	if (control->space) {
		tm_space_end(control->space, false);
		tm_space_free(control->space);
	}
	kfree(control);
	return 0;
}

/* The caller may have asked for anything, by any name. */
static int refuse(const char *what, const char *name, int err)
{
	if (err)
		pr_warn_ratelimited("%s space %*pE: refused (error %d)\n", what,
				    (int)strnlen(name, TM_UAPI_NAME_MAX), name,
				    -err);
	return err;
}

static int control_create(struct tm_control *control, void __user *arg)
{
	struct tm_uapi_space config;
	struct tm_space *space;
	int err;

	if (copy_from_user(&config, arg, sizeof(config)))
		return -EFAULT;
	mutex_lock(&control->lock);
	if (control->space)
		err = -EBUSY;
	else
		err = tm_space_create(&config, &space);
	if (!err)
		/* pairs with the acquire in own_space() */
		smp_store_release(&control->space, space);
	mutex_unlock(&control->lock);
	return refuse("create", config.name, err);
}

static int control_attach(struct tm_control *control, void __user *arg)
{
	struct tm_space *space = own_space(control);
	struct tm_uapi_attach attach;
	int err;

	if (copy_from_user(&attach, arg, sizeof(attach)))
		return -EFAULT;
	if (!space)
		return -ENODEV;
	mutex_lock(&tm_spaces_lock);
	err = space->ended ? -ENODEV : tm_space_attach(space, &attach);
	mutex_unlock(&tm_spaces_lock);
	return refuse("attach a connection to", space->config.name, err);
}

static int control_lose(struct tm_control *control, void __user *arg)
{
	struct tm_space *space = own_space(control);
	struct tm_uapi_lose lose;
	int err;

	if (copy_from_user(&lose, arg, sizeof(lose)))
		return -EFAULT;
	if (!space)
		return -ENODEV;
	mutex_lock(&tm_spaces_lock);
	err = space->ended ? -ENODEV : tm_space_lose(space, &lose);
	mutex_unlock(&tm_spaces_lock);
	return err;
}

static int control_query(struct tm_control *control, void __user *arg)
{
	struct tm_space *space = own_space(control);
	struct tm_uapi_query query;
	int err;

	if (copy_from_user(&query, arg, sizeof(query)))
		return -EFAULT;
	if (strnlen(query.name, sizeof(query.name)) == sizeof(query.name) ||
	    memchr_inv(query.reserved, 0, sizeof(query.reserved)))
		return -EINVAL;
	mutex_lock(&tm_spaces_lock);
	if (*query.name)
		space = tm_space_find(query.name);
	err = space && !space->ended ? tm_space_query(space, &query) : -ENODEV;
	mutex_unlock(&tm_spaces_lock);
	if (!err && copy_to_user(arg, &query, sizeof(query)))
		err = -EFAULT;
	return err;
}

static long control_ioctl(struct file *file, unsigned int cmd,
			  unsigned long arg)
{
	struct tm_control *control = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case TM_IOC_SPACE_CREATE:
		return control_create(control, user);
	case TM_IOC_SPACE_ATTACH:
		return control_attach(control, user);
	case TM_IOC_SPACE_LOSE:
		return control_lose(control, user);
	case TM_IOC_SPACE_QUERY:
		return control_query(control, user);
	case TM_IOC_SPACE_DESTROY:
		if (!own_space(control))
			return -ENODEV;
		return tm_space_end(own_space(control), true);
	default:
		return -ENOTTY;
	}
}

static ssize_t control_read(struct file *file, char __user *buf, size_t count,
			    loff_t *pos)
{
	struct tm_space *space = own_space(file->private_data);
	struct tm_uapi_event event;
	ssize_t done = 0;
	int err;

	if (!space)
		return -ENODEV;
	if (count < sizeof(event))
		return -EINVAL;
	while (count - done >= sizeof(event)) {
		memset(&event, 0, sizeof(event));
		if (tm_space_event(space, &event)) {
			if (copy_to_user(buf + done, &event, sizeof(event)))
				return done ?: -EFAULT;
			done += sizeof(event);
			continue;
		}
		if (done || READ_ONCE(space->ended))
			break;
		if (file->f_flags & O_NONBLOCK)
			return -EAGAIN;
		err = wait_event_interruptible(space->events,
					       tm_space_event(space, NULL) ||
						       READ_ONCE(space->ended));
		if (err)
			return err;
	}
	return done;
}

static __poll_t control_poll(struct file *file, poll_table *wait)
{
	struct tm_space *space = own_space(file->private_data);

	if (!space)
		return EPOLLERR;
	poll_wait(file, &space->events, wait);
	if (tm_space_event(space, NULL))
		return EPOLLIN | EPOLLRDNORM;
	return READ_ONCE(space->ended) ? EPOLLHUP : 0;
}

const struct file_operations tm_control_fops = {
	.owner = THIS_MODULE,
	.open = control_open,
	.release = control_release,
	.read = control_read,
	.poll = control_poll,
	.unlocked_ioctl = control_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
};
