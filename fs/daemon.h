/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The node daemon: one region, one store, one session per mounted image, and
 * the control socket.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

struct daemon_config {
	const char *store;
	const char *region_directory; /* NULL: in memory */
	uint64_t region_size;         /* bytes */
	unsigned fill_threads;  /* that do background fill at once; 0: half of the cores, and one */
	unsigned fill_ahead;    /* files; 0: none */
	unsigned local_checks;  /* of chunks of local images: of enum chunk_check */
	const char *metrics;    /* HOST:PORT to serve them at; NULL: nowhere */
	uint64_t store_size;    /* bytes that blobs of registries may have; 0: no limit */
	uint64_t fetch_rate;    /* bytes a second that nobody waits for; 0: none */
	unsigned fetch_timeout; /* seconds that a read waits for a registry */
	unsigned request_timeout; /* seconds that any request may take; longer than that */
	unsigned tag_interval;    /* seconds after which tags are looked up again; 0: never */
	bool plain_http;          /* speak http to registries that are not this machine, too */
	const char *ca_file;      /* certificates to trust; NULL: the system's */
	const char *verify_key;   /* file of the key that has to have signed images, or NULL */
	unsigned busy_poll;       /* microseconds to look for a request before sleeping */
	bool xattrs;              /* mounts have user.assetfs.* */
	bool auto_exit;           /* end once the last mount is gone */
	const char *keeper;       /* socket of a keeper apart; NULL: as the environment says */
	char *const *options;     /* that say all this: of the next daemon, too; NULL ends them */
};

/*
 * Serve until SIGTERM or SIGINT, which with a keeper apart leave the mounts to the next daemon, or as auto_exit
 * says. Tells $NOTIFY_SOCKET,
 * as sd_notify(3) does, when mounts can be asked for. Call from the main
 * thread before any other starts. Returns 0 or -errno.
 */
MUST_CHECK int daemon_run(const struct daemon_config *config, struct err *err);
