/* SPDX-License-Identifier: Apache-2.0 */
/*
 * In which order an image is filled: along a trace, or by packs. Reads the
 * index, which may take seconds for an image of a million files. Any thread.
 */
#pragma once

#include "index.h"
#include "uses.h"

struct order {
	struct uses uses;   /* files are content ids; no len is 0 */
	uint64_t bytes;     /* sum of their lengths */
	uint32_t n_unknown; /* uses of a trace that are of no file of the image */
};

#define ORDER_INIT ((struct order){ .uses = USES_INIT(SIZE_MAX) })

void order_release(struct order *order);

/*
 * Add the uses of the @len bytes of the trace at @text. Files of at most
 * SYNC_FILL_MAX (fill.h) are used whole; so are those that the trace has with length 0. Returns 0;
 * -EINVAL when it is no trace; -ENOMEM; or an error of the index.
 */
MUST_CHECK int order_add_trace(struct order *order, struct index *idx, const char *text, size_t len,
                               struct err *err);

/* Add all contents in the order in which packs have their first bytes. */
MUST_CHECK int order_add_all(struct order *order, struct index *idx, struct err *err);
