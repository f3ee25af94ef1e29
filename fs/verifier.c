/* SPDX-License-Identifier: Apache-2.0 */
#include "verifier.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/signature.h"
#include "signed/signed.h"

enum { KNOWN = 128 };

/* A digest that a key was found to have signed; all zero: none. */
struct known {
	struct digest key; /* of its text; zero: the daemon's */
	struct digest image;
};

struct verifier {
	struct signature_key *key; /* owned; the daemon's, or NULL */
	pthread_mutex_t lock;
	/* under lock */
	struct known known[KNOWN];
	unsigned next; /* of them to be replaced */
};

int verifier_new(const char *key_file, struct verifier **ret, struct err *err)
{
	struct verifier *v = calloc(1, sizeof(*v));
	int r;

	if (!v)
		return err_set(err, -ENOMEM, "out of memory");
	(void)pthread_mutex_init(&v->lock, NULL);
	r = key_file ? signature_key_load(key_file, &v->key, err) : 0;
	if (r < 0) {
		verifier_free(v);
		return r;
	}
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

static void remember(struct verifier *v, const struct known *known)
{
	(void)pthread_mutex_lock(&v->lock);
	v->known[v->next++ % KNOWN] = *known;
	(void)pthread_mutex_unlock(&v->lock);
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
	const struct known known = { .image = *image };
	int r = v->key ? check_one(v, v->key, &at, &known, err) : 0;

	return r < 0 || !key ? r : check_text(v, key, &at, image, err);
}

int verifier_check_layout(struct verifier *v, const char *key, const struct layout *layout,
                          const struct digest *image, struct err *err)
{
	const struct place at = { .layout = layout };

	return key ? check_text(v, key, &at, image, err) : 0;
}
