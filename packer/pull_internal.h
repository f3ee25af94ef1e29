/* SPDX-License-Identifier: Apache-2.0 */
/* What copying and rebuilding share. */
#pragma once

#include <pthread.h>

#include "base/table.h"
#include "layout_writer.h"
#include "pull.h"

struct pull {
	const struct pull_options *o;
	struct layout_writer *writer;  /* owned */
	struct layout *layout;         /* owned; the same, for reading */
	struct table blobs;            /* what is known to be there, or not */
	pthread_mutex_t progress_lock; /* nobody waits for it */
	struct progress progress;      /* under progress_lock while there are threads */
	uint64_t done;                 /* bytes, for progress; atomic while there are threads */
	bool said_why;                 /* packs are not made from deltas */
	struct pull_result result;     /* read_bytes: as done */
};

/* Whether the layout has blob @d, byte for byte: 1 or 0, or -ENOMEM. Each is read once. */
MUST_CHECK int pull_has(struct pull *p, const struct descriptor *d, struct err *err);

/* Remember that the layout has blob @d. Returns 0 or -ENOMEM. */
MUST_CHECK int pull_remember(struct pull *p, const struct descriptor *d, struct err *err);

/* Copy blob @d, @what in messages, unless it is there. Returns as pull(). */
MUST_CHECK int pull_blob(struct pull *p, const char *what, const struct descriptor *d,
                         struct err *err);

/* As pull_blob(), for a delta: those are not counted from the start. */
MUST_CHECK int pull_delta(struct pull *p, const struct descriptor *d, struct err *err);

/* Copy blob @d, which is not there, @what in messages. Any thread. Returns as pull(). */
MUST_CHECK int pull_copy(struct pull *p, const char *what, const struct descriptor *d,
                         struct err *err);

/* Copy @n different blobs that are not there, several at once when the source likes that. */
MUST_CHECK int pull_copy_all(struct pull *p, const struct descriptor *list, size_t n,
                             struct err *err);

/* Count @bytes of what was to be done as done, and show it. Any thread. */
void pull_progress(struct pull *p, uint64_t bytes);

/*
 * Make packs of @m, whose config and index are there, from deltas where that costs less. Sets
 * @rebuilt, of @m->n_packs elements, for those that were. Returns 0 also when there was
 * nothing to be had from deltas; else as pull().
 */
MUST_CHECK int pull_rebuild(struct pull *p, const struct manifest *m, bool *rebuilt,
                            struct err *err);
