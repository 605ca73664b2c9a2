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

static ssize_t job_show(struct device *device, struct device_attribute *attr,
			char *buf)
{
	return sysfs_emit(buf, "%llu\n", space_of(device)->config.job);
}
static DEVICE_ATTR_RO(job);

static ssize_t policy_show(struct device *device, struct device_attribute *attr,
			   char *buf)
{
	bool fifo = space_of(device)->config.policy == TM_UAPI_FIFO;

	return sysfs_emit(buf, "%s\n", fifo ? "fifo" : "lru");
}
static DEVICE_ATTR_RO(policy);

static ssize_t placement_show(struct device *device,
			      struct device_attribute *attr, char *buf)
{
	bool rr = space_of(device)->config.placement == TM_UAPI_ROUND_ROBIN;

	return sysfs_emit(buf, "%s\n", rr ? "rr" : "simple");
}
static DEVICE_ATTR_RO(placement);

static ssize_t nr_lanes_show(struct device *device,
			     struct device_attribute *attr, char *buf)
{
	return sysfs_emit(buf, "%u\n", space_of(device)->config.nr_lanes);
}
static DEVICE_ATTR_RO(nr_lanes);

static ssize_t limit_bytes_show(struct device *device,
				struct device_attribute *attr, char *buf)
{
	struct tm_space *space = space_of(device);

	return sysfs_emit(buf, "%llu\n",
			  (u64)READ_ONCE(space->pool.limit)
				  << space->block_shift);
}
static DEVICE_ATTR_RO(limit_bytes);

/* A file that shows one member of struct tm_uapi_query or struct tm_stats. */
struct tm_number {
	struct device_attribute attr;
	unsigned int offset;
	unsigned int bytes;
};

static ssize_t number_show(const struct device_attribute *attr, char *buf,
			   const void *from)
{
	const struct tm_number *number =
		container_of(attr, const struct tm_number, attr);

	from += number->offset;
	return sysfs_emit(buf, "%llu\n",
			  number->bytes == sizeof(u32) ? *(const u32 *)from
						       : *(const u64 *)from);
}

static ssize_t gauge_show(struct device *device, struct device_attribute *attr,
			  char *buf)
{
	struct tm_uapi_query query;
	int err = tm_space_query(space_of(device), &query);

	return err ? err : number_show(attr, buf, &query);
}

static ssize_t counter_show(struct device *device,
			    struct device_attribute *attr, char *buf)
{
	struct tm_stats *sum = kmalloc(sizeof(*sum), GFP_KERNEL);
	ssize_t len;

	if (!sum)
		return -ENOMEM;
	tm_space_stats(space_of(device), sum);
	len = number_show(attr, buf, sum);
	kfree(sum);
	return len;
}

#define GAUGE(field)                                                           \
	{                                                                      \
		.attr = __ATTR(field, 0444, gauge_show, NULL),                 \
		.offset = offsetof(struct tm_uapi_query, field),               \
		.bytes = sizeof_field(struct tm_uapi_query, field),            \
	}

static struct tm_number gauges[] = {
	GAUGE(block_bytes),	    GAUGE(nr_servers),
	GAUGE(nr_servers_lost),	    GAUGE(nr_regions),
	GAUGE(capacity_bytes),	    GAUGE(committed_bytes),
	GAUGE(local_bytes),	    GAUGE(resident_bytes),
	GAUGE(resident_peak_bytes), GAUGE(remote_bytes),
	GAUGE(remote_peak_bytes),   GAUGE(lost_bytes),
	GAUGE(fault_ns_p50),	    GAUGE(fault_ns_p99),
};

#define COUNTER(name, help)                                                    \
	{                                                                      \
		.attr = __ATTR(name, 0444, counter_show, NULL),                \
		.offset = offsetof(struct tm_stats, name),                     \
		.bytes = sizeof(u64),                                          \
	},

static struct tm_number counters[] = {TM_STATS_COUNTERS(COUNTER)};

/* The last stays NULL. */
static struct attribute *space_attrs[ARRAY_SIZE(gauges) + 6] = {
	&dev_attr_job.attr,	    &dev_attr_policy.attr,
	&dev_attr_placement.attr,   &dev_attr_nr_lanes.attr,
	&dev_attr_limit_bytes.attr,
};

static struct attribute *stats_attrs[ARRAY_SIZE(counters) + 1];

static const struct attribute_group space_group = {
	.attrs = space_attrs,
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

void __init tm_sysfs_init(void)
{
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(gauges); i++)
		space_attrs[i + 5] = &gauges[i].attr.attr;
	for (i = 0; i < ARRAY_SIZE(counters); i++)
		stats_attrs[i] = &counters[i].attr.attr;
}
