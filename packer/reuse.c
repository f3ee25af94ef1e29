/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First the old images are gone through for what they have whole. What is left is
 * compared with its base by several threads, in order of path: files that are
 * neighbours share chunks, which a thread then has at hand.
 */
#include "reuse.h"

#include <errno.h>
#include <string.h>

#include "base.h"
#include "crew.h"
#include "keyed.h"
#include "notes.h"
#include "plan.h"

enum {
	MATCH_MIN_SMALL = 192, /* shorter runs cost more extents than they save bytes */
	MATCH_MIN_LARGE = 512, /* a large file is read more than it is updated */
	BATCH = 16,
	SCAN_MIN = 2048, /* contents of an old image that are worth a thread */
};

struct reuse {
	const struct reuse_options *options;
	struct old_names *names[PLATFORMS_MAX]; /* owned; of each old image, when needed */
	struct keyed *by_digest;                /* owned; of all contents */
	uint8_t *taken;            /* owned; atomic; of each content: whether it is reused */
	struct new_content **list; /* owned; to compare */
	size_t n;
	size_t next;   /* atomic */
	uint64_t done; /* atomic; bytes */
	bool told;     /* atomic */
	struct crew crew;
	pthread_mutex_t lock; /* of names */
};

static void reuse_release_cleanup(struct reuse *u)
{
	for (unsigned i = 0; i < PLATFORMS_MAX; i++)
		old_names_free(u->names[i]);
	free(u->by_digest);
	free(u->taken);
	free(u->list);
}

/* The old image that @c is compared with; NULL when there is none. */
static struct image *image_for(const struct reuse *u, const struct new_content *c)
{
	return old_for(u->options->old, u->options->platforms[__builtin_ctz(c->platforms)]);
}

/*
 * Add the runs by which the bytes [@old_off, @old_off + @len) of @base become those at @off of @c. *@last is the
 * chunk that was found last, or NULL: neighbours share chunks, and threads need not ask for the same ones.
 */
static int add_runs(const struct reuse *u, struct new_content *c, const struct base *base,
                    struct match match, struct stored_chunk **last)
{
	for (uint32_t i = base_extent_at(base, match.old_off); i < base->n_extents; i++) {
		const struct extent *x = &base->extents[i];
		uint64_t start = x->off > match.old_off ? x->off : match.old_off;
		uint64_t end = x->off + x->len;
		struct stored_chunk *chunk = *last;
		struct run run;

		if (end > match.old_off + match.len)
			end = match.old_off + match.len;
		if (start >= end)
			break;
		if (!chunk || !digest_equal(&chunk->digest, &x->chunk.digest))
			chunk = packs_find(u->options->packs, &x->chunk.digest, c->platforms);
		if (!chunk)
			return -ENOENT;
		*last = chunk;
		run = (struct run){
			.off = start - match.old_off + match.off,
			.len = (uint32_t)(end - start),
			.chunk_off = x->chunk_off + (uint32_t)(start - x->off),
			.chunk = chunk,
		};
		if (content_add_run(c, run) < 0)
			return -ENOMEM;
	}
	return 0;
}

/* A search of one old image for contents that it has whole. */
struct search {
	struct reuse *u;
	struct contents *contents;
	struct image *img;
	const struct old_contents *known; /* of the image, or NULL */
	bool foremost;                    /* only of contents that are compared with this image */
	uint64_t n;                       /* contents of the image */
	uint64_t n_parts;                 /* of these, for a thread each */
	uint64_t next;                    /* atomic; part */
};

/* What a thread of it has. */
struct searcher {
	struct search *search;
	struct stored_chunk *last; /* see add_runs() */
};

/* The content of that size and digest, or NULL. */
static struct new_content *find_content(const struct search *s, const struct content *old)
{
	const struct keyed *keys = s->u->by_digest;
	const uint64_t key = digest_key(&old->digest);
	size_t lo = 0, hi = s->contents->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (keys[mid].key < key)
			lo = mid + 1;
		else
			hi = mid;
	}
	for (; lo < s->contents->n && keys[lo].key == key; lo++) {
		struct new_content *c = &s->contents->list[keys[lo].at];

		if (digest_equal(&c->digest, &old->digest) && content_size(c) == old->size)
			return c;
	}
	return NULL;
}

/* What finds contents by digest without looking at them. */
static int sort_by_digest(struct reuse *u, const struct contents *contents)
{
	u->by_digest = calloc(contents->n + 1, sizeof(*u->by_digest));
	u->taken = calloc(contents->n + 1, sizeof(*u->taken));
	if (!u->by_digest || !u->taken)
		return -ENOMEM;
	for (size_t i = 0; i < contents->n; i++)
		u->by_digest[i] = (struct keyed){ digest_key(&contents->list[i].digest), i };
	return keyed_sort(u->by_digest, contents->n);
}

/* If @old is wanted, take its extents over. */
static int take_over(void *arg, const struct content *old, struct extent *extents, uint32_t n)
{
	struct searcher *searcher = arg;
	const struct search *s = searcher->search;
	struct new_content *c = find_content(s, old);
	const struct base whole = {
		.content = *old,
		.extents = extents,
		.n_extents = n,
	};
	int r = 0;

	if (!c || (s->foremost && image_for(s->u, c) != s->img))
		return 0;
	/* An index that lies may have it twice. */
	if (__atomic_exchange_n(&s->u->taken[c - s->contents->list], 1, __ATOMIC_RELAXED) != 0)
		return 0;
	c->reused = true;
	r = add_runs(s->u, c, &whole, (struct match){ .len = old->size }, &searcher->last);
	return r < 0 ? -ENOMEM : 0;
}

/* Go through parts that no other thread has begun. */
static int search_some(void *arg, struct progress *progress, struct err *err)
{
	struct search *s = arg;
	struct searcher searcher = { .search = s };
	uint64_t n = s->n / s->n_parts;
	int r = 0;

	(void)progress;
	while (r == 0 && !crew_failed(&s->u->crew)) {
		uint64_t i = __atomic_fetch_add(&s->next, 1, __ATOMIC_RELAXED);
		bool is_last = i + 1 == s->n_parts;
		uint64_t end = (i + 1) * n;

		if (i >= s->n_parts)
			break;
		if (s->known)
			r = old_contents_each(s->known, i * n, is_last ? s->n : end, take_over,
			                      &searcher);
		else
			r = index_each_extents_of(image_index(s->img), i * n + 1,
			                          is_last ? INT64_MAX : end, take_over, &searcher,
			                          err);
	}
	return r == -ENOMEM ? err_set(err, r, "out of memory") : r;
}

static int search_image(struct reuse *u, struct contents *contents, unsigned i, bool foremost,
                        struct err *err)
{
	struct image *img = u->options->old->images[i];
	const struct old_contents *known = u->options->old->contents[i];
	uint64_t n = known ? old_contents_count(known) : index_info(image_index(img))->n_contents;
	uint64_t n_parts = n / SCAN_MIN + 1;
	struct search s = {
		.u = u,
		.contents = contents,
		.img = img,
		.known = known,
		.n = n,
		.foremost = foremost,
		.n_parts = n_parts < u->options->jobs ? n_parts : u->options->jobs,
	};
	struct progress progress;

	progress_start(&progress, PROGRESS_NONE, "", 0);
	return crew_run(&u->crew, (unsigned)s.n_parts, search_some, &s, &progress, err);
}

/*
 * Reuse every content that an old image has all of: of the one that it is compared with, or else of
 * the first that has it. All rows of an index are gone through once, which takes a
 * fraction of what it takes to ask for each content.
 */
static int reuse_whole(struct reuse *u, struct contents *contents, struct err *err)
{
	const struct old *old = u->options->old;
	int r = 0;

	if (sort_by_digest(u, contents) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	for (unsigned i = 0; r == 0 && i < old->n; i++)
		r = search_image(u, contents, i, /* foremost= */ true, err);
	for (unsigned i = 0; r == 0 && old->n > 1 && i < old->n; i++)
		r = search_image(u, contents, i, /* foremost= */ false, err);
	return r;
}

/* Find what became of the file @path of @img, which is not there any more, by what is left of the path. */
static int find_moved(struct reuse *u, struct image *img, const char *path, uint64_t *ret,
                      struct err *err)
{
	unsigned i = 0;
	int r;

	while (u->options->old->images[i] != img)
		i++;
	(void)pthread_mutex_lock(&u->lock);
	if (!u->names[i])
		u->names[i] = old_names_new(img);
	r = u->names[i] ? old_names_find(u->names[i], path, ret, err)
	                : err_set(err, -ENOMEM, "out of memory");
	(void)pthread_mutex_unlock(&u->lock);
	return r;
}

/* Give @c a base, if there is a likely one. */
static int find_base(struct reuse *u, struct new_content *c, struct path_buf *path, struct err *err)
{
	struct image *img = image_for(u, c);
	const char *text = tree_path(c->file, path);
	uint64_t id;
	int r = 0;

	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	if (!old_file_at(img, text, &id))
		r = find_moved(u, img, text, &id, err);
	if (r < 0 || id == 0)
		return r;
	c->base = base_new(img, id);
	return c->base ? 0 : err_set(err, -ENOMEM, "out of memory");
}

/* Give a base to what no other thread has begun. */
static int find_some(void *arg, struct progress *progress, struct err *err)
{
	struct reuse *u = arg;
	CLEANUP(path_buf_release) struct path_buf path = PATH_BUF_INIT;
	int r = 0;

	(void)progress;
	while (r == 0 && !crew_failed(&u->crew)) {
		size_t i = __atomic_fetch_add(&u->next, BATCH, __ATOMIC_RELAXED);
		size_t end = i + BATCH < u->n ? i + BATCH : u->n;

		if (i >= u->n)
			break;
		for (; r == 0 && i < end; i++)
			r = find_base(u, u->list[i], &path, err);
	}
	return r;
}

static int compare_one(struct reuse *u, struct new_content *c, struct plain_cache *cache,
                       struct err *err)
{
	uint64_t min = content_size(c) < u->options->small_max ? MATCH_MIN_SMALL : MATCH_MIN_LARGE;
	struct stored_chunk *last = NULL;
	int r = base_compare(c->base, c, cache, min, err);

	if (r == 1) {
		/* Whatever is wrong with the old image: the new one does without. */
		if (!__atomic_exchange_n(&u->told, true, __ATOMIC_RELAXED))
			note("some files are not compared with the earlier image: %s", err->msg);
		base_free(c->base);
		c->base = NULL;
		return 0;
	}
	for (size_t i = 0; r == 0 && i < c->base->n_matches; i++) {
		r = add_runs(u, c, c->base, c->base->matches[i], &last);
		if (r < 0)
			return err_set(err, r, "%s", strerrordesc_np(-r));
	}
	return r;
}

/* Compare what no other thread has begun. */
static int compare_some(void *arg, struct progress *progress, struct err *err)
{
	struct reuse *u = arg;
	CLEANUP(plain_cache_free) struct plain_cache *cache = plain_cache_new();
	int r = cache ? 0 : err_set(err, -ENOMEM, "out of memory");

	while (r == 0 && !crew_failed(&u->crew)) {
		size_t i = __atomic_fetch_add(&u->next, BATCH, __ATOMIC_RELAXED);
		size_t end = i + BATCH < u->n ? i + BATCH : u->n;
		uint64_t done = 0;

		if (i >= u->n)
			break;
		for (; r == 0 && i < end; i++) {
			r = compare_one(u, u->list[i], cache, err);
			done += content_size(u->list[i]);
		}
		done = __atomic_add_fetch(&u->done, done, __ATOMIC_RELAXED);
		if (progress)
			progress_update(progress, done);
	}
	return r;
}

/* Find bases of all that is listed, and leave in the list what has one. */
static int find_bases(struct reuse *u, struct err *err)
{
	struct progress progress;
	size_t n = 0;
	int r;

	progress_start(&progress, PROGRESS_NONE, "", 0);
	r = crew_run(&u->crew, u->n > BATCH ? u->options->jobs : 1, find_some, u, &progress, err);
	for (size_t i = 0; i < u->n; i++) {
		if (u->list[i]->base)
			u->list[n++] = u->list[i];
	}
	u->n = n;
	u->next = 0;
	return r;
}

/* Reuse what is there whole, and list in u->list what is to be compared. */
static int look_up_all(struct reuse *u, struct contents *contents, struct err *err)
{
	int r = reuse_whole(u, contents, err);

	u->list = calloc(contents->n + 1, sizeof(struct new_content *));
	if (!u->list)
		return err_set(err, -ENOMEM, "out of memory");
	for (size_t i = 0; r == 0 && i < contents->n; i++) {
		if (!contents->list[i].reused)
			u->list[u->n++] = &contents->list[i];
	}
	return r < 0 || u->n == 0 ? r : find_bases(u, err);
}

static int compare_paths(const void *a, const void *b)
{
	const struct new_content *x = *(struct new_content *const *)a;
	const struct new_content *y = *(struct new_content *const *)b;

	return plan_compare_files(x->file, y->file);
}

int reuse_contents(struct contents *contents, const struct reuse_options *options, struct err *err)
{
	CLEANUP(reuse_release)
	struct reuse u = {
		.options = options,
		.crew = CREW_INIT,
		.lock = PTHREAD_MUTEX_INITIALIZER,
	};
	struct progress progress;
	uint64_t total = 0;
	int r = look_up_all(&u, contents, err);

	if (r < 0 || u.n == 0)
		return r;
	qsort(u.list, u.n, sizeof(struct new_content *), compare_paths);
	for (size_t i = 0; i < u.n; i++)
		total += content_size(u.list[i]);
	progress_start(&progress, options->progress, "compared", total);
	return crew_run(&u.crew, options->jobs, compare_some, &u, &progress, err);
}
