/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of the registry client that perform no I/O. */
#include <criterion/criterion.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "oci/challenge.h"
#include "oci/credentials_text.h"
#include "oci/http_headers.h"
#include "oci/multipart.h"
#include "oci/reference.h"
#include "oci/url.h"

#define HEX "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"

Test(reference, has_host_repository_tag_and_digest)
{
	CLEANUP(reference_release) struct reference ref = REFERENCE_INIT;
	CLEANUP(free) char *target = NULL;

	cr_assert(reference_parse("r.example:5000/a/b-c/d_e:1.4@sha256:" HEX, &ref, NULL) == 0);
	cr_assert_str_eq(ref.host, "r.example:5000");
	cr_assert_str_eq(ref.repository, "a/b-c/d_e");
	cr_assert_str_eq(ref.tag, "1.4");
	cr_assert(ref.pinned);
	target = reference_target(&ref);
	cr_assert_str_eq(target, "sha256:" HEX);
}

Test(reference, without_tag_is_latest_or_the_digest_alone)
{
	CLEANUP(reference_release) struct reference latest = REFERENCE_INIT;
	CLEANUP(reference_release) struct reference pinned = REFERENCE_INIT;

	cr_assert(reference_parse("localhost/a", &latest, NULL) == 0);
	cr_assert_str_eq(latest.tag, "latest");
	cr_assert(reference_parse("[::1]:5000/a@sha256:" HEX, &pinned, NULL) == 0);
	cr_assert_str_eq(pinned.host, "[::1]:5000");
	cr_assert_null(pinned.tag);
}

Test(reference, that_is_none_is_refused_with_a_reason)
{
	static const char *const bad[] = {
		"",
		"r.example",
		"r.example/",
		"/a",
		"assets/base:1",
		"r.example/A",
		"r.example/a//b",
		"r.example/a/",
		"r.example/a..b",
		"r.example/a___b",
		"r.example/-a",
		"r.example/a:",
		"r.example/a:.x",
		"r.example/a:x:y",
		("r.example/a@" HEX),
		"r.example/a@sha256:12",
		("r.example/a@sha512:" HEX),
		"r.example:0/a",
		"r.example:x/a",
		"r.example:65536/a",
		"r_x.example/a",
		"-r.example/a",
		"[::1/a",
		"user@r.example/a",
		"https://r.example/a",
		"r.example/a?b",
		"r.example/a b",
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct reference ref = REFERENCE_INIT;
		struct err err = ERR_INIT;

		cr_expect(reference_parse(bad[i], &ref, &err) == -EINVAL, "'%s'", bad[i]);
		cr_expect(err.msg[0] != '\0', "'%s'", bad[i]);
	}
}

static struct challenge challenge_of(const char *text)
{
	struct challenge c;

	challenge_parse(text, &c);
	return c;
}

Test(challenge, of_a_token_has_realm_service_and_scope)
{
	struct challenge c =
		challenge_of("Bearer realm=\"https://a.example/t?x=1,2\",service=r.example , "
	                     "scope=\"repository:a:pull\",error=\"invalid_token\"");

	cr_assert(c.kind == CHALLENGE_BEARER);
	cr_assert_str_eq(c.realm, "https://a.example/t?x=1,2");
	cr_assert_str_eq(c.service, "r.example");
	cr_assert_str_eq(c.scope, "repository:a:pull");
}

Test(challenge, for_a_token_is_preferred_wherever_it_stands)
{
	static const char *const texts[] = {
		"Basic realm=\"x, y\", Bearer realm=\"https://a.example/\"",
		"bearer REALM=\"https://a.example/\", basic realm=x",
		"Negotiate, Bearer realm=\"https://a.example/\"",
		"Digest qop=\"auth\", Bearer realm=\"https://a\\.example/\"",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		struct challenge c = challenge_of(texts[i]);

		cr_expect(c.kind == CHALLENGE_BEARER, "'%s'", texts[i]);
		cr_expect_str_eq(c.realm, "https://a.example/");
	}
}

Test(challenge, that_makes_no_sense_is_passed_over)
{
	char text[2048] = "Bearer realm=\"https://";

	cr_assert(challenge_of("").kind == CHALLENGE_NONE);
	cr_assert(challenge_of("Bearer").kind == CHALLENGE_NONE);
	cr_assert(challenge_of("Bearer realm=\"ftp://a.example/\"").kind == CHALLENGE_NONE);
	cr_assert(challenge_of("Bearer realm=\"https://a.example").kind == CHALLENGE_NONE);
	cr_assert(challenge_of("Bearer realm=\"https://a\r\nX: y\"").kind == CHALLENGE_NONE);
	cr_assert(challenge_of("Bearer realm=\"ftp://a\", Basic realm=x").kind == CHALLENGE_BASIC);
	memset(text + strlen(text), 'a', 1500);
	cr_assert(challenge_of(text).kind == CHALLENGE_NONE);
}

/* What @config says of r.example:5000/a/b: "USER SECRET", "token SECRET", "helper NAME", "-" or "error". */
static const char *looked_up(const char *config)
{
	static char text[200];
	CLEANUP(credentials_entry_release)
	struct credentials_entry e = CREDENTIALS_ENTRY_INIT;
	int r = credentials_lookup(config, strlen(config), "r.example:5000", "a/b", &e, NULL);

	if (r <= 0)
		return r < 0 ? "error" : "-";
	(void)snprintf(text, sizeof(text), "%s %s",
	               e.helper           ? "helper"
	               : e.given.identity ? "token"
	                                  : e.given.user,
	               e.helper ? e.helper : e.given.secret);
	return text;
}

Test(credentials, are_those_of_the_longest_name)
{
	cr_expect_str_eq(looked_up("{\"auths\":{\"r.example:5000\":{\"auth\":\"bWU6c2VjcmV0\"}}}"),
	                 "me secret");
	cr_expect_str_eq(
		looked_up(
			"{\"auths\":{\"https://r.example:5000/v1/\":{\"auth\":\"bWU6c2VjcmV0\"}}}"),
		"me secret");
	cr_expect_str_eq(
		looked_up(
			"{\"auths\":{\"r.example:5000/a\":{\"username\":\"x\",\"password\":\"y\"},"
			"\"r.example:5000\":{\"auth\":\"bWU6c2VjcmV0\"}}}"),
		"x y");
	cr_expect_str_eq(
		looked_up(
			"{\"auths\":{\"r.example:5000\":{\"auth\":\"bWU6c2VjcmV0\",\"identitytoken\":\"t\"}}}"),
		"token t");
	cr_expect_str_eq(looked_up("{\"auths\":{\"r.example\":{\"auth\":\"bWU6c2VjcmV0\"},"
	                           "\"r.example:5000/a/bc\":{\"auth\":\"bWU6c2VjcmV0\"},"
	                           "\"r.example:50\":{\"auth\":\"bWU6c2VjcmV0\"}}}"),
	                 "-");
}

Test(credentials, of_helpers_come_before_and_of_the_store_after_others)
{
	cr_expect_str_eq(looked_up("{\"auths\":{\"r.example:5000\":{\"auth\":\"bWU6c2VjcmV0\"}},"
	                           "\"credHelpers\":{\"r.example:5000\":\"h\"}}"),
	                 "helper h");
	cr_expect_str_eq(looked_up("{\"auths\":{\"r.example:5000\":{}},\"credsStore\":\"s\"}"),
	                 "helper s");
	cr_expect_str_eq(
		looked_up(
			"{\"auths\":{\"r.example:5000\":{\"auth\":\"bWU6c2VjcmV0\"}},\"credsStore\":\"s\"}"),
		"me secret");
	cr_expect_str_eq(looked_up("{\"credsStore\":\"../s\"}"), "error");
}

/* What @text gives for r.example:5000/a/b, "USER SECRET", or the error. */
static int find_in_text(struct credentials_text *t, char ret[static 100], struct err *err)
{
	CLEANUP(credentials_release) struct credentials c = CREDENTIALS_INIT;
	int r = credentials_text_find(t, "r.example:5000", "a/b", &c, err);

	(void)snprintf(ret, 100, "%s %s", r > 0 ? c.user : "-", r > 0 ? c.secret : "-");
	return r;
}

Test(credentials, that_were_given_can_be_replaced_and_name_no_programs)
{
	CLEANUP(credentials_text_unref) struct credentials_text *t = credentials_text_new(NULL);
	CLEANUP(free) char *large = NULL;
	struct err err = ERR_INIT;
	char found[100];

	cr_assert_not_null(t);
	cr_expect_eq(find_in_text(t, found, &err), 0);
	cr_assert_eq(credentials_text_set(t, "{\"auths\":{\"r.example:5000\":{\"auth\":"
	                                     "\"bWU6c2VjcmV0\"}},\"credsStore\":\"x\"}"),
	             0);
	cr_expect_eq(find_in_text(t, found, &err), 1);
	cr_expect_str_eq(found, "me secret");
	cr_assert_eq(credentials_text_set(t, "{\"credsStore\":\"x\"}"), 0);
	cr_expect_eq(find_in_text(t, found, &err), -EKEYREJECTED);
	cr_expect(strstr(err.msg, "helper 'x' for 'r.example:5000'"), "%s", err.msg);
	cr_assert_eq(credentials_text_set(t, "{\"auths\":{\"other\":{}}}"), 0);
	cr_expect_eq(find_in_text(t, found, &err), 0);
	cr_expect_eq(credentials_text_check("{}", &err), 0);
	cr_expect_eq(credentials_text_check("[]", &err), -EINVAL);
	cr_expect_eq(credentials_text_check("", &err), -EINVAL);
	large = malloc(1 << 20);
	cr_assert_not_null(large);
	memset(large, ' ', 1 << 20);
	large[(1 << 20) - 1] = '\0';
	cr_expect_eq(credentials_text_check(large, &err), -EFBIG);
}

Test(credentials, that_make_no_sense_are_an_error)
{
	cr_expect_str_eq(looked_up("{"), "error");
	cr_expect_str_eq(looked_up("[]"), "error");
	cr_expect_str_eq(looked_up("{}"), "-");
	cr_expect_str_eq(looked_up("{\"auths\":[1]}"), "-");
	cr_expect_str_eq(looked_up("{\"auths\":{\"r.example:5000\":{\"auth\":\"bWU=\"}}}"),
	                 "error");
	cr_expect_str_eq(looked_up("{\"auths\":{\"r.example:5000\":{\"auth\":\"*\"}}}"), "error");
}

Test(url, leads_where_the_location_says)
{
	static const struct {
		const char *location, *result;
	} cases[] = {
		{ "/v2/x?y=1", "https://r.example/v2/x?y=1" },
		{ "z", "https://r.example/v2/z" },
		{ "http://s.example:81/z", "http://s.example:81/z" },
		{ "//s.example/z", "https://s.example/z" },
		{ "ftp://s.example/", NULL },
		{ "file:///etc/passwd", NULL },
		{ "https://user:x@s.example/", NULL },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		CLEANUP(free) char *url = url_join("https://r.example/v2/a", cases[i].location);

		if (cases[i].result)
			cr_expect_str_eq(url, cases[i].result);
		else
			cr_expect_null(url, "'%s'", cases[i].location);
	}
}

Test(url, of_another_host_port_or_scheme_is_another_origin)
{
	cr_expect(url_same_origin("https://r.example/a", "https://R.example:443/b"));
	cr_expect(!url_same_origin("https://r.example/a", "http://r.example/a"));
	cr_expect(!url_same_origin("https://r.example/a", "https://r.example:444/a"));
	cr_expect(!url_same_origin("https://r.example/a", "https://r.example.evil/a"));
	cr_expect(!url_same_origin("https://r.example/a", "nonsense://"));
}

Test(url, of_this_machine_is_known)
{
	cr_expect(url_host_is_loopback("localhost"));
	cr_expect(url_host_is_loopback("localhost:5000"));
	cr_expect(url_host_is_loopback("127.0.0.1:5000"));
	cr_expect(url_host_is_loopback("127.1.2.3"));
	cr_expect(url_host_is_loopback("[::1]:5000"));
	cr_expect(url_host_is_loopback("[::1]"));
	cr_expect(!url_host_is_loopback("127.0.0.1.example"));
	cr_expect(!url_host_is_loopback("localhost.example:1"));
	cr_expect(!url_host_is_loopback("[::2]:5000"));
	cr_expect(!url_host_is_loopback("128.0.0.1"));
	cr_expect(url_is_loopback("http://127.0.0.1:1/x"));
	cr_expect(!url_is_loopback("http://r.example/127.0.0.1"));
}

static void header(struct http_response *res, const char *line)
{
	cr_assert(http_header_line(res, line, strlen(line)) == 0);
}

Test(headers, are_read_whatever_their_case)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;

	header(&res, "HTTP/1.1 100 Continue\r\n");
	header(&res, "LOCATION: /old\r\n");
	header(&res, "HTTP/2 206 \r\n");
	header(&res, "content-type: application/json; charset=utf-8\r\n");
	header(&res, "WWW-Authenticate: Basic realm=x\r\n");
	header(&res, "www-authenticate:Bearer realm=y\r\n");
	header(&res, "Content-Length: 12\r\n");
	header(&res, "Content-Range: bytes 5-16/100\r\n");
	header(&res, "Retry-After: 7\r\n");
	cr_expect(res.status == 206);
	cr_expect_null(res.location);
	cr_expect_str_eq(res.type, "application/json");
	cr_expect_str_eq(res.challenge, "Basic realm=x, Bearer realm=y");
	cr_expect(res.has_length && res.length == 12);
	cr_expect(res.has_first && res.first == 5);
	cr_expect(res.retry_after == 7);
}

/* Clocks of servers are their own, and headers come in any order. */
Test(headers, that_are_dates_say_how_long_to_wait)
{
	CLEANUP(http_response_release) struct http_response after = HTTP_RESPONSE_INIT;
	CLEANUP(http_response_release) struct http_response before = HTTP_RESPONSE_INIT;
	CLEANUP(http_response_release) struct http_response alone = HTTP_RESPONSE_INIT;

	header(&after, "Date: Thu, 01 Jan 1998 00:00:00 GMT\r\n");
	header(&after, "Retry-After: Thu, 01 Jan 1998 00:00:09 GMT\r\n");
	cr_expect(after.retry_after == 9);
	header(&before, "Retry-After: Thu, 01 Jan 2099 01:00:00 GMT\r\n");
	header(&before, "Date: Thu, 01 Jan 2099 00:59:00 GMT\r\n");
	cr_expect(before.retry_after == 60);
	header(&alone, "Retry-After: Thu, 01 Jan 2099 01:00:00 GMT\r\n");
	cr_expect(alone.retry_after == 0);
}

Test(headers, that_make_no_sense_are_missing)
{
	CLEANUP(http_response_release) struct http_response res = HTTP_RESPONSE_INIT;

	header(&res, "HTTP/1.1\r\n");
	header(&res, "nonsense\r\n");
	header(&res, ":\r\n");
	header(&res, "Content-Length: -1\r\n");
	header(&res, "Content-Range: bytes */100\r\n");
	header(&res, "Content-Range: bytes 99999999999999999999999999-1/100\r\n");
	header(&res, "Retry-After: Thu, 01 Jan 1970 00:00:00 GMT\r\n");
	cr_expect(res.status == 0 && !res.has_length && !res.has_first && res.retry_after == 0);
}

/* What parts gave, as text: "OFF:BYTES " for each call. */
static int note_part(void *arg, uint64_t off, const void *data, size_t len, struct err *err)
{
	char *text = arg;

	(void)err;
	(void)snprintf(text + strlen(text), 200 - strlen(text), "%llu:%.*s ",
	               (unsigned long long)off, (int)len, (const char *)data);
	return 0;
}

static int feed_text(const char *text, char got[static 200])
{
	struct multipart m;

	got[0] = '\0';
	multipart_init(&m, note_part, got);
	return multipart_feed(&m, text, strlen(text), NULL);
}

Test(multipart, gives_each_part_its_place)
{
	char got[200];

	cr_assert(feed_text("nobody sees this\r\n--B\r\nContent-Type: a/b\r\nCONTENT-RANGE:bytes "
	                    "3-7/100\r\n\r\nhe--o\r\n--B \r\nContent-Range: bytes 20-20/*\r\n\r\n\n"
	                    "\r\n--B--\r\n",
	                    got) == 0);
	cr_assert_str_eq(got, "3:he--o 20:\n ");
}

Test(multipart, that_is_none_is_refused_or_gives_nothing)
{
	char got[200];

	cr_assert(feed_text("", got) == 0);
	cr_assert(feed_text("all of the blob\nin lines\n", got) == 0);
	cr_assert_str_eq(got, "");
	cr_assert(feed_text("--B\n\nbytes of I do not know where", got) == -EPROTO);
	cr_assert(feed_text("--B\nContent-Range: bytes 9-3/10\n\nabc", got) == -EPROTO);
	cr_assert(feed_text("--B\nContent-Range: lines 1-3/10\n\nabc", got) == -EPROTO);
	cr_assert_str_eq(got, "");
}

Test(multipart, ends_at_a_line_without_end)
{
	char text[MULTIPART_LINE_MAX + 10], got[200];

	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	cr_assert(feed_text(text, got) == -EPROTO);
}
