/* SPDX-License-Identifier: Apache-2.0 */
/* From the name of an image to a session that serves it. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/grow.h"
#include "base/io.h"
#include "base/log.h"
#include "daemon_internal.h"
#include "mountinfo.h"
#include "ops_small.h"

/*
 * A copy of the mount of @device at @path, or -1. What is found there may be something else by now.
 * A copy is its mount's peer, and what is mounted in one would be seen in the other: it is made private,
 * which kernels before 5.12 cannot.
 */
static int copy_mount(const char *path, dev_t device)
{
	CLEANUP(close) int fd = open_tree(AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
	struct mount_attr private = { .propagation = MS_PRIVATE };
	struct statx st;

	/* DONT_SYNC: answered from the kernel's memory, not by this daemon. */
	if (fd < 0 ||
	    statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0 ||
	    makedev(st.stx_dev_major, st.stx_dev_minor) != device)
		return -1;
	(void)mount_setattr(fd, "", AT_EMPTY_PATH, &private, sizeof(private));
	return TAKE_FD(fd);
}

static bool is_word(const char *text, const char *word)
{
	return text && strcmp(text, word) == 0;
}

/* Whether @s is a session as @request wants it. */
static bool suits(const struct session *s, const struct mount_request *request)
{
	return !is_word(request->small_files, session_small_files(s) ? "off" : "on");
}

/*
 * Let @s have the credentials of a further mount, which were good a moment ago, where they are for the same
 * repository: those that it began with may have been revoked since.
 */
static void renew_credentials(struct session *s, const struct mount_request *request,
                              const struct found_image *found)
{
	if (request->auth && found->in.asked &&
	    remotes_same_repository(session_name(s), request->image))
		session_renew_credentials(s, request->auth);
}

/* A further mount of a session that serves what was found already, or -1. With sessions_lock held. */
static int clone_mount(const struct daemon *d, const struct mount_request *request,
                       const struct found_image *found, dev_t *ret_device)
{
	const struct digest *digest = &found->manifest->self.digest;
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	if (mount_points_load(&points, NULL) < 0)
		return -1;
	for (size_t i = 0; i < d->n_sessions; i++) {
		const struct manifest *m = image_manifest(session_image(d->sessions[i]));
		dev_t device = session_device(d->sessions[i]);
		const struct mount_point *point = mount_points_whole(&points, device);
		int fd;

		if (!point || session_ended(d->sessions[i]) || !suits(d->sessions[i], request) ||
		    !digest_equal(&m->self.digest, digest))
			continue;
		fd = copy_mount(point->path, device);
		if (fd >= 0) {
			*ret_device = device;
			renew_credentials(d->sessions[i], request, found);
		}
		return fd;
	}
	return -1;
}

struct session *daemon_session_by_device(const struct daemon *d, dev_t device)
{
	for (size_t i = 0; i < d->n_sessions; i++) {
		if (session_device(d->sessions[i]) == device && !session_ended(d->sessions[i]))
			return d->sessions[i];
	}
	return NULL;
}

struct session *daemon_session_at(const struct daemon *d, const char *target)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;
	const struct mount_point *point;

	if (mount_points_load(&points, NULL) < 0)
		return NULL;
	point = mount_points_at(&points, target);
	return point ? daemon_session_by_device(d, point->device) : NULL;
}

struct session *daemon_session_of(const struct daemon *d, const struct digest *digest)
{
	for (size_t i = 0; i < d->n_sessions; i++) {
		const struct manifest *m = image_manifest(session_image(d->sessions[i]));

		if (digest_equal(&m->self.digest, digest) && !session_ended(d->sessions[i]))
			return d->sessions[i];
	}
	return NULL;
}

/* With sessions_lock held. */
static int append(struct daemon *d, struct session *s)
{
	struct session **sessions =
		array_grow(d->sessions, d->n_sessions, &d->cap_sessions, sizeof(struct session *));

	if (!sessions)
		return -ENOMEM;
	d->sessions = sessions;
	sessions[d->n_sessions++] = s;
	return 0;
}

int daemon_add_session(struct daemon *d, struct session *s)
{
	int r;

	(void)pthread_mutex_lock(&d->sessions_lock);
	r = append(d, s);
	if (r == 0)
		session_hold(s);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (r == 0)
		daemon_note_session(d, s);
	return r;
}

void daemon_let_go(struct daemon *d, struct session *s)
{
	(void)pthread_mutex_lock(&d->sessions_lock);
	session_let_go(s);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	/* It may have ended meanwhile. */
	daemon_wake(d);
}

/* Serve @img by a new session. Takes @img. Returns the descriptor of its mount, or -errno. */
static int start_session(struct daemon *d, struct image *img, const struct mount_request *request,
                         struct credentials_text *credentials, dev_t *ret_device, struct err *err)
{
	bool small_files = is_word(request->small_files, "on") ||
	                   (!is_word(request->small_files, "off") && small_files_image(img));
	struct session_config config = { .engine = &d->engine,
		                         .name = request->image,
		                         .credentials = credentials,
		                         .small_files = small_files,
		                         .ended = daemon_wake,
		                         .arg = d };
	CLEANUP(close) int mount = -1;
	struct session *s;
	int r = session_open(&config, img, &s, &mount, err);

	if (r < 0) {
		image_close(img);
		return r;
	}
	*ret_device = session_device(s);
	r = daemon_add_session(d, s);
	if (r < 0) {
		(void)close(TAKE_FD(mount)); /* ends the session */
		session_free(s);
		return err_set(err, r, "out of memory");
	}
	/* Again: it may have come to be between two keepers. */
	if (d->config->keeper)
		session_keep(s);
	daemon_let_go(d, s);
	return TAKE_FD(mount);
}

/* Find what @request names in a layout. */
static int find_in_layout(const struct daemon *d, const struct mount_request *request,
                          struct remote_image *ret, struct err *err)
{
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	int r = image_ref_parse(request->image, &ref, err);

	if (r == 0)
		r = layout_open(ref.layout, &ret->layout, err);
	if (r == 0)
		r = layout_images(ret->layout, ref.tag, &ret->set, err);
	return r < 0 ? r
	             : verifier_check_layout(d->verifier, request->key, ret->layout,
	                                     &ret->set.self.digest, err);
}

/* What @request wants of a registry, as whom. */
static int name_remote(const struct mount_request *request, struct found_image *found,
                       struct remote_name *ret, struct err *err)
{
	int r = request->auth ? credentials_text_check(request->auth, err) : 0;

	if (r < 0)
		return r;
	found->credentials = credentials_text_new(request->auth);
	if (!found->credentials)
		return err_set(err, -ENOMEM, "out of memory");
	*ret = (struct remote_name){ .name = request->image,
		                     .credentials = found->credentials,
		                     .key = request->key,
		                     .private = request->auth != NULL };
	return 0;
}

static int find_in_registry(struct daemon *d, const struct mount_request *request,
                            struct found_image *ret, struct err *err)
{
	struct remote_name name;
	int r = name_remote(request, ret, &name, err);

	return r < 0 ? r : remotes_find(d->remotes, &name, &ret->in, err);
}

int daemon_find_image(struct daemon *d, const struct mount_request *request,
                      struct found_image *ret, struct err *err)
{
	struct platform platform = platform_of_host();
	int r = 0;

	/* Files with equal digests are one, and some may be of layouts that deceive. */
	if (request->key && !(d->config->local_checks & CHECK_DIGEST))
		r = err_set(err, -EINVAL,
		            "a signature says nothing of the bytes here: this daemon has "
		            "--local-check checksum");
	if (r == 0 && request->platform)
		r = platform_parse(request->platform, &platform, err);
	if (r == 0)
		r = remotes_is_name(request->image) ? find_in_registry(d, request, ret, err)
		                                    : find_in_layout(d, request, &ret->in, err);
	if (r < 0)
		return r;
	ret->manifest = image_set_find(&ret->in.set, &platform, err);
	return ret->manifest ? 0 : -ENOENT;
}

int daemon_open_found(struct daemon *d, struct found_image *found, struct image **ret,
                      struct err *err)
{
	if (found->in.origin)
		return remotes_open(d->remotes, &found->in, found->manifest, ret, err);
	return store_open_image(d->store, found->in.layout, found->manifest, STORE_UNPACK_IN_USE,
	                        ret, err);
}

int daemon_open_image(struct daemon *d, const struct mount_request *request, struct image **ret,
                      struct err *err)
{
	CLEANUP(found_image_release) struct found_image found = FOUND_IMAGE_INIT;
	int r = daemon_find_image(d, request, &found, err);

	return r < 0 ? r : daemon_open_found(d, &found, ret, err);
}

char *daemon_auth_of(struct daemon *d, const char *name)
{
	char *auth = NULL;

	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions && !auth; i++) {
		struct credentials_text *t = session_credentials(d->sessions[i]);

		if (t && strcmp(session_name(d->sessions[i]), name) == 0)
			auth = credentials_text_copy(t);
	}
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return auth;
}

/* For struct tag_watch_config. */
static void each_tagged(void *arg, tagged_fn fn, void *fn_arg)
{
	struct daemon *d = arg;

	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions; i++) {
		const struct session *s = d->sessions[i];
		const struct manifest *m = image_manifest(session_image(s));
		bool any = is_word(m->platform.name, FORMAT_PLATFORM_ANY);
		const struct tagged tagged = { .name = session_name(s),
			                       .platform = any ? NULL : m->platform.name,
			                       .digest = m->self.digest };

		if (remotes_is_name(tagged.name) && !strchr(tagged.name, '@'))
			fn(fn_arg, &tagged);
	}
	(void)pthread_mutex_unlock(&d->sessions_lock);
}

static int look_tag_up(void *arg, const struct tagged *tagged, struct digest *ret)
{
	CLEANUP(found_image_release) struct found_image found = FOUND_IMAGE_INIT;
	CLEANUP(credentials_secret_free) char *auth = daemon_auth_of(arg, tagged->name);
	const struct mount_request request = { .image = tagged->name,
		                               .platform = tagged->platform,
		                               .auth = auth };
	int r = daemon_find_image(arg, &request, &found, NULL);

	if (r == 0)
		*ret = found.manifest->self.digest;
	return r;
}

int daemon_watch_tags(struct daemon *d)
{
	const struct tag_watch_config config = { .interval_s = d->config->tag_interval,
		                                 .each = each_tagged,
		                                 .look_up = look_tag_up,
		                                 .arg = d };

	d->tags = tag_watch_new(&config);
	return d->tags ? 0 : -ENOMEM;
}

/* Find the manifest @digest in the layout that @request names. */
static int find_digest_in_layout(const struct mount_request *request, const struct digest *digest,
                                 struct remote_image *ret, struct err *err)
{
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	int r = image_ref_parse(request->image, &ref, err);

	if (r == 0)
		r = layout_open(ref.layout, &ret->layout, err);
	return r < 0 ? r : remote_image_load(ret, digest, err);
}

/* As daemon_open_digest(); @found is the caller's to release, and has what was found then. */
static int open_digest(struct daemon *d, const struct mount_request *request,
                       const struct digest *digest, struct found_image *found, struct image **ret,
                       struct err *err)
{
	struct remote_name name;
	struct manifest *manifest;
	int r;

	if (remotes_is_name(request->image)) {
		r = name_remote(request, found, &name, err);
		if (r == 0)
			r = remotes_find_digest(d->remotes, &name, digest, &found->in, err);
	} else {
		r = find_digest_in_layout(request, digest, &found->in, err);
	}
	if (r < 0)
		return r;
	manifest = &found->in.set.manifests[0];
	(void)snprintf(manifest->platform.name, sizeof(manifest->platform.name), "%s",
	               request->platform);
	found->manifest = manifest;
	r = daemon_open_found(d, found, ret, err);
	if (r == 0 && image_is_remote(*ret))
		tag_watch_begin(d->tags);
	return r;
}

int daemon_open_digest(struct daemon *d, const struct mount_request *request,
                       const struct digest *digest, struct image **ret,
                       struct credentials_text **ret_credentials, struct err *err)
{
	CLEANUP(found_image_release) struct found_image found = FOUND_IMAGE_INIT;
	int r = open_digest(d, request, digest, &found, ret, err);

	if (r == 0 && ret_credentials)
		*ret_credentials = TAKE_PTR(found.credentials);
	return r;
}

int daemon_mount_digest(struct daemon *d, const struct mount_request *request,
                        const struct digest *digest, struct err *err)
{
	CLEANUP(credentials_text_unref) struct credentials_text *credentials = NULL;
	struct image *img;
	dev_t device;
	int r = daemon_open_digest(d, request, digest, &img, &credentials, err);

	return r < 0 ? r : start_session(d, img, request, credentials, &device, err);
}

static int check_small_files(const char *word, struct err *err)
{
	if (!word || is_word(word, "auto") || is_word(word, "on") || is_word(word, "off"))
		return 0;
	return err_set(err, -EINVAL, "small files are auto, on or off, not '%s'", word);
}

int daemon_mount(struct daemon *d, const struct mount_request *request, dev_t *ret_device,
                 struct err *err)
{
	CLEANUP(found_image_release) struct found_image found = FOUND_IMAGE_INIT;
	struct image *img;
	struct err bad = ERR_INIT;
	uint32_t n_bad;
	int mount;
	int r = check_small_files(request->small_files, err);

	if (r < 0)
		return r;
	r = daemon_find_image(d, request, &found, err);
	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&d->sessions_lock);
	mount = clone_mount(d, request, &found, ret_device);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (mount >= 0)
		return mount;
	r = daemon_open_found(d, &found, &img, err);
	if (r < 0)
		return r;
	n_bad = image_check_packs(img, &bad);
	if (n_bad > 0)
		log_err("%s: %u of %u packs cannot be used; files in them will fail: %s",
		        request->image, n_bad, found.manifest->n_packs, bad.msg);
	if (image_is_remote(img))
		tag_watch_begin(d->tags);
	return start_session(d, img, request, found.credentials, ret_device, err);
}
