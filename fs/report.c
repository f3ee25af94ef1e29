/* SPDX-License-Identifier: Apache-2.0 */
#include "report.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/log.h"
#include "control.h"
#include "hot.h"
#include "huge.h"
#include "pods.h"
#include "resident.h"
#include "stats_json.h"

static json_t *digest_json(const struct digest *digest)
{
	char hex[DIGEST_HEX_SIZE];

	return json_sprintf("sha256:%s", digest_hex(digest, hex));
}

static json_t *mountpoints_json(const struct mount_points *points, dev_t device)
{
	json_t *list = json_array();

	for (size_t i = 0; i < points->n; i++) {
		if (points->point[i].device == device)
			(void)json_array_append_new(list, control_text(points->point[i].path));
	}
	return list;
}

/* What status and stats both say of an image. */
static json_t *image_json(const struct session *s, const struct mount_points *points)
{
	const struct manifest *manifest = image_manifest(session_image(s));

	return json_pack("{so so ss so sb}", "image", control_text(session_name(s)), "digest",
	                 digest_json(&manifest->self.digest), "platform", manifest->platform.name,
	                 "mountpoints", mountpoints_json(points, session_device(s)), "opens_seen",
	                 !session_small_files(s));
}

/* A number of opens; null where the kernel opens files by itself. */
static json_t *opens_json(const struct session *s, uint64_t n)
{
	return session_small_files(s) ? json_null() : json_integer((json_int_t)n);
}

/*
 * Whether every session that wants to reads by passthrough; null without such a session, for
 * then nobody has asked the kernel.
 */
static json_t *passthrough_json(const struct report_source *src)
{
	bool wanted = false;

	for (size_t i = 0; i < src->n_sessions; i++) {
		struct session_counts counts;

		if (session_small_files(src->sessions[i]))
			continue;
		session_counts(src->sessions[i], &counts);
		if (!counts.passthrough)
			return json_false();
		wanted = true;
	}
	return wanted ? json_true() : json_null();
}

static void add_prefetch(void *arg, const struct prefetch_report *report)
{
	json_t *one = json_pack("{so so ss sI sI}", "image", control_text(report->name), "digest",
	                        digest_json(&report->digest), "state",
	                        prefetch_state_name(report->state), "done_bytes",
	                        (json_int_t)report->done, "total_bytes", (json_int_t)report->total);

	if (report->error[0] != '\0')
		(void)json_object_set_new(one, "error", control_text(report->error));
	(void)json_array_append_new(arg, one);
}

/* Whether the tag of @s names another image now, which goes to *@ret. */
static bool has_moved(const struct report_source *src, const struct session *s, struct digest *ret)
{
	return tag_watch_newer(src->tags, session_name(s),
	                       &image_manifest(session_image(s))->self.digest, ret);
}

/* The image that the tag of @s names now; null when it is that of @s. */
static json_t *newer_json(const struct report_source *src, const struct session *s)
{
	struct digest newer;

	return has_moved(src, s, &newer) ? digest_json(&newer) : json_null();
}

json_t *report_status(const struct report_source *src)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	json_t *mounts = json_array();
	json_t *prefetches = json_array();

	/* Unreadable: mounts are listed without their places. */
	(void)!mount_points_load(&points, NULL);
	for (size_t i = 0; i < src->n_sessions; i++) {
		struct session *s = src->sessions[i];
		json_t *mount = image_json(s, &points);
		struct session_counts counts;
		char device[32];

		session_counts(s, &counts);
		(void)json_object_set_new(mount, "device",
		                          json_string(device_text(session_device(s), device)));
		(void)json_object_set_new(mount, "open_files", opens_json(s, counts.open_files));
		(void)json_object_set_new(mount, "oldest_request_seconds",
		                          json_real((double)counts.oldest_request_ns / 1e9));
		(void)json_object_set_new(mount, "newer", newer_json(src, s));
		(void)json_object_set_new(mount, "recorded",
		                          json_boolean(recorder_on(session_recorder(s))));
		(void)json_array_append_new(mounts, mount);
	}
	prefetch_each(src->engine->prefetch, add_prefetch, prefetches);
	return json_pack("{si sb ss si so sI so so so}", "version", CONTROL_VERSION, "ok", 1,
	                 "program_version", ASSETFS_VERSION, "pid", (int)getpid(), "store",
	                 control_text(src->store), "uptime_seconds",
	                 (json_int_t)src->uptime_seconds, "passthrough", passthrough_json(src),
	                 "mounts", mounts, "prefetches", prefetches);
}

static json_t *region_json(const struct report_source *src)
{
	struct region_usage usage;
	uint64_t huge;
	bool known = huge_bytes(src->engine->region, src->engine->stats, &huge) == 0;

	region_usage(src->engine->region, &usage);
	return json_pack("{ss sI sI sI so}", "kind", usage.in_memory ? "memory" : "disk",
	                 "size_bytes", (json_int_t)usage.size, "used_bytes", (json_int_t)usage.used,
	                 "objects", (json_int_t)usage.objects, "huge_bytes",
	                 known ? json_integer((json_int_t)huge) : json_null());
}

/* What blobs of registries take, beside the counters of the store. */
static int add_store(const struct report_source *src, json_t *report)
{
	const struct fetch_usage *blobs = &src->blobs;
	CLEANUP(json_decref)
	json_t *more =
		json_pack("{so sI}", "size_bytes",
	                  blobs->size > 0 ? json_integer((json_int_t)blobs->size) : json_null(),
	                  "used_bytes", (json_int_t)blobs->used);

	return json_object_update(json_object_get(report, "store"), more);
}

static bool is_detail(const struct report_source *src, const char *detail)
{
	return src->detail && strcmp(src->detail, detail) == 0;
}

/* What sharing saves; and the users one by one, if asked for. */
static int add_sharing(const struct report_source *src, json_t *report)
{
	CLEANUP(live_users_release) struct live_users live = LIVE_USERS_INIT;
	CLEANUP(sharing_release) struct sharing sum = { 0 };
	int r;

	if (live_users_load(&live) == 0) {
		for (size_t i = 0; i < src->n_sessions; i++)
			users_sum(session_users(src->sessions[i]), &live, &sum);
	}
	r = json_object_set_new(report, "sharing",
	                        json_pack("{sI sI sI sI}", "users", (json_int_t)sum.users,
	                                  "bytes_if_private", (json_int_t)sum.bytes_if_private,
	                                  "bytes_shared", (json_int_t)sum.bytes_shared,
	                                  "bytes_saved",
	                                  (json_int_t)(sum.bytes_if_private - sum.bytes_shared)));
	if (r == 0 && is_detail(src, "pods"))
		r = json_object_set_new(report, "pods", pods_json(&live, src->pod_names));
	return r;
}

/* The files that are opened most or least, if asked for. */
static int add_files(const struct report_source *src, json_t *report)
{
	bool hot = is_detail(src, "hot");

	if (!hot && !is_detail(src, "cold"))
		return 0;
	return json_object_set_new(report, "files",
	                           hot_files_json(src, hot ? HOT : COLD, src->n_files));
}

/* Add the figures of @s to @images. Returns 0 or -ENOMEM. */
static int add_image_stats(json_t *images, struct session *s, const struct mount_points *points,
                           struct resident_view *view)
{
	struct index *idx = image_index(session_image(s));
	struct session_counts counts;
	CLEANUP(json_decref) json_t *more = NULL;
	json_t *image;
	uint64_t resident;
	int r = resident_view_bytes(view, idx, session_content_keys(s), &resident);

	if (r < 0)
		return r;
	image = image_json(s, points);
	session_counts(s, &counts);
	more = json_pack("{sI sI sI so sI sI}", "files", (json_int_t)index_info(idx)->n_files,
	                 "bytes", (json_int_t)index_info(idx)->bytes, "resident_bytes",
	                 (json_int_t)resident, "opens_total", opens_json(s, counts.opens),
	                 "requests_total", (json_int_t)counts.requests, "errors_total",
	                 (json_int_t)counts.errors);
	(void)json_object_update(image, more);
	(void)json_array_append_new(images, image);
	return 0;
}

bool report_is_target(const struct session *s, const char *target,
                      const struct mount_points *points)
{
	const struct mount_point *point = mount_points_at(points, target);

	return strcmp(session_name(s), target) == 0 ||
	       (point && point->device == session_device(s));
}

int report_no_target(const char *target, struct err *err)
{
	return err_set(err, -ENOENT, "'%s' is neither a mount point nor an image of this daemon",
	               target);
}

int report_stats(const struct report_source *src, const char *target, json_t **ret, struct err *err)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	struct resident_view view = resident_view_of(src->engine->region);
	CLEANUP(json_decref) json_t *images = json_array();
	CLEANUP(json_decref) json_t *report = NULL;
	int r = 0;

	(void)!mount_points_load(&points, NULL);
	for (size_t i = 0; r == 0 && i < src->n_sessions; i++) {
		if (!target || report_is_target(src->sessions[i], target, &points))
			r = add_image_stats(images, src->sessions[i], &points, &view);
	}
	resident_list_release(&view.list);
	if (r < 0)
		return err_set(err, r, "out of memory");
	if (target && json_array_size(images) == 0)
		return report_no_target(target, err);
	report = json_pack("{si sb ss si sI so so sO}", "version", CONTROL_VERSION, "ok", 1,
	                   "source", "daemon", "pid", (int)getpid(), "uptime_seconds",
	                   (json_int_t)src->uptime_seconds, "passthrough", passthrough_json(src),
	                   "region", region_json(src), "images", images);
	if (!report || stats_add_json(src->engine->stats, report) < 0 ||
	    add_store(src, report) < 0 || add_sharing(src, report) < 0 ||
	    add_files(src, report) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = TAKE_PTR(report);
	return 0;
}

/* Whether two sessions show images of one name, which another mount by that name would choose from. */
static bool is_same_name(const struct session *a, const struct session *b)
{
	return strcmp(session_name(a), session_name(b)) == 0 &&
	       strcmp(image_manifest(session_image(a))->platform.name,
	              image_manifest(session_image(b))->platform.name) == 0;
}

/*
 * Whether session @i has what its name means now: its tag is not known to have moved, and nobody has
 * mounted another image by that name since.
 */
static bool is_current(const struct report_source *src, size_t i)
{
	const struct session *s = src->sessions[i];
	struct digest newer;

	if (has_moved(src, s, &newer))
		return false;
	for (size_t k = i + 1; k < src->n_sessions; k++) {
		const struct session *later = src->sessions[k];

		if (is_same_name(s, later) && !has_moved(src, later, &newer))
			return false;
	}
	return true;
}

/* The users of @s among @live, which is counted anew. */
static json_t *session_users_json(const struct report_source *src, struct session *s,
                                  struct live_users *live)
{
	CLEANUP(sharing_release) struct sharing sum = { 0 };

	for (size_t i = 0; i < live->n; i++) {
		live->user[i].bytes = 0;
		live->user[i].counted = false;
	}
	users_sum(session_users(s), live, &sum);
	return pods_json(live, src->pod_names);
}

int report_generations(const struct report_source *src, json_t **ret, struct err *err)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	CLEANUP(live_users_release) struct live_users live = LIVE_USERS_INIT;
	json_t *list = json_array();

	(void)!mount_points_load(&points, NULL);
	if (live_users_load(&live) < 0)
		log_debug("users are not known");
	for (size_t i = 0; i < src->n_sessions; i++) {
		struct session *s = src->sessions[i];
		json_t *one = image_json(s, &points);

		(void)json_object_set_new(one, "current", json_boolean(is_current(src, i)));
		(void)json_object_set_new(one, "newer", newer_json(src, s));
		(void)json_object_set_new(one, "users", session_users_json(src, s, &live));
		(void)json_array_append_new(list, one);
	}
	*ret = json_pack("{si sb so}", "version", CONTROL_VERSION, "ok", 1, "generations", list);
	return *ret ? 0 : err_set(err, -ENOMEM, "out of memory");
}
