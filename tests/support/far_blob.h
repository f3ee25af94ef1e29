/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blobs that are far away, for tests of fetch: made of nothing but their first byte, counted as they
 * are read, and failing when told to. Any thread.
 */
#pragma once

#include <stdbool.h>

#include "fetch.h"

enum {
	FAR_SOURCES = 4,
	FAR_MARK = 65536, /* a byte that is watched */
};

/* A place that blobs come from. */
struct far_place {
	uint64_t n_reads; /* atomic */
	uint64_t n_bytes; /* atomic; given */
	int n_failures; /* atomic; reads that are still to fail, with -ECONNRESET after half of their bytes */
	bool is_down;       /* atomic; reads fail with -ECONNREFUSED */
	bool is_missing;    /* atomic; reads fail with -ENOENT */
	unsigned step_us;   /* constant; what each 8 KiB take */
	int n_lies;         /* atomic; reads that are still to give wrong bytes */
	uint32_t liars;     /* atomic; sources whose bytes from FAR_MARK to its double are wrong */
	unsigned n_sources; /* constant; that are asked in order; 0: one */
	unsigned asked[FAR_SOURCES]; /* atomic; how often each gave the byte FAR_MARK */
	unsigned released;           /* atomic */
};

/* Blob @name, any number, of @size bytes. */
struct descriptor far_blob(uint8_t name, uint64_t size);

/* Byte @off of blob @name. */
uint8_t far_byte(uint8_t name, uint64_t off);

struct fetch_from far_from(struct far_place *place);

/* How many of the @len bytes at @off of @blob in directory @dir are wrong; -1 when they cannot be read. */
int far_wrong_bytes(int dir, const struct descriptor *blob, uint64_t off, size_t len);
