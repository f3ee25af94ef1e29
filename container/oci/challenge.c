/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/challenge.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

/* Letters of a token of RFC 9110. */
static const char token_chars[] =
	"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
static const char blank[] = " \t";

/* A place to put the value of a parameter. */
struct value {
	char *buf;
	size_t size; /* with the NUL */
	bool bad;    /* too long or not printable */
};

static void put(struct value *v, size_t at, char c)
{
	if (at + 1 >= v->size || c < ' ' || c > '~')
		v->bad = true;
	else
		v->buf[at] = c;
}

/* Step over a quoted string at *@p, which begins behind its '"'. Returns false when it has no end. */
static bool quoted(const char **p, struct value *v)
{
	size_t n = 0;

	for (; **p != '"'; (*p)++) {
		if (**p == '\\')
			(*p)++;
		if (**p == '\0')
			return false;
		put(v, n++, **p);
	}
	(*p)++;
	if (!v->bad && v->size > 0)
		v->buf[n] = '\0';
	return true;
}

static bool plain(const char **p, struct value *v)
{
	size_t len = strspn(*p, token_chars);

	for (size_t i = 0; i < len; i++)
		put(v, i, (*p)[i]);
	*p += len;
	if (!v->bad && v->size > 0)
		v->buf[len] = '\0';
	return len > 0;
}

/* Where the parameter of @len letters at @name goes. */
static struct value place_of(struct challenge *c, const char *name, size_t len)
{
	const struct {
		const char *name;
		char *buf;
		size_t size;
	} places[] = {
		{ "realm", c->realm, sizeof(c->realm) },
		{ "service", c->service, sizeof(c->service) },
		{ "scope", c->scope, sizeof(c->scope) },
	};

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (strlen(places[i].name) == len && strncasecmp(places[i].name, name, len) == 0)
			return (struct value){ .buf = places[i].buf, .size = places[i].size };
	}
	return (struct value){ .buf = NULL, .size = 0 };
}

/* Parse "name=value" at *@p. Returns false when there is none, with *@p where it was. */
static bool parameter(const char **p, struct challenge *c, bool *bad)
{
	const char *name = *p;
	size_t len = strspn(name, token_chars);
	const char *q = name + len;
	struct value v;
	bool parsed;

	q += strspn(q, blank);
	if (len == 0 || *q != '=')
		return false;
	q++;
	q += strspn(q, blank);
	v = place_of(c, name, len);
	if (*q == '"') {
		q++;
		parsed = quoted(&q, &v);
	} else {
		parsed = plain(&q, &v);
	}
	if (!parsed) {
		*bad |= v.buf != NULL;
		return false;
	}
	*bad |= v.buf && v.bad;
	*p = q;
	return true;
}

static bool is_url(const char *text)
{
	return strncasecmp(text, "https://", strlen("https://")) == 0 ||
	       strncasecmp(text, "http://", strlen("http://")) == 0;
}

static enum challenge_kind kind_of(const char *scheme, size_t len)
{
	if (len == strlen("Basic") && strncasecmp(scheme, "Basic", len) == 0)
		return CHALLENGE_BASIC;
	if (len == strlen("Bearer") && strncasecmp(scheme, "Bearer", len) == 0)
		return CHALLENGE_BEARER;
	return CHALLENGE_NONE;
}

/* Step over what may stand between parameters and challenges. */
static void skip_separators(const char **p)
{
	*p += strspn(*p, " \t,\r\n");
}

/* Parse one challenge at *@p. Returns false at the end of what can be parsed. */
static bool next_challenge(const char **p, struct challenge *ret)
{
	struct challenge c = { .kind = CHALLENGE_NONE };
	bool bad = false;
	size_t len;

	skip_separators(p);
	len = strspn(*p, token_chars);
	if (len == 0)
		return false;
	c.kind = kind_of(*p, len);
	*p += len;
	skip_separators(p);
	while (parameter(p, &c, &bad))
		skip_separators(p);
	if (c.kind == CHALLENGE_BEARER && (bad || !is_url(c.realm)))
		c.kind = CHALLENGE_NONE;
	*ret = c;
	return true;
}

void challenge_parse(const char *text, struct challenge *ret)
{
	struct challenge c;

	*ret = (struct challenge){ .kind = CHALLENGE_NONE };
	while (next_challenge(&text, &c)) {
		if (c.kind > ret->kind)
			*ret = c;
	}
}
