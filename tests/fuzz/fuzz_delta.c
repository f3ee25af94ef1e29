/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table that parses lists frames that follow each other and end where the table starts, each with
 * bases that there are; what it lists it finds.
 */
#include "fuzz.h"

#include <string.h>

#include "codec.h"
#include "delta.h"
#include "format.h"

enum { N_COUNTS = 3, TAIL_EXTRA = 28 };

static void check(const struct delta_table *table, uint64_t blob_size)
{
	uint32_t n = delta_table_count(table), n_bases = delta_table_n_bases(table), found,
		 refs = 0;
	uint64_t end = 0;

	must(n >= 1 && n <= FORMAT_DELTA_COUNT_MAX && n_bases >= 1);
	for (uint32_t i = 0; i < n; i++) {
		struct delta_frame frame = delta_table_frame(table, i);

		must(frame.off == end && frame.size >= 1 && frame.size <= FORMAT_FRAME_MAX);
		must(frame.plain_size >= 1 && frame.plain_size <= FORMAT_CHUNK_MAX);
		must(frame.n_bases >= 1 && frame.n_bases <= FORMAT_PREFIX_CHUNKS_MAX);
		must(frame.first_base == refs);
		for (uint32_t k = 0; k < frame.n_bases; k++)
			must(delta_table_base(table, frame.first_base + k) < n_bases);
		must(delta_table_find(table, delta_table_chunk(table, i), &found) && found == i);
		end += frame.size;
		refs += frame.n_bases;
	}
	for (uint32_t i = 0; i < n_bases; i++)
		must(delta_table_find_base(table, delta_table_base_digest(table, i), &found) &&
		     found == i);
	must(end + TAIL_EXTRA < blob_size);
}

static void parse(const uint8_t *tail, size_t size, uint64_t blob_size)
{
	CLEANUP(delta_table_free) struct delta_table *table = NULL;
	struct err err = ERR_INIT;
	int r = delta_table_parse(tail, size, blob_size, &table, &err);

	if (r < 0) {
		must_explain(r, &err);
		must(!table);
		return;
	}
	check(table, blob_size);
}

/*
 * Three counts and a plain table: packed here with all that is around it, for no fuzzer finds
 * checksums.
 */
static void parse_plain(const uint8_t *data, size_t size, uint64_t frames_size)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	struct delta_header header = { .skippable = le32_put(FORMAT_DELTA_SKIPPABLE) };
	struct delta_footer footer = { .magic = le32_put(FORMAT_DELTA_MAGIC) };
	CLEANUP(free) uint8_t *tail = NULL;
	size_t stored = 0;

	if (size <= N_COUNTS)
		return;
	footer.n_bases = le32_put(data[0]);
	footer.n_frames = le32_put(data[1]);
	footer.n_refs = le32_put(data[2]);
	data += N_COUNTS;
	size -= N_COUNTS;
	tail = malloc(codec_bound(size) + TAIL_EXTRA);
	must(codec && tail);
	must(codec_compress_table(codec, 1, data, size, tail + sizeof(header), codec_bound(size),
	                          &stored) == 0);
	footer.table_size = le32_put((uint32_t)stored);
	header.size = le32_put((uint32_t)(stored + sizeof(footer)));
	memcpy(tail, &header, sizeof(header));
	memcpy(tail + sizeof(header) + stored, &footer, sizeof(footer));
	parse(tail, stored + TAIL_EXTRA, stored + TAIL_EXTRA + frames_size);
}

/*
 * The first byte says how: up to 127, by how many times 1000 bytes the blob is larger than what is
 * seen of it; from 128, what follows is a plain table, two bytes of the size of its frames first.
 */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	if (data[0] < 128)
		parse(data + 1, size - 1, size - 1 + (uint64_t)data[0] * 1000);
	else if (size > 3)
		parse_plain(data + 3, size - 3, data[1] + 256u * data[2]);
	return 0;
}
