/* SPDX-License-Identifier: Apache-2.0 */
/* Where another daemon has died: its sessions, by what the keeper has of them. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "daemon_internal.h"
#include "secret_file.h"

static bool is_state(const struct kept *kept)
{
	return kept->fd >= 0 &&
	       strncmp(kept->name, SESSION_KEPT_STATE, strlen(SESSION_KEPT_STATE)) == 0;
}

int daemon_check_kept(const struct kept_list *kept, struct err *err)
{
	for (size_t i = 0; i < kept->n; i++) {
		int r = is_state(&kept->kept[i]) ? saved_check(kept->kept[i].fd, err) : 0;

		if (r == -EPROTONOSUPPORT)
			return r;
	}
	return 0;
}

static int resume(struct daemon *d, struct saved *saved, int dev_fd, const char *auth,
                  struct err *err)
{
	CLEANUP(credentials_text_unref) struct credentials_text *credentials = NULL;
	struct session_config config = { .engine = &d->engine, .ended = daemon_wake, .arg = d };
	struct image *img;
	struct session *s;
	const struct mount_request request = { .image = saved_facts(saved)->name,
		                               .platform = saved_facts(saved)->platform,
		                               .auth = auth };
	int r = daemon_open_digest(d, &request, &saved_facts(saved)->manifest, &img, &credentials,
	                           err);

	if (r < 0)
		return r;
	config.credentials = credentials;
	r = session_resume(&config, img, saved, dev_fd, &s, err);
	if (r < 0) {
		image_close(img);
		return r;
	}
	/* Without memory it serves on, in no list: better than a mount that is cut off. */
	if (daemon_add_session(d, s) < 0)
		log_err("the session of %s is in no list: out of memory", session_name(s));
	else
		daemon_let_go(d, s);
	log_info("goes on with the mount of %s", session_name(s));
	return 0;
}

/* The credentials of the session whose names in @kept end in @suffix, or NULL. */
static char *take_auth(struct kept_list *kept, const char *suffix)
{
	char name[KEPT_NAME_MAX];
	CLEANUP(close) int fd = -1;

	(void)snprintf(name, sizeof(name), "%s%.20s", SESSION_KEPT_AUTH, suffix);
	fd = kept_take(kept, name);
	return fd < 0 ? NULL : secret_file_read(fd);
}

/* Go on with the session whose names in @kept end in @suffix and whose state is @state_fd. */
static void resume_kept(struct daemon *d, struct kept_list *kept, const char *suffix, int state_fd)
{
	CLEANUP(saved_free) struct saved *saved = NULL;
	CLEANUP(credentials_secret_free) char *auth = take_auth(kept, suffix);
	CLEANUP(close) int state = state_fd;
	CLEANUP(close) int dev_fd = -1;
	char name[KEPT_NAME_MAX];
	struct err err = ERR_INIT;
	int r;

	(void)snprintf(name, sizeof(name), "%s%.20s", SESSION_KEPT_FUSE, suffix);
	dev_fd = kept_take(kept, name);
	r = dev_fd < 0 ? err_set(&err, -EBADF, "the keeper has no connection of it")
	               : saved_adopt(state, &saved, &err);
	if (r == 0) {
		(void)TAKE_FD(state);
		r = resume(d, saved, dev_fd, auth, &err);
	}
	if (r == 0) {
		(void)TAKE_PTR(saved);
		(void)TAKE_FD(dev_fd);
		return;
	}
	log_err("the mount of %s is lost: %s", saved ? saved_facts(saved)->name : "an image",
	        err.msg);
	notify_drop(name);
	(void)snprintf(name, sizeof(name), "%s%.20s", SESSION_KEPT_STATE, suffix);
	notify_drop(name);
	(void)snprintf(name, sizeof(name), "%s%.20s", SESSION_KEPT_AUTH, suffix);
	notify_drop(name);
}

void daemon_resume(struct daemon *d, struct kept_list *kept)
{
	for (size_t i = 0; i < kept->n; i++) {
		struct kept *state = &kept->kept[i];

		if (is_state(state))
			resume_kept(d, kept, state->name + strlen(SESSION_KEPT_STATE),
			            TAKE_FD(state->fd));
	}
}
