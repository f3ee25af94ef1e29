/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Constants and on-disk structures of the image format, version 1: a
 * transcription of docs/format.md and nothing else. The index's tables are in
 * schema.sql.
 */
#pragma once

#include "base/bytes.h"

/* OCI media types, format.md §2. */
#define FORMAT_ARTIFACT_TYPE    "application/vnd.assetfs.image.v1"
#define FORMAT_TYPE_CONFIG      "application/vnd.assetfs.config.v1+json"
#define FORMAT_TYPE_INDEX       "application/vnd.assetfs.index.v1+zstd"
#define FORMAT_TYPE_PACK        "application/vnd.assetfs.pack.v1+zstd"
#define FORMAT_TYPE_DELTA       "application/vnd.assetfs.delta.v1+zstd"
#define FORMAT_TYPE_TRACE       "application/vnd.assetfs.trace.v1+zstd"
#define FORMAT_TYPE_OCI_INDEX   "application/vnd.oci.image.index.v1+json"
#define FORMAT_TYPE_OCI_IMAGE   "application/vnd.oci.image.manifest.v1+json"
#define FORMAT_ANNOTATION_TITLE "org.opencontainers.image.title"
#define FORMAT_ANNOTATION_REF   "org.opencontainers.image.ref.name"
#define FORMAT_ANNOTATION_BASE  "org.opencontainers.image.base.digest"
#define FORMAT_PLATFORM_ANY     "any" /* config's platform when every platform gets the same image */

/* Index database, format.md §4. */
#define FORMAT_APPLICATION_ID 0x61737466 /* "astf" */
#define FORMAT_USER_VERSION   1
#define FORMAT_INCOMPAT_KNOWN 0u /* version 1 defines no incompatible feature */
#define FORMAT_ROOT_INO       1u

enum {
	FORMAT_CHUNK_MAX = 4 << 20, /* plain bytes: bounds what one read may have to decompress */
	FORMAT_FRAME_MAX = 4210688, /* ZSTD_COMPRESSBOUND(FORMAT_CHUNK_MAX) */
	FORMAT_WINDOW_LOG_MAX = 22, /* log2 of FORMAT_CHUNK_MAX */
	FORMAT_NAME_MAX = 255,      /* Linux NAME_MAX */
	FORMAT_TARGET_MAX = 4095,   /* Linux PATH_MAX without the NUL */
	FORMAT_JSON_MAX = 16 << 20, /* manifests and configs: a pack's entry takes 200 bytes */
	FORMAT_PACKS_MAX = 65535,   /* 4 TiB of packs of 64 MiB */
	FORMAT_PACK_FRAMES_MAX = 1 << 27, /* limit of the seekable format */
	FORMAT_DELTAS_MAX = 65535,        /* delta layers of a manifest */
	FORMAT_PREFIX_MAX = 4 << 20,      /* plain bytes of the bases of one frame */
	FORMAT_PREFIX_CHUNKS_MAX = 64,    /* bases of one frame */
	FORMAT_DELTA_WINDOW_LOG_MAX = 23, /* log2 of a prefix and a chunk */
	FORMAT_DELTA_COUNT_MAX = 1 << 24, /* bases, frames, and references in one blob */
	FORMAT_DELTA_RATIO_MAX = 16, /* plain bytes of a table to a stored one: most are digests */
};
#define FORMAT_FILE_MAX  ((uint64_t)1 << 50)  /* keeps every offset sum far from overflow */
#define FORMAT_SMALL_MAX ((uint64_t)1 << 20)  /* bytes of a content that counts as small */
#define FORMAT_INDEX_MAX ((uint64_t)64 << 30) /* plain bytes of an index database */
#define FORMAT_TRACE_MAX ((uint64_t)64 << 20) /* plain bytes of a trace */

/*
 * The end of a pack, format.md §3.2: a zstd skippable frame in the layout of
 * zstd's seekable format, version 0.1.1, without checksums per entry.
 */
#define FORMAT_SEEK_SKIPPABLE 0x184d2a5eu
#define FORMAT_SEEK_MAGIC     0x8f92eab1u

struct seek_header {
	le32 skippable; /* FORMAT_SEEK_SKIPPABLE */
	le32 size;      /* bytes after this field */
};
STATIC_SIZE(struct seek_header, 8);

struct seek_entry {
	le32 frame_size; /* compressed */
	le32 size;       /* plain */
};
STATIC_SIZE(struct seek_entry, 8);

struct seek_footer {
	le32 n_frames;
	uint8_t descriptor; /* 0: entries carry no checksum */
	uint8_t magic[4];   /* FORMAT_SEEK_MAGIC, little-endian */
};
STATIC_SIZE(struct seek_footer, 9);

/*
 * The end of a delta blob, format.md §3.3: a zstd skippable frame of a
 * struct delta_header, the compressed table, and a struct delta_footer. The
 * table: the bases' digests, the frames' digests, a struct delta_entry for each frame, and the
 * frames' references to bases, le32 each, in order.
 */
#define FORMAT_DELTA_SKIPPABLE 0x184d2a5du
#define FORMAT_DELTA_MAGIC     0x64667361u /* "asfd" */

struct delta_header {
	le32 skippable; /* FORMAT_DELTA_SKIPPABLE */
	le32 size;      /* bytes after this field */
};
STATIC_SIZE(struct delta_header, 8);

struct delta_entry {
	le32 size;       /* plain */
	le32 frame_size; /* compressed */
	le32 n_bases;
};
STATIC_SIZE(struct delta_entry, 12);

struct delta_footer {
	le32 n_bases;
	le32 n_frames;
	le32 n_refs;     /* sum of the entries' n_bases */
	le32 table_size; /* compressed */
	le32 magic;      /* FORMAT_DELTA_MAGIC */
};
STATIC_SIZE(struct delta_footer, 20);
