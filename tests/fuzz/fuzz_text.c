/* SPDX-License-Identifier: Apache-2.0 */
/* What people type: references, platforms, sizes, numbers, digests. */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "layout.h"

/* A reference that parses can be put together again. */
static void try_image_ref(const char *text)
{
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	const char *path = strncmp(text, "oci:", 4) == 0 ? text + 4 : text;
	size_t len;

	if (image_ref_parse(text, &ref, NULL) < 0) {
		must(!ref.layout && !ref.tag);
		return;
	}
	len = strlen(ref.layout);
	must(len > 0 && ref.tag[0] != '\0' && strncmp(path, ref.layout, len) == 0);
	must(path[len] == '\0' ? strcmp(ref.tag, "latest") == 0
	                       : path[len] == ':' && strcmp(path + len + 1, ref.tag) == 0);
}

static void try_platform(const char *text)
{
	struct platform platform;
	struct err err = ERR_INIT;
	int r = platform_parse(text, &platform, &err);

	if (r < 0)
		must_explain(r, &err);
	else
		must(strcmp(platform.name, text) == 0 && strchr(text, '/'));
}

static void try_numbers(const char *text)
{
	uint64_t size = 0, number = 0;
	char shown[TEXT_SIZE_MAX], digits[24];

	if (text_parse_size(text, &size) == 0) {
		must(size <= INT64_MAX);
		must(strlen(text_size(size, shown)) < TEXT_SIZE_MAX);
	}
	if (text_parse_uint(text, UINT64_MAX, &number) == 0) {
		(void)snprintf(digits, sizeof(digits), "%llu", (unsigned long long)number);
		text += strspn(text, "0");
		must(number == 0 ? *text == '\0' : strcmp(text, digits) == 0);
	}
}

static void try_digest(const char *text, size_t len)
{
	struct digest digest;
	char hex[DIGEST_HEX_SIZE];

	if (digest_parse(text, len, &digest) == 0)
		must(memcmp(digest_hex(&digest, hex), text, len) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free) char *text = calloc(1, size + 1);

	must(text);
	if (size > 0)
		memcpy(text, data, size);
	try_image_ref(text);
	try_platform(text);
	try_numbers(text);
	try_digest((const char *)data, size);
	return 0;
}
