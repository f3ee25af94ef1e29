/* SPDX-License-Identifier: Apache-2.0 */
#include "hashing.h"

#include <errno.h>

#include "crew.h"
#include "input.h"

enum { READ_STEP = 256 << 10 };

/* What hashing threads share. */
struct hashing {
	struct new_content *list;
	size_t n;
	size_t next;   /* atomic */
	uint64_t done; /* atomic; bytes */
	struct crew crew;
};

static int hash_file(struct input *in, struct sha256 *hash, void *buf, struct new_content *c,
                     struct err *err)
{
	int r = input_open(in, c->file, err);
	uint64_t size = content_size(c);
	uint64_t off = 0;

	while (r == 0 && off < size) {
		size_t n = size - off < READ_STEP ? (size_t)(size - off) : READ_STEP;

		r = input_read(in, buf, n, off, err);
		if (r == 0)
			sha256_update(hash, buf, n);
		off += n;
	}
	if (r < 0)
		return r;
	sha256_final(hash, &c->digest);
	c->has_digest = true;
	return input_close(in, err);
}

/* Hash what no other thread has begun. */
static int hash_some(void *arg, struct progress *progress, struct err *err)
{
	struct hashing *h = arg;
	CLEANUP(input_release) struct input in = INPUT_INIT;
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	CLEANUP(free) void *buf = malloc(READ_STEP);
	int r = 0;

	if (!hash || !buf)
		return err_set(err, -ENOMEM, "out of memory");
	while (r == 0 && !crew_failed(&h->crew)) {
		size_t i = __atomic_fetch_add(&h->next, 1, __ATOMIC_RELAXED);
		uint64_t done;

		if (i >= h->n)
			break;
		if (!h->list[i].to_hash)
			continue;
		r = hash_file(&in, hash, buf, &h->list[i], err);
		done = __atomic_add_fetch(&h->done, content_size(&h->list[i]), __ATOMIC_RELAXED);
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
