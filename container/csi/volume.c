/* SPDX-License-Identifier: Apache-2.0 */
#include "csi/volume.h"

#include <errno.h>
#include <limits.h>
#include <stddef.h>
#include <string.h>

#include "base/text.h"

enum {
	IMAGE_MAX = 1024,    /* a registry's host, repository and digest fit several times */
	PLATFORM_LENGTH = 63 /* as an image's config may have it */
};

#define POD_INFO "csi.storage.k8s.io/" /* what kubelet adds with podInfoOnMount */

bool volume_path_ok(const char *path)
{
	if (path[0] != '/' || strlen(path) >= PATH_MAX)
		return false;
	for (const char *p = path; p; p = strchr(p + 1, '/')) {
		size_t len = strcspn(p + 1, "/");

		if ((len == 1 && p[1] == '.') || (len == 2 && p[1] == '.' && p[2] == '.'))
			return false;
	}
	return path[1] != '\0';
}

static int parse_bool(const char *value, bool *ret)
{
	*ret = strcmp(value, "true") == 0;
	return *ret || strcmp(value, "false") == 0 ? 0 : -EINVAL;
}

/* The daemon has a working directory of its own: a layout's path is absolute. */
static int set_image(struct volume *v, const char *value)
{
	const char *path = strncmp(value, "oci:", 4) == 0 ? value + 4 : value;

	if (value[0] == '\0' || strlen(value) > IMAGE_MAX || path[0] == '.' ||
	    (path != value && path[0] != '/'))
		return -EINVAL;
	v->image = value;
	return 0;
}

/* A name that means another image some day. */
static int set_channel(struct volume *v, const char *value)
{
	struct volume image = { .image = NULL };

	v->channel = value;
	return strchr(value, '@') ? -EINVAL : set_image(&image, value);
}

static int set_path(struct volume *v, const char *value)
{
	size_t len;

	while (*value == '/')
		value++;
	len = strlen(value);
	for (const char *p = value; p; p = strchr(p, '/')) {
		p += *p == '/';
		if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == '\0'))
			return -EINVAL;
	}
	v->path = value;
	return len < PATH_MAX ? 0 : -EINVAL;
}

static int set_platform(struct volume *v, const char *value)
{
	static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789._-/";

	if (strspn(value, allowed) != strlen(value) || strlen(value) > PLATFORM_LENGTH ||
	    !strchr(value, '/') || value[0] == '/' || strstr(value, "..") || strstr(value, "//"))
		return -EINVAL;
	v->platform = value;
	return 0;
}

static int set_prefetch(struct volume *v, const char *value)
{
	bool on;

	if (strcmp(value, "all") == 0) {
		v->prefetch = "all";
		return 0;
	}
	if (parse_bool(value, &on) < 0)
		return -EINVAL;
	v->prefetch = on ? "image" : NULL;
	return 0;
}

static int set_pin(struct volume *v, const char *value)
{
	v->pin_floor = 0;
	if (parse_bool(value, &v->pin) == 0)
		return 0;
	v->pin = true;
	return text_parse_size(value, &v->pin_floor) < 0 || v->pin_floor == 0 ? -EINVAL : 0;
}

static int set_verify(struct volume *v, const char *value)
{
	return parse_bool(value, &v->verify);
}

static const struct {
	const char *name;
	int (*set)(struct volume *v, const char *value);
	const char *values; /* for who has written another one */
} attributes[] = {
	{ "channel", set_channel, "an absolute path LAYOUT[:TAG] or HOST/REPOSITORY[:TAG]" },
	{ "image", set_image, "an absolute path LAYOUT[:TAG] or HOST/REPOSITORY[:TAG][@DIGEST]" },
	{ "path", set_path, "a directory of the image" },
	{ "pin", set_pin, "true, false or a size" },
	{ "platform", set_platform, "OS/ARCH" },
	{ "prefetch", set_prefetch, "true, false or all" },
	{ "verify", set_verify, "true or false" },
};

/* There may be more than what is of use here. */
static void set_pod_info(struct volume *v, const char *key, const char *value)
{
	if (strcmp(key, "pod.uid") == 0)
		v->pod_uid = value;
	else if (strcmp(key, "pod.name") == 0)
		v->pod_name = value;
	else if (strcmp(key, "pod.namespace") == 0)
		v->pod_namespace = value;
}

static int set_attribute(struct volume *v, const Csi__V1__Pair *pair, struct err *err)
{
	if (strncmp(pair->key, POD_INFO, strlen(POD_INFO)) == 0) {
		set_pod_info(v, pair->key + strlen(POD_INFO), pair->value);
		return 0;
	}
	for (size_t i = 0; i < sizeof(attributes) / sizeof(attributes[0]); i++) {
		if (strcmp(attributes[i].name, pair->key) != 0)
			continue;
		if (attributes[i].set(v, pair->value) == 0)
			return 0;
		return err_set(err, -EINVAL, "volume attribute '%s' is '%s', must be %s", pair->key,
		               pair->value, attributes[i].values);
	}
	return err_set(err, -EINVAL,
	               "unknown volume attribute '%s'; there are channel, image, path, pin, "
	               "platform, prefetch, verify",
	               pair->key);
}

static int check_mount_flags(const Csi__V1__VolumeCapability__MountVolume *mount, struct err *err)
{
	static const char *const as_it_is[] = { "ro", "nosuid", "nodev", "noatime", "nodiratime" };
	const size_t n = sizeof(as_it_is) / sizeof(as_it_is[0]);

	for (size_t i = 0; i < mount->n_mount_flags; i++) {
		size_t k = 0;

		while (k < n && strcmp(as_it_is[k], mount->mount_flags[i]) != 0)
			k++;
		if (k == n)
			return err_set(err, -EINVAL, "mount option '%s' is not to be had",
			               mount->mount_flags[i]);
	}
	return 0;
}

static int check_access_mode(const Csi__V1__VolumeCapability__AccessMode *mode, struct err *err)
{
	if (!mode || mode->mode == CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__UNKNOWN)
		return err_set(err, -EINVAL, "the volume capability has no access mode");
	if (mode->mode == CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_SINGLE_WRITER ||
	    mode->mode == CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__MULTI_NODE_MULTI_WRITER ||
	    mode->mode > CSI__V1__VOLUME_CAPABILITY__ACCESS_MODE__MODE__SINGLE_NODE_MULTI_WRITER)
		return err_set(err, -EINVAL, "volumes are read-only: ask for ReadOnlyMany");
	return 0;
}

static int check_capability(const Csi__V1__VolumeCapability *capability, struct err *err)
{
	int r;

	if (!capability)
		return err_set(err, -EINVAL, "the volume capability is missing");
	if (capability->access_type_case == CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_BLOCK)
		return err_set(err, -EINVAL, "volumes are directories, not block devices");
	if (capability->access_type_case != CSI__V1__VOLUME_CAPABILITY__ACCESS_TYPE_MOUNT)
		return err_set(err, -EINVAL, "the volume capability has no access type");
	r = check_mount_flags(capability->mount, err);
	return r < 0 ? r : check_access_mode(capability->access_mode, err);
}

/* The one key of a secret of type kubernetes.io/dockerconfigjson. */
static int set_secret(struct volume *v, const Csi__V1__Pair *pair, struct err *err)
{
	if (strcmp(pair->key, ".dockerconfigjson") != 0)
		return err_set(err, -EINVAL,
		               "the secret has a key '%.64s': credentials are a secret of type "
		               "kubernetes.io/dockerconfigjson, whose key is '.dockerconfigjson'",
		               pair->key);
	v->auth = pair->value;
	return 0;
}

int volume_parse(const Csi__V1__NodePublishVolumeRequest *request, struct volume *ret,
                 struct err *err)
{
	struct volume v = { .target = request->target_path, .path = "" };
	int r;

	if (request->volume_id[0] == '\0')
		return err_set(err, -EINVAL, "the volume's id is missing");
	if (request->target_path[0] == '\0')
		return err_set(err, -EINVAL, "the target path is missing");
	if (!volume_path_ok(request->target_path))
		return err_set(err, -EINVAL, "the target path '%s' is not absolute",
		               request->target_path);
	r = check_capability(request->volume_capability, err);
	for (size_t i = 0; r == 0 && i < request->n_volume_context; i++)
		r = set_attribute(&v, request->volume_context[i], err);
	if (r < 0)
		return r;
	if (!v.image == !v.channel)
		return err_set(err, -EINVAL,
		               "the volume must have one of the attributes 'image' and 'channel'");
	if (v.channel)
		v.image = v.channel;
	for (size_t i = 0; r == 0 && i < request->n_secrets; i++)
		r = set_secret(&v, request->secrets[i], err);
	if (r == 0)
		*ret = v;
	return r;
}
