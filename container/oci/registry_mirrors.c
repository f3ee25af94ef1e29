/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Mirrors are registries that are asked first. One that fails is not asked again for a while,
 * unless the registry itself fails, too: in a network of its own a mirror may be all there is.
 * What a mirror gives is as good as what the registry gives, for digests say what it is; a tag
 * names what the first one says that knows it.
 *
 * A mirror learns by "?ns=HOST" whose repository is meant, as containerd has it: some stand for
 * several registries. Without it, they go by the path alone.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base/cleanup.h"
#include "oci/registry_internal.h"

enum {
	REST_S = 60,
	MIRROR_ATTEMPTS = 2, /* there are others to be asked */
};

/* A mirror as it is written. */
struct mirror {
	const char *scheme;
	const char *host; /* of the registry; borrowed; not terminated */
	size_t host_len;
	struct reference ref; /* owned; of a repository there */
};

static void mirror_release_cleanup(struct mirror *m)
{
	reference_release(&m->ref);
}

/* The scheme that *@url begins with, which is skipped; or NULL. */
static const char *take_scheme(const char **url)
{
	static const char *const schemes[] = { "http", "https" };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		size_t len = strlen(schemes[i]);

		if (strncasecmp(*url, schemes[i], len) != 0 || strncmp(*url + len, "://", 3) != 0)
			continue;
		*url += len + 3;
		return schemes[i];
	}
	return NULL;
}

/*
 * Parse @text, and put @repository behind what it says. @ret is released by the caller also
 * after an error.
 */
static int parse(const char *text, const char *repository, struct mirror *ret, struct err *err)
{
	CLEANUP(free) char *name = NULL;
	const char *url = strchr(text, '=');
	size_t len;

	if (!url || url == text)
		return err_set(err, -EINVAL, "mirror '%.100s' is not HOST=URL", text);
	ret->host = text;
	ret->host_len = (size_t)(url - text);
	url++;
	ret->scheme = take_scheme(&url);
	if (!ret->scheme)
		return err_set(err, -EINVAL, "mirror '%.100s': its URL is not one of http or https",
		               text);
	len = strlen(url);
	while (len > 0 && url[len - 1] == '/')
		len--;
	if (asprintf(&name, "%.*s/%s", (int)len, url, repository) < 0) {
		name = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	if (reference_parse(name, &ret->ref, NULL) < 0 || ret->ref.pinned ||
	    strcmp(ret->ref.tag, "latest") != 0)
		return err_set(err, -EINVAL,
		               "mirror '%.100s': its URL is not http[s]://MIRROR[:PORT][/PREFIX]",
		               text);
	return 0;
}

int registry_check_mirror(const char *text, struct err *err)
{
	CLEANUP(mirror_release) struct mirror m = { .ref = REFERENCE_INIT };

	return parse(text, "any", &m, err);
}

static bool is_for(const struct mirror *m, const char *host)
{
	if (m->host_len == 1 && m->host[0] == '*')
		return true;
	return strlen(host) == m->host_len && strncasecmp(m->host, host, m->host_len) == 0;
}

static int open_mirror(struct registry *reg, const struct reference *ref, const struct mirror *m,
                       const struct registry_options *options, struct err *err)
{
	struct registry_options o = *options;
	struct registry *mirror;
	int r;

	if (reg->n_mirrors == MIRRORS_MAX)
		return err_set(err, -EINVAL, "more than %d mirrors of '%s'", MIRRORS_MAX,
		               ref->host);
	o.mount_from = NULL;
	if (o.attempts == 0 || o.attempts > MIRROR_ATTEMPTS)
		o.attempts = MIRROR_ATTEMPTS;
	r = registry_open_at(reg->http, &m->ref, m->scheme, &o, &mirror, err);
	if (r < 0)
		return r;
	reg->mirrors[reg->n_mirrors++] = mirror;
	if (asprintf(&mirror->query, "?ns=%s", ref->host) < 0) {
		mirror->query = NULL;
		return err_set(err, -ENOMEM, "out of memory");
	}
	return 0;
}

/* Open the mirror @text if it is one of the host of @ref. */
static int add_mirror(struct registry *reg, const struct reference *ref, const char *text,
                      const struct registry_options *options, struct err *err)
{
	CLEANUP(mirror_release) struct mirror m = { .host = text, .ref = REFERENCE_INIT };
	int r = parse(text, ref->repository, &m, err);

	return r < 0 || !is_for(&m, ref->host) ? r : open_mirror(reg, ref, &m, options, err);
}

int registry_open_mirrors(struct registry *reg, const struct reference *ref,
                          const struct registry_options *options, struct err *err)
{
	/* Nothing changes the environment while threads run. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *more = getenv("ASSETFS_MIRRORS");
	CLEANUP(free) char *list = strdup(more ? more : "");
	char *rest = NULL;
	int r = list ? 0 : err_set(err, -ENOMEM, "out of memory");

	for (unsigned i = 0; r == 0 && i < options->n_mirrors; i++)
		r = add_mirror(reg, ref, options->mirrors[i], options, err);
	if (r < 0)
		return r;
	for (char *word = strtok_r(list, " \t\n", &rest); r == 0 && word;
	     word = strtok_r(NULL, " \t\n", &rest))
		r = add_mirror(reg, ref, word, options, err);
	return r < 0 ? err_wrap(err, r, "ASSETFS_MIRRORS") : 0;
}

static int64_t now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

static void rest(struct registry *mirror)
{
	__atomic_store_n(&mirror->rests_until, now_s() + REST_S, __ATOMIC_RELAXED);
}

static bool rests(const struct registry *mirror)
{
	return now_s() < __atomic_load_n(&mirror->rests_until, __ATOMIC_RELAXED);
}

static void tell(const struct registry *reg, const char *fmt, ...) PRINTF_FMT(2, 3);

static void tell(const struct registry *reg, const char *fmt, ...)
{
	char line[400];
	va_list ap;

	if (!reg->note)
		return;
	va_start(ap, fmt);
	(void)vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	reg->note(reg->note_arg, line);
}

/* Not to have something is no fault of a mirror. */
static void pass_over(struct registry *mirror, int r, const struct err *why)
{
	if (r == -ENOENT || r == -ENOMEDIUM)
		return;
	tell(mirror, "mirror %s; it is passed over", why->msg);
	rest(mirror);
}

unsigned registry_first(struct registry *reg, uint32_t not, struct registry **ret)
{
	unsigned i = 0;

	while (i < reg->n_mirrors && ((not >> i & 1) || rests(reg->mirrors[i])))
		i++;
	*ret = i < reg->n_mirrors ? reg->mirrors[i] : not >> i & 1 ? NULL : reg;
	return i;
}

void registry_blame(struct registry *reg, struct registry_sources *from,
                    const struct digest *digest)
{
	uint32_t wrong = from->used & ~from->told;
	char hex[DIGEST_HEX_SIZE];

	from->told = from->used;

	(void)digest_hex(digest, hex);
	for (unsigned i = 0; i < reg->n_mirrors; i++) {
		if (!(wrong >> i & 1))
			continue;
		tell(reg, "mirror '%s': blob %.12s comes with other bytes; it is passed over",
		     reg->mirrors[i]->name, hex);
		rest(reg->mirrors[i]);
	}
}

/* Ask those mirrors that rest, or those that do not. Returns -EAGAIN when nobody was of use. */
static int ask_mirrors(struct registry *reg, bool resting, struct question *q, struct err *err)
{
	for (unsigned i = 0; i < reg->n_mirrors; i++) {
		struct registry *mirror = reg->mirrors[i];
		struct err why = ERR_INIT;
		int r;

		if ((q->not >> i & 1) || rests(mirror) != resting)
			continue;
		r = q->ask(mirror, i, q, &why);
		if (r >= 0)
			return r;
		if (q->stop || r == -ENOMEM)
			return err_set(err, r, "%s", why.msg);
		pass_over(mirror, r, &why);
	}
	return -EAGAIN;
}

int registry_ask(struct registry *reg, struct question *q, struct err *err)
{
	int r = ask_mirrors(reg, /* resting= */ false, q, err), again;

	if (r != -EAGAIN)
		return r;
	if (q->not >> reg->n_mirrors & 1)
		r = err_set(err, -EBADMSG, "'%s': whoever has it has other bytes", reg->name);
	else
		r = q->ask(reg, reg->n_mirrors, q, err);
	if (r >= 0 || q->stop || r == -ENOMEM || r == -ENOENT)
		return r;
	again = ask_mirrors(reg, /* resting= */ true, q, err);
	return again == -EAGAIN ? r : again;
}
