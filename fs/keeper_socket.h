/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A keeper apart from its daemons: it starts none. One daemon after the other connects to its socket, of
 * SOCK_SEQPACKET, and is given what there is: for each descriptor FDSTORE=1 and FDNAME=, with the descriptor, then READY=1. After
 * that it says what it says to any keeper (notify.h), until it is gone; the next one is heard then.
 *
 * A keeper and the daemons that it meets may be of different versions, for years: what is said does not change.
 */
#pragma once

#include "base/err.h"

/*
 * Be the keeper at the socket @path, which only this user can connect to, until SIGTERM or SIGINT. It then ends when it
 * holds no mount, or the daemon has taken note, so that the next keeper gets all from that one; it waits for a daemon as long as
 * there is none. Call before any thread starts. Returns 0; -EBUSY when there is such a keeper; -errno.
 */
MUST_CHECK int keeper_listen(const char *path, struct err *err);
