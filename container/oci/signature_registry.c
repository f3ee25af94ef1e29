/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdlib.h>

#include "base/cleanup.h"
#include "oci/signature.h"

/* For struct signature_store. */
static int get_referrers(void *arg, const struct digest *image, char **ret, size_t *len,
                         struct err *err)
{
	CLEANUP(registry_manifest_release) struct registry_manifest m = REGISTRY_MANIFEST_INIT;
	int r = registry_get_referrers(arg, image, &m, err);

	if (r < 0)
		return r == -ENOMEDIUM ? -ENOENT : r;
	*len = m.len;
	*ret = TAKE_PTR(m.bytes);
	return 0;
}

/* For struct signature_store. */
static int get_manifest(void *arg, const char *target, char **ret, size_t *len, struct err *err)
{
	CLEANUP(registry_manifest_release) struct registry_manifest m = REGISTRY_MANIFEST_INIT;
	int r = registry_get_manifest(arg, target, /* digest= */ NULL, &m, err);

	if (r < 0)
		return r == -ENOMEDIUM ? -ENOENT : r;
	*len = m.len;
	*ret = TAKE_PTR(m.bytes);
	return 0;
}

/* For struct signature_store. */
static int get_blob(void *arg, const struct digest *digest, uint64_t size, char **ret,
                    struct err *err)
{
	CLEANUP(free) char *bytes = malloc(size);
	int r = bytes ? registry_get_blob(arg, digest, size, bytes, err)
	              : err_set(err, -ENOMEM, "out of memory");

	if (r < 0)
		return r;
	*ret = TAKE_PTR(bytes);
	return 0;
}

int signature_verify_registry(const struct signature_key *key, struct registry *reg,
                              const struct digest *image, struct err *err)
{
	const struct signature_store store = {
		.name = registry_name(reg),
		.arg = reg,
		.get = get_manifest,
		.blob = get_blob,
		.referrers = get_referrers,
	};

	return signature_verify(key, &store, image, err);
}
