// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a link's connections: the socket that the agent hands over, the
 * heartbeat (whose rules are core/heartbeat.h's), and the judgement that a
 * server is lost. Nothing here blocks. See link_internal.h for who may touch
 * what.
 *
 * What happens on the socket is learned from its wait queue, as poll(2) does,
 * and not from its callbacks: leaving the queue waits for whoever is in our
 * function, whatever the protocol and the context, so that the module's text
 * can go. TCP_NODELAY and the like are the agent's to set.
 */
#include <linux/file.h>
#include <linux/kernel.h>
#include <linux/printk.h>
#include <net/sock.h>

#include "kmod/link_internal.h"

static int socket_event(wait_queue_entry_t *wait, unsigned int mode, int sync,
			void *key)
{
	struct tm_link *link = container_of(wait, struct tm_link, wait);

	WRITE_ONCE(link->event, true);
	link->config.ops->wake(link->config.ctx);
	return 0;
}

static void socket_hook(struct file *file, wait_queue_head_t *head,
			poll_table *poll)
{
	struct tm_link *link = container_of(poll, struct tm_link, poll);

	/* Stream sockets have one queue. */
	if (WARN_ON_ONCE(link->wait_head))
		return;
	link->wait_head = head;
	add_wait_queue(head, &link->wait);
}

int tm_link_attach(struct tm_link *link, struct socket *sock, u32 epoch,
		   u64 extent_bytes)
{
	int err = 0;

	if (sock->type != SOCK_STREAM)
		return -EPROTOTYPE;
	if (sock->state != SS_CONNECTED)
		return -ENOTCONN;
	spin_lock(&link->lock);
	if (link->lost || link->lose_err)
		err = -EIO;
	else if (link->attached)
		err = -EISCONN;
	else if (epoch <= link->newest_epoch)
		err = -EINVAL;
	if (!err) {
		get_file(sock->file);
		link->incoming = sock;
		link->newest_epoch = epoch;
		link->extent_bytes = extent_bytes;
		WRITE_ONCE(link->attached, true);
		WRITE_ONCE(link->event, true);
	}
	spin_unlock(&link->lock);
	if (!err)
		link->config.ops->wake(link->config.ctx);
	return err;
}

void tm_link_lose(struct tm_link *link, int err)
{
	spin_lock(&link->lock);
	link->lose_err = err < 0 ? err : -EIO;
	WRITE_ONCE(link->event, true);
	spin_unlock(&link->lock);
	link->config.ops->wake(link->config.ctx);
}

void tm_link_unhook(struct tm_link *link)
{
	if (!link->sock)
		return;
	if (link->wait_head)
		remove_wait_queue(link->wait_head, &link->wait);
	link->wait_head = NULL;
	/* The agent may hold a descriptor of it, but it is over. */
	kernel_sock_shutdown(link->sock, SHUT_RDWR);
	sockfd_put(link->sock);
	link->sock = NULL;
}

static void lose(struct tm_link *link, int err, const char *why)
{
	struct tm_link_config *config = &link->config;
	struct socket *incoming;

	if (link->lost)
		return;
	spin_lock(&link->lock);
	WRITE_ONCE(link->lost, true);
	WRITE_ONCE(link->attached, false);
	incoming = link->incoming;
	link->incoming = NULL;
	spin_unlock(&link->lock);
	if (incoming)
		sockfd_put(incoming);
	tm_link_unhook(link);
	pr_err_ratelimited(
		"teramem: %s: server %u is lost: %s (channel %u, error %d)\n",
		config->name, config->server, why, config->channel, -err);
	config->ops->lost(config->ctx, config->server, err);
}

void tm_link_adopt(struct tm_link *link)
{
	struct socket *sock;
	int lose_err;
	u32 epoch;

	spin_lock(&link->lock);
	sock = link->incoming;
	epoch = link->newest_epoch;
	link->incoming = NULL;
	lose_err = link->lose_err;
	spin_unlock(&link->lock);
	if (sock) {
		link->sock = sock;
		link->reconnects += link->calls.epoch != 0;
		tm_heartbeat_up(&link->heart, tm_link_now());
		sock->sk->sk_allocation = GFP_NOIO;
		init_waitqueue_func_entry(&link->wait, socket_event);
		init_poll_funcptr(&link->poll, socket_hook);
		vfs_poll(sock->file, &link->poll);
		tm_link_rewind(link, epoch);
	}
	if (lose_err)
		lose(link, lose_err, "the agent gave it up");
}

void tm_link_drop(struct tm_link *link, int err, const char *why)
{
	struct tm_link_config *config = &link->config;

	tm_link_unhook(link);
	spin_lock(&link->lock);
	WRITE_ONCE(link->attached, false);
	spin_unlock(&link->lock);
	pr_warn_ratelimited("teramem: %s: link %u/%u broke: %s (error %d)\n",
			    config->name, config->server, config->channel, why,
			    -err);
	tm_heartbeat_broke(&link->heart, tm_link_now(), err);
	if (link->heart.violations >= TM_VIOLATIONS_MAX)
		return lose(link, err, "it broke the protocol too often");
	config->ops->broken(config->ctx, config->server, err);
}

static void ping_done(struct tm_link_request *request, int err)
{
	struct tm_link *link = request->cookie;

	link->heart.ping_under_way = false;
}

static void keep_connection(struct tm_link *link)
{
	const char *why;
	int err;

	err = tm_heartbeat_look(&link->heart, tm_link_now(),
				tm_link_under_way(link), link->calls.reserves,
				&why);
	if (err < 0)
		return tm_link_drop(link, err, why);
	if (err == 0)
		return;
	link->ping.type = TM_WIRE_PING;
	link->ping.done = ping_done;
	link->ping.cookie = link;
	tm_link_enqueue(link, &link->ping);
}

/* Whether a connection broke and was not replaced yet. */
static bool orphaned(const struct tm_link *link)
{
	return !link->lost && !link->sock && link->calls.epoch;
}

void tm_link_keep_time(struct tm_link *link)
{
	if (link->sock)
		keep_connection(link);
	else if (orphaned(link) && tm_link_now() >= link->heart.give_up)
		lose(link, -ETIMEDOUT, "nothing got through in time");
}

long tm_link_wait(const struct tm_link *link)
{
	u64 now = tm_link_now(), due;

	if (link->sock)
		due = tm_heartbeat_due(&link->heart);
	else if (orphaned(link))
		due = link->heart.give_up;
	else
		return MAX_SCHEDULE_TIMEOUT;
	return due > now ? nsecs_to_jiffies(due - now) + 1 : 1;
}
