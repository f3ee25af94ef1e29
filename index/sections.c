/* SPDX-License-Identifier: Apache-2.0 */
#include "sections.h"

#include <errno.h>
#include <stdlib.h>

#include "base/io.h"
#include "format.h"
#include "oci_json.h"

void sections_release(struct sections *s)
{
	free(s->list);
	*s = SECTIONS_INIT;
}

uint32_t section_plain_size(const struct sections *s, uint32_t i)
{
	uint64_t left = s->plain_size - (uint64_t)i * CODEC_SECTION;

	return left < CODEC_SECTION ? (uint32_t)left : CODEC_SECTION;
}

static uint32_t count_sections(uint64_t plain_size)
{
	return (uint32_t)((plain_size + CODEC_SECTION - 1) / CODEC_SECTION);
}

/* A number of @object from 1 to @max. */
static bool read_number(const json_t *object, const char *key, uint64_t max, uint64_t *ret)
{
	const json_t *number = json_object_get(object, key);
	json_int_t n = json_integer_value(number);

	*ret = n > 0 ? (uint64_t)n : 0;
	return json_is_integer(number) && n > 0 && *ret <= max;
}

/* The list of sections, of which the first begins at @off. */
static int parse_list(const json_t *list, uint64_t off, const struct descriptor *index,
                      struct sections *s, struct err *err)
{
	s->list = calloc(s->n, sizeof(*s->list));
	if (!s->list)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < s->n; i++) {
		struct descriptor d;
		int r = json_descriptor(json_array_get(list, i), &d, err);

		if (r < 0)
			return err_wrap(err, r, "config: section %u", i);
		if (d.size < 1 || d.size > SECTION_PACKED_MAX || d.size > index->size - off)
			return err_set(err, -EBADMSG, "config: section %u has a bad size", i);
		s->list[i] = (struct section){ .off = off,
			                       .size = (uint32_t)d.size,
			                       .digest = d.digest };
		off += d.size;
	}
	return 0;
}

int sections_parse(const json_t *config, const struct descriptor *index, struct sections *ret,
                   struct err *err)
{
	CLEANUP(sections_release) struct sections s = SECTIONS_INIT;
	const json_t *object = json_object_get(config, "indexSections");
	const json_t *list = json_object_get(object, "sections");
	uint64_t section_size, off;
	int r;

	if (!object)
		return 0;
	if (!read_number(object, "plainSize", FORMAT_INDEX_MAX, &s.plain_size) ||
	    !read_number(object, "sectionSize", UINT32_MAX, &section_size) ||
	    !read_number(object, "offset", index->size, &off))
		return err_set(err, -EBADMSG, "config: sections without a size or offset");
	if (section_size != CODEC_SECTION)
		return 0;
	s.n = count_sections(s.plain_size);
	if (json_array_size(list) != s.n)
		return err_set(err, -EBADMSG, "config: %zu sections instead of %u",
		               json_array_size(list), s.n);
	r = parse_list(list, off, index, &s, err);
	if (r < 0)
		return r;
	*ret = s;
	s = SECTIONS_INIT;
	return 1;
}

int sections_read(const struct layout *layout, const struct manifest *m, struct sections *ret,
                  struct err *err)
{
	CLEANUP(free) char *text = NULL;
	CLEANUP(json_decref) json_t *config = NULL;
	int r = layout_read_blob(layout, &m->config, &text, err);

	if (r == 0)
		r = json_parse_object(text, m->config.size, "config", &config, err);
	return r < 0 ? r : sections_parse(config, &m->index, ret, err);
}

static json_t *section_json(const struct section *s)
{
	CLEANUP(json_decref) json_t *digest = json_from_digest(&s->digest);

	return digest ? json_pack("{s:O, s:I}", "digest", digest, "size", (json_int_t)s->size)
	              : NULL;
}

json_t *sections_json(const struct sections *s)
{
	CLEANUP(json_decref) json_t *list = json_array();

	for (uint32_t i = 0; i < s->n; i++) {
		if (json_array_append_new(list, section_json(&s->list[i])) < 0)
			return NULL;
	}
	return json_pack("{s:I, s:I, s:I, s:O}", "plainSize", (json_int_t)s->plain_size,
	                 "sectionSize", (json_int_t)CODEC_SECTION, "offset",
	                 (json_int_t)s->list[0].off, "sections", list);
}

int sections_describe(int fd, const struct codec_sections *codec, uint64_t plain_size,
                      struct sections *ret, struct err *err)
{
	CLEANUP(sections_release) struct sections s = SECTIONS_INIT;
	CLEANUP(free) void *packed = malloc(SECTION_PACKED_MAX);
	uint64_t off = codec->off;

	s.list = calloc(codec->n, sizeof(*s.list));
	if (!s.list || !packed)
		return err_set(err, -ENOMEM, "out of memory");
	for (; s.n < codec->n; s.n++) {
		struct section *section = &s.list[s.n];
		int r;

		*section = (struct section){ .off = off, .size = codec->sizes[s.n] };
		r = io_pread(fd, packed, section->size, off);
		if (r < 0)
			return err_set(err, r, "section %u could not be read: %s", s.n,
			               strerrordesc_np(-r));
		sha256(packed, section->size, &section->digest);
		off += section->size;
	}
	*ret = (struct sections){ .list = TAKE_PTR(s.list), .n = s.n, .plain_size = plain_size };
	return 0;
}
