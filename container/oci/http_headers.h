/* SPDX-License-Identifier: Apache-2.0 */
/* Headers of answers. Any thread. */
#pragma once

#include "oci/http.h"

/*
 * Take note of a line of an answer's head, @len bytes that need not end in a NUL. A status line begins
 * @res anew. Headers that make no sense count as missing. Returns 0 or -ENOMEM.
 */
MUST_CHECK int http_header_line(struct http_response *res, const char *line, size_t len);
