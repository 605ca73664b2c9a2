/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * teramemd's own declarations, grouped by the file that defines them; those of
 * the memory itself are in store.h.
 *
 * Threads: loop 0 (the main thread: listener, handshakes, time, signals, and
 * sessions like any other), loops 1..n (sessions), the verifier (MUNGE
 * credentials, since decoding one may block) and the keeper (wipes and
 * populates extents). All connections of a session belong to one loop, and
 * only that thread touches them.
 *
 * Locks, outer to inner: sessions.lock, store.lock. A loop's inbox lock,
 * the verifier's lock and quiet.lock are innermost and never nest.
 */
#ifndef TM_SERVER_H
#define TM_SERVER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/proto.h"
#include "server/store.h"

struct tm_server;
struct tm_loop;
struct tm_conn;
struct tm_session;

/* ---- options.c ---------------------------------------------------------- */

enum tm_mlock { TM_MLOCK_NO, TM_MLOCK_YES, TM_MLOCK_REQUIRE };

struct tm_options {
	const char *listen;  /* "tcp:ADDR:PORT" or "unix:/PATH" */
	const char *address; /* as clients dial it; NULL: the bound one */
	uint64_t capacity_bytes;
	uint64_t extent_bytes;
	uint64_t job;
	uid_t owner;
	enum tm_wire_auth_method auth;
	bool hugepages;
	enum tm_mlock mlock;
	unsigned int threads;
	unsigned int grace_ms;
	unsigned int idle_exit_ms; /* 0: never */
	unsigned int wait_ms;	   /* the same, until the first session */
	int lease_fd;		   /* -1: none */
};

/**
 * tm_options_parse() - from the command line
 *
 * Returns 0; 1 when --help or --version was served; -EINVAL after it said what
 * is wrong.
 */
int tm_options_parse(int argc, char **argv, struct tm_options *options);

/* ---- session.c ---------------------------------------------------------- */

/* More are refused with TM_STATUS_BUSY. */
#define TM_SESSIONS_MAX 1024
#define TM_CONNECTIONS_MAX 4096

/**
 * struct tm_session - what one client holds
 * @loop: whose connections these are
 * @channel: the connections; only @loop's thread looks at them
 * @epoch: highest epoch seen of each channel
 * @granted: the last RESERVEs of each channel and their extents, since one
 *	whose reply was lost with its connection comes again; @nr_granted ever.
 *	Like @channel, they are the loop's
 * @released: id of the last RELEASE done on each channel, the loop's, too: ids
 *	grow, so that one up to here comes again
 * @nr_conns: connections that point here, those on their way to @loop too
 * @empty_since_ms: when the last connection went
 * @closed: the last connection was closed by the client, not lost
 * @ended: BYE was said, or grace is over: not in the table any more, freed
 *	with its last connection
 *
 * Under sessions.lock, unless said otherwise; id, key and loop never change.
 */
struct tm_session {
	uint64_t id;
	uint8_t key[TM_PROTO_KEY_BYTES];
	struct tm_loop *loop;
	struct tm_conn *channel[TM_PROTO_CHANNELS_MAX];
	uint32_t epoch[TM_PROTO_CHANNELS_MAX];
	struct tm_grant {
		uint64_t id, addr;
	} granted[TM_PROTO_CHANNELS_MAX][TM_PROTO_RESERVES_MAX];
	unsigned int nr_granted[TM_PROTO_CHANNELS_MAX];
	uint64_t released[TM_PROTO_CHANNELS_MAX];
	unsigned int nr_conns;
	uint64_t empty_since_ms;
	bool closed;
	bool ended;
	LIST_ENTRY(tm_session) link;
};

struct tm_sessions {
	pthread_mutex_t lock;
	LIST_HEAD(, tm_session) list;
	unsigned int nr;
	unsigned int nr_conns;
	uint64_t none_since_ms; /* when the last session ended */
	bool had_one;
};

int tm_sessions_init(struct tm_server *server);
void tm_sessions_fini(struct tm_server *server);

/**
 * tm_sessions_create() - for an authenticated client, on the loop with the
 * fewest sessions; @session then counts one connection (channel 0, epoch 1)
 *
 * Returns an enum tm_wire_status.
 */
uint16_t tm_sessions_create(struct tm_server *server,
			    const uint8_t key[TM_PROTO_KEY_BYTES],
			    struct tm_session **session);

/**
 * tm_sessions_attach() - check an ATTACH and count one more connection
 *
 * Returns an enum tm_wire_status.
 */
uint16_t tm_sessions_attach(struct tm_server *server,
			    const struct tm_wire_attach *attach,
			    const uint8_t server_nonce[TM_PROTO_NONCE_BYTES],
			    const uint8_t client_nonce[TM_PROTO_NONCE_BYTES],
			    struct tm_session **session);

/**
 * tm_sessions_leave() - one connection less; may free @session
 * @closed: by the client's own doing
 */
void tm_sessions_leave(struct tm_server *server, struct tm_session *session,
		       bool closed);

/** tm_sessions_end() - BYE: the extents are free from now on */
void tm_sessions_end(struct tm_server *server, struct tm_session *session);

/**
 * tm_sessions_reclaim() - end the session that was left longest ago by its
 * client's own closing, if that is long enough ago
 *
 * Returns true if there was one.
 */
bool tm_sessions_reclaim(struct tm_server *server);

/**
 * tm_sessions_expire() - end sessions whose grace is over
 *
 * Returns the milliseconds until the next one may be, -1 for none.
 */
int tm_sessions_expire(struct tm_server *server, uint64_t now_ms);

/* ---- conn.c ------------------------------------------------------------- */

/* A client's machine that acknowledges nothing for so long is gone. */
#define TM_SILENCE_S 10
/* Replies under way per connection; beyond that it is not read. */
#define TM_CONN_REPLIES 64
/* Two whole writes of the smallest block. */
#define TM_CONN_INPUT_BYTES (2 * (4096 + 64))

/**
 * struct tm_source - something in a loop's epoll set
 * @ready: called by the loop's thread with epoll events
 */
struct tm_source {
	int fd;
	void (*ready)(struct tm_source *source, uint32_t events);
};

/**
 * struct tm_reply - a message to the client
 * @small: payload that is not in an extent
 * @data: the payload, or NULL
 */
struct tm_reply {
	struct tm_wire_header header;
	const uint8_t *data;
	uint32_t length;
	uint8_t small[sizeof(struct tm_wire_stat)];
};

/**
 * struct tm_parked - a RESERVE that waits for an extent
 */
struct tm_parked {
	uint64_t id;
	uint64_t deadline_ms;
};

/**
 * struct tm_conn - one connection
 * @handshake: until it is authenticated; NULL afterwards
 * @input: bytes received ahead, @input_pos..@input_len are unread
 * @msg: the message whose payload is being received, while @payload_left
 * @sink: where the payload goes, NULL: it is dropped
 * @status: the reply to @msg
 * @parked: RESERVEs that wait for an extent; a place for each reply is kept
 * @deaf: the client does not receive any more: replies are dropped
 * @dead: closed, freed at the end of the loop's round
 */
struct tm_conn {
	struct tm_source source;
	struct tm_loop *loop;
	struct tm_session *session;
	struct tm_handshake *handshake;
	uint32_t channel;
	uint32_t epoch;
	uint32_t events;
	bool local; /* unix socket */
	bool watched;
	bool deaf;
	bool dead;
	bool closed; /* by the client */

	struct tm_msg msg;
	uint8_t *sink;
	uint32_t payload_left;
	uint16_t status;
	unsigned int input_pos;
	unsigned int input_len;
	unsigned int reply_first;
	unsigned int nr_replies;
	unsigned int nr_parked;
	struct tm_parked parked[TM_CONN_REPLIES];
	uint64_t reply_sent;	    /* bytes of the first reply */
	STAILQ_ENTRY(tm_conn) link; /* inbox, or the dead */
	LIST_ENTRY(tm_conn) all;    /* of the loop */
	TAILQ_ENTRY(tm_conn) wait;  /* those with RESERVEs that wait */

	struct tm_reply replies[TM_CONN_REPLIES];
	uint8_t input[TM_CONN_INPUT_BYTES];
};

STAILQ_HEAD(tm_conn_list, tm_conn);

/** tm_conn_create() - takes @fd, closes it on failure; NULL: no memory */
struct tm_conn *tm_conn_create(struct tm_loop *loop, int fd, bool local);

/**
 * tm_conn_arrive() - the connection is this loop's now: after the verifier, or
 * authenticated and handed over by loop 0
 */
void tm_conn_arrive(struct tm_conn *conn);

/** tm_conn_close() - end it; freed at the end of the loop's round */
void tm_conn_close(struct tm_conn *conn);

/**
 * tm_conn_expire() - close those whose other end is silent
 *
 * Returns the milliseconds until it should be called again, -1 for never.
 */
int tm_conn_expire(struct tm_loop *loop, uint64_t now_ms);

/** tm_conn_free() - the memory of a closed connection */
void tm_conn_free(struct tm_conn *conn);

/** tm_conn_unwatch() - out of the epoll set, on its way to another thread */
void tm_conn_unwatch(struct tm_conn *conn);

/** tm_conn_flush() - send what the socket takes */
void tm_conn_flush(struct tm_conn *conn);

/**
 * tm_conn_work() - receive, process and send as far as is possible and fair,
 * then poll for what it waits for
 */
void tm_conn_work(struct tm_conn *conn);

/**
 * tm_conn_reply() - queue a reply to a message
 * @small: payload, copied, of at most sizeof(struct tm_wire_stat); or NULL
 *
 * Returns it; never fails, since no message is read without a place for it.
 */
struct tm_reply *tm_conn_reply(struct tm_conn *conn, const struct tm_msg *msg,
			       const void *small, uint32_t length);

/* ---- request.c ---------------------------------------------------------- */

/**
 * tm_request_start() - a request's header was received into conn->msg; sets
 * conn->sink for its payload
 * @why: NULL, or what is wrong with the header
 *
 * Returns false when the connection was closed.
 */
bool tm_request_start(struct tm_conn *conn, const char *why);

/**
 * tm_request_finish() - its payload was received too
 *
 * Returns false when the connection was closed.
 */
bool tm_request_finish(struct tm_conn *conn);

/**
 * tm_request_retry() - RESERVEs that wait for an extent
 *
 * Returns the milliseconds until it should be called again, -1 for never.
 */
int tm_request_retry(struct tm_loop *loop, uint64_t now_ms);

/** tm_request_forget() - the connection goes, its RESERVEs too */
void tm_request_forget(struct tm_conn *conn);

/* ---- handshake.c -------------------------------------------------------- */

#define TM_HANDSHAKE_MS 5000
#define TM_HANDSHAKES_MAX 64

enum tm_handshake_state {
	TM_HANDSHAKE_HELLO,   /* HELLO is expected */
	TM_HANDSHAKE_PROOF,   /* AUTH or ATTACH is expected */
	TM_HANDSHAKE_VERIFY,  /* with the verifier */
	TM_HANDSHAKE_REFUSED, /* closes when the reply is sent */
};

/**
 * struct tm_handshake - what a connection needs until it is authenticated
 * @payload: of the message being received, of @conn->msg.length bytes
 * @auth: what the verifier found, if @verdict is 0
 * @why: what it says otherwise
 */
struct tm_handshake {
	struct tm_conn *conn;
	enum tm_handshake_state state;
	uint64_t deadline_ms;
	uint8_t server_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t client_nonce[TM_PROTO_NONCE_BYTES];
	uint8_t *payload;
	int verdict;
	uid_t uid;
	struct tm_wire_auth auth;
	char why[256];
	TAILQ_ENTRY(tm_handshake) link;	 /* those under way, oldest first */
	STAILQ_ENTRY(tm_handshake) next; /* the verifier's queue */
};

/**
 * struct tm_door - connections that are not authenticated yet; loop 0's own
 */
struct tm_door {
	TAILQ_HEAD(, tm_handshake) list;
	unsigned int nr;
};

/** tm_handshake_begin() - a new connection, with loop 0 */
void tm_handshake_begin(struct tm_conn *conn);
/** tm_handshake_start() - as tm_request_start() */
bool tm_handshake_start(struct tm_conn *conn, const char *why);
/**
 * tm_handshake_finish() - as tm_request_finish()
 *
 * Returns false also when the connection belongs to another thread now.
 */
bool tm_handshake_finish(struct tm_conn *conn);
/**
 * tm_handshake_flushed() - what could be sent was sent
 *
 * Returns false when the connection was closed.
 */
bool tm_handshake_flushed(struct tm_conn *conn);
/** tm_handshake_verified() - back from the verifier */
void tm_handshake_verified(struct tm_conn *conn);
/** tm_handshake_forget() - the connection goes, or is authenticated */
void tm_handshake_forget(struct tm_conn *conn);
/**
 * tm_handshake_expire() - close those that take too long
 *
 * Returns the milliseconds until the next deadline, -1 for none.
 */
int tm_handshake_expire(struct tm_server *server, uint64_t now_ms);

/* ---- verifier.c --------------------------------------------------------- */

STAILQ_HEAD(tm_handshake_queue, tm_handshake);

struct tm_verifier {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	struct tm_handshake_queue queue;
	bool running;
	bool stop;
};

int tm_verifier_init(struct tm_server *server);
void tm_verifier_fini(struct tm_server *server);
/** tm_verifier_submit() - decode its credential, then send it to loop 0 */
void tm_verifier_submit(struct tm_server *server, struct tm_handshake *hs);

/* ---- loop.c ------------------------------------------------------------- */

#define TM_LOOPS_MAX 64
#define TM_LOOP_SCRATCH_BYTES (64u << 10)

/**
 * struct tm_counters - what struct tm_wire_stat tells; written by one thread
 */
struct tm_counters {
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t writes;
	uint64_t written_bytes;
	uint64_t discarded_bytes;
	uint64_t refused;
};

/**
 * struct tm_loop - one thread's descriptors
 * @bell: an eventfd: look at the inbox, and at what is due
 * @due_ms: when time is to be kept next; whatever makes something due earlier
 *	sets it to 0, other threads by ringing the bell
 * @look_ms: when silent connections are to be looked for
 */
struct tm_loop {
	struct tm_server *server;
	unsigned int index;
	pthread_t thread;
	int epoll_fd;
	struct tm_source bell;
	uint64_t due_ms;
	uint64_t look_ms;
	pthread_mutex_t lock;
	struct tm_conn_list inbox;
	unsigned int nr_sessions;     /* under sessions.lock */
	TAILQ_HEAD(, tm_conn) parked; /* connections with RESERVEs that wait */
	struct tm_conn_list dead;
	LIST_HEAD(, tm_conn) conns;
	struct tm_counters counters;
	uint8_t scratch[TM_LOOP_SCRATCH_BYTES]; /* dropped payload goes here */
};

int tm_loops_init(struct tm_server *server);
void tm_loops_fini(struct tm_server *server);

/** tm_threads_init() - run the loops but the first */
int tm_threads_init(struct tm_server *server);
/** tm_threads_fini() - stop them and close all connections */
void tm_threads_fini(struct tm_server *server);

/** tm_loop_run() - until tm_server_stop() */
void tm_loop_run(struct tm_loop *loop);

/** tm_loop_add() - poll @source for input; 0 or -errno */
int tm_loop_add(struct tm_loop *loop, struct tm_source *source);

/** tm_loop_post() - hand over a connection that is in no epoll set */
void tm_loop_post(struct tm_loop *loop, struct tm_conn *conn);

/** tm_loop_wake() - make it look at inbox and time */
void tm_loop_wake(struct tm_loop *loop);

/** tm_now_ms() - monotonic */
uint64_t tm_now_ms(void);

/* ---- listen.c ----------------------------------------------------------- */

struct tm_listener {
	struct tm_source source;
	struct tm_server *server;
	char address[TM_PROTO_ADDRESS_MAX]; /* as clients dial it */
	char path[TM_PROTO_ADDRESS_MAX];    /* of our unix socket, or "" */
	dev_t dev;
	ino_t ino;
	uint64_t paused_until_ms; /* 0: not */
};

int tm_listener_init(struct tm_server *server);
void tm_listener_fini(struct tm_server *server);

/**
 * tm_listener_resume() - accept again after a pause for lack of descriptors
 *
 * Returns the milliseconds until it should be called again, -1 for never.
 */
int tm_listener_resume(struct tm_server *server, uint64_t now_ms);

/* ---- lease.c ------------------------------------------------------------ */

/**
 * struct tm_lease - what ends the server: a signal, the end of the parent's
 * descriptor, or too long without a session
 */
struct tm_lease {
	struct tm_source signals;
	struct tm_source parent;
	struct tm_server *server;
};

int tm_lease_init(struct tm_server *server);
void tm_lease_fini(struct tm_server *server);

/**
 * tm_lease_expire() - stop the server if it was idle for too long
 *
 * Returns the milliseconds until it may be, -1 for never.
 */
int tm_lease_expire(struct tm_server *server, uint64_t now_ms);

/* ---- quiet.c ------------------------------------------------------------ */

/**
 * struct tm_quiet - how much was said lately
 */
struct tm_quiet {
	pthread_mutex_t lock;
	uint64_t until_ms;
	unsigned int lines;
};

/** tm_quiet_warn() - a warning that others can cause at will; any thread */
void tm_quiet_warn(struct tm_quiet *quiet, const char *action, const char *why);

/* ---- main.c ------------------------------------------------------------- */

struct tm_server {
	struct tm_options options;
	struct tm_store store;
	struct tm_sessions sessions;
	struct tm_verifier verifier;
	struct tm_door door;
	struct tm_loop *loop[TM_LOOPS_MAX];
	unsigned int nr_loops;
	unsigned int nr_threads; /* running, besides main's */
	struct tm_listener listener;
	struct tm_lease lease;
	struct tm_quiet quiet;
	bool stopping;
};

/** tm_server_stop() - end all loops; any thread */
void tm_server_stop(struct tm_server *server);

#endif /* TM_SERVER_H */
