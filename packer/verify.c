/* SPDX-License-Identifier: Apache-2.0 */
#include "verify.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/table.h"
#include "image.h"
#include "notes.h"
#include "trace.h"
#include "verify_internal.h"

enum { READ_STEP = 1 << 20 };

/* A blob that has been checked; several images may name one. */
struct checked {
	struct table_node hook;
	struct digest digest;
};

void finding(struct verifier *v, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	v->n_findings += v->n_findings < INT_MAX;
	note("%s%s%s", v->image ? v->image : "", v->image ? ": " : "", text);
}

int finding_or_error(struct verifier *v, int code, const struct err *err)
{
	if (code != -EBADMSG && code != -ENOENT && code != -EOVERFLOW)
		return code;
	finding(v, "%s", err->msg);
	return 0;
}

/* Hash all of @fd. */
static int hash_blob(int fd, uint64_t size, struct digest *ret, struct err *err)
{
	CLEANUP(sha256_free) struct sha256 *hash = sha256_new();
	CLEANUP(free) void *buf = malloc(READ_STEP);

	if (!hash || !buf)
		return err_set(err, -ENOMEM, "out of memory");
	for (uint64_t off = 0; off < size;) {
		size_t n = size - off < READ_STEP ? (size_t)(size - off) : READ_STEP;
		int r = io_pread(fd, buf, n, off);

		if (r < 0)
			return err_set(err, r, "%s", strerrordesc_np(-r));
		sha256_update(hash, buf, n);
		off += n;
	}
	sha256_final(hash, ret);
	return 0;
}

static int check_blob(struct verifier *v, const char *what, const struct descriptor *d,
                      struct err *err)
{
	char hex[DIGEST_HEX_SIZE];
	CLEANUP(close)
	int fd = openat(layout_blobs(v->layout), digest_hex(&d->digest, hex),
	                O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct digest digest;
	struct stat st;
	int r;

	if (fd < 0 && errno == ENOENT) {
		finding(v, "%s '%.12s' is missing", what, hex);
		return 0;
	}
	if (fd < 0 || fstat(fd, &st) < 0)
		return err_set_errno(err, "%s '%.12s'", what, hex);
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->size) {
		finding(v, "%s '%.12s' has %lld bytes instead of %llu", what, hex,
		        (long long)st.st_size, (unsigned long long)d->size);
		return 0;
	}
	r = hash_blob(fd, d->size, &digest, err);
	if (r < 0)
		return err_wrap(err, r, "%s '%.12s'", what, hex);
	if (!digest_equal(&digest, &d->digest))
		finding(v, "%s '%.12s' is damaged: its digest is another", what, hex);
	return 0;
}

/* Remember @digest. Returns 1 when it is new, 0 when it is known, or -ENOMEM. */
static int remember(struct table *seen, const struct digest *digest)
{
	struct checked *c;
	int r;

	for (struct table_node *n = table_first(seen, digest_key(digest)); n; n = table_next(n)) {
		if (digest_equal(&TABLE_ENTRY(n, struct checked, hook)->digest, digest))
			return 0;
	}
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->digest = *digest;
	r = table_insert(seen, &c->hook, digest_key(digest));
	if (r < 0)
		free(c);
	return r < 0 ? r : 1;
}

/* A pack, delta or trace, once. */
static int check_layer(struct verifier *v, const char *what, const struct descriptor *d,
                       struct table *seen, struct err *err)
{
	int r = remember(seen, &d->digest);

	if (r < 0)
		return err_set(err, r, "out of memory");
	return r == 1 ? check_blob(v, what, d, err) : 0;
}

/* Nobody needs a delta: one that is missing was not copied, which is no damage. */
static bool has_blob(const struct verifier *v, const struct descriptor *d)
{
	char hex[DIGEST_HEX_SIZE];

	return faccessat(layout_blobs(v->layout), digest_hex(&d->digest, hex), F_OK, 0) == 0 ||
	       errno != ENOENT;
}

/* Config, index, packs, deltas and trace. */
static int check_blobs(struct verifier *v, const struct manifest *m, struct table *seen,
                       struct err *err)
{
	int r = check_blob(v, "config", &m->config, err);

	if (r == 0)
		r = check_blob(v, "index", &m->index, err);
	for (uint32_t i = 0; r == 0 && i < m->n_packs; i++)
		r = check_layer(v, "pack", &m->packs[i], seen, err);
	for (uint32_t i = 0; r == 0 && i < m->n_deltas; i++) {
		if (has_blob(v, &m->deltas[i].blob))
			r = check_layer(v, "delta", &m->deltas[i].blob, seen, err);
	}
	if (r == 0 && m->trace.size > 0)
		r = check_layer(v, "trace", &m->trace, seen, err);
	return r;
}

/* That the trace follows the format. Uses of files that the image has not are none of its faults. */
static int verify_trace(struct verifier *v, const struct image *img, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len;
	int r = image_read_trace(img, &text, &len, err);

	/* A blob that cannot be read has been named already. */
	if (r <= 0)
		return r == -EBADMSG || r == -ENOENT ? 0 : r;
	r = trace_check(text, len, err);
	if (r == -EINVAL)
		finding(v, "trace: %s", err->msg);
	return r == -EINVAL ? 0 : r;
}

static int verify_image(struct verifier *v, const struct manifest *m, struct table *seen,
                        struct err *err)
{
	CLEANUP(image_close) struct image *img = NULL;
	int r = check_blobs(v, m, seen, err);

	if (r < 0)
		return r;
	r = image_open_in_memory(v->layout, m, &img, err);
	if (r < 0)
		return finding_or_error(v, r, err);
	r = verify_sections(v, m, err);
	if (r == 0)
		r = index_check(image_index(img), err);
	if (r < 0)
		r = finding_or_error(v, r, err);
	if (r == 0)
		r = verify_tree(v, img, err);
	if (r == 0)
		r = verify_data(v, img, err);
	if (r == 0)
		r = verify_trace(v, img, err);
	return r < 0 ? r : verify_deltas(v, img, err);
}

static void free_seen(struct table *seen)
{
	for (struct table_node *n = table_walk(seen, NULL), *next; n; n = next) {
		next = table_walk(seen, n);
		free(TABLE_ENTRY(n, struct checked, hook));
	}
	table_release(seen);
}

int verify(const char *path, const char *tag, const struct platform *platform, struct err *err)
{
	CLEANUP(layout_close) struct layout *layout = NULL;
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	struct table seen = TABLE_INIT;
	struct verifier v = { .layout = NULL };
	const struct manifest *only = NULL;
	int r = layout_open(path, &layout, err);

	v.layout = layout;
	if (r == 0)
		r = layout_images(layout, tag, &set, err);
	if (r == -EBADMSG) {
		finding(&v, "%s", err->msg);
		return (int)v.n_findings;
	}
	if (r < 0)
		return r;
	if (platform) {
		only = image_set_find(&set, platform, err);
		if (!only)
			return err->code;
	}
	for (uint32_t i = 0; r == 0 && i < set.n_manifests; i++) {
		v.image = set.manifests[i].platform.name;
		if (!only || only == &set.manifests[i])
			r = verify_image(&v, &set.manifests[i], &seen, err);
	}
	free_seen(&seen);
	return r < 0 ? r : (int)v.n_findings;
}
