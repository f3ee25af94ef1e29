/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/url.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <curl/curl.h>

#include "base/cleanup.h"

static void url_part_free(char *part)
{
	curl_free(part);
}
DEFINE_CLEANUP(char *, url_part_free)
DEFINE_CLEANUP(CURLU *, curl_url_cleanup)

static CURLU *parse(const char *url)
{
	CURLU *u = curl_url();

	if (u && curl_url_set(u, CURLUPART_URL, url, CURLU_DISALLOW_USER) != CURLUE_OK) {
		curl_url_cleanup(u);
		return NULL;
	}
	return u;
}

/* One part of @u; of the port also the scheme's own. NULL when there is none. */
static char *part_of(CURLU *u, CURLUPart which)
{
	char *text = NULL;

	return curl_url_get(u, which, &text, CURLU_DEFAULT_PORT) == CURLUE_OK ? text : NULL;
}

/* Whether the name, without a port, is this machine's. */
static bool name_is_loopback(const char *name, size_t len)
{
	static const char digits[] = "0123456789.";

	if (len == strlen("localhost") && strncasecmp(name, "localhost", len) == 0)
		return true;
	if (len == strlen("[::1]") && strncmp(name, "[::1]", len) == 0)
		return true;
	return len > strlen("127.") && strncmp(name, "127.", strlen("127.")) == 0 &&
	       strspn(name, digits) >= len;
}

bool url_host_is_loopback(const char *host)
{
	const char *colon = host[0] == '[' ? strstr(host, "]:") : strrchr(host, ':');
	size_t len = strlen(host);

	if (colon)
		len = (size_t)(colon - host) + (host[0] == '[');
	return name_is_loopback(host, len);
}

bool url_is_loopback(const char *url)
{
	CLEANUP(curl_url_cleanup) CURLU *u = parse(url);
	CLEANUP(url_part_free) char *host = u ? part_of(u, CURLUPART_HOST) : NULL;

	return host && name_is_loopback(host, strlen(host));
}

bool url_is_plain(const char *url)
{
	return strncasecmp(url, "http://", strlen("http://")) == 0;
}

bool url_same_origin(const char *a, const char *b)
{
	static const CURLUPart parts[] = { CURLUPART_SCHEME, CURLUPART_HOST, CURLUPART_PORT };
	CLEANUP(curl_url_cleanup) CURLU *x = parse(a);
	CLEANUP(curl_url_cleanup) CURLU *y = parse(b);

	if (!x || !y)
		return false;
	for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
		CLEANUP(url_part_free) char *p = part_of(x, parts[i]);
		CLEANUP(url_part_free) char *q = part_of(y, parts[i]);

		if (!p || !q || strcasecmp(p, q) != 0)
			return false;
	}
	return true;
}

char *url_join(const char *base, const char *location)
{
	CLEANUP(curl_url_cleanup) CURLU *u = parse(base);
	CLEANUP(url_part_free) char *text = NULL;

	if (!u || curl_url_set(u, CURLUPART_URL, location, CURLU_DISALLOW_USER) != CURLUE_OK ||
	    curl_url_get(u, CURLUPART_URL, &text, 0) != CURLUE_OK)
		return NULL;
	if (!url_is_plain(text) && strncasecmp(text, "https://", strlen("https://")) != 0)
		return NULL;
	return strdup(text);
}

char *url_with_query(const char *url, const char *name, const char *value)
{
	CLEANUP(url_part_free) char *escaped = curl_easy_escape(NULL, value, 0);
	char *text;

	if (!escaped ||
	    asprintf(&text, "%s%c%s=%s", url, strchr(url, '?') ? '&' : '?', name, escaped) < 0)
		return NULL;
	return text;
}

char *url_host(const char *url)
{
	CLEANUP(curl_url_cleanup) CURLU *u = parse(url);
	CLEANUP(url_part_free) char *host = u ? part_of(u, CURLUPART_HOST) : NULL;
	CLEANUP(url_part_free) char *port = u ? part_of(u, CURLUPART_PORT) : NULL;
	char *text;

	if (!host || !port || asprintf(&text, "%s:%s", host, port) < 0)
		return NULL;
	return text;
}
