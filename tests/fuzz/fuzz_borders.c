/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Borders ascend, are unique and inside the file; it is never read outside of
 * its bytes, nor too often; what fails to be read fails the search.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "base/cleanup.h"
#include "borders.h"

/* What an input begins with: how the bytes behind it are stretched to a file, and how it is read. */
enum {
	GAP = 0, /* 1 byte, in GAP_UNIT: a run of zeros, so that files are larger than what is read at once */
	SPLIT = 1,   /* 2 bytes: after how many bytes the gap begins */
	MIN_RUN = 3, /* 1 byte */
	FAIL_AT = 4, /* 1 byte: the number of the read that fails; 0: none */
	BYTES = 5,
	GAP_UNIT = 2048,
};

struct file {
	const uint8_t *bytes;
	size_t split;
	size_t gap;
	size_t size;
	size_t n_reads;
	size_t fail_at;
};

static int file_read(void *arg, void *buf, size_t len, uint64_t off)
{
	struct file *f = arg;
	uint8_t *to = buf;

	must(len > 0 && off <= f->size && len <= f->size - off);
	if (++f->n_reads == f->fail_at)
		return -EIO;
	for (size_t at = (size_t)off; at < off + len; at++) {
		if (at < f->split)
			*to++ = f->bytes[at];
		else
			*to++ = at < f->split + f->gap ? 0 : f->bytes[at - f->gap];
	}
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(borders_release) struct borders found = { NULL, 1 };
	struct file f = { 0 };
	int r;

	if (size < BYTES)
		return 0;
	f.bytes = data + BYTES;
	f.split = (data[SPLIT] | (size_t)data[SPLIT + 1] << 8) % (size - BYTES + 1);
	f.gap = (size_t)data[GAP] * GAP_UNIT;
	f.size = size - BYTES + f.gap;
	f.fail_at = data[FAIL_AT];
	r = borders_find(file_read, &f, f.size, data[MIN_RUN], &found);
	must(f.n_reads <= 16 + f.size / 30);
	if (f.fail_at > 0 && f.n_reads >= f.fail_at) {
		must(r == -EIO && f.n_reads == f.fail_at && found.n == 0 && !found.at);
		return 0;
	}
	must(r == 0);
	for (size_t i = 0; i < found.n; i++)
		must(found.at[i] > (i > 0 ? found.at[i - 1] : 0) && found.at[i] < f.size);
	return 0;
}
