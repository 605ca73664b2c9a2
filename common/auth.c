// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Who is at the other end; see auth.h. Holds no state but the loaded libmunge,
 * and no locks.
 *
 * A credential that is not encrypted, or that anyone may decode, is refused
 * when it is checked: the session key in it would be known to others.
 */
#include <dlfcn.h>
#include <endian.h>
#include <errno.h>
#include <limits.h>
#include <munge.h>
#include <nettle/hmac.h>
#include <nettle/memops.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/auth.h"

_Static_assert(TM_PROTO_MAC_BYTES == SHA256_DIGEST_SIZE,
	       "the attach MAC is HMAC-SHA256");

/* Older credentials are refused; long enough for a loaded machine. */
#define MUNGE_TTL_SECONDS 60

/* libmunge, as far as it is used here. */
static struct {
	__typeof__(munge_ctx_create) *ctx_create;
	__typeof__(munge_ctx_destroy) *ctx_destroy;
	__typeof__(munge_ctx_get) *ctx_get;
	__typeof__(munge_ctx_set) *ctx_set;
	__typeof__(munge_ctx_strerror) *ctx_strerror;
	__typeof__(munge_strerror) *strerror;
	__typeof__(munge_encode) *encode;
	__typeof__(munge_decode) *decode;
	bool loaded;
} munge;
static pthread_once_t munge_once = PTHREAD_ONCE_INIT;

static void munge_load(void)
{
	static const struct {
		const char *name;
		void *slot;
	} symbols[] = {
		{"munge_ctx_create", &munge.ctx_create},
		{"munge_ctx_destroy", &munge.ctx_destroy},
		{"munge_ctx_get", &munge.ctx_get},
		{"munge_ctx_set", &munge.ctx_set},
		{"munge_ctx_strerror", &munge.ctx_strerror},
		{"munge_strerror", &munge.strerror},
		{"munge_encode", &munge.encode},
		{"munge_decode", &munge.decode},
	};
	void *lib = dlopen("libmunge.so.2", RTLD_NOW | RTLD_LOCAL);
	void *symbol;
	size_t i;

	if (!lib)
		return;
	for (i = 0; i < sizeof(symbols) / sizeof(symbols[0]); i++) {
		symbol = dlsym(lib, symbols[i].name);
		if (!symbol)
			return;
		/* POSIX lets an object pointer hold a function's address. */
		memcpy(symbols[i].slot, &symbol, sizeof(symbol));
	}
	munge.loaded = true;
}

static int munge_errno(munge_err_t err)
{
	switch (err) {
	case EMUNGE_BAD_CRED:
	case EMUNGE_BAD_VERSION:
	case EMUNGE_BAD_CIPHER:
	case EMUNGE_BAD_MAC:
	case EMUNGE_BAD_ZIP:
	case EMUNGE_BAD_REALM:
	case EMUNGE_CRED_INVALID:
	case EMUNGE_CRED_EXPIRED:
	case EMUNGE_CRED_REWOUND:
	case EMUNGE_CRED_REPLAYED:
	case EMUNGE_CRED_UNAUTHORIZED:
		return -EACCES;
	case EMUNGE_NO_MEMORY:
		return -ENOMEM;
	case EMUNGE_BAD_LENGTH:
	case EMUNGE_OVERFLOW:
		return -EMSGSIZE;
	case EMUNGE_SOCKET:
		return -ECONNREFUSED;
	default:
		return -EIO;
	}
}

static const char *munge_remedy(munge_err_t err)
{
	switch (err) {
	case EMUNGE_SOCKET:
		return " (is munged running? try 'munge -n | unmunge')";
	case EMUNGE_CRED_EXPIRED:
	case EMUNGE_CRED_REWOUND:
		return " (are the clocks of the nodes in step?)";
	case EMUNGE_CRED_INVALID:
		return " (do the nodes share one munge.key?)";
	default:
		return "";
	}
}

/* Says why and returns -errno. */
static int munge_fail(munge_ctx_t ctx, munge_err_t err, const char *what,
		      char *why, size_t why_len)
{
	const char *text = ctx ? munge.ctx_strerror(ctx) : NULL;

	if (!text)
		text = munge.strerror(err);
	snprintf(why, why_len, "%s: %s%s", what, text, munge_remedy(err));
	return munge_errno(err);
}

static int munge_begin(munge_ctx_t *ctx, char *why, size_t why_len)
{
	const char *socket = secure_getenv("TERAMEM_MUNGE_SOCKET");
	munge_err_t err;

	pthread_once(&munge_once, munge_load);
	if (!munge.loaded) {
		snprintf(why, why_len,
			 "libmunge.so.2 cannot be loaded: install libmunge2");
		return -ENOSYS;
	}
	*ctx = munge.ctx_create();
	if (!*ctx) {
		snprintf(why, why_len, "munge: out of memory");
		return -ENOMEM;
	}
	if (!socket)
		return 0;
	err = munge.ctx_set(*ctx, MUNGE_OPT_SOCKET, socket);
	if (err == EMUNGE_SUCCESS)
		return 0;
	munge_fail(*ctx, err, "TERAMEM_MUNGE_SOCKET", why, why_len);
	munge.ctx_destroy(*ctx);
	return -EINVAL;
}

int tm_auth_random(void *buf, size_t len)
{
	uint8_t *p = buf;
	ssize_t n;

	while (len) {
		n = getrandom(p, len, 0);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		p += n;
		len -= n;
	}
	return 0;
}

int tm_auth_munge_encode(const void *payload, size_t len, uid_t server_uid,
			 char **cred, char *why, size_t why_len)
{
	munge_ctx_t ctx;
	munge_err_t err;
	int ret;

	if (len > INT_MAX)
		return -EMSGSIZE;
	ret = munge_begin(&ctx, why, why_len);
	if (ret)
		return ret;
	err = munge.ctx_set(ctx, MUNGE_OPT_UID_RESTRICTION, server_uid);
	if (err == EMUNGE_SUCCESS)
		err = munge.ctx_set(ctx, MUNGE_OPT_CIPHER_TYPE,
				    MUNGE_CIPHER_AES256);
	if (err == EMUNGE_SUCCESS)
		err = munge.ctx_set(ctx, MUNGE_OPT_MAC_TYPE, MUNGE_MAC_SHA256);
	if (err == EMUNGE_SUCCESS)
		err = munge.ctx_set(ctx, MUNGE_OPT_TTL, MUNGE_TTL_SECONDS);
	if (err == EMUNGE_SUCCESS)
		err = munge.encode(cred, ctx, payload, (int)len);
	if (err != EMUNGE_SUCCESS)
		ret = munge_fail(ctx, err, "munge credential", why, why_len);
	munge.ctx_destroy(ctx);
	return ret;
}

/* What MUNGE itself accepts, but a session key must not travel in. */
static int munge_check_strength(munge_ctx_t ctx, char *why, size_t why_len)
{
	uid_t only = (uid_t)MUNGE_UID_ANY;
	int cipher = MUNGE_CIPHER_NONE;
	int mac = MUNGE_MAC_NONE;

	if (munge.ctx_get(ctx, MUNGE_OPT_CIPHER_TYPE, &cipher) ||
	    munge.ctx_get(ctx, MUNGE_OPT_MAC_TYPE, &mac) ||
	    munge.ctx_get(ctx, MUNGE_OPT_UID_RESTRICTION, &only)) {
		snprintf(why, why_len, "munge credential: options unreadable");
		return -EIO;
	}
	if (cipher == MUNGE_CIPHER_NONE) {
		snprintf(why, why_len, "munge credential: not encrypted");
		return -EACCES;
	}
	if (mac == MUNGE_MAC_NONE || mac == MUNGE_MAC_MD5) {
		snprintf(why, why_len, "munge credential: weak MAC");
		return -EACCES;
	}
	if (only != geteuid()) {
		snprintf(why, why_len,
			 "munge credential: not restricted to uid %u",
			 (unsigned int)geteuid());
		return -EACCES;
	}
	return 0;
}

int tm_auth_munge_decode(const char *cred, void *payload, size_t len,
			 size_t *got, uid_t *uid, char *why, size_t why_len)
{
	void *data = NULL;
	int data_len = 0;
	munge_ctx_t ctx;
	munge_err_t err;
	gid_t gid;
	int ret;

	ret = munge_begin(&ctx, why, why_len);
	if (ret)
		return ret;
	err = munge.decode(cred, ctx, &data, &data_len, uid, &gid);
	if (err != EMUNGE_SUCCESS)
		ret = munge_fail(ctx, err, "munge credential", why, why_len);
	else
		ret = munge_check_strength(ctx, why, why_len);
	if (!ret && (size_t)data_len > len) {
		snprintf(why, why_len, "munge credential: payload too long");
		ret = -EACCES;
	}
	if (!ret) {
		*got = (size_t)data_len;
		if (data_len)
			memcpy(payload, data, *got);
	}
	/* MUNGE hands the payload out with some errors too; it holds a key. */
	if (data)
		explicit_bzero(data, (size_t)data_len);
	free(data);
	munge.ctx_destroy(ctx);
	return ret;
}

int tm_auth_peer(int fd, uid_t *uid)
{
	struct ucred peer;
	socklen_t len = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
		return -errno;
	/* What a socket that is not a connected unix socket answers. */
	if (len != sizeof(peer) || peer.uid == (uid_t)-1)
		return -ENOTCONN;
	*uid = peer.uid;
	return 0;
}

void tm_auth_attach_mac(const uint8_t key[TM_PROTO_KEY_BYTES],
			const uint8_t server_nonce[TM_PROTO_NONCE_BYTES],
			const uint8_t client_nonce[TM_PROTO_NONCE_BYTES],
			uint64_t session, uint32_t channel, uint32_t epoch,
			uint8_t mac[TM_PROTO_MAC_BYTES])
{
	struct hmac_sha256_ctx ctx;
	uint64_t session_le = htole64(session);
	uint32_t channel_le = htole32(channel);
	uint32_t epoch_le = htole32(epoch);

	hmac_sha256_set_key(&ctx, TM_PROTO_KEY_BYTES, key);
	hmac_sha256_update(&ctx, TM_PROTO_NONCE_BYTES, server_nonce);
	hmac_sha256_update(&ctx, TM_PROTO_NONCE_BYTES, client_nonce);
	hmac_sha256_update(&ctx, sizeof(session_le), (void *)&session_le);
	hmac_sha256_update(&ctx, sizeof(channel_le), (void *)&channel_le);
	hmac_sha256_update(&ctx, sizeof(epoch_le), (void *)&epoch_le);
	hmac_sha256_digest(&ctx, TM_PROTO_MAC_BYTES, mac);
	explicit_bzero(&ctx, sizeof(ctx));
}

int tm_auth_equal(const void *a, const void *b, size_t len)
{
	return memeql_sec(a, b, len);
}
