/* SPDX-License-Identifier: Apache-2.0 */
#include "oci_json.h"

#include <errno.h>
#include <string.h>

#include "format.h"
#include "plain.h"

#define DIGEST_PREFIX "sha256:"

int json_parse_object(const char *text, size_t len, const char *what, json_t **ret, struct err *err)
{
	CLEANUP(json_decref) json_t *root = NULL;
	json_error_t error;

	root = json_loadb(text, len, JSON_REJECT_DUPLICATES, &error);
	if (!root && json_error_code(&error) == json_error_out_of_memory)
		return err_set(err, -ENOMEM, "out of memory");
	if (!root)
		return err_set(err, -EBADMSG, "%s is not JSON: line %d: %.*s", what, error.line,
		               plain_len(error.text), error.text);
	if (!json_is_object(root))
		return err_set(err, -EBADMSG, "%s is not a JSON object", what);
	*ret = TAKE_PTR(root);
	return 0;
}

int json_digest(const char *text, struct digest *ret)
{
	if (strncmp(text, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0)
		return -EINVAL;
	text += strlen(DIGEST_PREFIX);
	return digest_parse(text, strlen(text), ret);
}

int json_descriptor(const json_t *object, struct descriptor *ret, struct err *err)
{
	const char *digest = json_string_value(json_object_get(object, "digest"));
	const json_t *size = json_object_get(object, "size");
	struct descriptor d;

	if (!digest || json_digest(digest, &d.digest) < 0)
		return err_set(err, -EBADMSG, "descriptor without a sha256 digest");
	if (!json_is_integer(size) || json_integer_value(size) < 1)
		return err_set(err, -EBADMSG, "descriptor of '%s' without a size", digest);
	d.size = (uint64_t)json_integer_value(size);
	*ret = d;
	return 0;
}

json_t *json_from_digest(const struct digest *digest)
{
	char text[sizeof(DIGEST_PREFIX) + DIGEST_HEX_SIZE] = DIGEST_PREFIX;

	(void)digest_hex(digest, text + strlen(DIGEST_PREFIX));
	return json_string(text);
}

json_t *json_from_descriptor(const char *media_type, const struct descriptor *d)
{
	return json_pack("{s:s, s:o, s:I}", "mediaType", media_type, "digest",
	                 json_from_digest(&d->digest), "size", (json_int_t)d->size);
}
