/* SPDX-License-Identifier: Apache-2.0 */
/* layout: what the writer publishes, byte for byte, and what the reader makes of it and of damage. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "format.h"
#include "oci_json.h"
#include "sample.h"

struct ref_case {
	char text[48];
	int expect;
	char layout[32];
	char tag[32];
};

ParameterizedTestParameters(image_ref, parses)
{
	static struct ref_case cases[] = {
		{ "./assets", 0, "./assets", "latest" },
		{ "/srv/assets:1.4.2", 0, "/srv/assets", "1.4.2" },
		{ "oci:assets", 0, "assets", "latest" },
		{ "oci:assets:v_1-x", 0, "assets", "v_1-x" },
		{ "oci:/a:b/c", 0, "/a:b/c", "latest" },
		{ "/a:b/c:d", 0, "/a:b/c", "d" },
		{ ".", 0, ".", "latest" },
		{ "..:x", 0, "..", "x" },
		{ "assets", -EINVAL, "", "" },
		{ "registry.example.com/assets:1", -EINVAL, "", "" },
		{ "", -EINVAL, "", "" },
		{ "oci:", -EINVAL, "", "" },
		{ "oci::x", -EINVAL, "", "" },
		{ "./assets:", -EINVAL, "", "" },
		{ "./assets:a b", -EINVAL, "", "" },
		{ "./assets:.hidden", -EINVAL, "", "" },
		{ "./assets:-x", -EINVAL, "", "" },
	};

	return cr_make_param_array(struct ref_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(const struct ref_case *c, image_ref, parses)
{
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	struct err err = ERR_INIT;

	cr_assert_eq(image_ref_parse(c->text, &ref, &err), c->expect, "'%s': %s", c->text, err.msg);
	if (c->expect < 0) {
		cr_expect_null(ref.layout);
		cr_expect_neq(err.msg[0], '\0');
		return;
	}
	cr_expect_str_eq(ref.layout, c->layout);
	cr_expect_str_eq(ref.tag, c->tag);
}

static char dir[SAMPLE_PATH_MAX];
static char path[SAMPLE_PATH_MAX]; /* of the layout in it */
static int layout_fd = -1;

static void make_dir(void)
{
	sample_dir(dir);
	(void)sample_path(dir, "layout", path);
}

static void remove_dir(void)
{
	if (layout_fd >= 0)
		(void)close(layout_fd);
	sample_dir_remove(dir);
}

TestSuite(layout, .init = make_dir, .fini = remove_dir);

/* Text of a file of the layout. */
static char *read_text(const char *name)
{
	char *text = NULL;
	struct err err = ERR_INIT;
	size_t len;

	if (layout_fd < 0)
		layout_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	cr_assert_eq(io_read_file(layout_fd, name, 100000, &text, &len, &err), 0, "%s", err.msg);
	return text;
}

static char *read_blob(const struct descriptor *d)
{
	char name[100], hex[DIGEST_HEX_SIZE];

	(void)snprintf(name, sizeof(name), "blobs/sha256/%s", digest_hex(&d->digest, hex));
	return read_text(name);
}

static void blob_path(const struct descriptor *d, char ret[static SAMPLE_PATH_MAX])
{
	char hex[DIGEST_HEX_SIZE];

	(void)snprintf(ret, SAMPLE_PATH_MAX, "%.300s/blobs/sha256/%s", path,
	               digest_hex(&d->digest, hex));
}

static struct layout_writer *open_writer(void)
{
	struct layout_writer *w = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(layout_writer_open(path, &w, &err), 0, "%s", err.msg);
	return w;
}

/* A manifest whose descriptors are made up. */
static struct manifest made_up(const char *platform, uint8_t fill)
{
	struct manifest m = MANIFEST_INIT;

	(void)snprintf(m.platform.name, sizeof(m.platform.name), "%s", platform);
	memset(&m.self.digest, fill, sizeof(m.self.digest));
	m.self.size = fill;
	return m;
}

#define HEX(two)                                                                                \
	two two two two two two two two two two two two two two two two two two two two two two \
		two two two two two two two two two two

Test(layout, a_new_one_has_the_files_that_oci_asks_for)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	CLEANUP(free) char *marker = read_text("oci-layout");
	CLEANUP(free) char *index = read_text("index.json");

	cr_expect_not_null(w);
	cr_expect_str_eq(marker, "{\"imageLayoutVersion\":\"1.0.0\"}");
	cr_expect_str_eq(index, "{\"schemaVersion\":2,\"manifests\":[]}");
}

Test(layout, the_image_index_has_its_canonical_bytes)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	struct manifest m[] = { made_up("linux/arm/v7", 0x11), made_up("linux/s390x", 0x22) };
	CLEANUP(free) char *blob = NULL;
	CLEANUP(free) char *index = NULL;
	char expected[2000], hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;
	struct descriptor d;

	cr_assert_eq(layout_writer_tag(w, "v1", m, 2, &d, &err), 0, "%s", err.msg);
	blob = read_blob(&d);
	cr_expect_str_eq(
		blob,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
		"\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"digest\":\"sha256:" HEX(
			"11") "\",\"size\":17,\"platform\":{"
			      "\"architecture\":\"arm\",\"os\":\"linux\",\"variant\":\"v7\"}},"
			      "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
			      "\"digest\":\"sha256:" HEX(
				      "22") "\",\"size\":34,\"platform\":{"
					    "\"architecture\":\"s390x\",\"os\":\"linux\"}}]}");
	index = read_text("index.json");
	(void)snprintf(expected, sizeof(expected),
	               "{\"schemaVersion\":2,\"manifests\":[{\"mediaType\":"
	               "\"application/vnd.oci.image.index.v1+json\",\"digest\":\"sha256:%s\","
	               "\"size\":%zu,\"annotations\":{\"org.opencontainers.image.ref.name\":"
	               "\"v1\"}}]}",
	               digest_hex(&d.digest, hex), strlen(blob));
	cr_expect_str_eq(index, expected);
}

Test(layout, an_image_for_any_platform_is_listed_for_both)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	struct manifest m = made_up(FORMAT_PLATFORM_ANY, 0x33);
	CLEANUP(free) char *blob = NULL;
	struct descriptor d;

	cr_assert_eq(layout_writer_tag(w, "v1", &m, 1, &d, NULL), 0);
	blob = read_blob(&d);
	cr_expect_str_eq(
		blob,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.index.v1+json\","
		"\"manifests\":[{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"digest\":\"sha256:" HEX(
			"33") "\",\"size\":51,\"platform\":{"
			      "\"architecture\":\"amd64\",\"os\":\"linux\"}},"
			      "{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
			      "\"digest\":\"sha256:" HEX(
				      "33") "\",\"size\":51,\"platform\":{"
					    "\"architecture\":\"arm64\",\"os\":\"linux\"}}]}");
}

Test(layout, the_manifest_has_its_canonical_bytes)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	struct manifest m = made_up("linux/amd64", 0);
	struct descriptor pack = { .digest = { { 0 } }, .size = 33 };
	struct delta_layer delta = { .blob.size = 44 };
	CLEANUP(free) char *blob = NULL;
	struct stat st;
	char file[SAMPLE_PATH_MAX];

	memset(&m.config.digest, 0x11, DIGEST_SIZE);
	m.config.size = 11;
	memset(&m.index.digest, 0x22, DIGEST_SIZE);
	m.index.size = 22;
	memset(&pack.digest, 0x3c, DIGEST_SIZE);
	m.packs = &pack;
	m.n_packs = 1;
	memset(&delta.blob.digest, 0x4d, DIGEST_SIZE);
	memset(&delta.base, 0x5e, DIGEST_SIZE);
	m.deltas = &delta;
	m.n_deltas = 1;
	cr_assert_eq(layout_writer_manifest(w, &m, NULL), 0);
	blob = read_blob(&m.self);
	cr_expect_str_eq(
		blob,
		"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\","
		"\"artifactType\":\"application/vnd.assetfs.image.v1\","
		"\"config\":{\"mediaType\":\"application/vnd.assetfs.config.v1+json\","
		"\"digest\":\"sha256:" HEX(
			"11") "\",\"size\":11},"
			      "\"layers\":[{\"mediaType\":\"application/vnd.assetfs.index.v1+zstd\","
			      "\"digest\":\"sha256:" HEX(
				      "22") "\",\"size\":22,\"annotations\":"
					    "{\"org.opencontainers.image.title\":\"index.sqlite.zst\"}},"
					    "{\"mediaType\":\"application/vnd.assetfs.pack.v1+zstd\","
					    "\"digest\":\"sha256:" HEX(
						    "3c") "\",\"size\":33,\"annotations\":"
							  "{\"org.opencontainers.image.title\":\"pack-3c3c3c3c3c3c.zst\"}},"
							  "{\"mediaType\":\"application/vnd.assetfs.delta.v1+zstd\","
							  "\"digest\":\"sha256:" HEX(
								  "4d") "\",\"size\":44,\"annotations\":"
									"{\"org.opencontainers.image.title\":"
									"\"delta-4d4d4d4d4d4d.zst\","
									"\"org.opencontainers.image.base.digest\":"
									"\"sha256:" HEX(
										"5e") "\"}}]}");
	blob_path(&m.self, file);
	cr_assert_eq(stat(file, &st), 0);
	cr_expect_eq(st.st_mode & 07777, 0444);
}

Test(layout, a_tag_is_replaced_in_its_place_and_others_stay)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	struct manifest a = made_up("linux/amd64", 1), b = made_up("linux/amd64", 2);
	CLEANUP(free) char *one = NULL;
	CLEANUP(free) char *two = NULL;
	struct descriptor old, other, new;
	char hex[DIGEST_HEX_SIZE];

	cr_assert_eq(layout_writer_tag(w, "v1", &a, 1, &old, NULL), 0);
	cr_assert_eq(layout_writer_tag(w, "v2", &b, 1, &other, NULL), 0);
	one = read_text("index.json");
	cr_assert_eq(layout_writer_tag(w, "v1", &b, 1, &new, NULL), 0);
	two = read_text("index.json");
	cr_expect_not_null(strstr(one, digest_hex(&old.digest, hex)));
	cr_expect_null(strstr(two, hex));
	cr_expect_lt(strstr(two, "\"v1\""), strstr(two, "\"v2\""));
	cr_expect_eq(strlen(one), strlen(two));
}

Test(layout, a_directory_of_something_else_is_not_made_one)
{
	struct layout_writer *w = NULL;
	struct err err = ERR_INIT;
	char file[SAMPLE_PATH_MAX];

	CLEANUP(close)
	int fd = open(sample_path(dir, "thesis.txt", file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	cr_assert_geq(fd, 0);
	cr_expect_eq(layout_writer_open(dir, &w, &err), -EINVAL);
	cr_expect_not_null(strstr(err.msg, dir), "%s", err.msg);
	cr_expect_eq(access(sample_path(dir, "oci-layout", file), F_OK), -1);
}

Test(layout, what_dead_writers_left_is_swept)
{
	char file[SAMPLE_PATH_MAX];
	static const char *const left[] = { "layout/.tmp-0123456789abcdef",
		                            "layout/blobs/sha256/.tmp-fedcba9876543210" };

	layout_writer_close(open_writer());
	for (size_t i = 0; i < 2; i++) {
		int fd =
			open(sample_path(dir, left[i], file), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

		cr_assert_geq(fd, 0);
		(void)close(fd);
	}
	layout_writer_close(open_writer());
	for (size_t i = 0; i < 2; i++)
		cr_expect_eq(access(sample_path(dir, left[i], file), F_OK), -1, "%s", left[i]);
}

static struct layout *open_layout(void)
{
	struct layout *layout = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(layout_open(path, &layout, &err), 0, "%s", err.msg);
	return layout;
}

Test(layout, images_that_were_written_are_read)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	CLEANUP(layout_close) struct layout *layout = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(sample_image(dir, "i.sqlite", "linux/amd64", &m, &err), 0, "%s", err.msg);
	layout = open_layout();
	cr_expect_str_eq(layout_path(layout), path);
	cr_assert_eq(layout_images(layout, "latest", &set, &err), 0, "%s", err.msg);
	cr_assert_eq(set.n_manifests, 1);
	cr_assert_not_null(set.manifests);
	cr_expect_str_eq(set.manifests[0].platform.name, "linux/amd64");
	cr_expect(digest_equal(&set.manifests[0].self.digest, &m.self.digest));
	cr_expect_eq(set.manifests[0].n_packs, SAMPLE_N_PACKS);
	cr_expect(digest_equal(&set.manifests[0].packs[1].digest, &m.packs[1].digest));
	cr_expect(digest_equal(&set.manifests[0].index.digest, &m.index.digest));
}

Test(layout, an_image_for_any_platform_is_loaded_once)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	CLEANUP(layout_close) struct layout *layout = NULL;
	struct platform exotic = { .name = "linux/riscv64" };
	struct err err = ERR_INIT;

	cr_assert_eq(sample_image(dir, "i.sqlite", FORMAT_PLATFORM_ANY, &m, &err), 0, "%s",
	             err.msg);
	layout = open_layout();
	cr_assert_eq(layout_images(layout, "latest", &set, &err), 0, "%s", err.msg);
	cr_expect_eq(set.n_manifests, 1);
	cr_expect_eq(image_set_find(&set, &exotic, &err), &set.manifests[0]);
}

Test(layout, the_platform_asked_for_wins_over_any)
{
	struct manifest m[] = { made_up("linux/arm64", 1), made_up(FORMAT_PLATFORM_ANY, 2),
		                made_up("linux/amd64", 3) };
	struct image_set set = { .manifests = m, .n_manifests = 3 };
	struct platform amd64 = { .name = "linux/amd64" }, riscv = { .name = "linux/riscv64" };
	struct err err = ERR_INIT;

	cr_expect_eq(image_set_find(&set, &amd64, &err), &m[2]);
	cr_expect_eq(image_set_find(&set, &riscv, &err), &m[1]);
	set.n_manifests = 1;
	cr_expect_null(image_set_find(&set, &riscv, &err));
	cr_expect_eq(err.code, -ENOENT);
	cr_expect_not_null(strstr(err.msg, "linux/arm64"), "%s", err.msg);
}

Test(layout, a_missing_tag_is_answered_with_those_there_are)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	CLEANUP(layout_close) struct layout *layout = open_layout();
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	struct manifest m = made_up("linux/amd64", 1);
	char expected[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;
	struct descriptor d;

	cr_expect_eq(layout_images(layout, "v1", &set, &err), -ENOENT);
	(void)snprintf(expected, sizeof(expected),
	               "'%.400s' has no image tagged 'v1': it has none at all", path);
	cr_expect_str_eq(err.msg, expected);
	cr_assert_eq(layout_writer_tag(w, "a", &m, 1, &d, NULL), 0);
	cr_assert_eq(layout_writer_tag(w, "b", &m, 1, &d, NULL), 0);
	cr_expect_eq(layout_images(layout, "v1", &set, &err), -ENOENT);
	(void)snprintf(expected, sizeof(expected),
	               "'%.400s' has no image tagged 'v1'; it has: a, b", path);
	cr_expect_str_eq(err.msg, expected);
	for (int i = 0; i < 60; i++) {
		char tag[32];

		(void)snprintf(tag, sizeof(tag), "release-%d", i);
		cr_assert_eq(layout_writer_tag(w, tag, &m, 1, &d, NULL), 0);
	}
	cr_expect_eq(layout_images(layout, "v1", &set, &err), -ENOENT);
	cr_expect_str_eq(err.msg + strlen(err.msg) - 5, ", ...");
}

Test(layout, a_directory_that_is_none_is_refused)
{
	struct layout *layout = NULL;
	struct err err = ERR_INIT;
	char file[SAMPLE_PATH_MAX];

	cr_expect_eq(layout_open(path, &layout, &err), -ENOENT);
	cr_expect_not_null(strstr(err.msg, path));
	cr_expect_eq(layout_open(dir, &layout, &err), -EBADMSG);
	cr_expect_not_null(strstr(err.msg, "oci-layout"));
	layout_writer_close(open_writer());
	cr_assert_eq(rmdir(sample_path(dir, "layout/blobs/sha256", file)), 0);
	cr_expect_eq(layout_open(path, &layout, &err), -EBADMSG);
	cr_expect_not_null(strstr(err.msg, "blobs/sha256"));
	cr_expect_null(layout);
}

/* Replace what is in @file from byte @at on. */
static void overwrite(const char *file, const char *bytes, uint64_t at)
{
	cr_assert_eq(chmod(file, 0600), 0);
	CLEANUP(close) int fd = open(file, O_WRONLY | O_CLOEXEC);
	cr_assert_eq(io_pwrite(fd, bytes, strlen(bytes), at), 0);
}

static int load_latest(struct err *err)
{
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	CLEANUP(layout_close) struct layout *layout = open_layout();

	return layout_images(layout, "latest", &set, err);
}

Test(layout, damaged_and_missing_blobs_are_named)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	char manifest[SAMPLE_PATH_MAX], config[SAMPLE_PATH_MAX], hex[DIGEST_HEX_SIZE];
	struct err err = ERR_INIT;

	cr_assert_eq(sample_image(dir, "i.sqlite", "linux/amd64", &m, &err), 0, "%s", err.msg);
	cr_assert_eq(load_latest(&err), 0, "%s", err.msg);
	blob_path(&m.self, manifest);
	blob_path(&m.config, config);

	overwrite(config, "x", 3);
	cr_expect_eq(load_latest(&err), -EBADMSG);
	(void)digest_hex(&m.config.digest, hex);
	hex[12] = '\0';
	cr_expect_not_null(strstr(err.msg, hex), "%s", err.msg);
	cr_assert_eq(unlink(config), 0);
	cr_expect_eq(load_latest(&err), -ENOENT);
	cr_expect_not_null(strstr(err.msg, hex), "%s", err.msg);

	overwrite(manifest, "}", m.self.size);
	cr_expect_eq(load_latest(&err), -EBADMSG);
	(void)digest_hex(&m.self.digest, hex);
	hex[12] = '\0';
	cr_expect_not_null(strstr(err.msg, hex), "%s", err.msg);
	cr_assert_eq(truncate(manifest, 10), 0);
	cr_expect_eq(load_latest(&err), -EBADMSG);
}

/* Publish an image index with the manifest @m under "latest", whatever its config says. */
static void tag_as(struct manifest *m, const char *platform)
{
	CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();
	struct descriptor d;

	(void)snprintf(m->platform.name, sizeof(m->platform.name), "%s", platform);
	cr_assert_eq(layout_writer_tag(w, "latest", m, 1, &d, NULL), 0);
}

Test(layout, a_config_for_another_platform_is_refused)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;

	cr_assert_eq(sample_image(dir, "i.sqlite", "linux/amd64", &m, &err), 0, "%s", err.msg);
	tag_as(&m, "linux/arm64");
	cr_expect_eq(load_latest(&err), -EBADMSG);
	cr_expect_not_null(strstr(err.msg, "linux/arm64"), "%s", err.msg);
}

Test(layout, an_image_of_a_newer_format_is_told_from_damage)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;
	CLEANUP(json_decref)
	json_t *config = json_pack("{s:i, s:s}", "formatVersion", 2, "platform", "linux/amd64");

	cr_assert_eq(sample_image(dir, "i.sqlite", "linux/amd64", &m, &err), 0, "%s", err.msg);
	{
		CLEANUP(layout_writer_close) struct layout_writer *w = open_writer();

		cr_assert_eq(layout_writer_json(w, config, &m.config, &err), 0, "%s", err.msg);
		cr_assert_eq(layout_writer_manifest(w, &m, &err), 0, "%s", err.msg);
	}
	tag_as(&m, "linux/amd64");
	cr_expect_eq(load_latest(&err), -EPROTONOSUPPORT);
	cr_expect_not_null(strstr(err.msg, "version 2"), "%s", err.msg);
}

Test(layout, gives_a_manifest_by_its_digest)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT, found = MANIFEST_INIT;
	CLEANUP(layout_close) struct layout *layout = NULL, *copy = NULL;
	struct err err = ERR_INIT;

	cr_assert_eq(sample_image(dir, "index.sqlite", "any", &m, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_open(path, &layout, &err), 0);
	cr_assert_eq(layout_dup(layout, &copy, &err), 0, "%s", err.msg);
	layout_close(TAKE_PTR(layout));
	cr_expect_str_eq(layout_path(copy), path);
	cr_assert_eq(layout_manifest(copy, &m.self.digest, &found, &err), 0, "%s", err.msg);
	cr_expect_eq(found.self.size, m.self.size);
	cr_expect(digest_equal(&found.self.digest, &m.self.digest));
	cr_expect(digest_equal(&found.index.digest, &m.index.digest));
	cr_expect_eq(found.n_packs, m.n_packs);
	cr_expect_eq(found.platform.name[0], '\0');
}

Test(layout, has_no_manifest_where_there_is_none)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT, found = MANIFEST_INIT;
	CLEANUP(layout_close) struct layout *layout = NULL;
	struct digest nobody = { { 1 } };
	char hex[DIGEST_HEX_SIZE], blob[SAMPLE_PATH_MAX];
	struct err err = ERR_INIT;

	cr_assert_eq(sample_image(dir, "index.sqlite", "any", &m, &err), 0, "%s", err.msg);
	cr_assert_eq(layout_open(path, &layout, &err), 0);
	cr_expect_eq(layout_manifest(layout, &nobody, &found, &err), -ENOENT);
	cr_expect_eq(layout_manifest(layout, &m.config.digest, &found, &err), -EBADMSG);
	cr_expect_eq(layout_manifest(layout, &m.index.digest, &found, &err), -EBADMSG);
	(void)snprintf(blob, sizeof(blob), "%.300s/blobs/sha256/%s", path,
	               digest_hex(&m.self.digest, hex));
	cr_assert_eq(chmod(blob, 0600), 0);
	cr_assert_eq(truncate(blob, 0), 0);
	cr_expect_eq(layout_manifest(layout, &m.self.digest, &found, &err), -EBADMSG);
	cr_expect_null(found.packs);
}
