/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/reference.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "oci/plain_text.h"

#define DIGEST_PREFIX "sha256:"
#define LOWER         "abcdefghijklmnopqrstuvwxyz"
#define UPPER         "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS        "0123456789"

enum {
	HOST_MAX = 255,
	REPOSITORY_MAX = 255, /* with more, registries refuse it */
	TAG_MAX = 128,
	PORT_MAX = 65535,
};

/* Length of the separator at @p between letters of a part: ".", "_", "__" or dashes; 0 if none. */
static size_t separator(const char *p)
{
	if (*p == '.')
		return 1;
	if (*p == '_')
		return p[1] == '_' ? 2 : 1;
	return strspn(p, "-");
}

/* Length of the part of a repository's name at @p, or 0 when it is none. */
static size_t part(const char *p)
{
	const char *start = p;

	for (;;) {
		size_t len = strspn(p, LOWER DIGITS);

		if (len == 0)
			return 0;
		p += len;
		len = separator(p);
		if (len == 0)
			return (size_t)(p - start);
		p += len;
	}
}

bool reference_is_repository(const char *name)
{
	if (strlen(name) > REPOSITORY_MAX)
		return false;
	for (;;) {
		size_t len = part(name);

		name += len;
		if (len == 0 || *name == '\0')
			return len > 0;
		if (*name++ != '/')
			return false;
	}
}

static bool is_tag(const char *tag)
{
	size_t len = strlen(tag);

	return len >= 1 && len <= TAG_MAX && strspn(tag, LOWER UPPER DIGITS "_.-") == len &&
	       tag[0] != '.' && tag[0] != '-';
}

static bool is_port(const char *text)
{
	size_t len = strlen(text);
	unsigned port = 0;

	if (len < 1 || len > 5 || strspn(text, DIGITS) != len)
		return false;
	for (; *text != '\0'; text++)
		port = port * 10 + (unsigned)(*text - '0');
	return port >= 1 && port <= PORT_MAX;
}

/* Whether @host, which is not empty, is a name or an address, and a port or none. */
static bool is_host(const char *host)
{
	const char *end;
	size_t len;

	if (strlen(host) > HOST_MAX)
		return false;
	if (host[0] == '[') {
		len = strspn(host + 1, DIGITS "abcdefABCDEF:.");
		end = host + 1 + len;
		if (len < 2 || *end++ != ']')
			return false;
	} else {
		len = strspn(host, LOWER UPPER DIGITS ".-");
		end = host + len;
		if (len == 0 || !isalnum((unsigned char)host[0]) ||
		    !isalnum((unsigned char)host[len - 1]))
			return false;
	}
	return *end == '\0' || (*end == ':' && is_port(end + 1));
}

/* Docker's rule, so that "assets/base" is no host "assets". */
static bool looks_like_host(const char *host)
{
	return strpbrk(host, ".:") || strcmp(host, "localhost") == 0;
}

static int bad(const char *text, const char *why, struct err *err)
{
	return err_set(err, -EINVAL, "'%.*s' names no image in a registry: %s",
	               plain_text(text, 120), text, why);
}

/* Take "@sha256:…" off the end of @rest. */
static int take_digest(const char *text, char *rest, struct reference *ref, struct err *err)
{
	char *at = strchr(rest, '@');

	if (!at)
		return 0;
	*at++ = '\0';
	if (strncmp(at, DIGEST_PREFIX, strlen(DIGEST_PREFIX)) != 0 ||
	    digest_parse(at + strlen(DIGEST_PREFIX), strlen(at + strlen(DIGEST_PREFIX)),
	                 &ref->digest) < 0)
		return bad(text, "after '@' comes sha256: and 64 digits", err);
	ref->pinned = true;
	return 0;
}

/* Take ":TAG" off the end of @rest. */
static int take_tag(const char *text, char *rest, struct reference *ref, struct err *err)
{
	char *colon = strchr(rest, ':');

	if (colon) {
		*colon++ = '\0';
		if (!is_tag(colon))
			return bad(text, "a tag has letters, digits, '_', '.' and '-'", err);
	} else if (ref->pinned) {
		return 0;
	}
	ref->tag = strdup(colon ? colon : "latest");
	return ref->tag ? 0 : err_set(err, -ENOMEM, "out of memory");
}

int reference_parse(const char *text, struct reference *ret, struct err *err)
{
	CLEANUP(reference_release) struct reference ref = REFERENCE_INIT;
	CLEANUP(free) char *copy = strdup(text);
	char *slash;
	int r;

	if (!copy)
		return err_set(err, -ENOMEM, "out of memory");
	if (strstr(text, "://"))
		return bad(text, "write HOST/REPOSITORY:TAG, without a scheme", err);
	slash = strchr(copy, '/');
	if (!slash)
		return bad(text, "write HOST/REPOSITORY:TAG", err);
	*slash++ = '\0';
	if (!is_host(copy))
		return bad(text, "it begins with no host", err);
	if (!looks_like_host(copy))
		return bad(text, "it begins with no host, in which there is a '.' or a port", err);
	r = take_digest(text, slash, &ref, err);
	if (r == 0)
		r = take_tag(text, slash, &ref, err);
	if (r < 0)
		return r;
	if (!reference_is_repository(slash))
		return bad(text, "a repository has lower-case letters, digits, '.', '_', '-', '/'",
		           err);
	ref.host = strdup(copy);
	ref.repository = strdup(slash);
	if (!ref.host || !ref.repository)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = ref;
	ref = REFERENCE_INIT;
	return 0;
}

void reference_release(struct reference *ref)
{
	free(ref->host);
	free(ref->repository);
	free(ref->tag);
	*ref = REFERENCE_INIT;
}

char *reference_target(const struct reference *ref)
{
	char hex[DIGEST_HEX_SIZE];
	char *text;

	if (!ref->pinned)
		return strdup(ref->tag);
	return asprintf(&text, DIGEST_PREFIX "%s", digest_hex(&ref->digest, hex)) < 0 ? NULL : text;
}
