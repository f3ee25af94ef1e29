/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Images that are in registries. What is fetched of them is kept in the store: their manifests whole, in
 * the form of an OCI layout, and packs as sparse files beside them (fs/fetch.h).
 *
 *	STORE/remote/oci-layout, STORE/remote/blobs/sha256/HEX
 *
 * Nothing of this is opened before the first image of a registry is asked for. Functions may be called
 * from any thread.
 */
#pragma once

#include "fetch.h"
#include "oci/credentials_text.h"
#include "store.h"
#include "verifier.h"

struct remotes;

struct remotes_config {
	struct store *store;       /* borrowed */
	struct stats *stats;       /* borrowed */
	uint64_t store_size;       /* as in struct fetch_config */
	uint64_t rate;             /* likewise */
	unsigned timeout_s;        /* likewise */
	bool plain_http;           /* as in struct registry_options */
	const char *ca_file;       /* borrowed; likewise */
	struct verifier *verifier; /* borrowed; of what is looked up by name */
};

/* Returns NULL when memory runs out. */
struct remotes *remotes_new(const struct remotes_config *config);

/* As fetch_stop(). Accepts NULL. */
bool remotes_stop(struct remotes *remotes);

/* As fetch_free(). Accepts NULL. */
void remotes_free(struct remotes *remotes);

/* Whether @image names one in a registry, and not in a layout. */
bool remotes_is_name(const char *image);

/* What to look up, as whom. */
struct remote_name {
	const char *name;                     /* HOST/REPOSITORY[:TAG][@DIGEST] */
	struct credentials_text *credentials; /* borrowed; for this one, before the daemon's */
	const char *key;                      /* that must have signed it, too, in PEM; or NULL */
	bool private; /* credentials were given: that a name is known here is not enough */
};

/* An image that was looked up. */
struct remote_image {
	struct layout *layout; /* owned; of the store */
	struct image_set set;  /* owned */
	struct origin *origin; /* owned reference */
	bool asked;            /* the registry, and it has answered as it should */
};

#define REMOTE_IMAGE_INIT ((struct remote_image){ .layout = NULL, .origin = NULL })

void remote_image_release(struct remote_image *found);

/*
 * Ask the registry what @name stands for, and whether it is signed as it must be. A name with a digest, whose manifests are in the store, does not
 * need the registry; when it is private, only where the registry cannot be reached. -EBADMSG for what is not signed. Returns 0; an error of
 * registry.h; -errno.
 */
MUST_CHECK int remotes_find(struct remotes *remotes, const struct remote_name *name,
                            struct remote_image *ret, struct err *err);

/*
 * As remotes_find(), of the manifest @digest alone, which the store has from then: asks no registry.
 * Returns 0, -ENOENT, -EBADMSG or -errno.
 */
MUST_CHECK int remotes_find_digest(struct remotes *remotes, const struct remote_name *name,
                                   const struct digest *digest, struct remote_image *ret,
                                   struct err *err);

/* Load the manifest @digest of @ret->layout as the only one of @ret->set. Returns as layout_manifest(). */
MUST_CHECK int remote_image_load(struct remote_image *ret, const struct digest *digest,
                                 struct err *err);

/*
 * Open the image of @manifest, which is of @found->set, and let its packs come from where it was found: takes
 * @found->origin then. Returns as store_open_image() and fetch_hold() do.
 */
MUST_CHECK int remotes_open(struct remotes *remotes, struct remote_image *found,
                            const struct manifest *manifest, struct image **ret, struct err *err);

/* Whether the names @a and @b are of one repository. */
bool remotes_same_repository(const char *a, const char *b);

/* As fetch_usage(); what blobs take is not known before the first image was asked for. */
void remotes_usage(struct remotes *remotes, struct fetch_usage *ret);
