/* SPDX-License-Identifier: Apache-2.0 */
/* A table that parses lists frames that follow each other and end where the table starts. */
#include "fuzz.h"

#include "format.h"
#include "pack.h"

/* The first byte says by how much the pack is larger than what is seen of it. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(seek_table_free) struct seek_table *table = NULL;
	struct err err = ERR_INIT;
	uint64_t end = 0, pack_size;
	uint32_t n;
	int r;

	if (size < 1)
		return 0;
	pack_size = size - 1 + (uint64_t)data[0] * 1000;
	r = seek_table_parse(data + 1, size - 1, pack_size, &table, &err);
	if (r < 0) {
		must_explain(r, &err);
		must(!table);
		return 0;
	}
	n = seek_table_count(table);
	must(n >= 1 && n <= FORMAT_PACK_FRAMES_MAX);
	for (uint32_t i = 0; i < n; i++) {
		struct frame frame = seek_table_frame(table, i);

		must(frame.off == end && frame.size >= 1 && frame.size <= FORMAT_FRAME_MAX);
		must(frame.plain_size >= 1 && frame.plain_size <= FORMAT_CHUNK_MAX);
		end += frame.size;
	}
	must(end + 17 + 8 * (uint64_t)n == pack_size);
	return 0;
}
