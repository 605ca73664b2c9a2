// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/teramem/NAME: a program's region. Each open file has address space of
 * its own in the space, and an inode of its own, so that taking a block out of
 * its mappings touches no others.
 *
 * Lock order: space->sem, or space->lock.
 */
#include <linux/bitmap.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kmod/internal.h"

struct tm_region *tm_region_find(struct tm_space *space, u64 block)
{
	return xa_load(&space->regions, block >> TM_TILE_SHIFT);
}

static int region_open(struct inode *inode, struct file *file)
{
	struct tm_region *region = kzalloc(sizeof(*region), GFP_KERNEL);
	int err;

	if (!region)
		return -ENOMEM;
	region->inode = tm_inode_create();
	if (IS_ERR(region->inode)) {
		err = PTR_ERR(region->inode);
		goto err_region;
	}
	region->space = tm_space_get(iminor(inode));
	if (IS_ERR(region->space)) {
		err = PTR_ERR(region->space);
		goto err_inode;
	}
	mutex_init(&region->vmas_lock);
	INIT_LIST_HEAD(&region->vmas);
	file->private_data = region;
	file->f_mapping = region->inode->i_mapping;
	return 0;

err_inode:
	iput(region->inode);
err_region:
	kfree(region);
	return err;
}

static void tiles_put(struct tm_region *region, unsigned long tile,
		      unsigned long nr)
{
	struct tm_space *space = region->space;
	unsigned long i;

	for (i = tile; i < tile + nr; i++)
		xa_erase(&space->regions, i);
	bitmap_clear(space->tiles, tile, nr);
}

static unsigned long region_tiles(const struct tm_region *region)
{
	return DIV_ROUND_UP(region->nr, 1ul << TM_TILE_SHIFT);
}

static int region_release(struct inode *inode, struct file *file)
{
	struct tm_region *region = file->private_data;
	struct tm_space *space = region->space;

	if (region->nr) {
		tm_region_discard(region, 0, region->nr, false);
		down_write(&space->sem);
		tiles_put(region, region->first >> TM_TILE_SHIFT,
			  region_tiles(region));
		up_write(&space->sem);
		spin_lock(&space->lock);
		space->committed_bytes -= region->committed_bytes;
		spin_unlock(&space->lock);
	}
	iput(region->inode);
	kfree(region);
	tm_space_put(space);
	return 0;
}

/* space->sem is held for writing. */
static int region_place(struct tm_region *region, u64 nr)
{
	struct tm_space *space = region->space;
	unsigned long tile, i, tiles;
	int err;

	if (region->nr)
		return -EBUSY;
	tiles = DIV_ROUND_UP(nr, 1ul << TM_TILE_SHIFT);
	tile = bitmap_find_next_zero_area(space->tiles, TM_TILES, 0, tiles, 0);
	if (tile >= TM_TILES)
		return -ENOMEM;
	bitmap_set(space->tiles, tile, tiles);
	for (i = tile; i < tile + tiles; i++) {
		err = xa_err(xa_store(&space->regions, i, region, GFP_KERNEL));
		if (err) {
			tiles_put(region, tile, tiles);
			return err;
		}
	}
	region->first = (u64)tile << TM_TILE_SHIFT;
	space->regions_opened++;
	/* pairs with the acquire in region_size() */
	smp_store_release(&region->nr, nr);
	return 0;
}

static u64 region_size(const struct tm_region *region)
{
	/* pairs with the release in region_place() */
	return smp_load_acquire(&region->nr);
}

static int region_set_up(struct tm_region *region, void __user *arg)
{
	struct tm_space *space = region->space;
	struct tm_uapi_region r;
	u64 nr;
	int err;

	if (copy_from_user(&r, arg, sizeof(r)))
		return -EFAULT;
	if (!r.bytes || r.reserved)
		return -EINVAL;
	nr = r.bytes >> space->block_shift;
	nr += !!(r.bytes & (tm_block_bytes(space) - 1));
	if (nr > (u64)TM_TILES << TM_TILE_SHIFT)
		return -ENOMEM;
	r.bytes = nr << space->block_shift;
	r.block_bytes = space->config.block_bytes;
	/* before, so that an error leaves nothing done */
	if (copy_to_user(arg, &r, sizeof(r)))
		return -EFAULT;
	down_write(&space->sem);
	err = region_place(region, nr);
	up_write(&space->sem);
	return err;
}

static int region_discard(struct tm_region *region, void __user *arg)
{
	struct tm_space *space = region->space;
	u64 nr = region_size(region);
	struct tm_uapi_range range;

	if (copy_from_user(&range, arg, sizeof(range)))
		return -EFAULT;
	if (((range.offset | range.bytes) & (tm_block_bytes(space) - 1)))
		return -EINVAL;
	range.offset >>= space->block_shift;
	range.bytes >>= space->block_shift;
	if (range.offset > nr || range.bytes > nr - range.offset)
		return -EINVAL;
	if (!range.bytes)
		return 0;
	return tm_region_discard(region, range.offset, range.bytes, true);
}

static int region_commit(struct tm_region *region, void __user *arg, bool back)
{
	struct tm_space *space = region->space;
	u64 bytes;
	int err = 0;

	if (copy_from_user(&bytes, arg, sizeof(bytes)))
		return -EFAULT;
	if (!region_size(region) || bytes & (tm_block_bytes(space) - 1))
		return -EINVAL;
	spin_lock(&space->lock);
	if (back && bytes > region->committed_bytes) {
		err = -EINVAL;
	} else if (!back && bytes > space->config.capacity_bytes -
					    space->committed_bytes) {
		err = -ENOMEM;
	} else {
		/* modulo 2^64: giving back adds the negative */
		bytes = back ? -bytes : bytes;
		region->committed_bytes += bytes;
		space->committed_bytes += bytes;
		if (space->committed_bytes > space->committed_peak_bytes)
			space->committed_peak_bytes = space->committed_bytes;
	}
	spin_unlock(&space->lock);
	return err;
}

/* A program that closes all descriptors must not lose its memory by that. */
static int region_at(struct tm_region *region, void __user *arg)
{
	const struct tm_region *mapped;
	struct vm_area_struct *vma;
	struct file *file = NULL;
	u64 addr;
	int fd;

	if (copy_from_user(&addr, arg, sizeof(addr)))
		return -EFAULT;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	mmap_read_lock(current->mm);
	vma = find_vma(current->mm, addr);
	if (vma && vma->vm_start <= addr && vma->vm_ops == &tm_vm_ops) {
		mapped = vma->vm_file->private_data;
		if (mapped->space == region->space)
			file = get_file(vma->vm_file);
	}
	mmap_read_unlock(current->mm);
	if (!file) {
		put_unused_fd(fd);
		return -ENOENT;
	}
	fd_install(fd, file);
	return fd;
}

static int region_query(struct tm_region *region, void __user *arg)
{
	struct tm_uapi_query *query = kmalloc(sizeof(*query), GFP_KERNEL);
	int err;

	if (!query)
		return -ENOMEM;
	err = tm_space_query(region->space, query);
	if (!err && copy_to_user(arg, query, sizeof(*query)))
		err = -EFAULT;
	kfree(query);
	return err;
}

static long region_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct tm_region *region = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case TM_IOC_REGION:
		return region_set_up(region, user);
	case TM_IOC_DISCARD:
		return region_discard(region, user);
	case TM_IOC_COMMIT:
		return region_commit(region, user, false);
	case TM_IOC_UNCOMMIT:
		return region_commit(region, user, true);
	case TM_IOC_REGION_AT:
		return region_at(region, user);
	case TM_IOC_SPACE_QUERY:
		return region_query(region, user);
	default:
		return -ENOTTY;
	}
}

static int region_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct tm_region *region = file->private_data;
	u64 pages = region_size(region) << region->space->page_order;

	/* private pages would turn into local memory, and never come back */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma->vm_pgoff > pages || vma_pages(vma) > pages - vma->vm_pgoff)
		return -EINVAL;
	vm_flags_set(vma,
		     VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY);
	vma->vm_ops = &tm_vm_ops;
	tm_vm_ops.open(vma);
	return 0;
}

const struct file_operations tm_region_fops = {
	.owner = THIS_MODULE,
	.open = region_open,
	.release = region_release,
	.mmap = region_mmap,
	.unlocked_ioctl = region_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};
