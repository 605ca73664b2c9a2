// SPDX-License-Identifier: GPL-2.0
/*
 * /sys/class/teramem/NAME/: what a space is and does, one number or word per
 * file; see doc/sysfs-class-teramem. Lock order: none; a space is not taken
 * apart while one of these runs.
 */
#include <linux/device.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include "kmod/internal.h"

static struct tm_space *space_of(struct device *device)
{
	return dev_get_drvdata(device);
}

#define SETTING(field, format, value)                                          \
	static ssize_t field##_show(struct device *device,                     \
				    struct device_attribute *attr, char *buf)  \
	{                                                                      \
		struct tm_space *space = space_of(device);                     \
									       \
		return sysfs_emit(buf, format "\n", value);                    \
	}                                                                      \
	static DEVICE_ATTR_RO(field)

SETTING(job, "%llu", space->config.job);
SETTING(policy, "%s", space->config.policy == TM_UAPI_FIFO ? "fifo" : "lru");
SETTING(placement, "%s",
	space->config.placement == TM_UAPI_ROUND_ROBIN ? "rr" : "simple");
SETTING(lanes, "%u", space->config.nr_lanes);
SETTING(limit_bytes, "%llu",
	(u64)READ_ONCE(space->pool.limit) << space->block_shift);

/* what TM_IOC_SPACE_QUERY tells */
#define GAUGES(X)                                                              \
	X(block_bytes)                                                         \
	X(nr_servers)                                                          \
	X(nr_servers_lost)                                                     \
	X(nr_regions)                                                          \
	X(capacity_bytes)                                                      \
	X(committed_bytes)                                                     \
	X(local_bytes)                                                         \
	X(resident_bytes)                                                      \
	X(resident_peak_bytes)                                                 \
	X(remote_bytes)                                                        \
	X(remote_peak_bytes)                                                   \
	X(lost_bytes)                                                          \
	X(fault_ns_p50)                                                        \
	X(fault_ns_p99)

#define GAUGE(field)                                                           \
	static ssize_t field##_show(struct device *device,                     \
				    struct device_attribute *attr, char *buf)  \
	{                                                                      \
		struct tm_uapi_query query;                                    \
		int err = tm_space_query(space_of(device), &query);            \
									       \
		if (err)                                                       \
			return err;                                            \
		return sysfs_emit(buf, "%llu\n", (u64)query.field);            \
	}                                                                      \
	static DEVICE_ATTR_RO(field);
GAUGES(GAUGE)

#define COUNTER(name, help)                                                    \
	static ssize_t name##_show(struct device *device,                      \
				   struct device_attribute *attr, char *buf)   \
	{                                                                      \
		return counter_show(device, buf,                               \
				    offsetof(struct tm_stats, name));          \
	}                                                                      \
	static DEVICE_ATTR_RO(name);

static ssize_t counter_show(struct device *device, char *buf, size_t offset)
{
	struct tm_stats *sum = kmalloc(sizeof(*sum), GFP_KERNEL);
	ssize_t len;

	if (!sum)
		return -ENOMEM;
	tm_space_stats(space_of(device), sum);
	len = sysfs_emit(buf, "%llu\n", *(u64 *)((char *)sum + offset));
	kfree(sum);
	return len;
}
TM_STATS_COUNTERS(COUNTER)

#define GAUGE_ENTRY(field) &dev_attr_##field.attr,
#define COUNTER_ENTRY(name, help) &dev_attr_##name.attr,

static struct attribute *space_attrs[] = {
	&dev_attr_job.attr,	   &dev_attr_policy.attr,
	&dev_attr_placement.attr,  &dev_attr_lanes.attr,
	&dev_attr_limit_bytes.attr,
	/* clang-format off */
	GAUGES(GAUGE_ENTRY)
	NULL,
	/* clang-format on */
};

static const struct attribute_group space_group = {
	.attrs = space_attrs,
};

static struct attribute *stats_attrs[] = {
	/* clang-format off */
	TM_STATS_COUNTERS(COUNTER_ENTRY)
	NULL,
	/* clang-format on */
};

static const struct attribute_group stats_group = {
	.name = "stats",
	.attrs = stats_attrs,
};

const struct attribute_group *tm_space_groups[] = {
	&space_group,
	&stats_group,
	NULL,
};
