/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An OCI image-layout directory that holds images (format.md §2): references,
 * blobs, manifests. Functions may be called from any thread; a struct
 * manifest is constant once loaded.
 */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/io.h"

/* IMAGE on a command line: [oci:]LAYOUT[:TAG]. */
struct image_ref {
	char *layout; /* owned */
	char *tag;    /* owned; "latest" when the text names none */
};

#define IMAGE_REF_INIT ((struct image_ref){ .layout = NULL, .tag = NULL })

/*
 * Parse @text. A layout is a path that starts with '/' or '.', or anything
 * after "oci:"; what follows the last ':' after the last '/' is the tag.
 * Returns 0, -EINVAL or -ENOMEM.
 */
MUST_CHECK int image_ref_parse(const char *text, struct image_ref *ret, struct err *err);
void image_ref_release(struct image_ref *ref);

static inline void image_ref_release_cleanup(struct image_ref *ref)
{
	image_ref_release(ref);
}

/* A blob as manifests name it. */
struct descriptor {
	struct digest digest;
	uint64_t size;
};

/* "os/architecture[/variant]" or FORMAT_PLATFORM_ANY, NUL-terminated. */
#define PLATFORM_MAX 64u
struct platform {
	char name[PLATFORM_MAX];
};

/* Check OS/ARCH[/VARIANT]: lower-case letters, digits, '.', '_', '-'. Returns 0 or -EINVAL. */
MUST_CHECK int platform_parse(const char *text, struct platform *ret, struct err *err);

/* The platform that this machine runs, e.g. "linux/amd64". */
struct platform platform_of_host(void);

/* A delta of a manifest: some of its chunks, for who has the image that they are made from. */
struct delta_layer {
	struct descriptor blob;
	struct digest base; /* of the other image's manifest */
};

/* One platform's image. */
struct manifest {
	struct descriptor self; /* the manifest blob: its digest names the image */
	struct platform platform;
	struct descriptor config;
	struct descriptor index;  /* compressed index database */
	struct descriptor *packs; /* owned */
	uint32_t n_packs;
	struct delta_layer *deltas; /* owned */
	uint32_t n_deltas;
	struct descriptor trace; /* compressed trace; size 0: the image has none */
	bool has_small_bytes;    /* the config was read, and says: */
	uint64_t small_bytes;    /* sum of the sizes of contents up to FORMAT_SMALL_MAX */
};

#define MANIFEST_INIT \
	((struct manifest){ .packs = NULL, .n_packs = 0, .deltas = NULL, .n_deltas = 0 })

void manifest_release(struct manifest *m);

static inline void manifest_release_cleanup(struct manifest *m)
{
	manifest_release(m);
}

/*
 * Parse the JSON of a manifest. Performs no I/O. @ret->self and @ret->platform
 * are left empty: they come from what names the manifest. Returns 0; -EBADMSG
 * when it is not an assetfs image or contradicts the format; -EPROTONOSUPPORT
 * for layers of a newer format; -ENOMEM.
 */
MUST_CHECK int manifest_parse(const char *json, size_t len, struct manifest *ret, struct err *err);

/* A layout opened for reading. */
struct layout;

/* Open the layout directory @path. Returns 0; -EBADMSG when it is no OCI layout; -errno. */
MUST_CHECK int layout_open(const char *path, struct layout **ret, struct err *err);

/* Accepts NULL. */
void layout_close(struct layout *layout);
DEFINE_CLEANUP(struct layout *, layout_close)

/* Another handle of the same layout. */
MUST_CHECK int layout_dup(const struct layout *layout, struct layout **ret, struct err *err);

/* Directory blobs/sha256 of the layout; borrowed. Blobs in it are named by their digest's digits. */
int layout_blobs(const struct layout *layout);

/* Path as it was opened; borrowed. */
const char *layout_path(const struct layout *layout);

/*
 * Load the manifest blob @digest, whatever names it; its platform is left
 * empty. Returns 0; -ENOENT when the layout has no such blob; what manifest_parse()
 * returns; -errno.
 */
MUST_CHECK int layout_manifest(const struct layout *layout, const struct digest *digest,
                               struct manifest *ret, struct err *err);

/*
 * Find what @tag names; *@is_index says whether that is an image index. Returns 0;
 * -ENOENT when there is no such tag (the message lists some that exist); -EBADMSG; -errno.
 */
MUST_CHECK int layout_find_tag(const struct layout *layout, const char *tag, struct descriptor *ret,
                               bool *is_index, struct err *err);

/* What a tag names: one image per platform. */
struct image_set {
	struct descriptor self;     /* of the image index */
	struct manifest *manifests; /* owned */
	uint32_t n_manifests;       /* images; several platforms may name the same one */
};

#define IMAGE_SET_INIT ((struct image_set){ .manifests = NULL, .n_manifests = 0 })

void image_set_release(struct image_set *set);

static inline void image_set_release_cleanup(struct image_set *set)
{
	image_set_release(set);
}

/*
 * Load all manifests that @tag names, in the order of the image index, their
 * blobs checked against their digests. Entries that name the same manifest are
 * loaded once, with platform FORMAT_PLATFORM_ANY when their config says so.
 *
 * Returns 0; -ENOENT when there is no such tag (the message lists some that
 * exist); -EBADMSG; -errno.
 */
MUST_CHECK int layout_images(const struct layout *layout, const char *tag, struct image_set *ret,
                             struct err *err);

/*
 * The image in @set for @platform: the one of that platform, else the one for
 * any. Returns NULL when there is none; the message lists those there are.
 * Borrowed from @set.
 */
const struct manifest *image_set_find(const struct image_set *set, const struct platform *platform,
                                      struct err *err);

/* Read blob @d into new memory, checked against its digest. The caller frees *@ret. */
MUST_CHECK int layout_read_blob(const struct layout *layout, const struct descriptor *d, char **ret,
                                struct err *err);
