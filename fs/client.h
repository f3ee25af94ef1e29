/* SPDX-License-Identifier: Apache-2.0 */
/* What the commands that talk to the daemon share. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "base/err.h"

/* $ASSETFS_STORE, or the default store. Borrowed. */
const char *default_store(void);

/*
 * As control_call_with(), starting a daemon for the store first when none runs. Such
 * a daemon ends with its last mount and logs to STORE/assetfs.log.
 */
MUST_CHECK int client_call_or_start(const char *store, const json_t *request, int pass_fd,
                                    json_t **ret, int *ret_fd, struct err *err);

/*
 * The absolute form of an image that the user named, for a daemon that has
 * another working directory: LAYOUT:TAG. The caller frees *@ret.
 */
MUST_CHECK int client_image_name(const char *text, char **ret, struct err *err);

/*
 * The absolute path of directory @path without symbolic links, also when a
 * dead mount is on it. The caller frees *@ret.
 */
MUST_CHECK int client_directory(const char *path, char **ret, struct err *err);

/*
 * TARGET as the daemon knows it: an absolute mount point, or an image. Returns NULL without memory. The
 * caller frees it.
 */
char *client_target(const char *target);

/* Open the trace @path to pass it on. Returns a descriptor that the caller closes, or -errno. */
MUST_CHECK int client_open_trace(const char *path, struct err *err);

/* The text @key of an answer, borrowed from it; "" when there is none. */
const char *client_text(const json_t *object, const char *key);

#define DURATION_MAX 32u

/* @seconds for a person, e.g. "2d 03:04:05" or "00:04:05". Returns @buf. */
const char *client_duration(uint64_t seconds, char buf[static DURATION_MAX]);
