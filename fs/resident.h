/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many bytes of an image the region holds, for reports and for floors of
 * pins. An image that shares much with a region of many objects has the digests of its contents
 * kept in memory from the first time, 8 bytes each: its index would be asked for each object anew.
 *
 * No locking: the caller serialises what has the same object. May read files and take
 * some tens of milliseconds.
 */
#pragma once

#include "index.h"
#include "region.h"

/* Objects with placed bytes, as they were at one time; in order of their digests' keys. */
struct resident_list {
	struct region_entry *entry; /* owned */
	size_t n;
};

#define RESIDENT_LIST_INIT ((struct resident_list){ .entry = NULL, .n = 0 })

/* List what is in @region. The caller releases *@ret. Returns 0 or -ENOMEM. */
MUST_CHECK int resident_list_load(struct region *region, struct resident_list *ret);
void resident_list_release(struct resident_list *list);

static inline void resident_list_release_cleanup(struct resident_list *list)
{
	resident_list_release(list);
}

/* Bytes of contents that were filled, to be looked for in the region later. Zeroed at first. */
struct filled {
	struct filled_part *part; /* owned; by key, once closed */
	size_t n, cap;
};

void filled_release(struct filled *filled);

/* Note that @bytes of the content of @digest were filled, none of them noted before. Returns 0 or -ENOMEM. */
MUST_CHECK int filled_add(struct filled *filled, const struct digest *digest, uint64_t bytes);

/* Nothing is added any more. */
void filled_close(struct filled *filled);

/*
 * How many of those bytes are in @list. Objects leave whole: one that has as many bytes as were
 * filled has those.
 */
uint64_t filled_resident(const struct filled *filled, const struct resident_list *list);

/* The keys of the digests of an image's contents, in order; none before they are needed. */
struct content_keys {
	uint64_t *key; /* owned */
	size_t n, cap;

	/* of resident_view_bytes(): what was found last */
	bool is_known;
	uint64_t changes; /* of the region, then */
	uint64_t bytes;
};

#define CONTENT_KEYS_INIT ((struct content_keys){ .key = NULL, .n = 0, .cap = 0 })

void content_keys_release(struct content_keys *keys);

/*
 * Placed bytes of those objects in @list whose content @idx has. @keys belongs to that index. What the
 * index cannot say, because it is damaged, does not count. Two contents whose digests begin with the same 8
 * bytes are taken for one: enough for a count.
 */
uint64_t resident_bytes(const struct resident_list *list, struct index *idx,
                        struct content_keys *keys);

/* A region as it is at one time, listed when that is needed first. */
struct resident_view {
	struct region *region; /* borrowed */
	uint64_t changes;
	struct resident_list list; /* owned; with no entry before */
};

/* The caller gives it back by resident_list_release() of its list. */
struct resident_view resident_view_of(struct region *region);

/* As resident_bytes(); looks at nothing when the region has not changed since the last time. 0 or -ENOMEM. */
MUST_CHECK int resident_view_bytes(struct resident_view *view, struct index *idx,
                                   struct content_keys *keys, uint64_t *ret);
