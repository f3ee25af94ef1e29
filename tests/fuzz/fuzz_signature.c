/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a payload says to be signed stands in it; manifests of signatures give whole layers, or
 * are refused.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/signature.h"

/* Whether @digest, or a part of it that is escaped, is in the @size bytes at @data. */
static bool names(const uint8_t *data, size_t size, const struct digest *digest)
{
	char hex[DIGEST_HEX_SIZE];

	(void)digest_hex(digest, hex);
	return memmem(data, size, hex, strlen(hex)) || memchr(data, '\\', size);
}

static int look(void *arg, const struct signature_layer *layer, struct err *err)
{
	unsigned *n = arg;

	(void)err;
	must(layer->base64[0] != '\0' && layer->payload_size > 0);
	return ++*n == 3 ? 7 : 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct digest digest;
	unsigned n = 0;
	int r = signature_payload_parse((const char *)data, size, &digest, &err);

	if (r < 0)
		must_explain(r, &err);
	else
		must(names(data, size, &digest));
	err = ERR_INIT;
	r = signature_layers((const char *)data, size, look, &n, &err);
	must(n <= 3 && (r == 7) == (n == 3));
	if (r < 0)
		must_explain(r, &err);
	return 0;
}
