/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing that is not signed is believed: the payload's digest comes from a manifest that
 * anybody may have written, but a payload that the key has signed, and that names the image, is
 * good wherever it comes from.
 */
#include "oci/signature.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/json_text.h"
#include "oci/signature_internal.h"

#define TYPE_LAYER "application/vnd.dev.cosign.simplesigning.v1+json"
#define TYPE_CLAIM "cosign container image signature"
#define SIGNATURE  "dev.cosignproject.cosign/signature"
#define PREFIX     "sha256:"

enum {
	KEY_MAX = 64 << 10,
	RSA_BITS_MIN = 2048,
	SIGNATURE_MAX = 8 << 10, /* RSA of 16384 bits has 2048 */
	PAYLOAD_MAX = 1 << 20,
};

struct signature_key {
	EVP_PKEY *key;    /* owned */
	const EVP_MD *md; /* that it signs digests of; NULL: it signs bytes */
	char *path;       /* owned; for messages */
};

DEFINE_CLEANUP(BIO *, BIO_free_all)
DEFINE_CLEANUP(EVP_MD_CTX *, EVP_MD_CTX_free)

/* Find out how @key signs. */
static int choose_scheme(struct signature_key *key)
{
	char group[32] = "";

	switch (EVP_PKEY_get_base_id(key->key)) {
	case EVP_PKEY_EC:
		key->md = EVP_sha256();
		return EVP_PKEY_get_group_name(key->key, group, sizeof(group), NULL) == 1 &&
		                       strcmp(group, "prime256v1") == 0
		               ? 0
		               : -EINVAL;
	case EVP_PKEY_RSA:
		key->md = EVP_sha256();
		return EVP_PKEY_get_bits(key->key) >= RSA_BITS_MIN ? 0 : -EINVAL;
	case EVP_PKEY_ED25519:
		return 0;
	default:
		return -EINVAL;
	}
}

int signature_key_parse(const char *text, size_t len, const char *name, struct signature_key **ret,
                        struct err *err)
{
	CLEANUP(signature_key_free) struct signature_key *key = calloc(1, sizeof(*key));
	CLEANUP(BIO_free_all) BIO *bio = NULL;

	if (!key)
		return err_set(err, -ENOMEM, "out of memory");
	if (len > KEY_MAX)
		return err_set(err, -EFBIG, "key '%s' has more than %d KiB", name, KEY_MAX >> 10);
	key->path = strdup(name);
	bio = BIO_new_mem_buf(text, (int)len);
	if (!key->path || !bio)
		return err_set(err, -ENOMEM, "out of memory");
	key->key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
	ERR_clear_error();
	if (!key->key)
		return err_set(err, -EINVAL, "'%s' is not a public key in PEM", name);
	if (choose_scheme(key) < 0)
		return err_set(err, -EINVAL,
		               "key '%s' is not one of ECDSA P-256, RSA from %d bits, Ed25519",
		               name, RSA_BITS_MIN);
	*ret = TAKE_PTR(key);
	return 0;
}

int signature_key_load(const char *path, struct signature_key **ret, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len = 0;
	int r = io_read_file(AT_FDCWD, path, KEY_MAX, &text, &len, err);

	if (r < 0)
		return err_set(err, r, "key '%s': %s", path, strerrordesc_np(-r));
	return signature_key_parse(text, len, path, ret, err);
}

void signature_key_free(struct signature_key *key)
{
	if (!key)
		return;
	EVP_PKEY_free(key->key);
	free(key->path);
	free(key);
}

const char *signature_key_path(const struct signature_key *key)
{
	return key->path;
}

int signature_parse_digest(const char *text, struct digest *ret)
{
	if (strncmp(text, PREFIX, strlen(PREFIX)) != 0)
		return -EINVAL;
	text += strlen(PREFIX);
	return digest_parse(text, strlen(text), ret);
}

int signature_payload_parse(const char *text, size_t len, struct digest *ret, struct err *err)
{
	CLEANUP(json_unref) json_t *root = json_text_object(text, len);
	const json_t *critical = json_object_get(root, "critical");
	const json_t *image = json_object_get(critical, "image");
	struct digest digest;

	if (!root)
		return err_set(err, -EBADMSG, "a payload is not a JSON object");
	if (strcmp(json_text_member(critical, "type"), TYPE_CLAIM) != 0)
		return err_set(err, -EBADMSG, "a payload is not one of a container's signature");
	if (signature_parse_digest(json_text_member(image, "docker-manifest-digest"), &digest) < 0)
		return err_set(err, -EBADMSG, "a payload names no image");
	*ret = digest;
	return 0;
}

int signature_decode(const char *text, size_t max, const char *what, char **ret, struct err *err)
{
	size_t len = strlen(text), pad = 0;
	CLEANUP(free) char *bytes = NULL;
	int n;

	while (pad < 2 && pad < len && text[len - 1 - pad] == '=')
		pad++;
	if (len == 0 || len / 4 * 3 > max || len % 4 != 0)
		return err_set(err, -EBADMSG, "a %s is not base64", what);
	bytes = malloc(len / 4 * 3);
	if (!bytes)
		return err_set(err, -ENOMEM, "out of memory");
	n = EVP_DecodeBlock((unsigned char *)bytes, (const unsigned char *)text, (int)len);
	if (n < (int)pad)
		return err_set(err, -EBADMSG, "a %s is not base64", what);
	*ret = TAKE_PTR(bytes);
	return n - (int)pad; /* the padding was decoded as zeros */
}

int signature_fits(const struct signature_key *key, const char *data, size_t len,
                   const char *base64, struct err *err)
{
	CLEANUP(EVP_MD_CTX_free) EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	CLEANUP(free) char *bytes = NULL;
	int n = signature_decode(base64, SIGNATURE_MAX, "signature", &bytes, err);
	int ok;

	if (n < 0)
		return n;
	if (!ctx || EVP_DigestVerifyInit(ctx, NULL, key->md, NULL, key->key) != 1)
		return err_set(err, -ENOMEM, "out of memory");
	ok = EVP_DigestVerify(ctx, (const unsigned char *)bytes, (size_t)n,
	                      (const unsigned char *)data, len);
	ERR_clear_error();
	return ok == 1;
}

int signature_check(const struct signature_key *key, const char *payload, size_t len,
                    const char *base64, const struct digest *image, struct err *err)
{
	struct digest named;
	char hex[DIGEST_HEX_SIZE];
	int r = signature_fits(key, payload, len, base64, err);

	if (r < 0)
		return r;
	if (r == 0)
		return err_set(err, -EBADMSG, "a signature is not by the key '%s'", key->path);
	r = signature_payload_parse(payload, len, &named, err);
	if (r < 0)
		return r;
	if (!digest_equal(&named, image))
		return err_set(err, -EBADMSG, "a signature is of another image, sha256:%.12s",
		               digest_hex(&named, hex));
	return 0;
}

/* Read the layer @entry. Returns 1; 0 when it is no signature; -EBADMSG. */
static int read_layer(const json_t *entry, struct signature_layer *ret, struct err *err)
{
	const json_t *size = json_object_get(entry, "size");
	const char *base64 = json_text_member(json_object_get(entry, "annotations"), SIGNATURE);

	if (strcmp(json_text_member(entry, "mediaType"), TYPE_LAYER) != 0 || base64[0] == '\0')
		return 0;
	if (!json_is_integer(size) || json_integer_value(size) <= 0 ||
	    signature_parse_digest(json_text_member(entry, "digest"), &ret->payload) < 0)
		return err_set(err, -EBADMSG, "a manifest of signatures is damaged");
	ret->payload_size = (uint64_t)json_integer_value(size);
	ret->base64 = base64;
	return 1;
}

int signature_layers(const char *text, size_t len, signature_layer_fn fn, void *arg,
                     struct err *err)
{
	CLEANUP(json_unref) json_t *root = json_text_object(text, len);
	const json_t *layers = json_object_get(root, "layers"), *entry;
	size_t i;
	int r = 0;

	if (!json_is_array(layers) || json_array_size(layers) > SIGNATURE_ITEMS_MAX)
		return err_set(err, -EBADMSG, "a manifest of signatures is damaged");
	json_array_foreach(layers, i, entry) {
		struct signature_layer layer = { .base64 = NULL };

		r = read_layer(entry, &layer, err);
		if (r == 1)
			r = fn(arg, &layer, err);
		if (r != 0)
			return r;
	}
	return 0;
}
