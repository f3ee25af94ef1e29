/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A large file that only some platforms have is hashed as well when another of
 * its size is for other platforms: if they are equal, the bytes have to go to
 * packs that both name, and that must be known before the first is written.
 */
#include "contents.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "base/table.h"
#include "grow.h"
#include "input.h"

enum { READ_STEP = 256 << 10 };

/* A file, and the digest of its bytes if it has been hashed. */
struct candidate {
	struct tree_node *file; /* borrowed */
	bool hashed;
	struct digest digest;
};

struct candidates {
	struct candidate *list; /* owned */
	size_t n;
	size_t max;
};

/* What hashing threads share. */
struct hashing {
	struct candidates *candidates;
	size_t next;   /* atomic */
	uint64_t done; /* atomic; bytes */

	pthread_mutex_t lock;
	struct err *err; /* under lock; of the first failure */
	int result;      /* atomic; written under lock */
};

void contents_release(struct contents *contents)
{
	for (size_t i = 0; i < contents->n; i++) {
		free(contents->list[i]->runs);
		free(contents->list[i]);
	}
	free(contents->list);
	*contents = CONTENTS_INIT;
}

/* Every regular file with bytes, once, in the order of the platforms' trees. */
static int list_files(const struct platform_tree *trees, unsigned n_trees, struct candidates *c)
{
	for (unsigned t = 0; t < n_trees; t++) {
		for (size_t i = 0; i < trees[t].n_nodes; i++) {
			struct tree_node *node = trees[t].nodes[i].node;
			struct candidate *grown;

			if (!S_ISREG(node->mode) || node->size == 0 ||
			    node->platforms & ((1u << t) - 1))
				continue;
			grown = array_grow(c->list, c->n, &c->max, sizeof(*c->list));
			if (!grown)
				return -ENOMEM;
			c->list = grown;
			c->list[c->n++] = (struct candidate){ .file = node };
		}
	}
	return 0;
}

static int compare_sizes(const void *a, const void *b)
{
	uint64_t x = ((const struct candidate *)a)->file->size;
	uint64_t y = ((const struct candidate *)b)->file->size;

	return x < y ? -1 : x > y;
}

/* Mark what has to be hashed, with the list ordered by size. */
static void choose(struct candidates *c, uint64_t small_max)
{
	size_t end;

	for (size_t i = 0; i < c->n; i = end) {
		uint32_t platforms = c->list[i].file->platforms;
		bool mixed = false;

		for (end = i; end < c->n && c->list[end].file->size == c->list[i].file->size; end++)
			mixed |= c->list[end].file->platforms != platforms;
		for (size_t k = i; k < end; k++)
			c->list[k].hashed = mixed || c->list[k].file->size < small_max;
	}
}

static int hash_file(struct input *in, struct sha256 *hash, void *buf, struct candidate *c,
                     struct err *err)
{
	int r = input_open(in, c->file, err);
	uint64_t off = 0;

	while (r == 0 && off < c->file->size) {
		uint64_t left = c->file->size - off;
		size_t n = left < READ_STEP ? (size_t)left : READ_STEP;

		r = input_read(in, buf, n, off, err);
		if (r == 0)
			sha256_update(hash, buf, n);
		off += n;
	}
	if (r < 0)
		return r;
	sha256_final(hash, &c->digest);
	return input_close(in, err);
}

/* Hash what no other thread has begun; only one of the threads has a @progress to show. */
static int hash_files(struct hashing *h, struct progress *progress, struct err *err)
{
	CLEANUP(input_release) struct input in = INPUT_INIT;
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	CLEANUP(free) void *buf = malloc(READ_STEP);
	int r = 0;

	if (!hash || !buf)
		return err_set(err, -ENOMEM, "out of memory");
	while (r == 0 && __atomic_load_n(&h->result, __ATOMIC_RELAXED) == 0) {
		size_t i = __atomic_fetch_add(&h->next, 1, __ATOMIC_RELAXED);
		struct candidate *c;
		uint64_t done;

		if (i >= h->candidates->n)
			break;
		c = &h->candidates->list[i];
		if (!c->hashed)
			continue;
		r = hash_file(&in, hash, buf, c, err);
		done = __atomic_add_fetch(&h->done, c->file->size, __ATOMIC_RELAXED);
		if (progress)
			progress_update(progress, done);
	}
	return r;
}

static void hash_or_fail(struct hashing *h, struct progress *progress)
{
	struct err err = ERR_INIT;
	int r = hash_files(h, progress, &err);

	if (r == 0)
		return;
	(void)pthread_mutex_lock(&h->lock);
	if (h->result == 0) {
		*h->err = err;
		__atomic_store_n(&h->result, r, __ATOMIC_RELAXED);
	}
	(void)pthread_mutex_unlock(&h->lock);
}

static void *hash_thread(void *arg)
{
	hash_or_fail(arg, NULL);
	return NULL;
}

/* Hash the chosen files with as many threads as there are jobs, this one included. */
static int hash_all(struct candidates *c, const struct contents_options *options, struct err *err)
{
	struct progress progress;
	uint64_t total = 0;
	struct err first = ERR_INIT;
	struct hashing h = {
		.candidates = c,
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.err = &first,
	};
	CLEANUP(free) pthread_t *threads = calloc(options->jobs, sizeof(*threads));
	unsigned n = 0;

	if (!threads)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; i < c->n; i++)
		total += c->list[i].hashed ? c->list[i].file->size : 0;
	progress_start(&progress, options->progress, "hashed", total);
	while (n + 1 < options->jobs && pthread_create(&threads[n], NULL, hash_thread, &h) == 0)
		n++;
	hash_or_fail(&h, &progress);
	while (n > 0)
		(void)pthread_join(threads[--n], NULL);
	progress_end(&progress);
	return h.result < 0 ? err_set(err, h.result, "%s", first.msg) : 0;
}

/* A content in the table of digests; only hashed ones are in it. */
struct known {
	struct table_node hook;
	struct new_content *content; /* borrowed */
};

static struct new_content *find_known(const struct table *table, const struct digest *digest)
{
	struct table_node *n = table_first(table, digest_key(digest));

	for (; n; n = table_next(n)) {
		struct new_content *content = TABLE_ENTRY(n, struct known, hook)->content;

		if (digest_equal(&content->digest, digest))
			return content;
	}
	return NULL;
}

/* Whether @a is found before @b: by path, then by source. */
static bool file_before(const struct tree_node *a, const struct tree_node *b)
{
	int order = tree_path_cmp(a, b);

	return order < 0 || (order == 0 && a->rank < b->rank);
}

static struct new_content *make_content(const struct candidate *c, uint64_t small_max)
{
	struct new_content *content = calloc(1, sizeof(*content));

	if (!content)
		return NULL;
	content->digest = c->digest;
	content->has_digest = c->hashed;
	content->small = c->file->size < small_max;
	content->size = c->file->size;
	content->file = c->file;
	return content;
}

/* Give each file its content, making contents as they are met. @known has room for all. */
static int join(const struct candidates *c, uint64_t small_max, struct known *known,
                struct contents *ret)
{
	struct table table = TABLE_INIT;
	int r = 0;

	for (size_t i = 0; r == 0 && i < c->n; i++) {
		struct tree_node *file = c->list[i].file;
		struct new_content *content =
			c->list[i].hashed ? find_known(&table, &c->list[i].digest) : NULL;

		if (!content) {
			content = make_content(&c->list[i], small_max);
			if (!content) {
				r = -ENOMEM;
				break;
			}
			known[ret->n].content = content;
			if (c->list[i].hashed)
				r = table_insert(&table, &known[ret->n].hook,
				                 digest_key(&content->digest));
			ret->list[ret->n++] = content;
		}
		if (file_before(file, content->file))
			content->file = file;
		content->platforms |= file->platforms;
		file->content = content;
	}
	table_release(&table);
	return r;
}

int contents_collect(const struct platform_tree *trees, unsigned n_trees,
                     const struct contents_options *options, struct contents *ret, struct err *err)
{
	struct candidates c = { .list = NULL };
	CLEANUP(contents_release) struct contents contents = CONTENTS_INIT;
	CLEANUP(free) struct known *known = NULL;
	int r = list_files(trees, n_trees, &c);
	CLEANUP(free) struct candidate *list = c.list;

	if (r < 0)
		return err_set(err, r, "out of memory");
	known = calloc(c.n + 1, sizeof(*known));
	contents.list = calloc(c.n + 1, sizeof(struct new_content *));
	if (!known || !contents.list)
		return err_set(err, -ENOMEM, "out of memory");
	if (c.n > 1)
		qsort(list, c.n, sizeof(*list), compare_sizes);
	choose(&c, options->small_max);
	r = hash_all(&c, options, err);
	if (r < 0)
		return r;
	r = join(&c, options->small_max, known, &contents);
	if (r < 0)
		return err_set(err, r, "out of memory");
	*ret = contents;
	contents = CONTENTS_INIT;
	return 0;
}
