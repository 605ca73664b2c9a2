// SPDX-License-Identifier: GPL-2.0
/*
 * The shrinker: when the machine is short of memory, or the cgroup that the
 * space's memory is charged to, the space makes do with less of it.
 *
 * For a cgroup the kernel asks only those shrinkers that have an object of it
 * in a list_lru: the token, charged as the frames are, is that object, and is
 * there for nothing else.
 *
 * Lock order: space->grow_lock around the token; nothing in the shrinker.
 */
#include <linux/memcontrol.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/swap.h>

#include "kmod/internal.h"

/* Blocks are dear to get back: other caches shall go first. */
#define SHRINK_SEEKS (16 * DEFAULT_SEEKS)
/* A cgroup that got nothing back kills: lanes are given time to evict. */
#define EVICT_JIFFIES (HZ / 10)

struct tm_token {
	struct list_head lru;
};

static struct kmem_cache *token_cache;

int __init tm_shrink_init(void)
{
	token_cache =
		kmem_cache_create("teramem_token", sizeof(struct tm_token), 0,
				  SLAB_ACCOUNT, NULL);
	return token_cache ? 0 : -ENOMEM;
}

void tm_shrink_exit(void)
{
	kmem_cache_destroy(token_cache);
}

static void token_drop(struct tm_space *space)
{
	if (!space->token)
		return;
	list_lru_del_obj(&space->tokens, &space->token->lru);
	kmem_cache_free(token_cache, space->token);
	space->token = NULL;
}

int tm_shrink_charge(struct tm_space *space)
{
	struct mem_cgroup *old = tm_memcg_charge(space->memcg);
	struct tm_token *token = kmem_cache_alloc_lru(
		token_cache, &space->tokens,
		GFP_KERNEL | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);

	tm_memcg_charge(old);
	if (!token)
		return -ENOMEM;
	token_drop(space);
	INIT_LIST_HEAD(&token->lru);
	list_lru_add_obj(&space->tokens, &token->lru);
	space->token = token;
	return 0;
}

/* What a lane allocates it would only take from itself. */
static bool is_lane(const struct tm_space *space)
{
	u32 i;

	for (i = 0; i < space->config.nr_lanes; i++)
		if (space->lane[i]->task == current)
			return true;
	return false;
}

/* Never SHRINK_EMPTY, after which a cgroup would not ask again. */
static unsigned long shrink_count(struct shrinker *shrinker,
				  struct shrink_control *sc)
{
	struct tm_space *space =
		tm_shrinker_owner(shrinker, struct tm_space, shrinker);
	u32 limit = READ_ONCE(space->pool.limit);

	if (limit <= space->pool.floor || is_lane(space))
		return 0;
	return (unsigned long)(limit - space->pool.floor) << space->page_order;
}

/*
 * Lower the limit and free what is free; for the rest lanes evict. Who may wait
 * does so, but not for long: what is waited for may need memory itself.
 */
static unsigned long shrink_scan(struct shrinker *shrinker,
				 struct shrink_control *sc)
{
	struct tm_space *space =
		tm_shrinker_owner(shrinker, struct tm_space, shrinker);
	struct tm_pool *pool = &space->pool;
	u32 wanted = max(sc->nr_to_scan >> space->page_order, 1ul);
	u32 total = READ_ONCE(pool->total);
	u32 nr = tm_pool_shrink(space, wanted), i;

	for (i = 0; i < space->config.nr_lanes; i++)
		tm_lane_kick(space->lane[i]);
	if (nr < wanted && sc->gfp_mask & __GFP_IO && !current_is_kswapd()) {
		wait_event_killable_timeout(
			pool->given_back,
			(s32)(total - READ_ONCE(pool->total)) >= (s32)wanted,
			EVICT_JIFFIES);
		nr = max((s32)(total - READ_ONCE(pool->total)), (s32)nr);
	}
	return nr ? (unsigned long)nr << space->page_order : SHRINK_STOP;
}

#ifdef HAVE_SHRINKER_ALLOC
static struct shrinker *start(struct tm_space *space)
{
	struct shrinker *shrinker = shrinker_alloc(
		SHRINKER_MEMCG_AWARE, "teramem:%s", space->config.name);

	if (!shrinker)
		return ERR_PTR(-ENOMEM);
	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker->seeks = SHRINK_SEEKS;
	shrinker->private_data = space;
	space->shrinker.shrinker = shrinker;
	shrinker_register(shrinker);
	return shrinker;
}

static void stop(struct tm_space *space)
{
	shrinker_free(space->shrinker.shrinker);
}
#else
static struct shrinker *start(struct tm_space *space)
{
	struct shrinker *shrinker = &space->shrinker.shrinker;
	int err;

	shrinker->count_objects = shrink_count;
	shrinker->scan_objects = shrink_scan;
	shrinker->seeks = SHRINK_SEEKS;
	shrinker->flags = SHRINKER_MEMCG_AWARE;
#ifdef HAVE_SHRINKER_NAME
	err = register_shrinker(shrinker, "teramem:%s", space->config.name);
#else
	err = register_shrinker(shrinker);
#endif
	return err ? ERR_PTR(err) : shrinker;
}

static void stop(struct tm_space *space)
{
	unregister_shrinker(&space->shrinker.shrinker);
}
#endif

int tm_shrink_start(struct tm_space *space)
{
	struct shrinker *shrinker = start(space);
	int err;

	if (IS_ERR(shrinker))
		return PTR_ERR(shrinker);
	/* the shrinker has its number only now */
	err = list_lru_init_memcg(&space->tokens, shrinker);
	if (err) {
		stop(space);
		return err;
	}
	space->shrinks = true;
	return 0;
}

void tm_shrink_stop(struct tm_space *space)
{
	if (!space->shrinks)
		return;
	stop(space);
	token_drop(space);
	list_lru_destroy(&space->tokens);
}
