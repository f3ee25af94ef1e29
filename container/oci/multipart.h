/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Answers with several ranges: multipart/byteranges (RFC 9110, section 14.6), as they come. One
 * thread a struct.
 *
 * Each part says where its bytes are from, and so how many there are: what separates the parts
 * is not searched for in them, and need not be known.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

/* Where bytes go: the @len at @off. Returns 0, or -errno with a message to stop. */
typedef int (*multipart_take_fn)(void *arg, uint64_t off, const void *data, size_t len,
                                 struct err *err);

enum { MULTIPART_LINE_MAX = 1024 };

struct multipart {
	multipart_take_fn take;
	void *arg;

	/* The module's. */
	char line[MULTIPART_LINE_MAX];
	size_t line_len;
	bool in_part;   /* behind a line that begins one */
	bool has_range; /* of the part; @off and @left are set */
	bool in_bytes;
	uint64_t off;  /* of the next byte */
	uint64_t left; /* bytes of the part */
};

/* Begin an answer whose bytes go to @take. */
void multipart_init(struct multipart *m, multipart_take_fn take, void *arg);

/*
 * Take the next @len bytes of the answer. Returns 0; what take() returned; -EPROTO when a part does
 * not say which range it is, or a line of its head is too long.
 */
MUST_CHECK int multipart_feed(struct multipart *m, const void *data, size_t len, struct err *err);

/*
 * Parse "bytes FIRST-LAST/SIZE", the value of Content-Range; SIZE may be '*'. Returns 0, or
 * -EINVAL, also when LAST is before FIRST.
 */
MUST_CHECK int content_range_parse(const char *value, uint64_t *first, uint64_t *last);
