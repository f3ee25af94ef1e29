/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The descriptors that a keeper holds, by name, and what a daemon says about them. One thread.
 *
 * Nothing is allocated: no shortage of memory takes a descriptor away.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "notify.h"

/* Descriptors that it can hold: some 2000 mounts. */
enum { KEEPER_FDS_MAX = 4096 };

struct keeper_store {
	struct kept kept[KEEPER_FDS_MAX];
	size_t n;
};

/* The value of the line KEY= of @message, which ends at the next line; NULL without one. */
const char *keeper_value(const char *message, const char *key);

/* Do what @message says about descriptors. @fd, which came with it, is taken; -1: none did. */
void keeper_store_hear(struct keeper_store *store, const char *message, int fd);

/* Hold nothing any more. */
void keeper_store_clear(struct keeper_store *store);

/* How many connections of mounts there are that have not ended. */
size_t keeper_store_mounts(const struct keeper_store *store);

/* Have as many files as the store and a daemon's copies of it need. */
void keeper_raise_limit(void);
