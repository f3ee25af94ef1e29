/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Volumes whose session was lost, because a daemon died that nothing kept the
 * sessions of, are mounted again: over the mounts that are dead, for only then containers
 * see it that have them with HostToContainer. Their session is then that of the next daemon.
 */
#pragma once

#include "base/cleanup.h"
#include "csi/node.h"

struct healer;

/* Look after @node (borrowed) from a thread of its own. Returns 0 and sets *@ret, or -errno. */
MUST_CHECK int healer_start(struct node *node, struct healer **ret, struct err *err);

/* Accepts NULL. Waits for the thread. */
void healer_free(struct healer *healer);
DEFINE_CLEANUP(struct healer *, healer_free)
