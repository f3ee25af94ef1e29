/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of clients that concern recordings. */
#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>

#include "base/log.h"
#include "control.h"
#include "daemon_internal.h"
#include "report.h"

/* The session that the request names, held; or NULL with @err filled. */
static struct session *hold_target(struct daemon *d, const struct request *request, struct err *err)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	const char *target = json_string_value(json_object_get(request->message, "target"));
	struct session *found = NULL;

	if (!target) {
		(void)err_set(err, -EPROTO, "a recording needs a target");
		return NULL;
	}
	(void)!mount_points_load(&points, NULL);
	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions && !found; i++) {
		struct session *s = d->sessions[i];

		if (!session_ended(s) && report_is_target(s, target, &points))
			found = s;
	}
	if (found)
		session_hold(found);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (!found)
		(void)report_no_target(target, err);
	return found;
}

static int start(const struct request *request, struct session *s, struct err *err)
{
	const char *output = json_string_value(json_object_get(request->message, "output"));
	uint64_t ns = 0;
	int r;

	if (session_small_files(s))
		return err_set(err, -EOPNOTSUPP,
		               "'%s' is mounted for small files, whose reads cannot be seen: mount "
		               "it with --small-files=off",
		               session_name(s));
	if (request->received_fd >= 0) {
		ns = mount_namespace_id(request->received_fd);
		if (ns == 0)
			return err_set(err, -EINVAL,
			               "what came with the request is no mount namespace");
	}
	r = recorder_start(session_recorder(s), ns, output, err);
	if (r < 0)
		return r;
	session_read_ahead(s, /* recorded= */ true);
	log_info("recording %s", session_name(s));
	return 0;
}

json_t *answer_trace_record(struct daemon *d, struct request *request, struct err *err)
{
	struct session *s = hold_target(d, request, err);
	int r;

	if (!s)
		return NULL;
	r = start(request, s, err);
	daemon_let_go(d, s);
	return r < 0 ? NULL : json_pack("{si sb}", "version", CONTROL_VERSION, "ok", 1);
}

/* A file without a name: in the store, or else in memory. */
static int open_nameless(const struct daemon *d)
{
	int fd = openat(store_dir(d->store), ".", O_RDWR | O_TMPFILE | O_CLOEXEC, 0600);

	return fd >= 0 ? fd : memfd_create("trace", MFD_CLOEXEC);
}

static json_t *stop(struct daemon *d, struct request *request, struct session *s, struct err *err)
{
	CLEANUP(recording_release) struct recording recording = RECORDING_INIT;
	CLEANUP(close) int fd = open_nameless(d);
	uint64_t n;

	if (fd < 0) {
		(void)err_set_errno(err, "the trace could not be written");
		return NULL;
	}
	if (recorder_stop(session_recorder(s), &recording, err) < 0)
		return NULL;
	session_read_ahead(s, /* recorded= */ false);
	if (recording_write(&recording, image_index(session_image(s)), fd, &n, err) < 0)
		return NULL;
	log_info("recorded %llu uses of %s", (unsigned long long)n, session_name(s));
	request->answer_fd = TAKE_FD(fd);
	return json_pack("{si sb sI sb ss*}", "version", CONTROL_VERSION, "ok", 1, "uses",
	                 (json_int_t)n, "cut", (int)recording.cut, "output", recording.output);
}

json_t *answer_trace_stop(struct daemon *d, struct request *request, struct err *err)
{
	struct session *s = hold_target(d, request, err);
	json_t *answer;

	if (!s)
		return NULL;
	answer = stop(d, request, s, err);
	daemon_let_go(d, s);
	return answer;
}
