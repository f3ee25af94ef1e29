/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of clients that concern prefetch. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "control.h"
#include "daemon_internal.h"
#include "format.h"
#include "trace.h"

/* Read the trace that came with a request. The caller frees *@ret. */
static int read_trace(int fd, char **ret, size_t *ret_len, struct err *err)
{
	CLEANUP(free) char *text = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		return err_set(err, -EINVAL, "the trace is not a regular file");
	if ((uint64_t)st.st_size > FORMAT_TRACE_MAX)
		return err_set(err, -EFBIG, "the trace has more than 64 MiB");
	text = malloc((size_t)st.st_size + 1);
	if (!text)
		return err_set(err, -ENOMEM, "out of memory");
	r = io_pread(fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return err_set(err, r, "the trace could not be read: %s", strerrordesc_np(-r));
	r = trace_check(text, (size_t)st.st_size, err);
	if (r < 0)
		return err_wrap(err, r, "the trace");
	*ret_len = (size_t)st.st_size;
	*ret = TAKE_PTR(text);
	return 0;
}

/* What @source of a request means. Fills the source and the text of @order. */
static int read_source(const struct request *request, const char *source,
                       struct prefetch_order *order, struct err *err)
{
	if (strcmp(source, "image") == 0)
		order->source = PREFETCH_IMAGE;
	else if (strcmp(source, "all") == 0)
		order->source = PREFETCH_ALL;
	else if (strcmp(source, "file") == 0)
		order->source = PREFETCH_TRACE;
	else
		return err_set(err, -EPROTO, "unknown source of a prefetch '%s'", source);
	return order->source == PREFETCH_TRACE
	               ? read_trace(request->received_fd, &order->text, &order->len, err)
	               : 0;
}

/* Begin for @s. Takes what @order has. With sessions_lock held: the session does not end meanwhile. */
static int start_for_session(struct daemon *d, const struct session *s,
                             struct prefetch_order *order, struct err *err)
{
	order->img = session_image(s);
	order->name = session_name(s);
	order->passed_on = session_small_files(s);
	return prefetch_start(d->engine.prefetch, order, err);
}

int daemon_prefetch_mount(struct daemon *d, const struct request *request, dev_t device,
                          struct err *err)
{
	const char *source = json_string_value(json_object_get(request->message, "prefetch"));
	struct prefetch_order order = { .text = NULL };
	const struct session *s;
	int r = source ? read_source(request, source, &order, err) : 0;

	if (r < 0 || !source)
		return r;
	(void)pthread_mutex_lock(&d->sessions_lock);
	s = daemon_session_by_device(d, device);
	if (s)
		r = start_for_session(d, s, &order, err);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (s)
		return r;
	free(order.text);
	return err_set(err, -ENOTCONN, "the mount has ended");
}

/* Begin for an image that may be mounted or not. Takes what @order has. */
static int start_for_image(struct daemon *d, const struct mount_request *what,
                           struct prefetch_order *order, struct digest *ret, struct err *err)
{
	CLEANUP(found_image_release) struct found_image found = FOUND_IMAGE_INIT;
	const struct session *s;
	int r = daemon_find_image(d, what, &found, err);

	if (r == 0) {
		*ret = found.manifest->self.digest;
		(void)pthread_mutex_lock(&d->sessions_lock);
		s = daemon_session_of(d, ret);
		if (s)
			r = start_for_session(d, s, order, err);
		(void)pthread_mutex_unlock(&d->sessions_lock);
		if (s)
			return r;
		r = daemon_open_found(d, &found, &order->img, err);
	}
	if (r < 0) {
		free(order->text);
		return r;
	}
	order->take = true;
	order->name = what->image;
	return prefetch_start(d->engine.prefetch, order, err);
}

/* Begin for the mount or image that @what names. Takes what @order has. */
static int start_for_target(struct daemon *d, const struct mount_request *what,
                            struct prefetch_order *order, struct digest *ret, struct err *err)
{
	const struct session *s;
	int r = 0;

	(void)pthread_mutex_lock(&d->sessions_lock);
	s = daemon_session_at(d, what->image);
	if (s) {
		*ret = image_manifest(session_image(s))->self.digest;
		r = start_for_session(d, s, order, err);
	}
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return s ? r : start_for_image(d, what, order, ret, err);
}

static struct mount_request target_of(const struct request *request)
{
	return (struct mount_request){
		.image = json_string_value(json_object_get(request->message, "target")),
		.platform = json_string_value(json_object_get(request->message, "platform")),
		.auth = json_string_value(json_object_get(request->message, "auth")),
	};
}

json_t *answer_prefetch(struct daemon *d, struct request *request, struct err *err)
{
	const struct mount_request what = target_of(request);
	const char *source = json_string_value(json_object_get(request->message, "source"));
	struct prefetch_order order = { .text = NULL };
	struct digest digest;

	if (!what.image || !source) {
		(void)err_set(err, -EPROTO, "prefetch needs a target and a source");
		return NULL;
	}
	if (read_source(request, source, &order, err) < 0 ||
	    start_for_target(d, &what, &order, &digest, err) < 0)
		return NULL;
	return json_pack("{si sb}", "version", CONTROL_VERSION, "ok", 1);
}

/* The digest of the image that @what names. */
static int find_digest(struct daemon *d, const struct mount_request *what, struct digest *ret,
                       struct err *err)
{
	CLEANUP(found_image_release) struct found_image found = FOUND_IMAGE_INIT;
	const struct session *s;
	int r;

	(void)pthread_mutex_lock(&d->sessions_lock);
	s = daemon_session_at(d, what->image);
	if (s)
		*ret = image_manifest(session_image(s))->self.digest;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (s)
		return 0;
	r = daemon_find_image(d, what, &found, err);
	if (r == 0)
		*ret = found.manifest->self.digest;
	return r;
}

/* The job of one image; one begins when there was none, or when some of what it has filled is gone. */
static int resident_of_image(struct daemon *d, const struct mount_request *what,
                             struct prefetch_report *ret, struct err *err)
{
	struct prefetch_order order = { .source = PREFETCH_IMAGE };
	struct prefetch_report last;
	struct digest digest;
	int r = find_digest(d, what, &digest, err);

	*ret = (struct prefetch_report){ .state = PREFETCH_RUNNING };
	if (r < 0)
		return r;
	if (prefetch_find(d->engine.prefetch, &digest, &last)) {
		/* Nobody has the trace any more that a user gave. */
		if (last.state != PREFETCH_EVICTED || last.source == PREFETCH_TRACE) {
			*ret = last;
			return 0;
		}
		order.source = last.source;
	}
	return start_for_target(d, what, &order, &digest, err);
}

/* Add @one to @sum, which is as good as its worst part. */
static void add_report(struct prefetch_report *sum, const struct prefetch_report *one)
{
	if (one->state != PREFETCH_DONE && sum->state <= PREFETCH_DONE) {
		sum->state = one->state;
		memcpy(sum->error, one->error, sizeof(sum->error));
	}
	sum->done += one->done;
	sum->total += one->total;
}

/*
 * The jobs of all mounted images; they begin where there were none. Not where something is gone:
 * images that have no room together would push out each other for ever.
 */
static int resident_of_all(struct daemon *d, struct prefetch_report *ret, struct err *err)
{
	int r = 0;

	*ret = (struct prefetch_report){ .state = PREFETCH_DONE };
	(void)pthread_mutex_lock(&d->sessions_lock);
	if (d->n_sessions == 0)
		r = err_set(err, -ENOENT, "no image is mounted");
	for (size_t i = 0; r == 0 && i < d->n_sessions; i++) {
		const struct manifest *m = image_manifest(session_image(d->sessions[i]));
		struct prefetch_order order = { .source = PREFETCH_IMAGE };
		struct prefetch_report one = { .state = PREFETCH_RUNNING };

		if (!prefetch_find(d->engine.prefetch, &m->self.digest, &one))
			r = start_for_session(d, d->sessions[i], &order, err);
		add_report(ret, &one);
	}
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return r;
}

json_t *answer_resident(struct daemon *d, struct request *request, struct err *err)
{
	const struct mount_request what = target_of(request);
	struct prefetch_report report;
	int r = what.image ? resident_of_image(d, &what, &report, err)
	                   : resident_of_all(d, &report, err);

	if (r < 0)
		return NULL;
	return json_pack("{si sb ss sI sI so}", "version", CONTROL_VERSION, "ok", 1, "state",
	                 prefetch_state_name(report.state), "done_bytes", (json_int_t)report.done,
	                 "total_bytes", (json_int_t)report.total, "error",
	                 control_text(report.error));
}
