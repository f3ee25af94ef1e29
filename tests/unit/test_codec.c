/* SPDX-License-Identifier: Apache-2.0 */
/* codec: what was compressed comes back; a frame that lies about itself is refused. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <sys/mman.h>

#include "base/io.h"
#include "codec.h"
#include "format.h"
#include "prng.h"

enum { GUARD = 0xa5 };

static struct codec *new_codec(void)
{
	struct codec *codec = codec_new();

	cr_assert_not_null(codec);
	return codec;
}

/* Compress @size bytes at @data to new memory. */
static void *compressed(struct codec *codec, const void *data, size_t size, size_t *ret_size)
{
	void *frame = malloc(codec_bound(size));

	cr_assert_not_null(frame);
	cr_assert_eq(codec_compress(codec, 3, data, size, frame, codec_bound(size), ret_size), 0);
	return frame;
}

struct round_trip {
	char what[32];
	size_t size;
	int random;
};

ParameterizedTestParameters(codec, gives_back)
{
	static struct round_trip cases[] = {
		{ "one byte", 1, 0 },
		{ "text", 5000, 0 },
		{ "incompressible", 100000, 1 },
		{ "largest chunk", FORMAT_CHUNK_MAX, 0 },
		{ "largest incompressible", FORMAT_CHUNK_MAX, 1 },
	};

	return cr_make_param_array(struct round_trip, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(const struct round_trip *c, codec, gives_back)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	CLEANUP(free) uint8_t *plain = malloc(c->size);
	CLEANUP(free) uint8_t *back = malloc(c->size + 1);
	CLEANUP(free) void *frame = NULL;
	struct prng prng = PRNG_INIT(c->size);
	size_t frame_size = 0;
	struct err err = ERR_INIT;

	cr_assert(plain && back);
	for (size_t i = 0; i < c->size; i++)
		plain[i] = c->random ? (uint8_t)prng_next(&prng) : (uint8_t)(i / 100);
	frame = compressed(codec, plain, c->size, &frame_size);
	cr_expect_leq(frame_size, FORMAT_FRAME_MAX, "%s", c->what);
	back[c->size] = GUARD;
	cr_assert_eq(codec_decompress(codec, frame, frame_size, back, c->size, &err), 0, "%s: %s",
	             c->what, err.msg);
	cr_expect_eq(memcmp(plain, back, c->size), 0, "%s", c->what);
	cr_expect_eq(back[c->size], GUARD);
}

Test(codec, makes_the_same_frame_whatever_the_context_did_before)
{
	CLEANUP(codec_free) struct codec *used = new_codec();
	CLEANUP(codec_free) struct codec *fresh = new_codec();
	char other[3000], text[2000], a[4000], b[4000];
	size_t n_other = 0, n_a = 0, n_b = 0;

	memset(other, 'o', sizeof(other));
	memset(text, 't', sizeof(text));
	cr_assert_eq(codec_compress(used, 19, other, sizeof(other), a, sizeof(a), &n_other), 0);
	cr_assert_eq(codec_compress(used, 3, text, sizeof(text), a, sizeof(a), &n_a), 0);
	cr_assert_eq(codec_compress(fresh, 3, text, sizeof(text), b, sizeof(b), &n_b), 0);
	cr_assert_eq(n_a, n_b);
	cr_expect_eq(memcmp(a, b, n_a), 0);
}

Test(codec, refuses_what_has_no_place_in_a_pack)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char data[100] = "", frame[1000];
	size_t n = 77;

	cr_expect_eq(codec_compress(codec, 3, data, 0, frame, sizeof(frame), &n), -EINVAL);
	cr_expect_eq(codec_compress(codec, 0, data, 100, frame, sizeof(frame), &n), -EINVAL);
	cr_expect_eq(codec_compress(codec, 20, data, 100, frame, sizeof(frame), &n), -EINVAL);
	cr_expect_eq(codec_compress(codec, 3, data, 100, frame, 100, &n), -EINVAL);
	cr_expect_eq(n, 77, "outputs are left alone on failure");
}

/* Expect -EBADMSG with a message, and the bytes after @size untouched. */
static void expect_refused(const void *frame, size_t frame_size, size_t size, const char *what)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	CLEANUP(free) uint8_t *back = malloc(size + 64);
	struct err err = ERR_INIT;

	cr_assert_not_null(back);
	memset(back, GUARD, size + 64);
	cr_expect_eq(codec_decompress(codec, frame, frame_size, back, size, &err), -EBADMSG, "%s",
	             what);
	cr_expect_neq(err.msg[0], '\0', "%s", what);
	for (size_t i = size; i < size + 64; i++)
		cr_assert_eq(back[i], GUARD, "%s: byte %zu after the end was written", what,
		             i - size);
}

Test(codec, refuses_another_size_than_the_index_says)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char text[500];
	size_t n = 0;

	memset(text, 'x', sizeof(text));
	CLEANUP(free) void *frame = compressed(codec, text, sizeof(text), &n);
	expect_refused(frame, n, 499, "one less");
	expect_refused(frame, n, 501, "one more");
	expect_refused(frame, n, 1, "a byte");
}

Test(codec, refuses_every_truncation)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char text[500];
	size_t n = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * i);
	CLEANUP(free) void *frame = compressed(codec, text, sizeof(text), &n);
	for (size_t cut = 0; cut < n; cut++)
		expect_refused(frame, cut, sizeof(text), "truncated");
}

Test(codec, refuses_bytes_after_the_frame)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char text[500], both[2000];
	size_t n = 0;

	memset(text, 'x', sizeof(text));
	CLEANUP(free) void *frame = compressed(codec, text, sizeof(text), &n);
	memcpy(both, frame, n);
	both[n] = '\0';
	expect_refused(both, n + 1, sizeof(text), "a byte follows");
	memcpy(both + n, frame, n);
	expect_refused(both, 2 * n, sizeof(text), "two frames");
	expect_refused(both, 2 * n, 2 * sizeof(text), "two frames as one");
}

Test(codec, refuses_every_flipped_bit_or_gives_the_same_bytes)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char text[300], back[300];
	size_t n = 0;
	int n_refused = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i % 40);
	CLEANUP(free) uint8_t *frame = compressed(codec, text, sizeof(text), &n);
	for (size_t bit = 0; bit < n * 8; bit++) {
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		int r = codec_decompress(codec, frame, n, back, sizeof(back), NULL);
		frame[bit / 8] ^= (uint8_t)(1u << bit % 8);
		cr_assert(r == -EBADMSG || memcmp(text, back, sizeof(text)) == 0, "bit %zu: %d",
		          bit, r);
		n_refused += r == -EBADMSG;
	}
	cr_expect_gt(n_refused, 200);
}

Test(codec, does_without_a_checksum_that_is_taken_off)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char text[300], back[300];
	size_t n = 0, less;

	memset(text, 'x', sizeof(text));
	CLEANUP(free) uint8_t *frame = compressed(codec, text, sizeof(text), &n);
	cr_assert(codec_has_checksum(frame, n));
	frame[n - 1] ^= 1;
	cr_expect_eq(codec_decompress(codec, frame, n, back, sizeof(back), NULL), -EBADMSG);
	less = codec_drop_checksum(frame, n);
	cr_expect_eq(less, n - 4);
	cr_expect_not(codec_has_checksum(frame, less));
	cr_expect_eq(codec_decompress(codec, frame, less, back, sizeof(back), NULL), 0);
	cr_expect_eq(memcmp(text, back, sizeof(text)), 0);
	/* There is none any more. */
	cr_expect_eq(codec_drop_checksum(frame, less), less);
}

Test(codec, takes_no_checksum_off_what_is_no_frame)
{
	uint8_t bytes[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x24, 1, 0x09, 0, 0 };

	for (size_t n = 0; n <= sizeof(bytes); n++)
		cr_expect_eq(codec_drop_checksum(bytes, n), n, "%zu bytes", n);
	bytes[0] = 0;
	cr_expect_not(codec_has_checksum(bytes, sizeof(bytes)));
	cr_expect_eq(codec_drop_checksum(bytes, sizeof(bytes)), sizeof(bytes));
}

struct crafted {
	char what[40];
	uint8_t frame[24];
	size_t frame_size;
	size_t size;
};

ParameterizedTestParameters(codec, refuses_crafted)
{
	static struct crafted cases[] = {
		/* magic, descriptor: 8 bytes of content size, single segment; a last raw block of 1 byte */
		{ "claims 1 TiB",
		  { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 0x09, 0, 0, 'x' },
		  17,
		  1 },
		{ "claims 1 TiB, asked for 4 MiB",
		  { 0x28, 0xb5, 0x2f, 0xfd, 0xe0, 0, 0, 0, 0, 0, 1, 0, 0, 0x09, 0, 0, 'x' },
		  17,
		  FORMAT_CHUNK_MAX },
		/* descriptor: no content size; window byte of 2^10 */
		{ "states no size", { 0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x00, 0x09, 0, 0, 'x' }, 10, 1 },
		/* descriptor: 4 bytes of content size 1, window byte of 2^23 */
		{ "window of 8 MiB",
		  { 0x28, 0xb5, 0x2f, 0xfd, 0x80, 13 << 3, 1, 0, 0, 0, 0x09, 0, 0, 'x' },
		  14,
		  1 },
		/* descriptor: single segment, 1 byte of dictionary id 7, 1 byte of content size */
		{ "dictionary", { 0x28, 0xb5, 0x2f, 0xfd, 0x21, 7, 1, 0x09, 0, 0, 'x' }, 11, 1 },
		{ "skippable", { 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 1, 2, 3, 4 }, 12, 1 },
		{ "format before 1.0", { 0x27, 0xb5, 0x2f, 0xfd, 0x20, 1, 0x09, 0, 0, 'x' }, 10, 1 },
		{ "text", { 'h', 'e', 'l', 'l', 'o', ' ', 'w', 'o', 'r', 'l', 'd' }, 11, 11 },
	};

	return cr_make_param_array(struct crafted, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(const struct crafted *c, codec, refuses_crafted)
{
	expect_refused(c->frame, c->frame_size, c->size, c->what);
}

Test(codec, takes_the_frame_that_the_crafted_ones_differ_from)
{
	static const uint8_t good[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 1, 0x09, 0, 0, 'x' };
	CLEANUP(codec_free) struct codec *codec = new_codec();
	struct err err = ERR_INIT;
	char back = 0;

	cr_expect_eq(codec_decompress(codec, good, sizeof(good), &back, 1, &err), 0, "%s", err.msg);
	cr_expect_eq(back, 'x');
}

static int memory_file(const void *data, size_t len)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	cr_assert_geq(fd, 0);
	cr_assert_eq(io_pwrite(fd, data, len, 0), 0);
	return fd;
}

static size_t file_size(int fd)
{
	return (size_t)lseek(fd, 0, SEEK_END);
}

static void count_seen(void *arg, const void *data, size_t len)
{
	size_t *seen = arg;

	(void)data;
	*seen += len;
}

/* Incompressible bytes three times, 9 MiB apart: only a long window finds them again. */
Test(codec, finds_long_repeats_in_a_file_and_gives_it_back)
{
	enum { PIECE = 9 << 20, N = 3 };
	CLEANUP(free) uint8_t *plain = malloc((size_t)N * PIECE);
	CLEANUP(free) uint8_t *back = malloc((size_t)N * PIECE);
	CLEANUP(close) int in = -1, packed = memory_file("", 0), out = memory_file("", 0);
	struct prng prng = PRNG_INIT(1);
	struct err err = ERR_INIT;
	size_t seen = 0;

	cr_assert(plain && back);
	for (size_t i = 0; i < PIECE; i++)
		plain[i] = (uint8_t)prng_next(&prng);
	memcpy(plain + PIECE, plain, PIECE);
	memcpy(plain + (size_t)2 * PIECE, plain, PIECE);
	in = memory_file(plain, (size_t)N * PIECE);
	cr_assert_eq(codec_compress_file(in, packed, 3, &err), 0, "%s", err.msg);
	cr_expect_lt(file_size(packed), PIECE + PIECE / 10);
	cr_assert_eq(codec_decompress_file(packed, out, (uint64_t)N * PIECE, count_seen, &seen,
	                                   &err),
	             0, "%s", err.msg);
	cr_expect_eq(seen, file_size(packed));
	cr_assert_eq(file_size(out), (size_t)N * PIECE);
	cr_assert_eq(io_pread(out, back, (size_t)N * PIECE, 0), 0);
	cr_expect_eq(memcmp(plain, back, (size_t)N * PIECE), 0);
}

static int unpacked(const void *frame, size_t size, uint64_t max, struct err *err)
{
	CLEANUP(close) int in = memory_file(frame, size), out = memory_file("", 0);

	return codec_decompress_file(in, out, max, NULL, NULL, err);
}

Test(codec, refuses_damaged_files)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	char text[500], both[2000];
	struct err err = ERR_INIT;
	size_t n = 0;

	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(i * i);
	CLEANUP(free) uint8_t *frame = compressed(codec, text, sizeof(text), &n);
	cr_expect_eq(unpacked(frame, n, sizeof(text), &err), 0, "%s", err.msg);
	cr_expect_eq(unpacked(frame, n, sizeof(text) - 1, &err), -EOVERFLOW);
	for (size_t cut = 0; cut < n; cut++)
		cr_assert_eq(unpacked(frame, cut, sizeof(text), NULL), -EBADMSG, "cut at %zu", cut);
	memcpy(both, frame, n);
	memcpy(both + n, frame, n);
	cr_expect_eq(unpacked(both, n + 1, sizeof(text), NULL), -EBADMSG);
	cr_expect_eq(unpacked(both, 2 * n, 2 * sizeof(text), NULL), -EBADMSG);
	frame[n / 2] ^= 1;
	cr_expect_eq(unpacked(frame, n, sizeof(text), NULL), -EBADMSG);
}
