/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the daemon tells about itself, as JSON: names and meaning of every field
 * are in docs/man/assetfs.1.scd and docs/man/fsstat.1.scd.
 */
#pragma once

#include <jansson.h>

#include "fetch.h"
#include "mountinfo.h"
#include "session.h"
#include "tag_watch.h"

struct report_source {
	struct engine *engine;
	struct tag_watch *tags;    /* of registries */
	struct fetch_usage blobs;  /* of registries, in the store */
	struct session **sessions; /* n_sessions, none of them ended */
	size_t n_sessions;
	const char *store;
	uint64_t uptime_seconds;
	const char *detail;      /* "pods" lists the users, "hot" and "cold" files; NULL: nothing */
	size_t n_files;          /* of these */
	const json_t *pod_names; /* pod_names_add(); or NULL */
};

/* Whether @s is what the user means by @target, a mount point or the name of an image. */
bool report_is_target(const struct session *s, const char *target,
                      const struct mount_points *points);

/* What to say when @target is none of them. Returns -ENOENT. */
int report_no_target(const char *target, struct err *err);

/* For `assetfs status`. Returns NULL when memory runs out. The caller gives it back. */
json_t *report_status(const struct report_source *src);

/*
 * For `assetfs generations`: each mounted image with its users, and whether a new mount by its name would
 * get it, as far as is known. Returns 0 or -ENOMEM.
 */
MUST_CHECK int report_generations(const struct report_source *src, json_t **ret, struct err *err);

/*
 * For `fsstat`. With @target, a mount point or the name of an image, only that
 * image is listed. Returns 0; -ENOENT when @target is no mount of this daemon;
 * -ENOMEM.
 */
MUST_CHECK int report_stats(const struct report_source *src, const char *target, json_t **ret,
                            struct err *err);
