// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a link's connections: the socket that the agent hands over, the
 * heartbeat, and the judgement that a server is lost. Nothing here blocks. See
 * link_internal.h for who may touch what.
 *
 * Silence: a quarter of the timeout without a byte brings a ping; a second
 * quarter without an answer breaks the connection, since a new one may get
 * through where a half-open one does not; after the rest the server is dead.
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

/* A full server keeps a RESERVE for a moment before it refuses it. */
#define RESERVE_PATIENCE_MS 2000

/* Lies in the life of a link. */
#define VIOLATIONS_MAX 3

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
		link->reconnects += link->epoch != 0;
		link->epoch = epoch;
		link->heard = link->progress = jiffies;
		sock->sk->sk_allocation = GFP_NOIO;
		init_waitqueue_func_entry(&link->wait, socket_event);
		init_poll_funcptr(&link->poll, socket_hook);
		vfs_poll(sock->file, &link->poll);
		tm_link_rewind(link);
	}
	if (lose_err)
		lose(link, lose_err, "the agent gave it up");
}

void tm_link_drop(struct tm_link *link, int err, const char *why)
{
	struct tm_link_config *config = &link->config;
	unsigned long timeout = tm_link_timeout(link);

	tm_link_unhook(link);
	spin_lock(&link->lock);
	WRITE_ONCE(link->attached, false);
	spin_unlock(&link->lock);
	pr_warn_ratelimited("teramem: %s: link %u/%u broke: %s (error %d)\n",
			    config->name, config->server, config->channel, why,
			    -err);
	/* A connection that brought nothing is no sign of life either. */
	if (link->barren++ == 0)
		link->give_up =
			jiffies + (err == -ETIMEDOUT ? timeout / 2 : timeout);
	if (err == -EPROTO && ++link->violations == VIOLATIONS_MAX)
		return lose(link, err, "it broke the protocol too often");
	config->ops->broken(config->ctx, config->server, err);
}

static void ping_done(struct tm_link_request *request, int err)
{
	struct tm_link *link = request->cookie;

	link->ping_under_way = false;
}

/*
 * When silence has lasted long enough to ask, or to give the connection up; not
 * before the ping had its time, since it may be us who slept.
 */
static unsigned long silence_ends(const struct tm_link *link)
{
	unsigned long quarter = tm_link_timeout(link) / 4;
	unsigned long ask = link->heard + quarter;
	unsigned long answer = link->pinged + quarter;

	if (!link->ping_under_way)
		return ask;
	return time_after(answer, ask + quarter) ? answer : ask + quarter;
}

/* A server that answers pings only is no good either. */
static bool unanswered(const struct tm_link *link)
{
	unsigned long limit = tm_link_timeout(link);
	u32 under_way = tm_link_under_way(link);

	if (under_way == link->reserves)
		limit += msecs_to_jiffies(RESERVE_PATIENCE_MS);
	return under_way && time_after(jiffies, link->progress + limit);
}

static void keep_connection(struct tm_link *link)
{
	if (unanswered(link))
		return tm_link_drop(link, -EPROTO,
				    "it left requests unanswered");
	if (time_before(jiffies, silence_ends(link)))
		return;
	if (link->ping_under_way)
		return tm_link_drop(link, -ETIMEDOUT,
				    "it gave no sign of life");
	link->ping.type = TM_WIRE_PING;
	link->ping.done = ping_done;
	link->ping.cookie = link;
	link->ping_under_way = true;
	link->pinged = jiffies;
	tm_link_enqueue(link, &link->ping);
}

/* Whether a connection broke and was not replaced yet. */
static bool orphaned(const struct tm_link *link)
{
	return !link->lost && !link->sock && link->epoch;
}

void tm_link_keep_time(struct tm_link *link)
{
	if (link->sock)
		keep_connection(link);
	else if (orphaned(link) && time_after_eq(jiffies, link->give_up))
		lose(link, -ETIMEDOUT, "nothing got through in time");
}

long tm_link_wait(const struct tm_link *link)
{
	long due;

	if (link->sock)
		due = silence_ends(link) - jiffies;
	else if (orphaned(link))
		due = link->give_up - jiffies;
	else
		return MAX_SCHEDULE_TIMEOUT;
	return max(due, 1L);
}
