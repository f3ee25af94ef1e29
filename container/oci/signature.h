/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Signatures of images by a key pair, as cosign makes them with --key (github.com/sigstore/cosign).
 * They are in one of two places beside an image with digest sha256:HEX:
 *
 * - The tag "sha256-HEX.sig" names a manifest whose layers are payloads, each with a signature as
 *   annotation; a payload is JSON that names the digest ("simple signing", specs/SIGNATURE_SPEC.md).
 *   So until version 2, and with --new-bundle-format=false.
 * - Among what refers to the image (OCI distribution specification 1.1, "Listing Referrers") are
 *   manifests whose layers are bundles, each a signed statement about the digest. So from version 3 on.
 *
 * Who is named as signer, certificates and logs are not looked at: the key alone counts. Any
 * thread; a key is constant.
 */
#pragma once

#include "base/err.h"
#include "base/hash.h"
#include "oci/registry.h"

struct signature_key;

/*
 * Load a public key from the PEM file @path: ECDSA on P-256, RSA of 2048 bits or more (PKCS #1
 * v1.5), each with SHA-256, or Ed25519. Returns 0; -EINVAL when it is none of these; -errno.
 */
MUST_CHECK int signature_key_load(const char *path, struct signature_key **ret, struct err *err);

/* As signature_key_load(), of the @len bytes at @text; @name is for messages. */
MUST_CHECK int signature_key_parse(const char *text, size_t len, const char *name,
                                   struct signature_key **ret, struct err *err);

/* Accepts NULL. */
void signature_key_free(struct signature_key *key);
DEFINE_CLEANUP(struct signature_key *, signature_key_free)

/*
 * The digest that the @len bytes of a payload at @text say is signed. Performs no I/O. Returns 0;
 * -EBADMSG when it is no payload of a container's signature; -ENOMEM.
 */
MUST_CHECK int signature_payload_parse(const char *text, size_t len, struct digest *ret,
                                       struct err *err);

/*
 * Check that the key's owner has signed @image: that @base64 is the key's signature of the @len
 * bytes at @payload, and that they name @image. Performs no I/O. Returns 0; -EBADMSG when not;
 * -ENOMEM.
 */
MUST_CHECK int signature_check(const struct signature_key *key, const char *payload, size_t len,
                               const char *base64, const struct digest *image, struct err *err);

/*
 * As signature_check(), of the @len bytes of a bundle at @text, which is to be a signature and not
 * some other statement.
 */
MUST_CHECK int signature_check_bundle(const struct signature_key *key, const char *text, size_t len,
                                      const struct digest *image, struct err *err);

/* One of a manifest's signatures. */
struct signature_layer {
	struct digest payload;
	uint64_t payload_size;
	const char *base64; /* borrowed */
};

/* Returns 0 to go on; else what signature_layers() returns. */
typedef int (*signature_layer_fn)(void *arg, const struct signature_layer *layer, struct err *err);

/*
 * Call @fn for each signature in the @len bytes of a manifest at @text; other layers are passed
 * over. Performs no I/O. Returns 0; what @fn returned; -EBADMSG when it is no manifest, or has
 * more than 64 layers; -ENOMEM.
 */
MUST_CHECK int signature_layers(const char *text, size_t len, signature_layer_fn fn, void *arg,
                                struct err *err);

/* Where signatures are beside images. */
struct signature_store {
	const char *name; /* borrowed; for messages */
	void *arg;

	/*
	 * What @target names, a tag, or "sha256:…" of what referrers() lists: its bytes, which the
	 * caller frees. -ENOENT when there is none.
	 */
	int (*get)(void *arg, const char *target, char **ret, size_t *len, struct err *err);

	/* The blob @digest, of @size bytes, at most 1 MiB: checked; the caller frees it. */
	int (*blob)(void *arg, const struct digest *digest, uint64_t size, char **ret,
	            struct err *err);

	/*
	 * The image index that lists what refers to @image, as get(); NULL: nobody knows.
	 */
	int (*referrers)(void *arg, const struct digest *image, char **ret, size_t *len,
	                 struct err *err);
};

/*
 * Check that one of the signatures of @image in @store is the key's. Returns 0; -EBADMSG when there
 * are none, or none is, with a message that says which; what @store returns; -ENOMEM.
 */
MUST_CHECK int signature_verify(const struct signature_key *key,
                                const struct signature_store *store, const struct digest *image,
                                struct err *err);

/* As signature_verify(), of the image @image in the repository @reg. */
MUST_CHECK int signature_verify_registry(const struct signature_key *key, struct registry *reg,
                                         const struct digest *image, struct err *err);
