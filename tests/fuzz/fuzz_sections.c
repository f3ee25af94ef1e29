/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sections that parse lie in the blob, one after another, and are as many as the database has room
 * for; a section that is none gives an error, and writes nothing but its place.
 */
#include "fuzz.h"

#include <errno.h>
#include <string.h>

#include "oci_json.h"
#include "sections.h"

enum { BLOB_SIZE = 100000, PLAIN_MAX = 4096, CANARY = 16 };

static void parse(const uint8_t *data, size_t size)
{
	CLEANUP(json_decref) json_t *config = NULL;
	CLEANUP(sections_release) struct sections s = SECTIONS_INIT;
	const struct descriptor index = { .size = BLOB_SIZE };
	struct err err = ERR_INIT;
	uint64_t end;
	int r;

	if (json_parse_object((const char *)data, size, "config", &config, NULL) < 0)
		return;
	r = sections_parse(config, &index, &s, &err);
	if (r < 1) {
		must(!s.list && s.n == 0);
		if (r < 0)
			must_explain(r, &err);
		return;
	}
	must(s.n >= 1 && s.plain_size > (uint64_t)(s.n - 1) * CODEC_SECTION);
	end = s.list[0].off;
	for (uint32_t i = 0; i < s.n; i++) {
		must(s.list[i].off == end && s.list[i].size >= 1);
		must(s.list[i].size <= SECTION_PACKED_MAX);
		must(section_plain_size(&s, i) >= 1 && section_plain_size(&s, i) <= CODEC_SECTION);
		end += s.list[i].size;
	}
	must(end <= BLOB_SIZE);
}

/* The first two bytes say how many plain bytes are expected, the others are the section. */
static void unpack(const uint8_t *data, size_t size)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(free) uint8_t *buf = malloc(CODEC_SECTION_HEAD + size + CODEC_SECTION_TAIL);
	uint8_t plain[PLAIN_MAX + CANARY];
	struct err err = ERR_INIT;
	size_t n = 1 + (data[0] + 256u * data[1]) % PLAIN_MAX;
	int r;

	must(codec && buf);
	memset(plain, 0xa5, sizeof(plain));
	memcpy(buf + CODEC_SECTION_HEAD, data + 2, size - 2);
	r = codec_decompress_section(codec, buf, size - 2, plain, n, &err);
	must(r == 0 || r == -EBADMSG || r == -ENOMEM);
	if (r < 0)
		must_explain(r, &err);
	for (size_t i = 0; i < CANARY; i++)
		must(plain[n + i] == 0xa5);
}

/* What begins as JSON is a config. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size > 0 && data[0] == '{')
		parse(data, size);
	else if (size > 2)
		unpack(data, size);
	return 0;
}
