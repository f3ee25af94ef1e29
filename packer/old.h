/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The images of the release that a build starts from. Read-only once opened:
 * any thread may look things up.
 */
#pragma once

#include "image.h"
#include "old_contents.h"
#include "packs.h"
#include "sections.h"

struct old {
	struct layout *layout;          /* owned */
	struct image_set set;           /* owned */
	struct image **images;          /* owned; of each of set's manifests */
	struct digest *plain;           /* owned; of their index databases, zero when not known */
	struct old_contents **contents; /* owned; of the images, those that have been read early */
	uint32_t n;
};

#define OLD_INIT ((struct old){ .set = IMAGE_SET_INIT })

/*
 * Open all images that @tag of the layout at @path names. Their packs have to be
 * there. Returns 0; -ENOENT when there is no such tag; -EBADMSG; -errno.
 */
MUST_CHECK int old_open(const char *path, const char *tag, struct old *ret, struct err *err);

/* Whether the packs and indexes of all images of @set are in @layout, with the right sizes. */
bool old_has_blobs(const struct layout *layout, const struct image_set *set);

void old_release(struct old *old);

static inline void old_release_cleanup(struct old *old)
{
	old_release(old);
}

/* The image for @platform: its own, else the one for any, else the first; NULL when there is none. */
struct image *old_for(const struct old *old, const char *platform);

/* The digest of the index database of the image of @m, one of @old's; zero when it is not known. */
const struct digest *old_plain_index(const struct old *old, const struct manifest *m);

/*
 * The sections of the packed index of the image of @m, one of @old's; none when its config has none.
 * Returns 0 or -errno.
 */
MUST_CHECK int old_sections(const struct old *old, const struct manifest *m, struct sections *ret,
                            struct err *err);

/* The number of that image; 0 when there is none. */
unsigned old_number_for(const struct old *old, const char *platform);

/* Make all packs and chunks known to @packs. Returns 0 or -errno. */
MUST_CHECK int old_register(const struct old *old, struct packs *packs, struct err *err);

/* Whether there is a regular file at @path of @img: sets *@ret to its content, or to 0. Any thread. */
bool old_file_at(struct image *img, const char *path, uint64_t *ret);

/* Find regular files of one image by what is left of a path that does not exist any more. */
struct old_names;

/* @img is borrowed. Returns NULL when memory runs out. */
struct old_names *old_names_new(struct image *img);

/* Accepts NULL. */
void old_names_free(struct old_names *names);
DEFINE_CLEANUP(struct old_names *, old_names_free)

/*
 * The content of the file that @path, at which old_file_at() finds none, most likely was in the old
 * image: one of the same name elsewhere; else, in the same directory and of the same extension, the
 * one whose name has most in common. Sets *@ret to its number, or to 0. Returns 0, -ENOMEM or
 * -errno. One thread at a time.
 */
MUST_CHECK int old_names_find(struct old_names *names, const char *path, uint64_t *ret,
                              struct err *err);
