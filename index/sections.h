/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections of a packed index: parts that can be unpacked, and checked, each by itself (format.md
 * §4.5). An image's config lists them; one that does not has an index that is unpacked whole.
 *
 * No locks: a struct sections belongs to one thread, or is not changed.
 */
#pragma once

#include <jansson.h>

#include "codec.h"
#include "layout.h"

struct section {
	uint64_t off;         /* in the blob */
	uint32_t size;        /* packed bytes, at most SECTION_PACKED_MAX */
	struct digest digest; /* of these */
};

#define SECTION_PACKED_MAX (CODEC_SECTION + CODEC_SECTION / 64)

struct sections {
	uint64_t plain_size; /* bytes of the database; of each section but the last, CODEC_SECTION */
	struct section *list; /* owned; NULL when there are none */
	uint32_t n;
};

#define SECTIONS_INIT ((struct sections){ .list = NULL })

void sections_release(struct sections *s);

static inline void sections_release_cleanup(struct sections *s)
{
	sections_release(s);
}

/* Plain bytes of section @i. */
uint32_t section_plain_size(const struct sections *s, uint32_t i);

/*
 * What @config says of the sections of @index. Returns 1; 0 and none when it says nothing, or has
 * sections of another size than this program's; -EBADMSG when it contradicts the format; -ENOMEM.
 */
MUST_CHECK int sections_parse(const json_t *config, const struct descriptor *index,
                              struct sections *ret, struct err *err);

/* The same read from the config of @m in @layout. Returns also what layout_read_blob() returns. */
MUST_CHECK int sections_read(const struct layout *layout, const struct manifest *m,
                             struct sections *ret, struct err *err);

/* What a config says of @s; NULL when memory runs out. */
json_t *sections_json(const struct sections *s);

/*
 * Make @ret of @codec's sections of the blob open at @fd, which are read and hashed, and of the
 * database's size. Returns 0 or -errno.
 */
MUST_CHECK int sections_describe(int fd, const struct codec_sections *codec, uint64_t plain_size,
                                 struct sections *ret, struct err *err);
