/* SPDX-License-Identifier: Apache-2.0 */
/* An answer in parts gives the same bytes at the same places in whatever pieces it comes. */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "oci/multipart.h"

/* What was taken: as good as a digest of it. */
struct taken {
	uint64_t sum;
	uint64_t n;
};

static int take(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
	struct taken *taken = arg;
	const uint8_t *at = data;

	(void)err;
	must(len > 0 && off <= INT64_MAX);
	for (size_t i = 0; i < len; i++)
		taken->sum = (taken->sum ^ (off + i) ^ at[i]) * 0x100000001b3;
	taken->n += len;
	return 0;
}

/* Feed @data in pieces of @step bytes. */
static int feed(const uint8_t *data, size_t size, size_t step, struct taken *taken, struct err *err)
{
	struct multipart m;
	int r = 0;

	multipart_init(&m, take, taken);
	for (size_t at = 0; r == 0 && at < size; at += step)
		r = multipart_feed(&m, data + at, size - at < step ? size - at : step, err);
	return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct taken whole = { .sum = 0 }, pieces = { .sum = 0 };
	struct err err = ERR_INIT;
	int r = feed(data, size, size + 1, &whole, &err);

	if (r < 0)
		must_explain(r, &err);
	must(feed(data, size, 1, &pieces, NULL) == r);
	must(whole.n <= size && whole.n == pieces.n && whole.sum == pieces.sum);
	return 0;
}
