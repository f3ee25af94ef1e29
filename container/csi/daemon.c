/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/daemon.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "control.h"

enum {
	ANSWER_SECONDS = 10,  /* for what the daemon knows already */
	MOUNT_SECONDS = 1800, /* for what it may have to fetch */
	VERIFY_PAUSE_NS = 200000000,
};

static const char *text_of(const json_t *object, const char *key)
{
	const char *text = json_string_value(json_object_get(object, key));

	return text ? text : "";
}

/* Takes @request. */
static int ask(const char *store, json_t *request, unsigned seconds, json_t **ret, int *ret_fd,
               struct err *err)
{
	CLEANUP(json_decref) json_t *owned = request;

	if (!owned)
		return err_set(err, -EINVAL, "the image and its credentials must be in UTF-8");
	return control_call_within(store, owned, seconds, ret, ret_fd, err);
}

/* As ask(), for an answer that says nothing. */
static int order(const char *store, json_t *request, struct err *err)
{
	CLEANUP(json_decref) json_t *answer = NULL;

	return ask(store, request, ANSWER_SECONDS, &answer, NULL, err);
}

/* Who the volume is for; NULL when kubelet did not tell. */
static json_t *pod_of(const struct mount_order *order)
{
	return order->pod_uid ? json_pack("{ss ss* ss*}", "uid", order->pod_uid, "name",
	                                  order->pod_name, "namespace", order->pod_namespace)
	                      : NULL;
}

int daemon_mount(const char *store, const struct mount_order *order, int *ret_mount,
                 dev_t *ret_device, struct err *err)
{
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(close) int mount = -1;
	unsigned maj;
	unsigned min;
	int r = ask(store,
	            json_pack("{si ss ss ss ss* ss* ss* so*}", "version", CONTROL_VERSION,
	                      "command", "mount", "image", order->image, "directory", order->target,
	                      "platform", order->platform, "prefetch", order->prefetch, "auth",
	                      order->auth, "pod", pod_of(order)),
	            MOUNT_SECONDS, &answer, &mount, err);

	if (r < 0)
		return r;
	/* Numbers that do not fit are no device that anything else has. NOLINTNEXTLINE(cert-err34-c) */
	if (mount < 0 || sscanf(text_of(answer, "device"), "%u:%u", &maj, &min) != 2)
		return err_set(err, -EPROTO, "the daemon sent no mount");
	*ret_device = makedev(maj, min);
	*ret_mount = TAKE_FD(mount);
	return 0;
}

int daemon_status(const char *store, json_t **ret, struct err *err)
{
	return ask(store, json_pack("{si ss}", "version", CONTROL_VERSION, "command", "status"),
	           ANSWER_SECONDS, ret, NULL, err);
}

static void copy_served(const json_t *mount, struct served *ret)
{
	const char *digest = text_of(mount, "digest");

	if (strncmp(digest, "sha256:", 7) == 0)
		digest += 7;
	(void)snprintf(ret->digest, sizeof(ret->digest), "%s", digest);
	(void)snprintf(ret->platform, sizeof(ret->platform), "%s", text_of(mount, "platform"));
}

bool status_serves(const json_t *status, dev_t device, struct served *ret)
{
	const json_t *mount;
	char text[32];
	size_t i;

	(void)snprintf(text, sizeof(text), "%u:%u", major(device), minor(device));
	json_array_foreach(json_object_get(status, "mounts"), i, mount) {
		if (strcmp(text_of(mount, "device"), text) != 0)
			continue;
		if (ret)
			copy_served(mount, ret);
		return true;
	}
	return false;
}

bool status_last(const json_t *status, const char *image, const char *platform, struct served *ret)
{
	const json_t *mount;
	bool found = false;
	size_t i;

	json_array_foreach(json_object_get(status, "mounts"), i, mount) {
		if (strcmp(text_of(mount, "image"), image) != 0 ||
		    (platform && strcmp(text_of(mount, "platform"), platform) != 0))
			continue;
		copy_served(mount, ret);
		found = true;
	}
	return found;
}

int daemon_pin(const char *store, const struct mount_order *what, uint64_t floor, struct err *err)
{
	json_t *request = json_pack("{si ss ss ss* ss*}", "version", CONTROL_VERSION, "command",
	                            "pin", "image", what->image, "platform", what->platform, "auth",
	                            what->auth);

	if (floor > 0 && request)
		(void)json_object_set_new(request, "floor_bytes", json_integer((json_int_t)floor));
	return order(store, request, err);
}

int daemon_unpin(const char *store, const char *image, struct err *err)
{
	return order(store,
	             json_pack("{si ss ss}", "version", CONTROL_VERSION, "command", "unpin",
	                       "image", image),
	             err);
}

/* Whether the last prefetch has ended. Returns 1, 0, or what it ended with. */
static int verify_state(const json_t *answer, const char *image, struct err *err)
{
	const char *state = text_of(answer, "state");

	if (strcmp(state, "running") == 0)
		return 0;
	if (strcmp(state, "done") == 0)
		return 1;
	if (strcmp(state, "full") == 0)
		return err_set(err, -ENOSPC,
		               "'%s' cannot be verified: the region has no room for all of it",
		               image);
	if (strcmp(state, "failed") == 0)
		return err_set(err, -EBADMSG, "'%s' is damaged: %s", image,
		               text_of(answer, "error"));
	return err_set(err, -ECONNABORTED, "the verification of '%s' was ended", image);
}

int daemon_verify(const char *store, const struct mount_order *what, struct err *err)
{
	const struct timespec pause = { .tv_nsec = VERIFY_PAUSE_NS };
	int r = order(store,
	              json_pack("{si ss ss ss* ss* ss}", "version", CONTROL_VERSION, "command",
	                        "prefetch", "target", what->image, "platform", what->platform,
	                        "auth", what->auth, "source", "all"),
	              err);

	while (r == 0) {
		CLEANUP(json_decref) json_t *answer = NULL;

		r = ask(store,
		        json_pack("{si ss ss ss* ss*}", "version", CONTROL_VERSION, "command",
		                  "resident", "target", what->image, "platform", what->platform,
		                  "auth", what->auth),
		        ANSWER_SECONDS, &answer, NULL, err);
		if (r == 0)
			r = verify_state(answer, what->image, err);
		if (r == 0)
			(void)nanosleep(&pause, NULL);
	}
	return r < 0 ? r : 0;
}
