/* SPDX-License-Identifier: Apache-2.0 */
/*
 * OpenSSL looks an algorithm up by name at every one-shot call; the look-up
 * costs more than hashing a small file, so it is done once for the process and
 * each thread keeps a context of its own.
 */
#include "base/hash.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include <openssl/evp.h>

struct sha256 {
	EVP_MD_CTX *md; /* owned */
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_ctx;
static EVP_MD *algorithm;

static void free_thread_ctx(void *ctx)
{
	sha256_free(ctx);
}

/* No SHA-256 in the library means a broken installation: nothing can be named, so nothing can go on. */
static void load_algorithm(void)
{
	algorithm = EVP_MD_fetch(NULL, "SHA2-256", NULL);
	if (!algorithm || pthread_key_create(&thread_ctx, free_thread_ctx) != 0)
		abort();
}

struct sha256 *sha256_new(void)
{
	CLEANUP(sha256_free) struct sha256 *ctx = calloc(1, sizeof(*ctx));

	(void)pthread_once(&once, load_algorithm);
	if (!ctx)
		return NULL;
	ctx->md = EVP_MD_CTX_new();
	if (!ctx->md || EVP_DigestInit_ex2(ctx->md, algorithm, NULL) != 1)
		return NULL;
	return TAKE_PTR(ctx);
}

void sha256_free(struct sha256 *ctx)
{
	if (!ctx)
		return;
	EVP_MD_CTX_free(ctx->md);
	free(ctx);
}

void sha256_update(struct sha256 *ctx, const void *data, size_t len)
{
	if (EVP_DigestUpdate(ctx->md, data, len) != 1)
		abort();
}

void sha256_final(struct sha256 *ctx, struct digest *ret)
{
	if (EVP_DigestFinal_ex(ctx->md, ret->bytes, NULL) != 1 ||
	    EVP_DigestInit_ex2(ctx->md, algorithm, NULL) != 1)
		abort();
}

/* Memory for the first context of a thread is the one thing that may be missing. */
static struct sha256 *ctx_of_thread(void)
{
	struct sha256 *ctx;

	(void)pthread_once(&once, load_algorithm);
	ctx = pthread_getspecific(thread_ctx);
	if (ctx)
		return ctx;
	ctx = sha256_new();
	if (!ctx || pthread_setspecific(thread_ctx, ctx) != 0)
		abort();
	return ctx;
}

void sha256(const void *data, size_t len, struct digest *ret)
{
	struct sha256 *ctx = ctx_of_thread();

	sha256_update(ctx, data, len);
	sha256_final(ctx, ret);
}

const char *digest_hex(const struct digest *d, char hex[static DIGEST_HEX_SIZE])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		hex[2 * i] = digits[d->bytes[i] >> 4];
		hex[2 * i + 1] = digits[d->bytes[i] & 15];
	}
	hex[DIGEST_HEX_SIZE - 1] = '\0';
	return hex;
}

/* Value of one lower-case hexadecimal digit, or -EINVAL. */
static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -EINVAL;
}

int digest_parse(const char *hex, size_t len, struct digest *ret)
{
	struct digest d;

	if (len != DIGEST_HEX_SIZE - 1)
		return -EINVAL;
	for (size_t i = 0; i < DIGEST_SIZE; i++) {
		int hi = digit_value(hex[2 * i]);
		int lo = digit_value(hex[2 * i + 1]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		d.bytes[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret = d;
	return 0;
}
