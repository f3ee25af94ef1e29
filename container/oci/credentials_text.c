/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/credentials_text.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/crypto.h>

#include "oci/json_text.h"

enum { TEXT_MAX = 256 << 10 };

struct credentials_text {
	unsigned refs; /* atomic */
	pthread_mutex_t lock;
	char *text; /* owned; under lock; or NULL */
};

void credentials_secret_free(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}

struct credentials_text *credentials_text_new(const char *text)
{
	struct credentials_text *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->refs = 1;
	(void)pthread_mutex_init(&t->lock, NULL);
	if (text && credentials_text_set(t, text) < 0) {
		credentials_text_unref(t);
		return NULL;
	}
	return t;
}

struct credentials_text *credentials_text_ref(struct credentials_text *t)
{
	(void)__atomic_add_fetch(&t->refs, 1, __ATOMIC_RELAXED);
	return t;
}

void credentials_text_unref(struct credentials_text *t)
{
	if (!t || __atomic_sub_fetch(&t->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	credentials_secret_free(t->text);
	(void)pthread_mutex_destroy(&t->lock);
	free(t);
}

int credentials_text_set(struct credentials_text *t, const char *text)
{
	char *copy = strdup(text), *before;

	if (!copy)
		return -ENOMEM;
	(void)pthread_mutex_lock(&t->lock);
	before = t->text;
	t->text = copy;
	(void)pthread_mutex_unlock(&t->lock);
	credentials_secret_free(before);
	return 0;
}

char *credentials_text_copy(struct credentials_text *t)
{
	char *copy;

	(void)pthread_mutex_lock(&t->lock);
	copy = t->text ? strdup(t->text) : NULL;
	(void)pthread_mutex_unlock(&t->lock);
	return copy;
}

int credentials_text_check(const char *text, struct err *err)
{
	CLEANUP(json_unref) json_t *root = NULL;

	if (strlen(text) > TEXT_MAX)
		return err_set(err, -EFBIG, "credentials for a mount have at most %d KiB",
		               TEXT_MAX >> 10);
	root = json_text_object(text, strlen(text));
	return root ? 0
	            : err_set(err, -EINVAL,
	                      "credentials for a mount are no JSON object as in docker's "
	                      "config.json");
}

int credentials_text_find(struct credentials_text *t, const char *host, const char *repository,
                          struct credentials *ret, struct err *err)
{
	CLEANUP(credentials_secret_free) char *text = credentials_text_copy(t);
	CLEANUP(credentials_entry_release)
	struct credentials_entry entry = CREDENTIALS_ENTRY_INIT;
	struct err why = ERR_INIT;
	int r = text ? credentials_lookup(text, strlen(text), host, repository, &entry, &why) : 0;

	if (r < 0)
		return err_set(err, r == -EBADMSG ? -EINVAL : r, "credentials of the mount: %s",
		               why.msg);
	if (r == 0)
		return 0;
	if (entry.helper)
		return err_set(err, -EKEYREJECTED,
		               "the credentials of the mount name the helper '%.60s' for '%.100s', "
		               "which the daemon does not run; give user and password",
		               entry.helper, host);
	*ret = entry.given;
	entry.given = CREDENTIALS_INIT;
	return 1;
}
