/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/credentials.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/json_text.h"

enum {
	CONFIG_MAX = 4 << 20,
	SECRET_MAX = 64 << 10, /* identity tokens have kilobytes */
};

static void free_secret(char *text)
{
	if (text)
		OPENSSL_cleanse(text, strlen(text));
	free(text);
}
DEFINE_CLEANUP(char *, free_secret)

void credentials_release(struct credentials *c)
{
	free(c->user);
	free_secret(c->secret);
	*c = CREDENTIALS_INIT;
}

void credentials_entry_release(struct credentials_entry *e)
{
	credentials_release(&e->given);
	free(e->helper);
	*e = CREDENTIALS_ENTRY_INIT;
}

/* Fill in @ret with copies. Returns 1 or -ENOMEM. */
static int give(const char *user, const char *secret, bool identity, struct credentials *ret)
{
	struct credentials c = { .user = strdup(user),
		                 .secret = strdup(secret),
		                 .identity = identity };

	if (!c.user || !c.secret) {
		credentials_release(&c);
		return -ENOMEM;
	}
	*ret = c;
	return 1;
}

/* Base64 of USER:SECRET. Returns the plain text, NUL-terminated, or NULL. */
static char *decode(const char *text)
{
	size_t len = strlen(text);
	CLEANUP(free_secret) char *plain = NULL;
	int n;

	if (len == 0 || len > SECRET_MAX || len % 4 != 0)
		return NULL;
	plain = calloc(1, len / 4 * 3 + 1);
	if (!plain)
		return NULL;
	n = EVP_DecodeBlock((unsigned char *)plain, (const unsigned char *)text, (int)len);
	if (n < 0)
		return NULL;
	/* The padding was decoded as zeros; docker itself has written some into passwords. */
	return TAKE_PTR(plain);
}

/* Returns 1, 0 when the entry says nothing, -EBADMSG, -ENOMEM. */
static int read_entry(const json_t *entry, struct credentials *ret)
{
	const char *token = json_text_member(entry, "identitytoken");
	const char *user = json_text_member(entry, "username");
	const char *auth = json_text_member(entry, "auth");
	CLEANUP(free_secret) char *plain = NULL;
	char *colon;

	if (token[0] != '\0')
		return give("<token>", token, /* identity= */ true, ret);
	if (auth[0] == '\0')
		return user[0] == '\0' ? 0
		                       : give(user, json_text_member(entry, "password"),
		                              /* identity= */ false, ret);
	plain = decode(auth);
	colon = plain ? strchr(plain, ':') : NULL;
	if (!colon)
		return -EBADMSG;
	*colon = '\0';
	return give(plain, colon + 1, /* identity= */ false, ret);
}

/* How well @key fits "host/repository", @wanted: the length of what agrees, 0 when it does not. */
static size_t fit(const char *key, const char *wanted)
{
	const char *name = strstr(key, "://");
	size_t len;

	name = name ? name + strlen("://") : key;
	/* With a scheme it is an endpoint, as in https://HOST/v1/. */
	len = name == key ? strlen(name) : strcspn(name, "/");
	while (len > 0 && name[len - 1] == '/')
		len--;
	if (len == 0 || strncmp(name, wanted, len) != 0)
		return 0;
	return wanted[len] == '/' || wanted[len] == '\0' ? len : 0;
}

/* The member of @object that fits best, or NULL. */
static const json_t *best_fit(json_t *object, const char *wanted)
{
	const json_t *best = NULL, *value;
	size_t longest = 0;
	void *it = json_object_iter(object);

	for (; it; it = json_object_iter_next(object, it)) {
		size_t len = fit(json_object_iter_key(it), wanted);

		value = json_object_iter_value(it);
		if (len > longest) {
			longest = len;
			best = value;
		}
	}
	return best;
}

static bool is_helper(const char *name)
{
	return name[0] != '\0' && name[0] != '.' && strlen(name) < 64 &&
	       strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
	                    "0123456789._-") == strlen(name);
}

static int give_helper(const char *name, struct credentials_entry *ret, struct err *err)
{
	if (!is_helper(name))
		return err_set(err, -EBADMSG, "the name of a credential helper is none");
	ret->helper = strdup(name);
	return ret->helper ? 1 : err_set(err, -ENOMEM, "out of memory");
}

int credentials_lookup(const char *text, size_t len, const char *host, const char *repository,
                       struct credentials_entry *ret, struct err *err)
{
	CLEANUP(json_unref) json_t *root = json_text_object(text, len);
	CLEANUP(free) char *wanted = NULL;
	const char *helper;
	int r;

	*ret = CREDENTIALS_ENTRY_INIT;
	if (!root)
		return err_set(err, -EBADMSG, "not a JSON object");
	if (asprintf(&wanted, "%s/%s", host, repository) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	helper = json_string_value(best_fit(json_object_get(root, "credHelpers"), wanted));
	if (helper && helper[0] != '\0')
		return give_helper(helper, ret, err);
	r = read_entry(best_fit(json_object_get(root, "auths"), wanted), &ret->given);
	if (r == -EBADMSG)
		return err_set(err, r, "the entry for '%.100s' has no base64 of USER:PASSWORD",
		               host);
	if (r != 0)
		return r < 0 ? err_set(err, r, "out of memory") : r;
	helper = json_text_member(root, "credsStore");
	return helper[0] != '\0' ? give_helper(helper, ret, err) : 0;
}

int credentials_parse_answer(const char *text, size_t len, struct credentials *ret)
{
	CLEANUP(json_unref) json_t *root = json_text_object(text, len);
	const char *user = json_text_member(root, "Username");
	const char *secret = json_text_member(root, "Secret");
	int r;

	if (!root || secret[0] == '\0')
		return -EBADMSG;
	r = give(user, secret, strcmp(user, "<token>") == 0, ret);
	return r < 0 ? r : 0;
}

/* Search one file. Returns as credentials_find(). */
static int search_file(const char *path, const char *host, const char *repository,
                       struct credentials *ret, struct err *err)
{
	CLEANUP(credentials_entry_release)
	struct credentials_entry entry = CREDENTIALS_ENTRY_INIT;
	CLEANUP(free_secret) char *text = NULL;
	struct err reason = ERR_INIT;
	size_t len = 0;
	int r = io_read_file(AT_FDCWD, path, CONFIG_MAX, &text, &len, err);

	if (r == -ENOENT)
		return 0;
	if (r < 0)
		return r;
	r = credentials_lookup(text, len, host, repository, &entry, &reason);
	if (r < 0) /* it is no image that is damaged */
		return err_set(err, r == -EBADMSG ? -EINVAL : r, "'%.80s': %.150s", path,
		               reason.msg);
	if (r > 0 && entry.helper)
		return credentials_ask_helper(entry.helper, host, ret, err);
	if (r > 0) {
		*ret = entry.given;
		entry.given = CREDENTIALS_INIT;
	}
	return r;
}

/* Value of a variable, or NULL when it is not set or empty. */
static const char *setting(const char *name)
{
	/* Nothing changes the environment while threads run. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *value = getenv(name);

	return value && value[0] != '\0' ? value : NULL;
}

/* Files that are searched one after the other: a directory from the environment, and a path below it. */
struct place {
	const char *variable;
	const char *path;
	bool alone; /* when the variable is set, nothing else is searched */
};

static const struct place places[] = {
	{ "REGISTRY_AUTH_FILE", "", true },
	{ "DOCKER_CONFIG", "/config.json", true },
	{ "XDG_RUNTIME_DIR", "/containers/auth.json", false },
	{ "HOME", "/.docker/config.json", false },
};

int credentials_find(const char *host, const char *repository, struct credentials *ret,
                     struct err *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(places) / sizeof(places[0]); i++) {
		const char *dir = setting(places[i].variable);
		CLEANUP(free) char *path = NULL;

		if (!dir)
			continue;
		if (asprintf(&path, "%s%s", dir, places[i].path) < 0) {
			path = NULL;
			return err_set(err, -ENOMEM, "out of memory");
		}
		r = search_file(path, host, repository, ret, err);
		if (places[i].alone)
			break;
	}
	return r;
}
