/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A hostile frame writes nothing beyond the plain size; what decompresses
 * compresses to one and the same frame each time, and back to the same bytes. So
 * it does with a prefix, and so does a frame without its checksum.
 */
#include "fuzz.h"

#include <string.h>

#include "codec.h"
#include "format.h"

static void round_trip(struct codec *codec, const uint8_t *plain, size_t size)
{
	size_t cap = codec_bound(size), n_first = 0, n_second = 0;
	CLEANUP(free) uint8_t *first = malloc(cap);
	CLEANUP(free) uint8_t *second = malloc(cap);
	CLEANUP(free) uint8_t *back = malloc(size);
	CLEANUP(codec_free) struct codec *fresh = codec_new();

	must(first && second && back && fresh);
	must(codec_compress(codec, 3, plain, size, first, cap, &n_first) == 0);
	must(codec_compress(fresh, 3, plain, size, second, cap, &n_second) == 0);
	must(n_first == n_second && memcmp(first, second, n_first) == 0);
	must(codec_decompress(codec, first, n_first, back, size, NULL) == 0);
	must(memcmp(plain, back, size) == 0);
}

/* The first half of @data is prefix, the other is plain. */
static void round_trip_delta(struct codec *codec, const uint8_t *data, size_t size)
{
	size_t half = size / 2, cap = codec_bound(size - half), n = 0;
	CLEANUP(free) uint8_t *frame = malloc(cap);
	CLEANUP(free) uint8_t *back = malloc(size - half);

	must(frame && back);
	must(codec_compress_delta(codec, 3, data, half, data + half, size - half, frame, cap, &n) ==
	     0);
	must(codec_decompress_delta(codec, data, half, frame, n, back, size - half, NULL) == 0);
	must(memcmp(data + half, back, size - half) == 0);
}

/* The frame gives @plain; or, when that is NULL, anything or nothing. */
static void drop_checksum(struct codec *codec, const uint8_t *frame, size_t frame_size,
                          const uint8_t *plain, size_t size)
{
	CLEANUP(free) uint8_t *copy = malloc(frame_size);
	CLEANUP(free) uint8_t *back = malloc(size);
	size_t left;
	int r;

	must(copy && back);
	memcpy(copy, frame, frame_size);
	left = codec_drop_checksum(copy, frame_size);
	must(left == frame_size || left + 4 == frame_size);
	r = codec_decompress(codec, copy, left, back, size, NULL);
	must(!plain || (r == 0 && memcmp(plain, back, size) == 0));
}

/* Three bytes of plain size, then a frame. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(free) uint8_t *plain = NULL;
	struct err err = ERR_INIT;
	size_t plain_size;
	int r;

	if (size < 4)
		return 0;
	plain_size = 1 + ((size_t)data[0] | (size_t)data[1] << 8 | (size_t)data[2] << 16) %
	                         FORMAT_CHUNK_MAX;
	plain = malloc(plain_size);
	must(codec && plain);
	r = codec_decompress(codec, data + 3, size - 3, plain, plain_size, &err);
	drop_checksum(codec, data + 3, size - 3, r < 0 ? NULL : plain, plain_size);
	if (r < 0)
		must_explain(r, &err);
	else
		round_trip(codec, plain, plain_size);
	round_trip(codec, data, size);
	r = codec_decompress_delta(codec, data, size, data + 3, size - 3, plain, plain_size, &err);
	if (r < 0)
		must_explain(r, &err);
	round_trip_delta(codec, data, size);
	return 0;
}
