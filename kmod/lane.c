// SPDX-License-Identifier: GPL-2.0
/*
 * A lane: a kernel thread that drives the pager. It takes the blocks that
 * threads of the program wait for, then completions, then blocks to be
 * forgotten; while nothing waits, it does the pager's background work.
 *
 * Everything that it allocates is allocated under memalloc_noio: memory may be
 * short because of what it has not stored yet.
 *
 * Lock order: lane->lock alone.
 */
#include <linux/kthread.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "kmod/internal.h"

#define POSTS_AT_ONCE 16
#define DISCARD_BLOCKS 4096

void tm_lane_kick(struct tm_space_lane *lane)
{
	/* the flag first: a lane looks at it after it has queued up */
	smp_store_mb(lane->kicked, true);
	/* ordered by that */
	if (waitqueue_active(&lane->wait))
		wake_up(&lane->wait);
}

void tm_lane_post(struct tm_space_lane *lane, struct tm_wait *wait)
{
	spin_lock(&lane->lock);
	list_add_tail(&wait->post, &lane->posts);
	spin_unlock(&lane->lock);
	tm_lane_kick(lane);
}

void tm_lane_unpost(struct tm_space_lane *lane, struct tm_wait *wait)
{
	spin_lock(&lane->lock);
	list_del_init(&wait->post);
	spin_unlock(&lane->lock);
}

void tm_lane_hint(struct tm_space_lane *lane, u64 block)
{
	spin_lock(&lane->lock);
	if (lane->nr_hints < TM_HINTS)
		lane->hint[lane->nr_hints++] = block;
	spin_unlock(&lane->lock);
	tm_lane_kick(lane);
}

static unsigned int take_hints(struct tm_space_lane *lane)
{
	u64 hint[TM_HINTS];
	unsigned int i, nr;

	if (!READ_ONCE(lane->nr_hints))
		return 0;
	spin_lock(&lane->lock);
	nr = lane->nr_hints;
	memcpy(hint, lane->hint, nr * sizeof(*hint));
	lane->nr_hints = 0;
	spin_unlock(&lane->lock);
	for (i = 0; i < nr; i++)
		tm_pager_fault(lane->pager, hint[i], false, ktime_get_ns());
	return nr;
}

static unsigned int take_posts(struct tm_space_lane *lane)
{
	struct tm_wait *wait;
	u64 block, started_ns;
	unsigned int nr;
	bool write;

	for (nr = 0; nr < POSTS_AT_ONCE; nr++) {
		spin_lock(&lane->lock);
		wait = list_first_entry_or_null(&lane->posts, struct tm_wait,
						post);
		if (!wait) {
			spin_unlock(&lane->lock);
			break;
		}
		list_del_init(&wait->post);
		block = wait->block;
		started_ns = wait->started_ns;
		write = wait->write;
		spin_unlock(&lane->lock);
		tm_pager_fault(lane->pager, block, write, started_ns);
	}
	return nr;
}

static void discard_free(struct kref *ref)
{
	kfree(container_of(ref, struct tm_discard, ref));
}

/* A bounded part of the oldest one. */
static unsigned int discard_step(struct tm_space_lane *lane)
{
	struct tm_discard *d;
	u64 nr;

	spin_lock(&lane->lock);
	d = list_first_entry_or_null(&lane->discards, struct tm_discard, list);
	spin_unlock(&lane->lock);
	if (!d)
		return 0;
	nr = min_t(u64, d->nr, DISCARD_BLOCKS);
	tm_pager_discard(lane->pager, d->first, nr);
	tm_failed_forget(lane->space, d->first, nr);
	d->first += nr;
	d->nr -= nr;
	if (d->nr)
		return 1;
	spin_lock(&lane->lock);
	list_del(&d->list);
	spin_unlock(&lane->lock);
	complete(&d->done);
	kref_put(&d->ref, discard_free);
	return 1;
}

int tm_region_discard(struct tm_region *region, u64 index, u64 nr,
		      bool killable)
{
	/*
	 * The same for all of a region: what a killed thread left behind is
	 * done before the last one, after which others get its blocks.
	 */
	struct tm_space_lane *lane =
		tm_block_lane(region->space, region->first);
	struct tm_discard *d;
	int err = 0;

	/* who closes a region cannot be told that it did not work */
	d = kmalloc(sizeof(*d),
		    killable ? GFP_KERNEL : GFP_KERNEL | __GFP_NOFAIL);
	if (!d)
		return -ENOMEM;
	kref_init(&d->ref);
	kref_get(&d->ref);
	init_completion(&d->done);
	d->first = region->first + index;
	d->nr = nr;
	spin_lock(&lane->lock);
	list_add_tail(&d->list, &lane->discards);
	spin_unlock(&lane->lock);
	tm_lane_kick(lane);
	if (killable)
		err = wait_for_completion_killable(&d->done) ? -EINTR : 0;
	else
		wait_for_completion(&d->done);
	kref_put(&d->ref, discard_free);
	return err;
}

static unsigned int process_links(struct tm_space_lane *lane, bool all)
{
	unsigned int i, nr = 0;

	for (i = 0; i < lane->space->config.nr_servers; i++)
		if (all || tm_link_ready(lane->link[i]))
			nr += tm_link_process(lane->link[i]);
	return nr + tm_transfers_fail(lane);
}

/* Work that nobody kicks for is noticed at the next tick at the latest. */
static void nap(struct tm_space_lane *lane)
{
	long wait = TM_TICK;
	unsigned int i;

	for (i = 0; i < lane->space->config.nr_servers; i++)
		wait = min(wait, tm_link_wait(lane->link[i]));
	wait_event_idle_timeout(
		lane->wait, READ_ONCE(lane->kicked) || kthread_should_stop(),
		max(wait, 1l));
}

static void tick(struct tm_space_lane *lane)
{
	lane->ticked = jiffies;
	process_links(lane, true);
	tm_transfers_tick(lane);
	if (!lane->index)
		tm_space_tick(lane->space);
}

static int lane_main(void *arg)
{
	struct tm_space_lane *lane = arg;
	unsigned int flags = memalloc_noio_save();
	unsigned int nr;
	bool more;

	while (!kthread_should_stop()) {
		/* what comes from here on kicks again */
		smp_store_mb(lane->kicked, false);
		nr = take_posts(lane);
		nr += take_hints(lane);
		tm_pool_grow(lane->space);
		nr += process_links(lane, false);
		nr += discard_step(lane);
		more = nr;
		if (!nr) {
			more = tm_pager_balance(lane->pager);
			process_links(lane, false);
		}
		if (time_after_eq(jiffies, lane->ticked + TM_TICK))
			tick(lane);
		if (more)
			cond_resched();
		else
			nap(lane);
	}
	memalloc_noio_restore(flags);
	return 0;
}

int tm_lane_create(struct tm_space *space, unsigned int index)
{
	struct tm_space_lane *lane = kvzalloc(sizeof(*lane), GFP_KERNEL);
	struct tm_link_config config = {
		.name = space->config.name,
		.channel = index,
		.depth = tm_transfers_depth(space),
		.timeout_ms = space->config.timeout_ms,
		.ops = &tm_space_link_ops,
		.ctx = lane,
	};
	int err;

	if (!lane)
		return -ENOMEM;
	space->lane[index] = lane;
	lane->space = space;
	lane->index = index;
	lane->pager = tm_pager_lane(space->pager, index);
	lane->ticked = jiffies;
	init_waitqueue_head(&lane->wait);
	spin_lock_init(&lane->lock);
	INIT_LIST_HEAD(&lane->posts);
	INIT_LIST_HEAD(&lane->discards);
	err = tm_transfers_create(lane);
	for (; config.server < space->config.nr_servers && !err;
	     config.server++)
		err = tm_link_create(&config, &lane->link[config.server]);
	return err;
}

int tm_lane_start(struct tm_space_lane *lane)
{
	struct task_struct *task =
		kthread_run(lane_main, lane, "teramem/%s/%u",
			    lane->space->config.name, lane->index);

	if (IS_ERR(task))
		return PTR_ERR(task);
	lane->task = task;
	return 0;
}

void tm_lane_stop(struct tm_space_lane *lane)
{
	if (lane->task)
		kthread_stop(lane->task);
	lane->task = NULL;
}

void tm_lane_destroy(struct tm_space_lane *lane)
{
	unsigned int i;

	for (i = 0; i < lane->space->config.nr_servers; i++)
		if (lane->link[i])
			tm_link_destroy(lane->link[i]);
	tm_transfers_destroy(lane);
	kvfree(lane);
}
