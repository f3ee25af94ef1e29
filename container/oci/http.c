/* SPDX-License-Identifier: Apache-2.0 */
#include "oci/http.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <curl/curl.h>
#include <openssl/x509_vfy.h>

#include "base/cleanup.h"
#include "base/io.h"
#include "oci/http_headers.h"
#include "oci/plain_text.h"
#include "oci/url.h"

enum {
	CONNECT_S = 15,
	STALL_S = 60,
	IDLE_MAX = 64,         /* handles that are kept */
	ERROR_MAX = 64 << 10,  /* bytes of the answer to a failed request */
	BUFFER_SIZE = 1 << 18, /* that libcurl reads and writes at once */
};

struct http {
	char *ca_file; /* owned; or NULL */
	unsigned connect_s;
	unsigned stall_s;
	pthread_mutex_t lock;
	CURL *idle[IDLE_MAX]; /* owned; under lock. A handle holds the connections that it made. */
	unsigned n_idle;      /* under lock */
};

static void init_curl(void)
{
	(void)curl_global_init(CURL_GLOBAL_DEFAULT);
}

int http_new(const struct http_options *options, struct http **ret, struct err *err)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	CLEANUP(free) struct http *http = calloc(1, sizeof(*http));

	(void)pthread_once(&once, init_curl);
	if (!http)
		return err_set(err, -ENOMEM, "out of memory");
	http->connect_s = options->connect_s > 0 ? options->connect_s : CONNECT_S;
	http->stall_s = options->stall_s > 0 ? options->stall_s : STALL_S;
	(void)pthread_mutex_init(&http->lock, NULL);
	if (options->ca_file) {
		http->ca_file = strdup(options->ca_file);
		if (!http->ca_file)
			return err_set(err, -ENOMEM, "out of memory");
	}
	*ret = TAKE_PTR(http);
	return 0;
}

void http_free(struct http *http)
{
	if (!http)
		return;
	while (http->n_idle > 0)
		curl_easy_cleanup(http->idle[--http->n_idle]);
	(void)pthread_mutex_destroy(&http->lock);
	free(http->ca_file);
	free(http);
}

static CURL *take_handle(struct http *http)
{
	CURL *handle = NULL;

	(void)pthread_mutex_lock(&http->lock);
	if (http->n_idle > 0)
		handle = http->idle[--http->n_idle];
	(void)pthread_mutex_unlock(&http->lock);
	return handle ? handle : curl_easy_init();
}

static void give_back(struct http *http, CURL *handle)
{
	curl_easy_reset(handle); /* connections stay */
	(void)pthread_mutex_lock(&http->lock);
	if (http->n_idle < IDLE_MAX) {
		http->idle[http->n_idle++] = handle;
		handle = NULL;
	}
	(void)pthread_mutex_unlock(&http->lock);
	if (handle)
		curl_easy_cleanup(handle);
}

/* An exchange under way. */
struct transfer {
	const struct http_request *rq;
	struct http_response *res;
	struct err *err;
	int r;         /* of take(), or of what ended it here */
	uint64_t sent; /* bytes of the body */
	uint64_t told; /* bytes that sent() was told of */
	unsigned stall_s;
	uint64_t moved;  /* bytes, both ways */
	time_t moved_at; /* when the last one did */
	bool stalled;
	long connected; /* status of a proxy's answer to CONNECT; 0: there is none */
	char reason[CURL_ERROR_SIZE];
};

static size_t on_header(char *line, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;

	if (http_header_line(t->res, line, size * n) < 0) {
		t->r = err_set(t->err, -ENOMEM, "out of memory");
		return 0;
	}
	return size * n;
}

/* Keep @len bytes of a body. Returns 0 or -errno. */
static int keep(struct transfer *t, const char *data, size_t len)
{
	struct http_response *res = t->res;
	bool good = res->status / 100 == 2;
	size_t max = good ? t->rq->max : ERROR_MAX;
	char *grown;

	if (len > max - res->body_len) {
		if (good)
			return err_set(t->err, -EMSGSIZE, "an answer is larger than %zu bytes",
			               max);
		len = max - res->body_len;
	}
	grown = realloc(res->body, res->body_len + len + 1);
	if (!grown)
		return err_set(t->err, -ENOMEM, "out of memory");
	res->body = grown;
	memcpy(grown + res->body_len, data, len);
	res->body_len += len;
	grown[res->body_len] = '\0';
	return 0;
}

static size_t on_body(char *data, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	const struct http_request *rq = t->rq;
	size_t len = size * n;

	if (rq->take && (t->res->status == 200 || t->res->status == 206))
		t->r = rq->take(rq->take_arg, t->res, data, len, t->err);
	else
		t->r = keep(t, data, len);
	return t->r < 0 ? CURL_WRITEFUNC_ERROR : len;
}

static size_t on_send(char *buf, size_t size, size_t n, void *arg)
{
	struct transfer *t = arg;
	const struct http_request *rq = t->rq;
	uint64_t left = rq->body_len - t->sent;
	size_t len = left < size * n ? (size_t)left : size * n;

	if (rq->body)
		memcpy(buf, (const char *)rq->body + t->sent, len);
	else
		t->r = io_pread(rq->body_fd, buf, len, rq->body_off + t->sent);
	if (t->r < 0) {
		(void)err_set(t->err, t->r, "what is to be sent could not be read: %s",
		              strerrordesc_np(-t->r));
		return CURL_READFUNC_ABORT;
	}
	t->sent += len;
	if (rq->sent && t->sent > t->told) {
		rq->sent(rq->sent_arg, t->sent - t->told);
		t->told = t->sent;
	}
	return len;
}

/* A connection that was kept turned out to be closed: the body is sent again. */
static int on_seek(void *arg, curl_off_t off, int origin)
{
	struct transfer *t = arg;

	if (origin != SEEK_SET || off < 0 || (uint64_t)off > t->rq->body_len)
		return CURL_SEEKFUNC_CANTSEEK;
	t->sent = (uint64_t)off;
	return CURL_SEEKFUNC_OK;
}

static time_t now_s(void)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* Called at least once a second. libcurl's own limit of speed is one of averages. */
static int on_progress(void *arg, curl_off_t to_get, curl_off_t got, curl_off_t to_send,
                       curl_off_t sent)
{
	struct transfer *t = arg;
	uint64_t moved = (uint64_t)got + (uint64_t)sent;
	time_t now = now_s();

	(void)to_get;
	(void)to_send;
	if (moved != t->moved) {
		t->moved = moved;
		t->moved_at = now;
	}
	t->stalled = now - t->moved_at > (time_t)t->stall_s;
	return t->stalled;
}

static void free_list_cleanup(struct curl_slist **list)
{
	curl_slist_free_all(*list);
}

/* Add "@name: @value" to @list, when there is a value. */
static int add_header(struct curl_slist **list, const char *name, const char *value)
{
	CLEANUP(free) char *line = NULL;
	struct curl_slist *longer;

	if (!value)
		return 0;
	if (asprintf(&line, "%s: %s", name, value) < 0) {
		line = NULL;
		return -ENOMEM;
	}
	longer = curl_slist_append(*list, line);
	if (!longer)
		return -ENOMEM;
	*list = longer;
	return 0;
}

static int make_headers(const struct http_request *rq, struct curl_slist **ret)
{
	const struct {
		const char *name, *value;
	} headers[] = {
		{ "Authorization", rq->authorization },
		{ "Accept", rq->accept },
		{ "Content-Type", rq->type },
		{ "Content-Range", rq->content_range },
		/* Not to ask whether a body is welcome: that costs a round trip, or a second. */
		{ "Expect", "" },
	};
	int r = 0;

	for (size_t i = 0; r == 0 && i < sizeof(headers) / sizeof(headers[0]); i++)
		r = add_header(ret, headers[i].name, headers[i].value);
	return r;
}

static void set_body(CURL *c, struct transfer *t)
{
	const struct http_request *rq = t->rq;

	if (!rq->has_body)
		return;
	(void)curl_easy_setopt(c, CURLOPT_UPLOAD, 1L);
	(void)curl_easy_setopt(c, CURLOPT_INFILESIZE_LARGE, (curl_off_t)rq->body_len);
	(void)curl_easy_setopt(c, CURLOPT_READFUNCTION, on_send);
	(void)curl_easy_setopt(c, CURLOPT_READDATA, t);
	(void)curl_easy_setopt(c, CURLOPT_SEEKFUNCTION, on_seek);
	(void)curl_easy_setopt(c, CURLOPT_SEEKDATA, t);
	(void)curl_easy_setopt(c, CURLOPT_UPLOAD_BUFFERSIZE, (long)BUFFER_SIZE);
}

/* How long, whom to trust, which protocols. */
static void set_manners(CURL *c, const struct http *http, const char *url)
{
	(void)curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
	(void)curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
	(void)curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
	(void)curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT, (long)http->connect_s);
	(void)curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
	(void)curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)BUFFER_SIZE);
	(void)curl_easy_setopt(c, CURLOPT_USERAGENT, "assetfs/" ASSETFS_VERSION);
	if (http->ca_file)
		(void)curl_easy_setopt(c, CURLOPT_CAINFO, http->ca_file);
	if (url_is_loopback(url))
		(void)curl_easy_setopt(c, CURLOPT_PROXY, "");
}

static void set_request(CURL *c, struct transfer *t, struct curl_slist *headers)
{
	const struct http_request *rq = t->rq;

	(void)curl_easy_setopt(c, CURLOPT_URL, rq->url);
	(void)curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, rq->method);
	(void)curl_easy_setopt(c, CURLOPT_NOBODY, strcmp(rq->method, "HEAD") == 0 ? 1L : 0L);
	(void)curl_easy_setopt(c, CURLOPT_HTTPHEADER, headers);
	(void)curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
	(void)curl_easy_setopt(c, CURLOPT_HEADERDATA, t);
	(void)curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
	(void)curl_easy_setopt(c, CURLOPT_WRITEDATA, t);
	(void)curl_easy_setopt(c, CURLOPT_ERRORBUFFER, t->reason);
	(void)curl_easy_setopt(c, CURLOPT_NOPROGRESS, 0L);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFOFUNCTION, on_progress);
	(void)curl_easy_setopt(c, CURLOPT_XFERINFODATA, t);
	if (rq->range)
		(void)curl_easy_setopt(c, CURLOPT_RANGE, rq->range);
	set_body(c, t);
}

/* A certificate that is not good at this time, @verified tells, may be good at another. Returns whether it is one. */
static bool blame_clock(const struct transfer *t, long verified)
{
	const char *what = verified == X509_V_ERR_CERT_NOT_YET_VALID ? "is not valid yet"
	                   : verified == X509_V_ERR_CERT_HAS_EXPIRED ? "has expired"
	                                                             : NULL;
	char date[32] = "?";
	time_t now = time(NULL);
	struct tm tm;

	if (!what)
		return false;
	if (gmtime_r(&now, &tm))
		(void)strftime(date, sizeof(date), "%Y-%m-%d %H:%M UTC", &tm);
	(void)err_set(
		t->err, -EPROTO,
		"its certificate, or that of its authority, %s; this machine's clock says %s: "
		"is it right",
		what, date);
	return true;
}

/* Say that the exchange failed with @code, and the check of the certificate with @verified. */
static int failed(const struct transfer *t, CURLcode code, long verified)
{
	static const struct {
		CURLcode code;
		int r;
		const char *what; /* NULL: as libcurl has it */
	} codes[] = {
		{ CURLE_COULDNT_RESOLVE_HOST, -EHOSTUNREACH, "the name of the host is not known" },
		{ CURLE_COULDNT_RESOLVE_PROXY, -EHOSTUNREACH, "the proxy is not known" },
		{ CURLE_COULDNT_CONNECT, -ECONNREFUSED, "the host cannot be reached" },
		{ CURLE_OPERATION_TIMEDOUT, -ETIMEDOUT, "nothing has come for too long" },
		{ CURLE_PARTIAL_FILE, -ECONNRESET, "the connection broke" },
		{ CURLE_RECV_ERROR, -ECONNRESET, "the connection broke" },
		{ CURLE_SEND_ERROR, -ECONNRESET, "the connection broke" },
		{ CURLE_SEND_FAIL_REWIND, -ECONNRESET, "the connection broke" },
		{ CURLE_GOT_NOTHING, -ECONNRESET, "the connection broke" },
		{ CURLE_HTTP2, -ECONNRESET, "the connection broke" },
		{ CURLE_HTTP2_STREAM, -ECONNRESET, "the connection broke" },
		{ CURLE_SSL_CONNECT_ERROR, -EPROTO, NULL },
		{ CURLE_PEER_FAILED_VERIFICATION, -EPROTO, NULL },
		{ CURLE_SSL_CACERT_BADFILE, -EPROTO, NULL },
		{ CURLE_WEIRD_SERVER_REPLY, -EPROTO, "the answer is not HTTP" },
		{ CURLE_UNSUPPORTED_PROTOCOL, -EPROTO, NULL },
		{ CURLE_OUT_OF_MEMORY, -ENOMEM, "out of memory" },
	};
	const char *why = t->reason[0] != '\0' ? t->reason : curl_easy_strerror(code);
	int r = -EIO;

	if (t->r < 0)
		return t->r;
	if (t->connected >= 300)
		return err_set(t->err, http_is_transient(0, t->connected) ? -ECONNREFUSED : -EPROTO,
		               "the proxy answers with status %ld", t->connected);
	if (code == CURLE_PEER_FAILED_VERIFICATION && blame_clock(t, verified))
		return -EPROTO;
	if (t->stalled)
		code = CURLE_OPERATION_TIMEDOUT;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		if (codes[i].code != code)
			continue;
		if (codes[i].what)
			return err_set(t->err, codes[i].r, "%s", codes[i].what);
		r = codes[i].r;
	}
	return err_set(t->err, r, "%.*s", plain_text(why, 150), why);
}

int http_exchange(struct http *http, const struct http_request *rq, struct http_response *ret,
                  struct err *err)
{
	CLEANUP(free_list) struct curl_slist *headers = NULL;
	struct transfer t = {
		.rq = rq,
		.res = ret,
		.err = err,
		.stall_s = http->stall_s,
		.moved_at = now_s(),
	};
	CURL *handle = take_handle(http);
	long verified = 0; /* of the certificate; 0: it is good */
	CURLcode code;

	http_response_release(ret);
	if (!handle || make_headers(rq, &headers) < 0) {
		if (handle)
			give_back(http, handle);
		return err_set(err, -ENOMEM, "out of memory");
	}
	set_manners(handle, http, rq->url);
	set_request(handle, &t, headers);
	code = curl_easy_perform(handle);
	(void)curl_easy_getinfo(handle, CURLINFO_HTTP_CONNECTCODE, &t.connected);
	(void)curl_easy_getinfo(handle, CURLINFO_SSL_VERIFYRESULT, &verified);
	give_back(http, handle);
	return code == CURLE_OK ? 0 : failed(&t, code, verified);
}

bool http_is_transient(int r, long status)
{
	static const long statuses[] = { 408, 425, 429, 500, 502, 503, 504 };

	if (r < 0)
		return err_is_out_of_reach(r);
	for (size_t i = 0; r == 0 && i < sizeof(statuses) / sizeof(statuses[0]); i++) {
		if (statuses[i] == status)
			return true;
	}
	return false;
}
