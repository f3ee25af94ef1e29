/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Half of what an index takes when it is packed are digests of contents, once: what finds contents by digest
 * repeats them all, and is in the same part as these.
 */
#include "index_blob.h"

#include <errno.h>
#include <sys/stat.h>

enum {
	SECTIONED_MIN =
		16 << 20,  /* bytes of an index; a smaller one is unpacked at once in no time */
	LEVEL = 9,         /* of a file in one part */
	SECTION_LEVEL = 7, /* a higher one only takes longer, for the digests */
	/* A large table finds every digest again: smaller than level 4, in three quarters of the time. */
	PART_LEVEL = 3,
	PART_HASH_LOG = 19,
	PART = 2 << 20,                   /* bytes that a thread has to compress at least */
	CONTENTS_MIN = 256 << 10,         /* bytes that are a part of their own */
	CONTENTS_MAX = SECTIONED_MIN / 2, /* of an index that most likely has no sections */
};

bool index_blob_has_ahead(const struct index_place *place)
{
	return place->size >= CONTENTS_MIN && place->size <= CONTENTS_MAX;
}

static struct codec_cut cut_of(const struct index_place *contents)
{
	struct codec_cut cut = {
		.level = PART_LEVEL,
		.hash_log = PART_HASH_LOG,
		.jobs = 1,
		.each = PART,
	};

	if (contents->size >= CONTENTS_MIN) {
		cut.front = contents->off;
		cut.first = contents->size;
	}
	return cut;
}

struct codec_ahead *index_blob_begin(int fd, const struct index_place *contents)
{
	const struct codec_cut cut = cut_of(contents);

	return codec_ahead_begin(fd, &cut);
}

int index_blob_compress(const struct index_blob *index, int fd, int out_fd, struct sections *ret,
                        struct err *err)
{
	CLEANUP(codec_sections_release) struct codec_sections found = CODEC_SECTIONS_INIT;
	struct codec_cut cut = { .level = SECTION_LEVEL, .each = CODEC_SECTION };
	struct stat st;
	bool sectioned;
	int r;

	if (fstat(fd, &st) < 0)
		return err_set_errno(err, "size of the index");
	sectioned = st.st_size >= SECTIONED_MIN;
	if (!sectioned) {
		cut = cut_of(&index->contents);
		cut.ahead = index->ahead;
	}
	cut.jobs = index->jobs;
	r = codec_compress_parts(fd, out_fd, &cut, &found, err);
	if (r == -EOPNOTSUPP)
		return codec_compress_file(fd, out_fd, LEVEL, err);
	return r < 0 || !sectioned
	               ? r
	               : sections_describe(out_fd, &found, (uint64_t)st.st_size, ret, err);
}
