/* SPDX-License-Identifier: Apache-2.0 */
/* A report of the daemon in the text formats that Prometheus scrapes. */
#pragma once

#include <jansson.h>
#include <stddef.h>

#include "base/err.h"

enum exposition {
	EXPOSITION_TEXT,        /* version 0.0.4 */
	EXPOSITION_OPENMETRICS, /* version 1.0.0 */
};

/* The Content-Type of a format. Constant. */
const char *prometheus_content_type(enum exposition format);

/* The format for a scraper that sends the header "Accept: @accept" (NULL: none). */
enum exposition prometheus_accepted(const char *accept);

/*
 * Write @report (fs/report.h) as text; what it does not tell is left out. Labels are
 * image, digest and platform of what is mounted. Returns 0 and sets *@ret, which
 * the caller frees, and *@ret_len; -ENOMEM. Any thread.
 */
MUST_CHECK int prometheus_text(const json_t *report, enum exposition format, char **ret,
                               size_t *ret_len);
