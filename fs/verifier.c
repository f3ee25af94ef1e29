/* SPDX-License-Identifier: Apache-2.0 */
#include "verifier.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "base/log.h"
#include "oci/signature.h"
#include "signed/signed.h"

#define FILE_NAME "signed"

enum {
	KNOWN = 128,
	KEY_MAX = 64 << 10,
	LINE = 2 * (DIGEST_HEX_SIZE - 1) + 2, /* key, blank, image, newline */
};

/* A digest that a key was found to have signed; all zero: none. */
struct known {
	struct digest key; /* of its text */
	struct digest image;
};

struct verifier {
	struct signature_key *key; /* owned; the daemon's, or NULL */
	struct digest digest;      /* of its text */
	int dir;                   /* borrowed */
	pthread_mutex_t lock;
	/* under lock */
	struct known known[KNOWN];
	unsigned next; /* of them to be replaced; how many there have been */
};

static int load_key(struct verifier *v, const char *path, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	size_t len = 0;
	int r = io_read_file(AT_FDCWD, path, KEY_MAX, &text, &len, err);

	if (r < 0)
		return err_set(err, r, "key '%s': %s", path, strerrordesc_np(-r));
	sha256(text, len, &v->digest);
	return signature_key_parse(text, len, path, &v->key, err);
}

/* What is not there, or makes no sense, is found out anew. */
static void load_known(struct verifier *v)
{
	CLEANUP(free) char *text = NULL;
	size_t len = 0;

	if (io_read_file(v->dir, FILE_NAME, (size_t)KNOWN * LINE, &text, &len, NULL) < 0)
		return;
	for (size_t at = 0; at + LINE <= len; at += LINE) {
		struct known *known = &v->known[v->next % KNOWN];

		if (digest_parse(text + at, DIGEST_HEX_SIZE - 1, &known->key) == 0 &&
		    digest_parse(text + at + DIGEST_HEX_SIZE, DIGEST_HEX_SIZE - 1, &known->image) ==
		            0)
			v->next++;
	}
}

int verifier_new(const char *key_file, int dir, struct verifier **ret, struct err *err)
{
	struct verifier *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(err, -ENOMEM, "out of memory");
	v->dir = dir;
	(void)pthread_mutex_init(&v->lock, NULL);
	r = key_file ? load_key(v, key_file, err) : 0;
	if (r < 0) {
		verifier_free(v);
		return r;
	}
	load_known(v);
	*ret = v;
	return 0;
}

void verifier_free(struct verifier *v)
{
	if (!v)
		return;
	signature_key_free(v->key);
	(void)pthread_mutex_destroy(&v->lock);
	free(v);
}

static bool is_known(struct verifier *v, const struct known *wanted)
{
	bool found = false;

	(void)pthread_mutex_lock(&v->lock);
	for (unsigned i = 0; i < KNOWN && !found; i++)
		found = digest_equal(&v->known[i].key, &wanted->key) &&
		        digest_equal(&v->known[i].image, &wanted->image);
	(void)pthread_mutex_unlock(&v->lock);
	return found;
}

/* All that is known, as the file has it, to @text. Returns its length. With the lock held. */
static size_t print_known(const struct verifier *v, char text[static KNOWN * LINE + 1])
{
	unsigned n = v->next < KNOWN ? v->next : KNOWN;
	char key[DIGEST_HEX_SIZE], image[DIGEST_HEX_SIZE];

	for (unsigned i = 0; i < n; i++)
		(void)snprintf(text + (size_t)i * LINE, LINE + 1, "%s %s\n",
		               digest_hex(&v->known[i].key, key),
		               digest_hex(&v->known[i].image, image));
	return (size_t)n * LINE;
}

static void remember(struct verifier *v, const struct known *known)
{
	char text[KNOWN * LINE + 1] = "";
	struct err err = ERR_INIT;
	size_t len;

	(void)pthread_mutex_lock(&v->lock);
	v->known[v->next++ % KNOWN] = *known;
	len = print_known(v, text);
	(void)pthread_mutex_unlock(&v->lock);
	if (io_publish_bytes(v->dir, FILE_NAME, text, len, 0600, &err) < 0)
		log_warn("what is signed is known as long as this daemon lives: %s", err.msg);
}

/* Where signatures are: one of the two. */
struct place {
	struct registry *reg;
	const struct layout *layout;
};

/* Check @known, of @key, at @at, unless it is known. */
static int check_one(struct verifier *v, const struct signature_key *key, const struct place *at,
                     const struct known *known, struct err *err)
{
	int r;

	if (is_known(v, known))
		return 0;
	r = at->reg ? signature_verify_registry(key, at->reg, &known->image, err)
	            : signed_check(key, at->layout, &known->image, err);
	if (r == 0)
		remember(v, known);
	return r;
}

/* Check @image by the key of a request. */
static int check_text(struct verifier *v, const char *text, const struct place *at,
                      const struct digest *image, struct err *err)
{
	CLEANUP(signature_key_free) struct signature_key *key = NULL;
	struct known known = { .image = *image };
	int r = signature_key_parse(text, strlen(text), "of the mount", &key, err);

	if (r < 0)
		return r;
	sha256(text, strlen(text), &known.key);
	return check_one(v, key, at, &known, err);
}

int verifier_check_registry(struct verifier *v, const char *key, struct registry *reg,
                            const struct digest *image, struct err *err)
{
	const struct place at = { .reg = reg };
	const struct known known = { .key = v->digest, .image = *image };
	int r = v->key ? check_one(v, v->key, &at, &known, err) : 0;

	return r < 0 || !key ? r : check_text(v, key, &at, image, err);
}

int verifier_check_layout(struct verifier *v, const char *key, const struct layout *layout,
                          const struct digest *image, struct err *err)
{
	const struct place at = { .layout = layout };

	return key ? check_text(v, key, &at, image, err) : 0;
}
