/* SPDX-License-Identifier: Apache-2.0 */
/* A name of an image in a registry is taken apart, or refused in one plain line; put together again it means the same. */
#include "fuzz.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "oci/reference.h"

/* @ref as text. */
static char *compose(const struct reference *ref)
{
	char hex[DIGEST_HEX_SIZE];
	char *text;

	must(asprintf(&text, "%s/%s%s%s%s%s", ref->host, ref->repository, ref->tag ? ":" : "",
	              ref->tag ? ref->tag : "", ref->pinned ? "@sha256:" : "",
	              ref->pinned ? digest_hex(&ref->digest, hex) : "") >= 0);
	return text;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free) char *text = calloc(1, size + 1);
	CLEANUP(free) char *again = NULL;
	CLEANUP(free) char *target = NULL;
	CLEANUP(reference_release) struct reference ref = REFERENCE_INIT;
	CLEANUP(reference_release) struct reference same = REFERENCE_INIT;
	struct err err = ERR_INIT;
	int r;

	must(text);
	memcpy(text, data, size);
	r = reference_parse(text, &ref, &err);
	if (r < 0) {
		must_explain(r, &err);
		must(r == -EINVAL);
		return 0;
	}
	must(ref.tag || ref.pinned);
	must(reference_is_repository(ref.repository));
	/* Both go into URLs as they are. */
	must(!strpbrk(ref.host, "/?#@%\\ ") && !strpbrk(ref.repository, "?#@%:\\ "));
	must(!strstr(ref.repository, "..") && !strstr(ref.repository, "//"));
	again = compose(&ref);
	target = reference_target(&ref);
	must(target && !strpbrk(target, "/?#@%\\ "));
	must(reference_parse(again, &same, &err) == 0);
	must(strcmp(same.host, ref.host) == 0 && strcmp(same.repository, ref.repository) == 0);
	must(same.pinned == ref.pinned && !same.tag == !ref.tag);
	return 0;
}
