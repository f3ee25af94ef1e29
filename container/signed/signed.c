/* SPDX-License-Identifier: Apache-2.0 */
#include "signed/signed.h"

/* For struct signature_store. */
static int get_manifest(void *arg, const char *tag, char **ret, size_t *len, struct err *err)
{
	const struct layout *const *layout = arg;
	struct descriptor d;
	bool is_index;
	int r = layout_find_tag(*layout, tag, &d, &is_index, err);

	if (r == 0)
		r = layout_read_blob(*layout, &d, ret, err);
	if (r == 0)
		*len = d.size;
	return r;
}

/* For struct signature_store. */
static int get_blob(void *arg, const struct digest *digest, uint64_t size, char **ret,
                    struct err *err)
{
	const struct layout *const *layout = arg;
	const struct descriptor d = { .digest = *digest, .size = size };

	return layout_read_blob(*layout, &d, ret, err);
}

int signed_check(const struct signature_key *key, const struct layout *layout,
                 const struct digest *image, struct err *err)
{
	const struct signature_store store = {
		.name = layout_path(layout),
		.arg = &layout,
		.get = get_manifest,
		.blob = get_blob,
	};

	return signature_verify(key, &store, image, err);
}
