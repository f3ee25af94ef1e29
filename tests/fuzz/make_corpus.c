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

#include "codec.h"
#include "format.h"
#include "sample.h"

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
	sample_dir_remove(tmp);
	if (r == 0)
		r = seed_frames(argv[1]);
	if (r == 0)
		r = seed_texts(argv[1]);
	return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}
