/* SPDX-License-Identifier: Apache-2.0 */
/*
 * usage: make_corpus DIRECTORY
 *
 * Write the valid inputs that fuzzing starts from. They are kept in
 * tests/fuzz/corpus; run this again when the format changes.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "built_file.h"
#include "codec.h"
#include "delta.h"
#include "format.h"
#include "oci_json.h"
#include "sample.h"
#include "sections.h"

struct bytes {
	uint8_t *data; /* owned */
	size_t len;
};

static void bytes_release_cleanup(struct bytes *b)
{
	free(b->data);
}

/* Write @b, after @n_prefix bytes of @prefix, as seed @name of @target. */
static int seed(const char *dir, const char *target, const char *name, const struct bytes *prefix,
                const struct bytes *b)
{
	char path[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;
	int r;

	(void)snprintf(path, sizeof(path), "%.300s/fuzz_%s", dir, target);
	r = io_make_dirs(path, &err);
	if (r == 0) {
		CLEANUP(close) int dirfd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		CLEANUP(bytes_release) struct bytes all = { malloc(prefix->len + b->len + 1), 0 };

		if (dirfd < 0 || !all.data)
			return -errno;
		if (prefix->len > 0)
			memcpy(all.data, prefix->data, prefix->len);
		memcpy(all.data + prefix->len, b->data, b->len);
		r = io_publish_bytes(dirfd, name, all.data, prefix->len + b->len, 0644, &err);
	}
	if (r < 0)
		(void)fprintf(stderr, "make_corpus: %s\n", err.msg);
	return r;
}

static int seed_file(const char *dir, const char *target, const char *name,
                     const struct bytes *prefix, const char *file)
{
	struct bytes b = { NULL, 0 };
	struct err err = ERR_INIT;
	char *text = NULL;
	int r = io_read_file(AT_FDCWD, file, 1 << 20, &text, &b.len, &err);

	if (r < 0) {
		(void)fprintf(stderr, "make_corpus: %s\n", err.msg);
		return r;
	}
	b.data = (uint8_t *)text;
	r = seed(dir, target, name, prefix, &b);
	free(text);
	return r;
}

static int seed_texts(const char *dir)
{
	static const char *const texts[] = {
		"./assets:1.4.2",
		"oci:a/b:latest",
		"linux/arm/v7",
		"64KiB",
		"18446744073709551615",
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(texts) / sizeof(texts[0]); i++) {
		char name[16];
		char *copy = strdup(texts[i]);
		struct bytes b = { (uint8_t *)copy, strlen(texts[i]) };

		(void)snprintf(name, sizeof(name), "text-%zu", i);
		r = copy ? seed(dir, "text", name, &(struct bytes){ NULL, 0 }, &b) : -ENOMEM;
		free(copy);
	}
	return r;
}

static int seed_frames(const char *dir)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	int r = codec ? 0 : -ENOMEM;

	for (uint64_t id = 1; r == 0 && id <= SAMPLE_N_CHUNKS; id++) {
		uint8_t frame[4096], claim[3] = { 0 };
		struct bytes prefix = { claim, sizeof(claim) }, b = { frame, 0 };
		size_t size;
		const uint8_t *plain = sample_chunk(id, &size);
		char name[16];

		claim[0] = (uint8_t)(size - 1);
		claim[1] = (uint8_t)((size - 1) >> 8);
		(void)snprintf(name, sizeof(name), "chunk-%d", (int)id);
		r = codec_compress(codec, 3, plain, size, frame, sizeof(frame), &b.len);
		if (r == 0)
			r = seed(dir, "frame", name, &prefix, &b);
	}
	return r;
}

/* Make chunk @id + 1 of the sample from those up to @id. */
static int append_delta(struct codec *codec, struct delta_writer *w, uint64_t id, struct err *err)
{
	uint8_t frame[4096], prefix[SAMPLE_N_CHUNKS * SAMPLE_CHUNK3];
	struct digest bases[SAMPLE_N_CHUNKS], chunk;
	size_t prefix_size = 0, frame_size = 0, size;
	const uint8_t *plain;
	int r;

	for (uint64_t i = 1; i <= id; i++) {
		plain = sample_chunk(i, &size);
		sha256(plain, size, &bases[i - 1]);
		memcpy(prefix + prefix_size, plain, size);
		prefix_size += size;
	}
	plain = sample_chunk(id + 1, &size);
	sha256(plain, size, &chunk);
	r = codec_compress_delta(codec, 3, prefix, prefix_size, plain, size, frame, sizeof(frame),
	                         &frame_size);
	return r < 0 ? r
	             : delta_writer_append(w, &chunk, (uint32_t)size, frame, (uint32_t)frame_size,
	                                   bases, (uint32_t)id, err);
}

/* A delta blob in @tmp, and its table once more, plain, as fuzz_delta.c takes it. */
static int seed_delta(const char *dir, const char *tmp)
{
	CLEANUP(codec_free) struct codec *codec = codec_new();
	CLEANUP(close) int dirfd = open(tmp, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	CLEANUP(delta_writer_free) struct delta_writer *w = NULL;
	uint8_t whole = 0, plain[3 + 3 + 3 * 32 + 2 * 44 + 3 * 4] = { 128, 30, 0, 3, 2, 3 };
	const struct bytes prefix = { &whole, 1 }, none = { NULL, 0 };
	const struct bytes table = { plain, sizeof(plain) };
	const struct delta_entry entries[] = { { le32_put(9), le32_put(10), le32_put(1) },
		                               { le32_put(8), le32_put(20), le32_put(2) } };
	char path[SAMPLE_PATH_MAX], hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;
	struct digest digest;
	uint64_t size;
	int r = delta_writer_open(dirfd, &w, &err);

	for (uint64_t id = 1; r == 0 && id < SAMPLE_N_CHUNKS; id++)
		r = append_delta(codec, w, id, &err);
	if (r == 0)
		r = delta_writer_publish(w, &digest, &size, &err);
	if (r < 0)
		return r;
	r = seed_file(dir, "delta", "good", &prefix,
	              sample_path(tmp, digest_hex(&digest, hex), path));
	for (uint32_t i = 0; i < 5; i++)
		sha256(&i, sizeof(i), (struct digest *)(plain + 6 + (size_t)i * sizeof(digest)));
	memcpy(plain + 6 + 5 * sizeof(digest), entries, sizeof(entries));
	plain[sizeof(plain) - 4] = 2;
	return r < 0 ? r : seed(dir, "delta", "plain", &none, &table);
}

/* The parts of an image in @tmp that have a target of their own. */
static int seed_image(const char *dir, const char *tmp, const struct manifest *m)
{
	char path[SAMPLE_PATH_MAX], hex[DIGEST_HEX_SIZE];
	uint8_t extra = 0;
	const struct bytes none = { NULL, 0 }, prefix = { &extra, 1 };
	int r;

	(void)snprintf(path, sizeof(path), "%.300s/layout/blobs/sha256/%s", tmp,
	               digest_hex(&m->self.digest, hex));
	r = seed_file(dir, "manifest", "good", &none, path);
	if (r == 0)
		r = seed_file(dir, "reach", "manifest", &none, path);
	for (uint32_t i = 0; r == 0 && i < m->n_packs; i++) {
		char name[16];

		(void)snprintf(name, sizeof(name), "pack-%u", i + 1);
		(void)snprintf(path, sizeof(path), "%.300s/layout/blobs/sha256/%s", tmp,
		               digest_hex(&m->packs[i].digest, hex));
		r = seed_file(dir, "seek_table", name, &prefix, path);
	}
	return r < 0 ? r : seed_file(dir, "index", "good", &none, sample_path(tmp, "i", path));
}

/*
 * Write @b as a seed of fuzz_borders, which puts a gap of 2048 * @gap zeros into
 * it: those bytes from @split on are left out.
 */
static int seed_borders(const char *dir, const char *name, const struct built *b, size_t split,
                        uint8_t gap)
{
	uint8_t how[] = { gap, (uint8_t)split, (uint8_t)(split >> 8), 100, 0 };
	struct bytes prefix = { how, sizeof(how) };
	size_t left_out = (size_t)gap * 2048;
	CLEANUP(bytes_release) struct bytes rest = { malloc(b->len), b->len - left_out };

	if (!rest.data)
		return -ENOMEM;
	memcpy(rest.data, b->data, split);
	memcpy(rest.data + split, b->data + split + left_out, rest.len - split);
	return seed(dir, "borders", name, &prefix, &rest);
}

enum { GAP = 60 };

static int seed_png(const char *dir, const char *name, uint8_t gap)
{
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t split;

	built_png_signature(&b);
	built_png_chunk(&b, "IHDR", 13);
	split = b.len + 8;
	built_png_chunk(&b, "IDAT", 200 + (uint32_t)gap * 2048);
	built_png_chunk(&b, "IDAT", 100);
	built_png_chunk(&b, "tEXt", 30);
	built_png_chunk(&b, "IEND", 0);
	return seed_borders(dir, name, &b, split, gap);
}

static int seed_zip(const char *dir, const char *name, uint8_t gap, bool zip64)
{
	struct built_member m[] = {
		{ .name = "a", .size = 150, .local_extra = 8 },
		{ .name = "b", .size = 50 },
		{ .name = "c", .size = 200 + (size_t)gap * 2048, .method = 8, .zip64 = zip64 },
	};
	struct built_zip z = { .members = m, .n = 3, .base = 20, .zip64 = zip64, .comment_len = 5 };
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };

	built_add(&b, NULL, z.base);
	built_zip(&b, &z);
	return seed_borders(dir, name, &b, m[2].at, gap);
}

static int seed_tar(const char *dir, const char *name, uint8_t gap)
{
	static const char records[] = "20 path=a long name\n12 size=300\n";
	CLEANUP(built_release) struct built b = { NULL, 0, 0 };
	size_t split;

	(void)built_tar_member(&b, 'L', "././@LongLink", NULL, 120);
	split = built_tar_member(&b, '0', "a", NULL, 300 + (size_t)gap * 2048);
	(void)built_tar_member(&b, 'x', "x", records, sizeof(records) - 1);
	(void)built_tar_member(&b, '0', "b", NULL, 300);
	(void)built_tar_member(&b, 'S', "c", NULL, 300);
	built_tar_end(&b);
	return seed_borders(dir, name, &b, split, gap);
}

static int seed_formats(const char *dir)
{
	int r = seed_png(dir, "png", 0);

	if (r == 0)
		r = seed_png(dir, "png-large", GAP);
	if (r == 0)
		r = seed_zip(dir, "zip", 0, false);
	if (r == 0)
		r = seed_zip(dir, "zip-large", GAP, false);
	if (r == 0)
		r = seed_zip(dir, "zip64", 0, true);
	if (r == 0)
		r = seed_zip(dir, "zip64-large", GAP, true);
	if (r == 0)
		r = seed_tar(dir, "tar", 0);
	return r < 0 ? r : seed_tar(dir, "tar-large", GAP);
}

/* A file of one section, and a config that lists it. */
static int seed_sections(const char *dir)
{
	static const uint8_t plain[3000] = "so many zeros after a few words";
	CLEANUP(codec_sections_release) struct codec_sections codec = CODEC_SECTIONS_INIT;
	const struct codec_cut cut = { .level = 3, .jobs = 2, .each = CODEC_SECTION };
	CLEANUP(sections_release) struct sections s = SECTIONS_INIT;
	CLEANUP(close)
	int in = memfd_create("in", MFD_CLOEXEC), out = memfd_create("out", MFD_CLOEXEC);
	CLEANUP(json_decref) json_t *config = NULL;
	CLEANUP(free) char *text = NULL;
	uint8_t section[1000], claim[] = { (sizeof(plain) - 1) & 255, (sizeof(plain) - 1) >> 8 };
	struct bytes none = { NULL, 0 }, prefix = { claim, sizeof(claim) }, b = { section, 0 };
	struct err err = ERR_INIT;
	int r = in < 0 || out < 0 ? -errno : io_pwrite(in, plain, sizeof(plain), 0);

	if (r == 0)
		r = codec_compress_parts(in, out, &cut, &codec, &err);
	if (r == 0)
		r = sections_describe(out, &codec, sizeof(plain), &s, &err);
	if (r < 0 || !s.list || s.list[0].size > sizeof(section))
		return r < 0 ? r : -EFBIG;
	b.len = s.list[0].size;
	r = io_pread(out, section, b.len, s.list[0].off);
	if (r == 0)
		r = seed(dir, "sections", "section", &prefix, &b);
	config = json_pack("{s:o}", "indexSections", sections_json(&s));
	text = config ? json_dumps(config, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	b = (struct bytes){ (uint8_t *)text, strlen(text) };
	return r < 0 ? r : seed(dir, "sections", "config", &none, &b);
}

int main(int argc, char *argv[])
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	char tmp[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;
	int r;

	if (argc != 2) {
		(void)fprintf(stderr, "usage: %s DIRECTORY\n", argv[0]);
		return 2;
	}
	sample_dir(tmp);
	r = sample_image(tmp, "i", "linux/amd64", &m, &err);
	if (r < 0)
		(void)fprintf(stderr, "make_corpus: %s\n", err.msg);
	else
		r = seed_image(argv[1], tmp, &m);
	if (r == 0)
		r = seed_delta(argv[1], tmp);
	sample_dir_remove(tmp);
	if (r == 0)
		r = seed_frames(argv[1]);
	if (r == 0)
		r = seed_texts(argv[1]);
	if (r == 0)
		r = seed_sections(argv[1]);
	if (r == 0)
		r = seed_formats(argv[1]);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
