/* SPDX-License-Identifier: Apache-2.0 */
/* codec: a frame with a prefix is small, and is of use only with the very same prefix. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>

#include "codec.h"
#include "format.h"
#include "prng.h"

static struct codec *new_codec(void)
{
	struct codec *codec = codec_new();

	cr_assert_not_null(codec);
	return codec;
}

static uint8_t *random_bytes(size_t size, uint64_t seed)
{
	uint8_t *bytes = malloc(size);
	struct prng prng = PRNG_INIT(seed);

	cr_assert_not_null(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)prng_next(&prng);
	return bytes;
}

struct delta_case {
	char what[40];
	size_t prefix_size;
	size_t size;
	size_t from; /* the chunk's last bytes are these of the prefix, the others are new */
	size_t n_equal;
	int level;
};

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

ParameterizedTestParameters(codec_delta, finds)
{
	static struct delta_case cases[] = {
		{ "all of a small prefix", 64 * KIB, 64 * KIB, 0, 64 * KIB, 3 },
		{ "all of a large prefix", 4 * MIB, 4 * MIB, 0, 4 * MIB, 3 },
		{ "the start of a large prefix", 4 * MIB, 64 * KIB, 0, 64 * KIB, 3 },
		{ "the end of a large prefix", 4 * MIB, 64 * KIB, 4 * MIB - 64 * KIB, 64 * KIB, 3 },
		{ "the start, at a chunk's end", 4 * MIB, 4 * MIB, 0, 64 * KIB, 3 },
		{ "the start, at the lowest level", 4 * MIB, 64 * KIB, 0, 64 * KIB, 1 },
		{ "the start, at the highest level", 4 * MIB, 64 * KIB, 0, 64 * KIB, 19 },
		{ "one byte of one byte", 1, 1, 0, 1, 3 },
		{ "nothing", 1000, 1000, 0, 0, 3 },
	};

	return cr_make_param_array(struct delta_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(const struct delta_case *c, codec_delta, finds)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	CLEANUP(free) uint8_t *prefix = random_bytes(c->prefix_size, 1);
	CLEANUP(free) uint8_t *plain = random_bytes(c->size, 2);
	CLEANUP(free) uint8_t *back = malloc(c->size);
	CLEANUP(free) uint8_t *frame = malloc(codec_bound(c->size));
	struct err err = ERR_INIT;
	size_t n = 0;

	cr_assert(back && frame);
	memcpy(plain + c->size - c->n_equal, prefix + c->from, c->n_equal);
	cr_assert_eq(codec_compress_delta(codec, c->level, prefix, c->prefix_size, plain, c->size,
	                                  frame, codec_bound(c->size), &n),
	             0);
	cr_expect_leq(n, c->size - c->n_equal + c->n_equal / 50 + 100, "%s: %zu bytes", c->what, n);
	cr_assert_eq(codec_decompress_delta(codec, prefix, c->prefix_size, frame, n, back, c->size,
	                                    &err),
	             0, "%s: %s", c->what, err.msg);
	cr_expect_eq(memcmp(plain, back, c->size), 0, "%s", c->what);
}

enum { SIZE = 20000 };

/* A chunk, its prefix, from which a few bytes differ, and the frame. */
struct made {
	uint8_t *prefix; /* owned */
	uint8_t plain[SIZE];
	uint8_t frame[SIZE + 500];
	size_t n;
};

static struct made *made_new(struct codec *codec)
{
	struct made *made = calloc(1, sizeof(*made));

	cr_assert_not_null(made);
	made->prefix = random_bytes(SIZE, 3);
	memcpy(made->plain, made->prefix, SIZE);
	made->plain[SIZE / 2] ^= 1;
	cr_assert_eq(codec_compress_delta(codec, 3, made->prefix, SIZE, made->plain, SIZE,
	                                  made->frame, sizeof(made->frame), &made->n),
	             0);
	cr_assert_lt(made->n, 200);
	return made;
}

static void made_free(struct made *made)
{
	free(made->prefix);
	free(made);
}
DEFINE_CLEANUP(struct made *, made_free)

Test(codec_delta, refuses_another_prefix_or_none)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	CLEANUP(made_free) struct made *made = made_new(codec);
	uint8_t back[SIZE];
	struct err err = ERR_INIT;

	made->prefix[7] ^= 1;
	cr_expect_eq(codec_decompress_delta(codec, made->prefix, SIZE, made->frame, made->n, back,
	                                    SIZE, &err),
	             -EBADMSG, "a byte differs");
	cr_expect_neq(err.msg[0], '\0');
	made->prefix[7] ^= 1;
	cr_expect_eq(codec_decompress_delta(codec, made->prefix, SIZE - 1, made->frame, made->n,
	                                    back, SIZE, &err),
	             -EBADMSG, "a byte less");
	cr_expect_eq(codec_decompress(codec, made->frame, made->n, back, SIZE, &err), -EBADMSG,
	             "no prefix");
	cr_expect_eq(codec_decompress_delta(codec, made->prefix, SIZE, made->frame, made->n, back,
	                                    SIZE, &err),
	             0, "%s", err.msg);
	cr_expect_eq(memcmp(back, made->plain, SIZE), 0);
}

Test(codec_delta, refuses_every_truncation_and_another_size)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	CLEANUP(made_free) struct made *made = made_new(codec);
	uint8_t back[SIZE + 1];

	for (size_t cut = 0; cut < made->n; cut++)
		cr_assert_eq(codec_decompress_delta(codec, made->prefix, SIZE, made->frame, cut,
		                                    back, SIZE, NULL),
		             -EBADMSG, "cut at %zu", cut);
	cr_expect_eq(codec_decompress_delta(codec, made->prefix, SIZE, made->frame, made->n, back,
	                                    SIZE + 1, NULL),
	             -EBADMSG);
}

Test(codec_delta, makes_the_same_frame_whatever_the_context_did_before)
{
	CLEANUP(codec_free) struct codec *used = new_codec();
	CLEANUP(codec_free) struct codec *fresh = new_codec();
	CLEANUP(made_free) struct made *a = NULL, *b = NULL;
	uint8_t frame[SIZE + 500], again[SIZE + 500];
	size_t n = 0, n_again = 0;

	a = made_new(used);
	cr_assert_eq(codec_compress(used, 19, a->plain, SIZE, frame, sizeof(frame), &n), 0);
	b = made_new(used);
	cr_assert_eq(a->n, b->n);
	cr_expect_eq(memcmp(a->frame, b->frame, a->n), 0);
	cr_assert_eq(codec_compress(used, 3, a->plain, SIZE, frame, sizeof(frame), &n), 0);
	cr_assert_eq(codec_compress(fresh, 3, a->plain, SIZE, again, sizeof(again), &n_again), 0);
	cr_assert_eq(n, n_again, "the prefix is for one frame");
	cr_expect_eq(memcmp(frame, again, n), 0);
}

Test(codec_delta, refuses_what_has_no_place_in_a_delta)
{
	CLEANUP(codec_free) struct codec *codec = new_codec();
	CLEANUP(free) uint8_t *large = calloc(1, FORMAT_PREFIX_MAX + 1);
	uint8_t frame[1000];
	size_t n = 77;

	cr_assert_not_null(large);
	cr_expect_eq(codec_compress_delta(codec, 3, large, 0, large, 10, frame, 1000, &n), -EINVAL);
	cr_expect_eq(codec_compress_delta(codec, 3, large, FORMAT_PREFIX_MAX + 1, large, 10, frame,
	                                  1000, &n),
	             -EINVAL);
	cr_expect_eq(codec_compress_delta(codec, 3, large, 10, large, 0, frame, 1000, &n), -EINVAL);
	cr_expect_eq(codec_compress_delta(codec, 3, large, 10, large, 10, frame, 10, &n), -EINVAL);
	cr_expect_eq(codec_compress_delta(codec, 0, large, 10, large, 10, frame, 1000, &n),
	             -EINVAL);
	cr_expect_eq(n, 77, "outputs are left alone on failure");
}
