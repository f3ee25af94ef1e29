/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a payload says to be signed stands in it; manifests of signatures give whole layers, or
 * are refused.
 */
#include "fuzz.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

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

/* Of the key that the corpus was signed with, which nobody has any more. */
static const char pem[] =
	"-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAgeDBeNbgfdKIQHqeDXarafUGyTN8h+QWkD6Q8dGe4PM=\n-----END PUBLIC KEY-----\n";

static struct signature_key *load_key(void)
{
	int fd = memfd_create("key", MFD_CLOEXEC);
	struct signature_key *key;
	char path[40];

	must(fd >= 0 && write(fd, pem, strlen(pem)) == (ssize_t)strlen(pem));
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	must(signature_key_load(path, &key, NULL) == 0);
	(void)close(fd);
	return key;
}

/* The image of the corpus. */
static void check_bundle(const uint8_t *data, size_t size)
{
	static struct signature_key *key; /* as long as the process */
	struct err err = ERR_INIT;
	struct digest image;
	int r;

	if (!key)
		key = load_key();
	memset(&image, 0xab, sizeof(image));
	r = signature_check_bundle(key, (const char *)data, size, &image, &err);
	if (r < 0)
		must_explain(r, &err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err err = ERR_INIT;
	struct digest digest;
	unsigned n = 0;
	int r = signature_payload_parse((const char *)data, size, &digest, &err);

	check_bundle(data, size);
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
