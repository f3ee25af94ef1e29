/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics and health of the daemon over HTTP, for Prometheus and for kubelets.
 *
 *	GET /metrics  the report (fs/prometheus.h); OpenMetrics when asked for
 *	GET /healthz  200 while the daemon's threads can be asked, else 503
 *	GET /readyz   200 while mounts can be asked for, else 503
 *
 * None of them touches a mount. Two threads of its own serve a few connections.
 */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "base/cleanup.h"
#include "base/err.h"

/* Answers come from these, called by the server's threads. */
struct metrics_source {
	json_t *(*report)(void *arg); /* NULL when there is none; the caller gives it back */
	bool (*healthy)(void *arg);
	bool (*ready)(void *arg);
	void *arg;
};

struct metrics;

/*
 * Serve at @address: HOST:PORT, HOST being an IPv4 address, an IPv6 address in
 * brackets, or nothing for all addresses. Port 0 is one that is free; metrics_port()
 * tells. Returns 0; -EINVAL when @address is none; -errno.
 */
MUST_CHECK int metrics_start(const char *address, const struct metrics_source *source,
                             struct metrics **ret, struct err *err);

unsigned metrics_port(const struct metrics *metrics);

/* Stop, when answers under way are given. Accepts NULL. */
void metrics_stop(struct metrics *metrics);
DEFINE_CLEANUP(struct metrics *, metrics_stop)

/* Whether @address is of the form that metrics_start() takes. */
bool metrics_address_ok(const char *address);
