/* SPDX-License-Identifier: Apache-2.0 */
/* What clients of the control socket can ask for: control.h lists it. */
#include <errno.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/log.h"
#include "control.h"
#include "daemon_internal.h"
#include "pods.h"
#include "process_limits.h"
#include "report.h"

static uint64_t uptime(const struct daemon *d)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)(now.tv_sec - d->started.tv_sec);
}

/* Whether @key of a message, if it has one, is text: what is not must not count as absent. */
static bool is_text(const json_t *message, const char *key)
{
	const json_t *value = json_object_get(message, key);

	return !value || json_is_string(value);
}

static json_t *answer_mount(struct daemon *d, struct request *request, struct err *err)
{
	const json_t *message = request->message;
	struct mount_request what = {
		.image = json_string_value(json_object_get(message, "image")),
		.platform = json_string_value(json_object_get(message, "platform")),
		.small_files = json_string_value(json_object_get(message, "small_files")),
		.key = json_string_value(json_object_get(message, "verify_key")),
		.auth = json_string_value(json_object_get(message, "auth")),
	};
	const char *directory = json_string_value(json_object_get(message, "directory"));
	char device_buf[32];
	dev_t device = 0;
	int mount;

	if (!what.image || !directory || !is_text(message, "verify_key") ||
	    !is_text(message, "auth")) {
		(void)err_set(err, -EPROTO, "mount needs an image and a directory, in text");
		return NULL;
	}
	mount = daemon_mount(d, &what, &device, err);
	limits_trim();
	if (mount < 0) {
		log_warn("mount of %s at '%s' refused: %s", what.image, directory, err->msg);
		return NULL;
	}
	if (daemon_prefetch_mount(d, request, device, err) < 0) {
		(void)close(mount);
		return NULL;
	}
	(void)pthread_mutex_lock(&d->sessions_lock);
	pod_names_add(&d->pod_names, json_object_get(message, "pod"));
	(void)pthread_mutex_unlock(&d->sessions_lock);
	log_info("mount of %s for '%s'", what.image, directory);
	request->answer_fd = mount;
	return json_pack("{si sb ss sb}", "version", CONTROL_VERSION, "ok", 1, "device",
	                 device_text(device, device_buf), "signed", what.key != NULL);
}

enum report_kind { REPORT_STATUS, REPORT_STATS, REPORT_GENERATIONS };

/* An answer made of the sessions' state, to @message. */
static json_t *answer_report(struct daemon *d, const json_t *message, enum report_kind kind,
                             struct err *err)
{
	struct report_source src = {
		.engine = &d->engine,
		.tags = d->tags,
		.store = store_path(d->store),
		.uptime_seconds = uptime(d),
		.detail = json_string_value(json_object_get(message, "detail")),
		.n_files = (size_t)json_integer_value(json_object_get(message, "files")),
	};
	const char *target = json_string_value(json_object_get(message, "target"));
	json_t *report = NULL;
	int r = 0;

	remotes_usage(d->remotes, &src.blobs);
	(void)pthread_mutex_lock(&d->sessions_lock);
	src.sessions = d->sessions;
	src.n_sessions = d->n_sessions;
	src.pod_names = d->pod_names;
	if (kind == REPORT_STATUS)
		report = report_status(&src);
	else if (kind == REPORT_STATS)
		r = report_stats(&src, target, &report, err);
	else
		r = report_generations(&src, &report, err);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return r < 0 ? NULL : report;
}

static json_t *answer_status(struct daemon *d, struct request *request, struct err *err)
{
	json_t *answer = answer_report(d, request->message, REPORT_STATUS, err);

	if (answer)
		(void)json_object_set_new(answer, "pins", pins_json(d->pins));
	return answer;
}

json_t *daemon_stats(struct daemon *d, struct err *err)
{
	return answer_report(d, NULL, REPORT_STATS, err);
}

static json_t *answer_stats(struct daemon *d, struct request *request, struct err *err)
{
	return answer_report(d, request->message, REPORT_STATS, err);
}

static json_t *answer_generations(struct daemon *d, struct request *request, struct err *err)
{
	return answer_report(d, request->message, REPORT_GENERATIONS, err);
}

/* Nothing more is to be said. */
static json_t *answer_ok(void)
{
	return json_pack("{si sb}", "version", CONTROL_VERSION, "ok", 1);
}

/* The bytes or seconds @key of a message; @absent when it has none. Returns 0 or -EPROTO. */
static int get_number(const json_t *message, const char *key, uint64_t absent, uint64_t *ret,
                      struct err *err)
{
	const json_t *value = json_object_get(message, key);

	*ret = value ? (uint64_t)json_integer_value(value) : absent;
	if (value && (!json_is_integer(value) || json_integer_value(value) < 0))
		return err_set(err, -EPROTO, "'%s' is no number", key);
	return 0;
}

static json_t *answer_pin(struct daemon *d, struct request *request, struct err *err)
{
	const json_t *message = request->message;
	struct mount_request what = {
		.image = json_string_value(json_object_get(message, "image")),
		.platform = json_string_value(json_object_get(message, "platform")),
		.auth = json_string_value(json_object_get(message, "auth")),
	};
	struct pin_request pin = { .name = what.image };
	struct image *img;

	if (!what.image) {
		(void)err_set(err, -EPROTO, "pin needs an image");
		return NULL;
	}
	if (get_number(message, "floor_bytes", PIN_ALL, &pin.floor, err) < 0 ||
	    get_number(message, "seconds", 0, &pin.seconds, err) < 0 ||
	    daemon_open_image(d, &what, &img, err) < 0)
		return NULL;
	if (pins_add(d->pins, &pin, img) < 0) {
		image_close(img);
		return NULL;
	}
	daemon_save_pins(d);
	log_info("pin of %s", what.image);
	return answer_ok();
}

static json_t *answer_unpin(struct daemon *d, struct request *request, struct err *err)
{
	const char *image = json_string_value(json_object_get(request->message, "image"));

	if (!image || pins_remove(d->pins, image) < 0) {
		(void)err_set(err, -ENOENT, "'%s' is not pinned", image ? image : "");
		return NULL;
	}
	daemon_save_pins(d);
	log_info("unpin of %s", image);
	return answer_ok();
}

static const struct {
	const char *name;
	json_t *(*answer)(struct daemon *d, struct request *request, struct err *err);
} commands[] = {
	{ "generations", answer_generations },
	{ "mount", answer_mount },
	{ "pin", answer_pin },
	{ "prefetch", answer_prefetch },
	{ "resident", answer_resident },
	{ "stats", answer_stats },
	{ "status", answer_status },
	{ "trace-record", answer_trace_record },
	{ "trace-stop", answer_trace_stop },
	{ "unpin", answer_unpin },
	{ "upgrade", answer_upgrade },
};

json_t *request_answer(struct daemon *d, struct request *request, struct err *err)
{
	const char *name = json_string_value(json_object_get(request->message, "command"));
	json_t *answer = NULL;
	size_t n = sizeof(commands) / sizeof(commands[0]);
	size_t i = 0;

	while (i < n && strcmp(commands[i].name, name ? name : "") != 0)
		i++;
	if (i < n)
		answer = commands[i].answer(d, request, err);
	else
		(void)err_set(err, -EPROTO, "unknown command '%s'", name ? name : "");
	if (!answer && err->code == 0)
		(void)err_set(err, -ENOMEM, "out of memory");
	return answer;
}
