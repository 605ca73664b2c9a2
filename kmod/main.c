// SPDX-License-Identifier: GPL-2.0
/*
 * The module: its devices, the inodes of regions, and the table of spaces.
 *
 * Lock order: tm_spaces_lock.
 */
#define pr_fmt(fmt) "teramem: " fmt

#include <linux/cdev.h>
#include <linux/fs.h>
#include <linux/module.h>
#include <linux/mount.h>
#include <linux/pseudo_fs.h>
#include <linux/slab.h>

#include "kmod/internal.h"

#define CREATE_TRACE_POINTS
#include "kmod/trace.h"

#define TM_FS_MAGIC 0x5452414d

DEFINE_MUTEX(tm_spaces_lock);
static DEFINE_XARRAY_ALLOC(spaces); /* by minor; under tm_spaces_lock */

static dev_t first_dev;
static struct cdev cdev;
static struct vfsmount *mount;
static struct device *control_device;

static int fs_init(struct fs_context *fc)
{
	return init_pseudo(fc, TM_FS_MAGIC) ? 0 : -ENOMEM;
}

/* Without an owner: mounted as long as we are here, it would keep us here. */
static struct file_system_type fs_type = {
	.name = "teramem",
	.init_fs_context = fs_init,
	.kill_sb = kill_anon_super,
};

struct inode *tm_inode_create(void)
{
	return alloc_anon_inode(mount->mnt_sb);
}

static int dispatch_open(struct inode *inode, struct file *file)
{
	const struct file_operations *fops = iminor(inode) == MINOR(first_dev)
						     ? &tm_control_fops
						     : &tm_region_fops;

	replace_fops(file, fops_get(fops));
	return fops->open(inode, file);
}

static const struct file_operations dispatch_fops = {
	.owner = THIS_MODULE,
	.open = dispatch_open,
	.llseek = noop_llseek,
};

/* The file's owner is the space's, so that it can open its memory itself. */
static char *space_devnode(TM_DEVNODE_CONST struct device *device,
			   umode_t *mode, kuid_t *uid, kgid_t *gid)
{
	const struct tm_space *space = dev_get_drvdata(device);

	if (mode)
		*mode = 0600;
	if (!space)
		return NULL;
	if (uid)
		*uid = space->uid;
	if (gid)
		*gid = space->gid;
	return kasprintf(GFP_KERNEL, "teramem/%s", space->config.name);
}

static struct class teramem_class = {
	.name = "teramem",
};

static const struct device_type device_type = {
	.name = "teramem",
	.devnode = space_devnode,
};

static void device_free(struct device *device)
{
	kfree(device);
}

static struct device *device_make(unsigned int minor, const char *name,
				  struct tm_space *space,
				  const struct attribute_group **groups)
{
	struct device *device = kzalloc(sizeof(*device), GFP_KERNEL);
	int err;

	if (!device)
		return ERR_PTR(-ENOMEM);
	device_initialize(device);
	device->class = &teramem_class;
	device->type = &device_type;
	device->devt = MKDEV(MAJOR(first_dev), MINOR(first_dev) + minor);
	device->groups = groups;
	device->release = device_free;
	dev_set_drvdata(device, space);
	err = dev_set_name(device, "%s", name);
	if (!err)
		err = device_add(device);
	if (err) {
		put_device(device);
		return ERR_PTR(err);
	}
	return device;
}

int tm_space_publish(struct tm_space *space)
{
	u32 minor;
	int err;

	err = xa_alloc(&spaces, &minor, space, XA_LIMIT(1, TM_MINORS - 1),
		       GFP_KERNEL);
	if (err)
		return -ENOMEM;
	space->device =
		device_make(minor, space->config.name, space, tm_space_groups);
	if (IS_ERR(space->device)) {
		xa_erase(&spaces, minor);
		return PTR_ERR(space->device);
	}
	space->minor = minor;
	return 0;
}

void tm_space_hide(struct tm_space *space)
{
	xa_erase(&spaces, space->minor);
	/* waits for readers of its attributes */
	device_unregister(space->device);
}

struct tm_space *tm_space_by_minor(unsigned int minor)
{
	return xa_load(&spaces, minor - MINOR(first_dev));
}

struct tm_space *tm_space_find(const char *name)
{
	struct tm_space *space;
	unsigned long minor;

	xa_for_each(&spaces, minor, space)
		if (!strcmp(space->config.name, name))
			return space;
	return NULL;
}

static int __init tm_init(void)
{
	int err;

	tm_sysfs_init();
	err = tm_shrink_init();
	if (err)
		return err;
	mount = kern_mount(&fs_type);
	err = PTR_ERR_OR_ZERO(mount);
	if (err)
		goto err_shrink;
	err = class_register(&teramem_class);
	if (err)
		goto err_mount;
	err = alloc_chrdev_region(&first_dev, 0, TM_MINORS, "teramem");
	if (err)
		goto err_class;
	cdev_init(&cdev, &dispatch_fops);
	cdev.owner = THIS_MODULE;
	err = cdev_add(&cdev, first_dev, TM_MINORS);
	if (err)
		goto err_region;
	control_device = device_make(0, "teramem-control", NULL, NULL);
	if (IS_ERR(control_device)) {
		err = PTR_ERR(control_device);
		goto err_cdev;
	}
	return 0;

err_cdev:
	cdev_del(&cdev);
err_region:
	unregister_chrdev_region(first_dev, TM_MINORS);
err_class:
	class_unregister(&teramem_class);
err_mount:
	kern_unmount(mount);
err_shrink:
	tm_shrink_exit();
	return err;
}
module_init(tm_init);

/* No file is open, or we would not be here; so there is no space either. */
static void __exit tm_exit(void)
{
	device_unregister(control_device);
	cdev_del(&cdev);
	unregister_chrdev_region(first_dev, TM_MINORS);
	class_unregister(&teramem_class);
	kern_unmount(mount);
	tm_shrink_exit();
	xa_destroy(&spaces);
}
module_exit(tm_exit);

MODULE_DESCRIPTION("Teramem: memory of other nodes, paged over the network");
MODULE_AUTHOR("The Teramem authors");
MODULE_LICENSE("GPL");
MODULE_SOFTDEP("pre: crc32c");
