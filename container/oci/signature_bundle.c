/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bundle is that of github.com/sigstore/protobuf-specs, in JSON. It has an envelope
 * (github.com/secure-systems-lab/dsse, protocol.md) around a statement of in-toto, which is about
 * digests, and of a type: others than that of a signature, such as lists of materials, are signed
 * with the same key, and say nothing of whether an image is to be used.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/json_text.h"
#include "oci/signature_internal.h"

#define TYPE_PAYLOAD   "application/vnd.in-toto+json"
#define TYPE_PREDICATE "https://sigstore.dev/cosign/sign/v1"

enum { STATEMENT_MAX = 1 << 20 };

/* What is signed of a payload, dsse "PAE": a new string of *@len bytes, or NULL. */
static char *signed_bytes(const char *payload, size_t payload_len, size_t *len)
{
	char head[100];
	int n = snprintf(head, sizeof(head), "DSSEv1 %zu %s %zu ", strlen(TYPE_PAYLOAD),
	                 TYPE_PAYLOAD, payload_len);
	char *text = malloc((size_t)n + payload_len);

	if (!text)
		return NULL;
	memcpy(text, head, (size_t)n);
	memcpy(text + n, payload, payload_len);
	*len = (size_t)n + payload_len;
	return text;
}

/* Whether @statement is about @image. */
static bool is_about(const json_t *statement, const struct digest *image)
{
	const json_t *subjects = json_object_get(statement, "subject"), *subject;
	size_t i;

	json_array_foreach(subjects, i, subject) {
		const char *hex = json_text_member(json_object_get(subject, "digest"), "sha256");
		struct digest digest;

		if (digest_parse(hex, strlen(hex), &digest) == 0 && digest_equal(&digest, image))
			return true;
	}
	return false;
}

/* Check that the @len bytes of a statement at @text are a signature of @image. */
static int check_statement(const char *text, size_t len, const struct digest *image,
                           struct err *err)
{
	CLEANUP(json_unref) json_t *root = json_text_object(text, len);

	if (!root)
		return err_set(err, -EBADMSG, "a statement is not a JSON object");
	if (strcmp(json_text_member(root, "predicateType"), TYPE_PREDICATE) != 0)
		return err_set(err, -EBADMSG, "a statement is not one of a container's signature");
	if (!is_about(root, image))
		return err_set(err, -EBADMSG, "a signature is of another image");
	return 0;
}

/* Whether one of @signatures is the key's of the @len bytes at @data: 1, 0 or -errno. */
static int one_fits(const struct signature_key *key, const json_t *signatures, const char *data,
                    size_t len, struct err *err)
{
	const json_t *entry;
	size_t i;

	json_array_foreach(signatures, i, entry) {
		int r = i < SIGNATURE_ITEMS_MAX
		                ? signature_fits(key, data, len, json_text_member(entry, "sig"),
		                                 err)
		                : 0;

		if (r != 0)
			return r;
	}
	return 0;
}

int signature_check_bundle(const struct signature_key *key, const char *text, size_t len,
                           const struct digest *image, struct err *err)
{
	CLEANUP(json_unref) json_t *root = json_text_object(text, len);
	const json_t *envelope = json_object_get(root, "dsseEnvelope");
	CLEANUP(free) char *payload = NULL;
	CLEANUP(free) char *data = NULL;
	size_t data_len = 0;
	int n, r;

	if (!envelope || strcmp(json_text_member(envelope, "payloadType"), TYPE_PAYLOAD) != 0)
		return err_set(err, -EBADMSG, "a bundle has no statement");
	n = signature_decode(json_text_member(envelope, "payload"), STATEMENT_MAX, "statement",
	                     &payload, err);
	if (n < 0)
		return n;
	data = signed_bytes(payload, (size_t)n, &data_len);
	if (!data)
		return err_set(err, -ENOMEM, "out of memory");
	r = one_fits(key, json_object_get(envelope, "signatures"), data, data_len, err);
	if (r == 0)
		return err_set(err, -EBADMSG, "a signature is not by the key '%s'",
		               signature_key_path(key));
	return r < 0 ? r : check_statement(payload, (size_t)n, image, err);
}
