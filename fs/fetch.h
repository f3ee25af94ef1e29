/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fetch: making bytes of a blob present in the local file of that blob, from far away, as they are
 * needed. The one place that knows which bytes of the node's blobs are there.
 *
 * A blob is a sparse file in a directory, named by its digest; what of it is there is kept in memory,
 * and in store.db over restarts. A range that is missing is fetched once for the node, whoever wants it and however many: a
 * flight brings it, and all who want bytes of it wait for these bytes, not for its end. A few
 * threads fly, which start when there is something to fetch. Who reads in order has the next
 * bytes fetched ahead: as many as it has read so far, up to some MiB.
 *
 * Digests of chunks are the reader's to check; it says which bytes were damaged. Those are fetched again, from
 * somebody else: who gave them is not asked for them while anybody is left, and the last one only once more. Then they
 * cannot be had for two seconds, after which all are asked again.
 *
 * What was not used for longest leaves when there is more than the size that was given. Nothing leaves while it is
 * held. Functions may be called from any thread, with no lock held.
 */
#pragma once

#include "image.h"
#include "stats.h"
#include "store_db.h"

struct fetch;
struct origin;

struct fetch_config {
	const char *dir;     /* for files of blobs, and nothing else */
	struct store_db *db; /* borrowed; NULL: nothing is remembered */
	struct stats *stats; /* borrowed */
	uint64_t size;      /* bytes that blobs may have on disk; 0: as many as there is room for */
	uint64_t rate;      /* bytes a second that nobody waits for; 0: none are fetched */
	unsigned timeout_s; /* seconds without a byte that somebody waits */
};

/*
 * Open the blobs of a node. Files that are not remembered are removed. Returns 0 or -errno.
 */
MUST_CHECK int fetch_new(const struct fetch_config *config, struct fetch **ret, struct err *err);

/*
 * Let all waits end with -ECANCELED, and begin nothing more. Returns whether nothing is under way any
 * more, after at most a second. Accepts NULL.
 */
bool fetch_stop(struct fetch *fetch);

/* Accepts NULL. fetch_stop() has returned true, and there are no origins left. */
void fetch_free(struct fetch *fetch);
DEFINE_CLEANUP(struct fetch *, fetch_free)

struct fetch_usage {
	uint64_t size; /* bytes that blobs may have; 0: no limit */
	uint64_t used; /* bytes that they have */
};

void fetch_usage(struct fetch *fetch, struct fetch_usage *ret);

/* Called with bytes of a range, in order. Returns 0, or -errno to stop. */
typedef int (*fetch_take_fn)(void *arg, const void *data, size_t len, struct err *err);

/* What is asked of an origin. Of its sources there is a bit for each. */
struct fetch_order {
	fetch_take_fn take;
	void *arg;
	uint32_t wrong; /* have given other bytes, and are not to be asked */
	uint32_t told;  /* of which read() was told before */
	unsigned now;   /* set by read() before each call of take(): the number of who gives */
};

/* Where blobs can be had. Any thread, several at once. */
struct fetch_from {
	/*
	 * Give @range of @blob to @order->take, from anybody but @order->wrong. Returns 0; what take() returned;
	 * -ENOENT, -ENOMEDIUM or -EBADMSG when it is not worth trying again; -errno.
	 */
	int (*read)(void *arg, const struct descriptor *blob, const struct blob_range *range,
	            struct fetch_order *order, struct err *err);
	/* The name of the @i-th source, borrowed; NULL behind the last one. NULL: there is one. */
	const char *(*source)(void *arg, unsigned i);
	/* Whether it sends blobs from their first byte on, whatever is asked for; NULL: it does not. */
	bool (*sends_whole)(void *arg);
	void (*release)(void *arg);
	void *arg;
};

/*
 * A place that the blobs of one image come from. Takes @from, also when it fails. Returns NULL when memory
 * runs out. @fetch outlives it.
 */
struct origin *origin_new(struct fetch *fetch, const struct fetch_from *from);

/* Accepts NULL. */
void origin_unref(struct origin *origin);
DEFINE_CLEANUP(struct origin *, origin_unref)

/*
 * The image has these blobs: while the origin is there they are the last to leave, and files of theirs that are open
 * stay what they are. The first @n_packs are fetched in the background, as the rate says. Once. Returns 0 or
 * -ENOMEM.
 */
MUST_CHECK int origin_needs(struct origin *origin, const struct descriptor *blobs, uint32_t n,
                            uint32_t n_packs);

/* Let those who wait for this origin end with -ECANCELED, from now on. */
void origin_cancel(struct origin *origin);

/* What to give to image_set_source(); takes the reference. */
struct pack_source origin_source(struct origin *origin);

/*
 * Make @hold->range of blob @d, which is within its size, be there, and stay until fetch_release().
 *
 * Waits while bytes come; without any for the time that is configured, returns -ETIMEDOUT, and from
 * then on the first failure instead, until something comes again. Returns 0; -ECANCELED; -EBADMSG when all
 * have other bytes; what origin->read() returns that is not worth trying again; -ENOSPC, -ENOMEM, -errno.
 */
MUST_CHECK int fetch_hold(struct origin *origin, const struct descriptor *d, struct pack_hold *hold,
                          struct err *err);

/*
 * The range is not read any more. @damaged: its bytes are wrong. Returns whether others may be had then, by another
 * fetch_hold().
 */
bool fetch_release(struct origin *origin, const struct descriptor *d, const struct pack_hold *hold,
                   bool damaged);

/* How many bytes of @range of blob @d are neither there nor on their way. */
uint64_t fetch_lacks(struct origin *origin, const struct descriptor *d,
                     const struct blob_range *range);

/* Put all @len bytes of a blob there that came by other ways. Returns 0 or -errno. */
MUST_CHECK int fetch_put(struct fetch *fetch, const struct digest *digest, const void *bytes,
                         size_t len, struct err *err);
