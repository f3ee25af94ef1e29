/* SPDX-License-Identifier: Apache-2.0 */
/* What a server wants to be shown: the header WWW-Authenticate (RFC 9110). Any thread. */
#pragma once

#include "base/err.h"

enum challenge_kind {
	CHALLENGE_NONE, /* nothing that is known here */
	CHALLENGE_BASIC,
	CHALLENGE_BEARER, /* a token, to be had from the realm */
};

enum {
	CHALLENGE_REALM_MAX = 1024,
	CHALLENGE_SERVICE_MAX = 256,
	CHALLENGE_SCOPE_MAX = 1024,
};

struct challenge {
	enum challenge_kind kind;
	char realm[CHALLENGE_REALM_MAX];     /* of Bearer: a URL; never empty */
	char service[CHALLENGE_SERVICE_MAX]; /* may be empty */
	char scope[CHALLENGE_SCOPE_MAX];     /* may be empty */
};

/*
 * Parse the value of the header, which may have several challenges: Bearer is preferred, the
 * first of a kind taken. What does not parse ends the list. A Bearer whose realm is no URL of http or
 * https, or whose parameters are too long or not printable, counts as nothing.
 */
void challenge_parse(const char *text, struct challenge *ret);
