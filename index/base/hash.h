/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SHA-256 (FIPS 180-4), the name of everything that assetfs stores.
 *
 * The work is done by OpenSSL, which picks the CPU's SHA instructions. A
 * struct sha256 belongs to one thread at a time; sha256() may be called from
 * any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/err.h"

#define DIGEST_SIZE     32u
#define DIGEST_HEX_SIZE 65u /* 64 digits and the NUL */

struct digest {
	uint8_t bytes[DIGEST_SIZE];
};

struct sha256;

/* A new, empty hash. Returns NULL when memory runs out. */
struct sha256 *sha256_new(void);

/* Accepts NULL. */
void sha256_free(struct sha256 *ctx);
DEFINE_CLEANUP(struct sha256 *, sha256_free)

/* Hash @len more bytes. */
void sha256_update(struct sha256 *ctx, const void *data, size_t len);

/* Write the digest of all that was hashed to *@ret and begin anew. */
void sha256_final(struct sha256 *ctx, struct digest *ret);

/* The digest of the @len bytes at @data, in one call. */
void sha256(const void *data, size_t len, struct digest *ret);

/* As memcmp(): orders digests by their bytes. */
static inline int digest_cmp(const struct digest *a, const struct digest *b)
{
	return memcmp(a->bytes, b->bytes, DIGEST_SIZE);
}

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
	return digest_cmp(a, b) == 0;
}

/* A well mixed 64-bit key for hash tables: the first bytes of the digest. */
static inline uint64_t digest_key(const struct digest *d)
{
	uint64_t key;

	memcpy(&key, d->bytes, sizeof(key));
	return key;
}

/* Write @d as 64 lower-case digits and a NUL. Returns @hex. */
const char *digest_hex(const struct digest *d, char hex[static DIGEST_HEX_SIZE]);

/* Parse exactly 64 lower-case hexadecimal digits at @hex. Returns 0, or -EINVAL. */
MUST_CHECK int digest_parse(const char *hex, size_t len, struct digest *ret);
