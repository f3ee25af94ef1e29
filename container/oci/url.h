/* SPDX-License-Identifier: Apache-2.0 */
/* Questions about URLs, and where redirects lead. Any thread. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* Whether HOST[:PORT] is this machine: "localhost", 127.0.0.0/8 or [::1]. */
bool url_host_is_loopback(const char *host);

/* As url_host_is_loopback(), of the host in @url. */
bool url_is_loopback(const char *url);

/* Whether @url begins with "http://". */
bool url_is_plain(const char *url);

/* Whether both have one scheme, host and port. */
bool url_same_origin(const char *a, const char *b);

/* What @location means that came with an answer of @base: a new string, or NULL when it is no URL of http or https. */
char *url_join(const char *base, const char *location);

/* @url with NAME=VALUE added to its query: a new string, or NULL. @value needs no escapes but for ':' and '/'. */
char *url_with_query(const char *url, const char *name, const char *value);

/* The host in @url with its port, for messages: a new string, or NULL. Queries may hold secrets. */
char *url_host(const char *url);
