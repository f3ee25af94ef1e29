/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small image with one of everything, for tests of what reads images:
 *
 *	ino  path            what
 *	1    /               directory
 *	2    a.txt, other    hard link, content 1 (10 bytes), xattrs
 *	3    d/              directory
 *	4    empty           empty file
 *	5    link            symbolic link to d/deep.bin
 *	6    \377\376        file with a name that is no UTF-8, content 3 (5 bytes)
 *	7    d/deep.bin      content 2 (3000 bytes, a hole in the middle)
 *	8    d/nnn…          empty directory with a name of 255 bytes
 *
 * Chunk 1 holds contents 1 and 3; chunks 2 and 3 hold the ends of content 2.
 * Chunks 1 and 2 are in pack 1, chunk 3 is in pack 2.
 */
#pragma once

#include "image.h"
#include "layout_writer.h"

enum {
	SAMPLE_N_CHUNKS = 3,
	SAMPLE_N_PACKS = 2,
	SAMPLE_N_NODES = 8,
	SAMPLE_CHUNK1 = 15, /* plain bytes of each chunk */
	SAMPLE_CHUNK2 = 1000,
	SAMPLE_CHUNK3 = 1200,
	SAMPLE_DEEP = 3000, /* bytes of d/deep.bin */
};

/* A new directory for one test. Ends the process when there is none to be had. */
#define SAMPLE_PATH_MAX 512u
void sample_dir(char ret[static SAMPLE_PATH_MAX]);

/* Remove a directory of sample_dir() with all that is in it. */
void sample_dir_remove(const char *dir);

/* Write @dir/@name into @ret and return it. */
const char *sample_path(const char *dir, const char *name, char ret[static SAMPLE_PATH_MAX]);

/* The plain bytes of @chunk, from 1. Sets *@ret_size. */
const uint8_t *sample_chunk(uint64_t chunk, size_t *ret_size);

/* Build the image for @platform in layout @dir/layout, its index in file @dir/@index too. */
MUST_CHECK int sample_image(const char *dir, const char *index, const char *platform,
                            struct manifest *ret, struct err *err);

/* Write the index only, with packs that do not exist. */
MUST_CHECK int sample_index(const char *path, struct err *err);
