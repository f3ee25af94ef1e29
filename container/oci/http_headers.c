/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/http_headers.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>

#include "base/cleanup.h"
#include "base/text.h"
#include "oci/multipart.h"

enum { RETRY_AFTER_MAX = 24 * 3600 };

void http_response_release(struct http_response *res)
{
	free(res->location);
	free(res->challenge);
	free(res->digest);
	free(res->type);
	free(res->range);
	free(res->body);
	*res = HTTP_RESPONSE_INIT;
}

static int set_text(char **slot, const char *value)
{
	char *copy = strdup(value);

	if (!copy)
		return -ENOMEM;
	free(*slot);
	*slot = copy;
	return 0;
}

/* Servers may repeat the header, or list in it. */
static int add_challenge(struct http_response *res, const char *value)
{
	char *joined;

	if (!res->challenge)
		return set_text(&res->challenge, value);
	if (asprintf(&joined, "%s, %s", res->challenge, value) < 0)
		return -ENOMEM;
	free(res->challenge);
	res->challenge = joined;
	return 0;
}

static void set_content_range(struct http_response *res, const char *value)
{
	uint64_t last;

	res->has_first = content_range_parse(value, &res->first, &last) == 0;
}

/* A date means something beside the server's own only: this machine's clock may be another. */
static void judge_retry_date(struct http_response *res)
{
	int64_t wait = res->retry_date - res->date;

	if (res->date > 0 && wait > 0 && wait <= RETRY_AFTER_MAX)
		res->retry_after = (uint64_t)wait;
}

/* Seconds, or a date. */
static void set_retry_after(struct http_response *res, const char *value)
{
	uint64_t seconds;

	if (text_parse_uint(value, RETRY_AFTER_MAX, &seconds) == 0) {
		res->retry_after = seconds;
		return;
	}
	res->retry_date = curl_getdate(value, NULL);
	judge_retry_date(res);
}

static void set_date(struct http_response *res, const char *value)
{
	res->date = curl_getdate(value, NULL);
	judge_retry_date(res);
}

static void set_length(struct http_response *res, const char *value)
{
	res->has_length = text_parse_uint(value, INT64_MAX, &res->length) == 0;
}

static int set_type(struct http_response *res, char *value)
{
	value[strcspn(value, "; \t")] = '\0';
	return set_text(&res->type, value);
}

/* The header @name has @value, both without blanks around them. */
static int set_header(struct http_response *res, const char *name, char *value)
{
	if (strcasecmp(name, "location") == 0)
		return set_text(&res->location, value);
	if (strcasecmp(name, "www-authenticate") == 0)
		return add_challenge(res, value);
	if (strcasecmp(name, "docker-content-digest") == 0)
		return set_text(&res->digest, value);
	if (strcasecmp(name, "content-type") == 0)
		return set_type(res, value);
	if (strcasecmp(name, "range") == 0)
		return set_text(&res->range, value);
	if (strcasecmp(name, "content-length") == 0)
		set_length(res, value);
	else if (strcasecmp(name, "content-range") == 0)
		set_content_range(res, value);
	else if (strcasecmp(name, "retry-after") == 0)
		set_retry_after(res, value);
	else if (strcasecmp(name, "date") == 0)
		set_date(res, value);
	return 0;
}

/* "HTTP/1.1 200 OK", "HTTP/2 200" */
static void set_status(struct http_response *res, const char *line)
{
	const char *p = strchr(line, ' ');
	long status = 0;

	for (p = p ? p + 1 : ""; isdigit((unsigned char)*p) && status < 1000; p++)
		status = status * 10 + (*p - '0');
	http_response_release(res);
	res->status = status;
}

int http_header_line(struct http_response *res, const char *line, size_t len)
{
	CLEANUP(free) char *copy = calloc(1, len + 1);
	char *value, *end;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, line, len);
	end = copy + strlen(copy);
	while (end > copy && isspace((unsigned char)end[-1]))
		*--end = '\0';
	if (strncmp(copy, "HTTP/", strlen("HTTP/")) == 0) {
		set_status(res, copy);
		return 0;
	}
	value = strchr(copy, ':');
	if (!value)
		return 0;
	*value++ = '\0';
	value += strspn(value, " \t");
	return set_header(res, copy, value);
}
