/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whether the tags that mounted images were found by name other images by now: one thread looks them up
 * again every so often. What is mounted does not change; `assetfs status` tells.
 *
 * Functions may be called from any thread.
 */
#pragma once

#include <stdbool.h>

#include "base/hash.h"

struct tag_watch;

/* An image that is mounted. */
struct tagged {
	const char *name;     /* in a registry */
	const char *platform; /* NULL: this machine's */
	struct digest digest; /* of its manifest */
};

typedef void (*tagged_fn)(void *arg, const struct tagged *tagged);

struct tag_watch_config {
	unsigned interval_s; /* 0: nothing is looked up */
	/* Call @fn for all images that are mounted by a tag in a registry; it does not block. */
	void (*each)(void *arg, tagged_fn fn, void *fn_arg);
	/* Find what @tagged stands for now. Returns 0 or -errno. */
	int (*look_up)(void *arg, const struct tagged *tagged, struct digest *ret);
	void *arg;
};

/* Returns NULL when memory runs out. */
struct tag_watch *tag_watch_new(const struct tag_watch_config *config);

/* An image of a registry was mounted: the thread starts with the first one. */
void tag_watch_begin(struct tag_watch *watch);

/* Look up no more. Returns whether the thread has ended, after at most a second. Accepts NULL. */
bool tag_watch_stop(struct tag_watch *watch);

/* Accepts NULL. tag_watch_stop() has returned true. */
void tag_watch_free(struct tag_watch *watch);

/* Whether @name stood for another image than @digest when it was last looked up, and for which. */
bool tag_watch_newer(struct tag_watch *watch, const char *name, const struct digest *digest,
                     struct digest *ret);
