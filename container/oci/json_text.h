/* SPDX-License-Identifier: Apache-2.0 */
/* JSON of servers and files. Any thread. */
#pragma once

#include <jansson.h>

#include "base/err.h"

static inline void json_unref_cleanup(json_t **json)
{
	json_decref(*json);
}

/* The JSON object in the @len bytes at @text, which the caller unreferences; NULL when it is none. */
static inline json_t *json_text_object(const char *text, size_t len)
{
	json_t *root = json_loadb(text, len, JSON_REJECT_DUPLICATES, NULL);

	if (root && !json_is_object(root)) {
		json_decref(root);
		return NULL;
	}
	return root;
}

/* The text of member @name, or "" when it has none; borrowed from @object. */
static inline const char *json_text_member(const json_t *object, const char *name)
{
	const char *text = json_string_value(json_object_get(object, name));

	return text ? text : "";
}
