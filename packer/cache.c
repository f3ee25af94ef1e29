/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The file: a header, records in order of stamp, and the SHA-256 of all that.
 * Both sides are gone through in order of stamp, so that a cache of any size
 * costs one buffer.
 */
#include "cache.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bytes.h"
#include "base/io.h"
#include "keyed.h"

#define CACHE_NAME  ".assetpack-cache"
#define CACHE_MAGIC 0x3168636163666173u /* "safcach1" */

enum { BUFFER_RECORDS = 1024 };

struct cache_header {
	le64 magic;
	le64 n;
};
STATIC_SIZE(struct cache_header, 16);

struct cache_record {
	le64 stamp;
	struct digest digest; /* of the file's bytes */
};
STATIC_SIZE(struct cache_record, 40);

struct cache_file {
	struct cache_header header;
	struct cache_record records[]; /* and a digest */
};

struct cache {
	int fd;               /* owned; -1 when it is empty */
	uint64_t n;           /* records */
	struct digest digest; /* of header and records */
};

static uint64_t records_end(uint64_t n)
{
	return sizeof(struct cache_header) + n * sizeof(struct cache_record);
}

/* Take over what the file says, if its size and digest are right. */
static int check(struct cache *cache)
{
	enum { STEP = 64 << 10 };
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	CLEANUP(free) uint8_t *buf = malloc(STEP);
	struct cache_header header;
	struct digest digest;
	int fd = cache->fd;
	struct stat st;
	uint64_t n, end;

	if (!hash || !buf)
		return -ENOMEM;
	if (fstat(fd, &st) < 0 || io_pread(fd, &header, sizeof(header), 0) < 0)
		return -EBADMSG;
	n = le64_get(header.n);
	if (le64_get(header.magic) != CACHE_MAGIC || n > (uint64_t)st.st_size)
		return -EBADMSG;
	end = records_end(n);
	if ((uint64_t)st.st_size != end + sizeof(digest))
		return -EBADMSG;
	for (uint64_t off = 0; off < end; off += STEP) {
		size_t step = end - off < STEP ? (size_t)(end - off) : STEP;

		if (io_pread(fd, buf, step, off) < 0)
			return -EBADMSG;
		sha256_update(hash, buf, step);
	}
	sha256_final(hash, &cache->digest);
	if (io_pread(fd, &digest, sizeof(digest), end) < 0 ||
	    !digest_equal(&digest, &cache->digest))
		return -EBADMSG;
	cache->n = n;
	return 0;
}

struct cache *cache_open(int dirfd)
{
	struct cache *cache = calloc(1, sizeof(*cache));

	if (!cache)
		return NULL;
	cache->fd = openat(dirfd, CACHE_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
	if (cache->fd >= 0)
		(void)!check(cache);
	return cache;
}

void cache_close(struct cache *cache)
{
	if (!cache)
		return;
	if (cache->fd >= 0)
		(void)close(cache->fd);
	free(cache);
}

/* Set what @record knows of contents of @list, in the order of @sorted from *@i on; *@i goes on behind its stamp. */
static void apply(const struct cache_record *record, struct new_content *list,
                  const struct keyed *sorted, size_t n, size_t *i)
{
	uint64_t stamp = le64_get(record->stamp);

	while (*i < n && sorted[*i].key < stamp)
		(*i)++;
	for (; *i < n && sorted[*i].key == stamp; (*i)++) {
		struct new_content *c = &list[sorted[*i].at];

		c->digest = record->digest;
		c->has_digest = true;
	}
}

/* The @n contents at @list in order of stamp; NULL when memory runs out. */
static struct keyed *sort_by_stamp(const struct new_content *list, size_t n)
{
	CLEANUP(free) struct keyed *sorted = calloc(n, sizeof(*sorted));

	if (!sorted)
		return NULL;
	for (size_t i = 0; i < n; i++)
		sorted[i] = (struct keyed){ list[i].file->stamp, i };
	return keyed_sort(sorted, n) == 0 ? TAKE_PTR(sorted) : NULL;
}

void cache_fill(const struct cache *cache, struct new_content *list, size_t n)
{
	CLEANUP(free) struct keyed *sorted = NULL;
	struct cache_record records[BUFFER_RECORDS];
	size_t i = 0;

	if (cache->n == 0 || n == 0)
		return;
	sorted = sort_by_stamp(list, n);
	/* Without what it knows, files are read. */
	if (!sorted)
		return;
	for (uint64_t done = 0; done < cache->n && i < n; done += BUFFER_RECORDS) {
		uint64_t left = cache->n - done;
		size_t step = left < BUFFER_RECORDS ? (size_t)left : BUFFER_RECORDS;

		if (io_pread(cache->fd, records, step * sizeof(*records), records_end(done)) < 0)
			return;
		for (size_t k = 0; k < step; k++)
			apply(&records[k], list, sorted, n, &i);
	}
}

static int compare_records(const void *a, const void *b)
{
	uint64_t x = le64_get(((const struct cache_record *)a)->stamp);
	uint64_t y = le64_get(((const struct cache_record *)b)->stamp);

	return x < y ? -1 : x > y;
}

static size_t list_records(const struct platform_tree *trees, unsigned n_trees,
                           struct cache_record *ret)
{
	size_t n = 0;

	for (unsigned t = 0; t < n_trees; t++) {
		for (size_t i = 0; i < trees[t].n_nodes; i++) {
			const struct tree_node *node = trees[t].nodes[i].node;

			/* Those of an earlier tree have been met. */
			if (!S_ISREG(node->mode) || !node->content || node->fresh ||
			    node->platforms & ((1u << t) - 1))
				continue;
			if (ret)
				ret[n] = (struct cache_record){
					.stamp = le64_put(node->stamp),
					.digest = node->content->digest,
				};
			n++;
		}
	}
	return n;
}

int cache_save(const struct cache *cache, int dirfd, const struct platform_tree *trees,
               unsigned n_trees, struct err *err)
{
	size_t n = list_records(trees, n_trees, NULL);
	CLEANUP(free) struct cache_file *file = malloc(records_end(n) + sizeof(struct digest));
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	struct digest digest;
	int r;

	if (!file)
		return err_set(err, -ENOMEM, "out of memory");
	file->header = (struct cache_header){ le64_put(CACHE_MAGIC), le64_put(n) };
	(void)list_records(trees, n_trees, file->records);
	if (n > 1)
		qsort(file->records, n, sizeof(*file->records), compare_records);
	sha256(file, records_end(n), &digest);
	memcpy(&file->records[n], &digest, sizeof(digest));
	if (cache->n == n && n > 0 && digest_equal(&cache->digest, &digest))
		return 0;
	r = io_temp_open(&tmp, dirfd, err);
	if (r < 0)
		return r;
	r = io_write(tmp.fd, file, records_end(n) + sizeof(digest));
	if (r < 0)
		return err_set(err, r, "the build cache could not be written: %s",
		               strerrordesc_np(-r));
	return io_temp_publish(&tmp, CACHE_NAME, 0644, err);
}
