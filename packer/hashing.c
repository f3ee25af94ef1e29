/* SPDX-License-Identifier: Apache-2.0 */
#include "hashing.h"

#include <errno.h>

#include "crew.h"

/* Bytes that are read at a time. */
enum { STEP = 256 << 10 };

/* What hashing threads share. */
struct hashing {
	struct new_content *list;
	size_t n;
	size_t next;   /* atomic */
	uint64_t done; /* atomic; bytes */
	struct crew crew;
};

static int hash_open_file(struct hasher *h, uint64_t size, struct err *err)
{
	int r = 0;

	for (uint64_t off = 0; r == 0 && off < size; off += STEP) {
		size_t n = size - off < STEP ? (size_t)(size - off) : STEP;

		r = input_read(&h->in, h->buf, n, off, err);
		if (r == 0)
			sha256_update(h->hash, h->buf, n);
	}
	return r;
}

int hasher_run(struct hasher *h, const struct tree_node *file, uint64_t size, struct digest *ret,
               struct err *err)
{
	int r;

	if (!h->hash)
		h->hash = sha256_new();
	if (!h->buf)
		h->buf = malloc(STEP);
	if (!h->hash || !h->buf)
		return err_set(err, -ENOMEM, "out of memory");
	r = input_open(&h->in, file, err);
	if (r == 0)
		r = hash_open_file(h, size, err);
	if (r < 0)
		return r;
	sha256_final(h->hash, ret);
	return input_close(&h->in, err);
}

void hasher_release(struct hasher *h)
{
	input_release(&h->in);
	sha256_free(h->hash);
	free(h->buf);
}

/* Hash what no other thread has begun. */
static int hash_some(void *arg, struct progress *progress, struct err *err)
{
	struct hashing *h = arg;
	CLEANUP(hasher_release) struct hasher hasher = HASHER_INIT;
	int r = 0;

	while (r == 0 && !crew_failed(&h->crew)) {
		size_t i = __atomic_fetch_add(&h->next, 1, __ATOMIC_RELAXED);
		struct new_content *c;
		uint64_t done;

		if (i >= h->n)
			break;
		c = &h->list[i];
		if (!c->to_hash)
			continue;
		r = hasher_run(&hasher, c->file, content_size(c), &c->digest, err);
		c->has_digest = r == 0;
		done = __atomic_add_fetch(&h->done, content_size(c), __ATOMIC_RELAXED);
		if (progress)
			progress_update(progress, done);
	}
	return r;
}

int hash_contents(struct new_content *list, size_t n, unsigned jobs, enum progress_kind kind,
                  struct err *err)
{
	struct hashing h = { .list = list, .n = n, .crew = CREW_INIT };
	struct progress progress;
	uint64_t total = 0;

	for (size_t i = 0; i < n; i++)
		total += list[i].to_hash ? content_size(&list[i]) : 0;
	progress_start(&progress, kind, "hashed", total);
	return crew_run(&h.crew, jobs, hash_some, &h, &progress, err);
}
