/* SPDX-License-Identifier: Apache-2.0 */
/*
 * PNG, zip and tar files made in memory, byte by byte, for tests that have to lie.
 * Checksums other than tar's, which nobody reads, are zero. Out of memory ends the process.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

struct built {
	uint8_t *data; /* owned */
	size_t len;
	size_t max;
};

static inline void built_release_cleanup(struct built *b)
{
	free(b->data);
}

/* Append @len bytes; those of @data, or some without meaning if it is NULL. */
void built_add(struct built *b, const void *data, size_t len);

/* Append @n bytes of @value, least significant first. */
void built_add_le(struct built *b, uint64_t value, size_t n);

/* Replace the @n bytes at @off likewise. */
void built_set_le(struct built *b, size_t off, uint64_t value, size_t n);

void built_png_signature(struct built *b);

/* Append a chunk with @size bytes of data. */
void built_png_chunk(struct built *b, const char *type, uint32_t size);

struct built_member {
	const char *name;
	uint64_t size;        /* of its data as they lie there */
	uint16_t method;      /* 0 stored, 8 deflated */
	uint16_t flags;       /* 1 encrypted */
	uint16_t local_extra; /* bytes of extra fields that only the local header has */
	bool zip64;           /* sizes and offset are in an extra field, behind another one */
	size_t header;        /* set: offset of the local header */
	size_t at;            /* set: offset of the data */
	size_t entry;         /* set: offset in the central directory */
};

struct built_zip {
	struct built_member *members;
	size_t n;
	size_t base;         /* what offsets count from */
	bool zip64;          /* the end of the directory is in a zip64 record, too */
	const void *comment; /* NULL: bytes without meaning */
	uint16_t comment_len;
	size_t directory; /* set: offset of the central directory */
	size_t end;       /* set: offset of the end record */
};

/* Append local headers and data, the central directory, and its end. */
void built_zip(struct built *b, struct built_zip *z);

/* Append the header of a member of @size bytes; returns its offset. */
size_t built_tar_header(struct built *b, char type, const char *name, uint64_t size);

/* Make the checksum of the header at @off right again. */
void built_tar_sum(struct built *b, size_t off);

/* Append a header, @size bytes of @data or without meaning, and padding; returns the data's offset. */
size_t built_tar_member(struct built *b, char type, const char *name, const void *data,
                        size_t size);

/* Append the two blocks of zeros. */
void built_tar_end(struct built *b);
