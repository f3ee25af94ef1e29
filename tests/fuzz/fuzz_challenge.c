/* SPDX-License-Identifier: Apache-2.0 */
/* What a registry asks for is understood or passed over; nothing of it can break a request's lines. */
#include "fuzz.h"

#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "oci/challenge.h"

static void must_be_plain(const char *text, size_t max)
{
	must(memchr(text, '\0', max));
	for (; *text != '\0'; text++)
		must(*text >= ' ' && *text <= '~');
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	CLEANUP(free) char *text = calloc(1, size + 1);
	struct challenge c;

	must(text);
	memcpy(text, data, size);
	challenge_parse(text, &c);
	must(c.kind == CHALLENGE_NONE || c.kind == CHALLENGE_BASIC || c.kind == CHALLENGE_BEARER);
	if (c.kind != CHALLENGE_BEARER)
		return 0;
	must(strcasestr(text, "bearer"));
	must_be_plain(c.realm, sizeof(c.realm));
	must_be_plain(c.service, sizeof(c.service));
	must_be_plain(c.scope, sizeof(c.scope));
	must(strncasecmp(c.realm, "http", strlen("http")) == 0);
	return 0;
}
