/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/registry_internal.h"

/* A run of a blob on its way. */
struct reading {
	struct registry *reg;
	uint64_t size; /* of the blob */
	uint64_t off;  /* the next byte that is wanted */
	uint64_t end;  /* behind the last one */
	registry_take_fn take;
	void *arg;
	bool refused; /* by take() */

	bool begun;   /* the answer has been looked at */
	bool asked;   /* for a range */
	uint64_t pos; /* in the blob, of the next byte that comes */
};

/* Find out where in the blob the answer begins. */
static int begin(struct reading *rd, const struct http_response *res, struct err *err)
{
	rd->begun = true;
	rd->pos = 0;
	if (res->status == 206) {
		rd->pos = res->has_first ? res->first : rd->off;
		if (rd->pos > rd->off)
			return err_set(err, -EPROTO,
			               "it has sent another range than was asked for");
		return 0;
	}
	if (res->has_length && res->length != rd->size)
		return err_set(err, -EBADMSG, "a blob is damaged: %llu bytes instead of %llu",
		               (unsigned long long)res->length, (unsigned long long)rd->size);
	if (rd->asked)
		(void)__atomic_add_fetch(&rd->reg->ignored_ranges, 1, __ATOMIC_RELAXED);
	return 0;
}

static int take(void *arg, const struct http_response *res, const void *data, size_t len,
                struct err *err)
{
	struct reading *rd = arg;
	uint64_t skip, n;
	int r = rd->begun ? 0 : begin(rd, res, err);

	if (r < 0)
		return r;
	skip = rd->off - rd->pos < len ? rd->off - rd->pos : len;
	n = len - skip < rd->end - rd->off ? len - skip : rd->end - rd->off;
	rd->pos += len;
	if (n > 0) {
		r = rd->take(rd->arg, (const char *)data + skip, n, err);
		if (r < 0) {
			rd->refused = true;
			return r;
		}
		rd->off += n;
	}
	/* A server that ignores ranges goes on for long. */
	return rd->off == rd->end && rd->pos > rd->end ? -ECANCELED : 0;
}

/* Judge how an exchange ended. Returns 0 when it gave what it could. */
static int judge(const struct reading *rd, int r, const struct http_response *res, struct err *err)
{
	if (r == -ECANCELED && rd->off == rd->end)
		return 0;
	if (r < 0)
		return r;
	if (res->status == 416)
		return err_set(err, -EBADMSG, "a blob is damaged: fewer than %llu bytes",
		               (unsigned long long)rd->end);
	if (res->status != 200 && res->status != 206)
		return 0;
	/* Its end was not announced, or it would have been found to be missing. */
	return rd->off == rd->end ? 0 : err_set(err, -ECONNRESET, "a transfer ended early");
}

/* One exchange: all that is left, or what comes of it. */
static int read_once(struct reading *rd, const char *url, struct http_response *res,
                     struct err *err)
{
	char range[64];
	struct http_request rq = { .method = "GET", .url = url, .take = take, .take_arg = rd };

	rd->begun = false;
	rd->asked = rd->off > 0 || rd->end < rd->size;
	(void)snprintf(range, sizeof(range), "%llu-%llu", (unsigned long long)rd->off,
	               (unsigned long long)rd->end - 1);
	rq.range = rd->asked ? range : NULL;
	return judge(rd, registry_exchange(rd->reg, &rq, res, err), res, err);
}

/* Whether there is nothing more to be tried: *@ret is the result then. */
static bool is_over(const struct reading *rd, int r, const struct http_response *res, int *ret)
{
	*ret = r;
	if (r < 0)
		return r != -EAGAIN && !http_is_transient(r, 0);
	return rd->off == rd->end || !http_is_transient(0, res->status);
}

static int read_all(struct reading *rd, const char *url, struct http_response *res, struct err *err)
{
	struct tries tries = { .reg = rd->reg };

	for (;;) {
		uint64_t before = rd->off;
		int result;
		int r = read_once(rd, url, res, err);

		if (is_over(rd, r, res, &result))
			return result;
		if (rd->off > before)
			tries.n = 0;
		r = tries_wait(&tries, r, res, err);
		if (r < 0)
			return r;
	}
}

/* Read what is missing from @reg itself. */
static int read_at(struct reading *rd, struct registry *reg, const struct digest *digest,
                   struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *url = registry_digest_url(reg, "blobs/", digest);
	char what[40], hex[DIGEST_HEX_SIZE];
	int r;

	rd->reg = reg;
	(void)snprintf(what, sizeof(what), "blob '%.12s'", digest_hex(digest, hex));
	r = url ? read_all(rd, url, &res, err) : err_set(err, -ENOMEM, "out of memory");
	if (r < 0)
		return err_wrap(err, r, "'%s': %s", reg->name, what);
	if (rd->off == rd->end)
		return 0;
	if (res.status == 404)
		return err_set(err, -ENOENT, "'%s': %s is missing", reg->name, what);
	return registry_refused(reg, what, &res, err);
}

/* A reading that goes from one source to the next. */
struct asked_reading {
	struct reading rd;
	const struct registry_range *range;
	struct registry_sources *from;
};

/* For struct question. */
static int ask_read(struct registry *at, unsigned i, struct question *q, struct err *err)
{
	struct asked_reading *a = q->arg;
	uint64_t before = a->rd.off;
	int r;

	a->from->now = i;
	r = read_at(&a->rd, at, &a->range->digest, err);

	if (a->rd.off > before)
		a->from->used |= 1u << i;
	q->stop = a->rd.refused;
	return r;
}

int registry_read_from(struct registry *reg, const struct registry_range *range,
                       struct registry_sources *from, registry_take_fn take_fn, void *arg,
                       struct err *err)
{
	struct asked_reading a = {
		.rd = { .size = range->size,
		        .off = range->off,
		        .end = range->off + range->len,
		        .take = take_fn,
		        .arg = arg },
		.range = range,
		.from = from,
	};
	struct question q = { .ask = ask_read, .arg = &a, .not = from->used };

	if (range->len == 0)
		return 0;
	registry_blame(reg, from, &range->digest);
	return registry_ask(reg, &q, err);
}

bool registry_has_other(const struct registry *reg, const struct registry_sources *from)
{
	return from->used != (1u << (reg->n_mirrors + 1)) - 1;
}

int registry_read(struct registry *reg, const struct registry_range *range,
                  registry_take_fn take_fn, void *arg, struct err *err)
{
	struct registry_sources from = REGISTRY_SOURCES_INIT;

	return registry_read_from(reg, range, &from, take_fn, arg, err);
}

/* Bytes on their way into memory. */
static int take_memory(void *arg, const void *data, size_t len, struct err *err)
{
	char **at = arg;

	(void)err;
	memcpy(*at, data, len);
	*at += len;
	return 0;
}

int registry_pread(struct registry *reg, const struct registry_range *range, void *buf,
                   struct err *err)
{
	struct registry_sources from = REGISTRY_SOURCES_INIT;

	return registry_pread_from(reg, range, &from, buf, err);
}

int registry_pread_from(struct registry *reg, const struct registry_range *range,
                        struct registry_sources *from, void *buf, struct err *err)
{
	char *at = buf;

	return registry_read_from(reg, range, from, take_memory, &at, err);
}

int registry_get_blob(struct registry *reg, const struct digest *digest, uint64_t size, void *buf,
                      struct err *err)
{
	const struct registry_range whole = { .digest = *digest, .size = size, .len = size };
	struct registry_sources from = REGISTRY_SOURCES_INIT;
	char hex[DIGEST_HEX_SIZE];

	do {
		struct digest found;
		int r = registry_pread_from(reg, &whole, &from, buf, err);

		if (r < 0)
			return r;
		sha256(buf, size, &found);
		if (digest_equal(&found, digest))
			return 0;
	} while (from.used != 0 && registry_has_other(reg, &from));
	return err_set(err, -EBADMSG, "'%s': blob %.12s is damaged: its digest is another",
	               reg->name, digest_hex(digest, hex));
}
