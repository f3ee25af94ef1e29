/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an index or manifest names is passed on whole, or refused in one plain line: gc removes
 * what is not passed on.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "reach.h"

#define DIGEST_PREFIX "sha256:"

struct seen {
	const char *text;
	size_t len;
	uint64_t n;
	uint64_t stop; /* fail at this call */
};

static int see(void *arg, const struct descriptor *d, enum reach_role role, struct err *err)
{
	struct seen *seen = arg;
	char hex[DIGEST_HEX_SIZE];

	must(role == REACH_LEAF || role == REACH_MANIFEST || role == REACH_SUBJECT);
	must(d->size <= INT64_MAX);
	/* Nothing is made up: unless it is written with escapes, the digest stands in the text. */
	must(memmem(seen->text, seen->len, digest_hex(&d->digest, hex), DIGEST_HEX_SIZE - 1) ||
	     memchr(seen->text, '\\', seen->len));
	seen->n++;
	return seen->n == seen->stop ? err_set(err, -EIO, "stopped") : 0;
}

/* How often @what occurs. */
static uint64_t count(const char *text, size_t len, const char *what)
{
	const char *end = text + len;
	uint64_t n = 0;

	while ((text = memmem(text, (size_t)(end - text), what, strlen(what)))) {
		text += strlen(what);
		n++;
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct seen seen = { .text = (const char *)data, .len = size };
	struct err err = ERR_INIT;
	int r = reach_parse(seen.text, size, "it", see, &seen, &err);

	if (r < 0) {
		must_explain(r, &err);
		must(r == -EBADMSG || r == -ENOMEM);
		return 0;
	}
	must(seen.n <= count(seen.text, size, DIGEST_PREFIX) || memchr(data, '\\', size));
	if (seen.n > 0) {
		seen.stop = seen.n;
		seen.n = 0;
		must(reach_parse(seen.text, size, "it", see, &seen, &err) == -EIO);
		must(seen.n == seen.stop);
	}
	return 0;
}
