/* SPDX-License-Identifier: Apache-2.0 */
/* manifest: the format's manifest is read; every rule of format.md §2 that is broken is named. */
#include <criterion/criterion.h>
#include <criterion/parameterized.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "layout.h"

#define D1 "sha256:1111111111111111111111111111111111111111111111111111111111111111"
#define D2 "sha256:2222222222222222222222222222222222222222222222222222222222222222"
#define D3 "sha256:3333333333333333333333333333333333333333333333333333333333333333"

#define CONFIG                                                                                  \
	"\"config\":{\"mediaType\":\"application/vnd.assetfs.config.v1+json\",\"digest\":\"" D1 \
	"\",\"size\":11}"
#define INDEX                                                                       \
	"{\"mediaType\":\"application/vnd.assetfs.index.v1+zstd\",\"digest\":\"" D2 \
	"\",\"size\":22}"
#define PACK \
	"{\"mediaType\":\"application/vnd.assetfs.pack.v1+zstd\",\"digest\":\"" D3 "\",\"size\":33}"
#define HEAD                                                                                 \
	"{\"schemaVersion\":2,\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\"," \
	"\"artifactType\":\"application/vnd.assetfs.image.v1\","
#define DELTA                                                                       \
	"{\"mediaType\":\"application/vnd.assetfs.delta.v1+zstd\",\"digest\":\"" D2 \
	"\",\"size\":44,\"annotations\":{\"org.opencontainers.image.base.digest\":\"" D1 "\"}}"
#define GOOD HEAD CONFIG ",\"layers\":[" INDEX "," PACK "]}"

Test(manifest, is_read)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;

	cr_assert_eq(manifest_parse(GOOD, strlen(GOOD), &m, &err), 0, "%s", err.msg);
	cr_expect_eq(m.config.size, 11);
	cr_expect_eq(m.config.digest.bytes[31], 0x11);
	cr_expect_eq(m.index.size, 22);
	cr_expect_eq(m.index.digest.bytes[0], 0x22);
	cr_assert_eq(m.n_packs, 1);
	cr_expect_eq(m.packs[0].size, 33);
	cr_expect_eq(m.packs[0].digest.bytes[7], 0x33);
}

Test(manifest, may_have_no_packs)
{
	static const char text[] = HEAD CONFIG ",\"layers\":[" INDEX "]}";
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;

	cr_assert_eq(manifest_parse(text, strlen(text), &m, NULL), 0);
	cr_expect_eq(m.n_packs, 0);
}

#define WITH_DELTAS HEAD CONFIG ",\"layers\":[" INDEX "," PACK "," DELTA "," DELTA "]}"

Test(manifest, has_deltas_after_its_packs)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;

	cr_assert_eq(manifest_parse(WITH_DELTAS, strlen(WITH_DELTAS), &m, &err), 0, "%s", err.msg);
	cr_expect_eq(m.n_packs, 1);
	cr_assert_eq(m.n_deltas, 2);
	cr_expect_eq(m.deltas[1].blob.size, 44);
	cr_expect_eq(m.deltas[1].blob.digest.bytes[3], 0x22);
	cr_expect_eq(m.deltas[1].base.bytes[0], 0x11);
}

Test(manifest, every_truncation_is_refused)
{
	for (size_t len = 0; len < strlen(GOOD); len++) {
		CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;

		cr_assert_eq(manifest_parse(GOOD, len, &m, NULL), -EBADMSG, "length %zu", len);
	}
}

struct lie {
	char from[64]; /* text in GOOD ... */
	char to[64];   /* ... that this replaces */
	int expect;
	char says[32]; /* part of the message */
};

ParameterizedTestParameters(manifest, refuses)
{
	static struct lie lies[] = {
		{ "\"schemaVersion\":2", "\"schemaVersion\":3", -EBADMSG, "manifest" },
		{ "oci.image.manifest.v1", "oci.image.index.v1", -EBADMSG, "manifest" },
		{ "assetfs.image.v1", "example.thing.v1", -EBADMSG, "example.thing" },
		{ "assetfs.image.v1", "assetfs.image.v2", -EPROTONOSUPPORT, "assetfs.image.v2" },
		{ "artifactType", "artefactType", -EBADMSG, "artifactType" },
		{ "assetfs.config.v1", "assetfs.config.v9", -EBADMSG, "config" },
		{ "assetfs.index.v1", "assetfs.index.v2", -EPROTONOSUPPORT, "assetfs.index.v2" },
		{ "assetfs.index.v1", "assetfs.pack.v1", -EBADMSG, "layer 0" },
		{ "assetfs.pack.v1", "assetfs.index.v1", -EBADMSG, "layer 1" },
		{ "assetfs.pack.v1", "assetfs.delta.v1", -EBADMSG, "base" },
		{ "assetfs.pack.v1", "assetfs.delta.v2", -EPROTONOSUPPORT, "assetfs.delta.v2" },
		{ "vnd.assetfs.pack.v1+zstd", "vnd.oci.image.layer.v1.tar", -EBADMSG, "layer 1" },
		{ "vnd.assetfs.pack.v1+zstd", "vnd.\\n\\u001b[31m", -EBADMSG, "layer 1" },
		{ "\"size\":22", "\"size\":-22", -EBADMSG, "size" },
		{ "\"size\":22", "\"size\":0", -EBADMSG, "size" },
		{ "\"size\":22", "\"size\":\"22\"", -EBADMSG, "size" },
		{ "\"size\":22", "\"size\":2.2", -EBADMSG, "size" },
		{ "\"size\":33", "\"size\":99999999999999999999", -EBADMSG, "JSON" },
		{ "\"size\":33", "\"size\":33,\"size\":34", -EBADMSG, "JSON" },
		{ "sha256:2222", "sha512:2222", -EBADMSG, "digest" },
		{ "sha256:2222", "sha256:222", -EBADMSG, "digest" },
		{ "sha256:3333", "sha256:333A", -EBADMSG, "digest" },
		{ "\"layers\"", "\"sheets\"", -EBADMSG, "layers" },
		{ "\"layers\":[", "\"layers\":[],\"others\":[", -EBADMSG, "layers" },
		{ "\"config\"", "\"konfig\"", -EBADMSG, "config" },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

/* Expect @good with @lie in it to be refused. */
static void expect_refused(const char *good, const struct lie *lie)
{
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	const char *at = strstr(good, lie->from);
	struct err err = ERR_INIT;
	char text[2000];
	int n;

	cr_assert_not_null(at, "%s", lie->from);
	n = snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - good), good, lie->to,
	             at + strlen(lie->from));
	cr_expect_eq(manifest_parse(text, (size_t)n, &m, &err), lie->expect, "%s: %s", lie->to,
	             err.msg);
	cr_expect_not_null(strstr(err.msg, lie->says), "%s: %s", lie->to, err.msg);
	cr_expect_null(strpbrk(err.msg, "\n\033"), "%s", err.msg);
	cr_expect_null(m.packs);
	cr_expect_null(m.deltas);
}

ParameterizedTest(const struct lie *lie, manifest, refuses)
{
	expect_refused(GOOD, lie);
}

ParameterizedTestParameters(manifest, refuses_of_deltas)
{
	static struct lie lies[] = {
		{ "image.base.digest", "image.base.name", -EBADMSG, "base" },
		{ "base.digest\":\"sha256:1111", "base.digest\":\"sha512:1111", -EBADMSG, "base" },
		{ "base.digest\":\"sha256:1111", "base.digest\":\"sha256:111", -EBADMSG, "base" },
		{ "\"annotations\"", "\"annotation\"", -EBADMSG, "base" },
		{ "\"size\":44", "\"size\":0", -EBADMSG, "size" },
		{ "assetfs.pack.v1", "assetfs.delta.v1", -EBADMSG, "base" },
		{ "assetfs.delta.v1", "assetfs.index.v1", -EBADMSG, "layer 2" },
	};

	return cr_make_param_array(struct lie, lies, sizeof(lies) / sizeof(lies[0]));
}

ParameterizedTest(const struct lie *lie, manifest, refuses_of_deltas)
{
	expect_refused(WITH_DELTAS, lie);
}

Test(manifest, packs_do_not_follow_deltas)
{
	static const char text[] = HEAD CONFIG ",\"layers\":[" INDEX "," DELTA "," PACK "]}";
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
	struct err err = ERR_INIT;

	cr_expect_eq(manifest_parse(text, strlen(text), &m, &err), -EBADMSG);
	cr_expect_not_null(strstr(err.msg, "layer 2"), "%s", err.msg);
}

#define TRACE                                                                       \
	"{\"mediaType\":\"application/vnd.assetfs.trace.v1+zstd\",\"digest\":\"" D3 \
	"\",\"size\":55}"

Test(manifest, may_have_a_trace_at_its_end)
{
	static const char *const texts[] = {
		HEAD CONFIG ",\"layers\":[" INDEX "," TRACE "]}",
		HEAD CONFIG ",\"layers\":[" INDEX "," PACK "," TRACE "]}",
		HEAD CONFIG ",\"layers\":[" INDEX "," PACK "," DELTA "," TRACE "]}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;

		cr_assert_eq(manifest_parse(texts[i], strlen(texts[i]), &m, NULL), 0, "%zu", i);
		cr_expect_eq(m.trace.size, 55);
		cr_expect_eq(m.trace.digest.bytes[0], 0x33);
		cr_expect(m.n_packs == (i > 0) && m.n_deltas == (i > 1));
	}
}

Test(manifest, has_a_trace_nowhere_else)
{
	static const struct {
		const char *text, *layer;
	} lies[] = {
		{ HEAD CONFIG ",\"layers\":[" TRACE "]}", "layer 0" },
		{ HEAD CONFIG ",\"layers\":[" INDEX "," TRACE "," PACK "]}", "layer 1" },
		{ HEAD CONFIG ",\"layers\":[" INDEX "," TRACE "," DELTA "]}", "layer 1" },
		{ HEAD CONFIG ",\"layers\":[" INDEX "," PACK "," TRACE "," TRACE "]}", "layer 2" },
	};

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;
		struct err err = ERR_INIT;

		cr_expect_eq(manifest_parse(lies[i].text, strlen(lies[i].text), &m, &err), -EBADMSG,
		             "%zu", i);
		cr_expect_not_null(strstr(err.msg, lies[i].layer), "%s", err.msg);
	}
}

Test(manifest, json_of_any_other_kind_is_refused)
{
	static const char *const texts[] = { "[]", "null", "\"x\"", "{}", "{\"layers\":{}}", "1" };
	CLEANUP(manifest_release) struct manifest m = MANIFEST_INIT;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		cr_expect_eq(manifest_parse(texts[i], strlen(texts[i]), &m, NULL), -EBADMSG, "%s",
		             texts[i]);
}

struct platform_case {
	char text[80];
	int expect;
};

ParameterizedTestParameters(platform, parses)
{
	static struct platform_case cases[] = {
		{ "linux/amd64", 0 },
		{ "linux/arm/v7", 0 },
		{ "linux/arm64", 0 },
		{ "any", -EINVAL },
		{ "", -EINVAL },
		{ "/", -EINVAL },
		{ "linux/", -EINVAL },
		{ "/amd64", -EINVAL },
		{ "linux//v7", -EINVAL },
		{ "linux/arm/v7/x", -EINVAL },
		{ "Linux/amd64", -EINVAL },
		{ "linux/amd64 ", -EINVAL },
		{ "linux/am\nd64", -EINVAL },
		{ "linux/aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  -EINVAL },
	};

	return cr_make_param_array(struct platform_case, cases, sizeof(cases) / sizeof(cases[0]));
}

ParameterizedTest(const struct platform_case *c, platform, parses)
{
	struct platform p = { .name = "before" };
	struct err err = ERR_INIT;

	cr_expect_eq(platform_parse(c->text, &p, &err), c->expect, "'%s'", c->text);
	cr_expect_str_eq(p.name, c->expect == 0 ? c->text : "before");
	cr_expect_null(strchr(err.msg, '\n'));
}

Test(platform, of_this_machine_can_be_parsed)
{
	struct platform host = platform_of_host(), back;

	cr_expect_eq(platform_parse(host.name, &back, NULL), 0, "%s", host.name);
}
