/* SPDX-License-Identifier: Apache-2.0 */
/* What an image is, and what it costs those who have the one before. One thread at a time. */
#pragma once

#include "image.h"

enum { REPORT_PLATFORMS_MAX = 32 };

struct platform_report {
	struct platform platform;
	struct descriptor manifest;
	uint64_t files;         /* regular files, hard links counted once */
	uint64_t bytes;         /* sum of their sizes */
	uint64_t unique_bytes;  /* sum of the sizes of different contents */
	uint64_t chunks;        /* new and reused */
	uint64_t new_chunks;    /* that the base image lacks */
	uint64_t reused_chunks; /* that it has */
	uint64_t stored_bytes;  /* of all blobs of the image */
	uint64_t shared_bytes;  /* of packs that another platform's image names, too */
	uint64_t update_bytes;  /* of blobs that the base image of this platform lacks */
	uint64_t delta_bytes;   /* the same for a node that uses delta layers */
};

struct report {
	struct descriptor image; /* the image index */
	bool has_base;           /* compared with an image that was there before */
	struct descriptor base;  /* its image index */
	uint64_t input_bytes; /* sizes of all files; what several platforms have in common counts once */
	uint64_t unique_bytes; /* sizes of different contents */
	uint64_t stored_bytes; /* of all blobs, each counted once */
	uint64_t shared_bytes; /* of packs that more than one platform's image names, each counted once */
	uint64_t separate_bytes; /* what stored_bytes would be without common packs */
	uint64_t upload_bytes;   /* of blobs that the base image has for no platform */
	uint64_t update_bytes;   /* the largest of the platforms' */
	uint64_t delta_bytes;    /* the largest of the platforms' */
	uint64_t chunks;         /* different ones */
	uint64_t new_chunks;     /* that the base image has for no platform */
	uint64_t reused_chunks;  /* that it has for some */
	uint64_t duration_ms;    /* the caller's */
	struct platform_report platforms[REPORT_PLATFORMS_MAX];
	unsigned n_platforms;
};

/* Images of a tag, and where their blobs are. */
struct report_source {
	const struct layout *layout;    /* borrowed */
	const struct image_set *images; /* borrowed */
};

/*
 * Fill @ret for @image, with what manifests say: everything but input_bytes,
 * unique_bytes and duration_ms of the whole, which only the builder knows, and what
 * report_count() counts. @base is the image before, or NULL. Performs no I/O.
 *
 * Returns 0, -E2BIG when there are more platforms than there is room for, or -ENOMEM.
 */
MUST_CHECK int report_make(const struct image_set *images, const struct image_set *base,
                           struct report *ret, struct err *err);

/*
 * Count files, bytes and chunks of the report that report_make() made of the same images. Reads
 * the indexes of both, each once. Returns 0; -EBADMSG; -errno.
 */
MUST_CHECK int report_count(struct report *report, const struct report_source *image,
                            const struct report_source *base, struct err *err);
