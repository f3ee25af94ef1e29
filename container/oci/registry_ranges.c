/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Several runs by one request. Whatever comes, in parts, as one range, or the whole blob, is
 * bytes at an offset, which are dealt to the runs; runs that are not full in the end are read
 * by themselves. So a server that does not understand, or breaks, costs requests, not
 * correctness.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "oci/multipart.h"
#include "oci/registry_internal.h"

enum {
	RUNS_MAX = 64,      /* in a request: its line has some 2 kB then, and servers have limits */
	NUMBERS_MAX = 42,   /* "FIRST-LAST," */
	WORTH_PERCENT = 50, /* of what is sent instead: with fewer of it wanted, it is broken off */
};

/* Runs that are asked for at once. */
struct dealing {
	struct registry *reg; /* who is asked now */
	const struct registry_blob_name *blob;
	const struct registry_run *run;
	uint64_t got[RUNS_MAX]; /* bytes of each run, from its beginning */
	size_t n;
	size_t next; /* of runs before it, nothing more comes */

	struct multipart parts;
	bool begun; /* the answer has been looked at */
	bool in_parts;
	uint64_t pos;   /* in the blob, of the next byte that comes, if not in parts */
	uint64_t given; /* bytes that went to runs */
};

static uint64_t end_of(const struct registry_run *run)
{
	return run->off + run->len;
}

static bool all_full(const struct dealing *d)
{
	for (size_t i = 0; i < d->n; i++) {
		if (d->got[i] < d->run[i].len)
			return false;
	}
	return true;
}

/* Give run @i what it has use for of the @len bytes at @off. */
static void deal_one(struct dealing *d, size_t i, uint64_t off, const char *data, size_t len)
{
	const struct registry_run *run = &d->run[i];
	uint64_t at = run->off + d->got[i]; /* wanted next */
	uint64_t end = off + len < end_of(run) ? off + len : end_of(run);

	if (off > at || end <= at)
		return;
	memcpy((char *)run->buf + d->got[i], data + (at - off), end - at);
	d->got[i] += end - at;
	d->given += end - at;
}

/* Take the @len bytes at @off. For struct multipart. */
static int deal(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
	struct dealing *d = arg;

	(void)err;
	/*
	 * Parts come in any order: only what is in front of all that may come is passed over
	 * for good.
	 */
	if (!d->in_parts) {
		while (d->next < d->n && end_of(&d->run[d->next]) <= off)
			d->next++;
	}
	for (size_t i = d->next; i < d->n && d->run[i].off < off + len; i++)
		deal_one(d, i, off, data, len);
	return 0;
}

/* Find out what kind of answer this is. */
static int begin(struct dealing *d, const struct http_response *res)
{
	uint64_t wanted = 0;

	d->begun = true;
	d->in_parts = res->status == 206 && res->type &&
	              strcasecmp(res->type, "multipart/byteranges") == 0;
	d->pos = res->status == 206 ? res->first : 0;
	if (d->in_parts)
		return 0;
	if (res->status == 206)
		return res->has_first ? 0 : -ECANCELED;
	(void)__atomic_add_fetch(&d->reg->ignored_ranges, 1, __ATOMIC_RELAXED);
	if (res->has_length && res->length != d->blob->size)
		return -ECANCELED; /* who reads what is missing finds out, and tells */
	for (size_t i = 0; i < d->n; i++)
		wanted += d->run[i].len;
	return wanted < end_of(&d->run[d->n - 1]) / 100 * WORTH_PERCENT ? -ECANCELED : 0;
}

/* For struct http_request. */
static int take(void *arg, const struct http_response *res, const void *data, size_t len,
                struct err *err)
{
	struct dealing *d = arg;
	int r = d->begun ? 0 : begin(d, res);

	if (r < 0)
		return r;
	if (d->in_parts)
		return multipart_feed(&d->parts, data, len, err);
	r = deal(d, d->pos, data, len, err);
	d->pos += len;
	return r == 0 && all_full(d) ? -ECANCELED : r;
}

/* "FIRST-LAST,…" of all runs: a new string, or NULL. */
static char *make_ranges(const struct dealing *d)
{
	char *text = malloc(d->n * NUMBERS_MAX + 1);
	int at = 0;

	for (size_t i = 0; text && i < d->n; i++)
		at += snprintf(text + at, NUMBERS_MAX + 1, "%s%llu-%llu", i > 0 ? "," : "",
		               (unsigned long long)d->run[i].off,
		               (unsigned long long)end_of(&d->run[i]) - 1);
	return text;
}

/* Whether the answer was one to several ranges, or said nothing about that. */
static bool understood(const struct dealing *d, int r, long status)
{
	static const long refusals[] = { 400, 416, 431, 501 };

	for (size_t i = 0; r == 0 && i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		if (status == refusals[i])
			return false;
	}
	if (!d->begun || (r < 0 && r != -ECANCELED && r != -EPROTO))
		return true;
	return all_full(d) && status == 206;
}

/* Ask for all runs at once. Returns 0 whatever came; -ENOMEM. */
static int ask_at_once(struct dealing *d, struct err *err)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;
	CLEANUP(free) char *url = registry_digest_url(d->reg, "blobs/", &d->blob->digest);
	CLEANUP(free) char *ranges = make_ranges(d);
	const struct http_request rq = {
		.method = "GET",
		.url = url,
		.range = ranges,
		.take = take,
		.take_arg = d,
	};
	int r;

	if (!url || !ranges)
		return err_set(err, -ENOMEM, "out of memory");
	d->begun = false;
	d->next = 0;
	multipart_init(&d->parts, deal, d);
	r = registry_exchange(d->reg, &rq, &res, NULL);
	if (!understood(d, r, res.status))
		__atomic_store_n(&d->reg->one_range, true, __ATOMIC_RELAXED);
	return r == -ENOMEM ? r : 0;
}

/* What of run @i is missing, whoever has it. Adds those to @gave. */
static int read_missing(struct registry *reg, const struct dealing *d, size_t i,
                        struct registry_sources *wrong, uint32_t *gave, struct err *err)
{
	const struct registry_run *run = &d->run[i];
	const struct registry_range range = {
		.digest = d->blob->digest,
		.size = d->blob->size,
		.off = run->off + d->got[i],
		.len = run->len - d->got[i],
	};
	struct registry_sources from = *wrong;
	int r = registry_pread_from(reg, &range, &from, (char *)run->buf + d->got[i], err);

	*gave |= from.used;
	wrong->told = from.told;
	return r;
}

/* Read the runs of @d, of which there is one at least. */
static int read_some(struct registry *reg, struct dealing *d, struct registry_sources *wrong,
                     uint32_t *gave, struct err *err)
{
	unsigned first = registry_first(reg, wrong->used, &d->reg);
	int r = 0;

	if (d->n > 1 && d->reg && !__atomic_load_n(&d->reg->one_range, __ATOMIC_RELAXED))
		r = ask_at_once(d, err);
	if (d->given > 0)
		*gave |= 1u << first;
	for (size_t i = 0; r == 0 && i < d->n; i++)
		r = read_missing(reg, d, i, wrong, gave, err);
	return r;
}

int registry_read_runs(struct registry *reg, const struct registry_blob_name *blob,
                       const struct registry_run *run, size_t n, struct registry_sources *from,
                       struct err *err)
{
	uint32_t gave = 0;
	int r = 0;

	registry_blame(reg, from, &blob->digest);
	for (size_t i = 0; r == 0 && i < n; i += RUNS_MAX) {
		struct dealing d = {
			.blob = blob,
			.run = run + i,
			.n = n - i < RUNS_MAX ? n - i : RUNS_MAX,
		};

		r = read_some(reg, &d, from, &gave, err);
	}
	from->used |= gave;
	return r;
}
