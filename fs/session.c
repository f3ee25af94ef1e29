/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The superblock is made with fsopen(2) and handed out as a detached mount:
 * the process that asked for it attaches it in its own mount namespace, and a
 * mount that fails half way leaves nothing behind.
 */
#include "session.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "notify.h"
#include "ops.h"
#include "ops_small.h"
#include "secret_file.h"
#include "session_internal.h"
#include "session_threads.h"

/* Create the superblock. Returns a descriptor that fsmount(2) takes, or -errno. */
static int create_superblock(const char *name, int dev_fd, struct err *err)
{
	CLEANUP(close) int fs = fsopen("fuse", FSOPEN_CLOEXEC);
	char fd_text[16];

	(void)snprintf(fd_text, sizeof(fd_text), "%d", dev_fd);
	if (fs < 0 || fsconfig(fs, FSCONFIG_SET_STRING, "source", name, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "subtype", "assetfs", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "fd", fd_text, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "rootmode", "40000", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "user_id", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_STRING, "group_id", "0", 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "allow_other", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_SET_FLAG, "default_permissions", NULL, 0) < 0 ||
	    /* On the superblock, not only the mount: else each read would void the cached atime. */
	    fsconfig(fs, FSCONFIG_SET_FLAG, "ro", NULL, 0) < 0 ||
	    fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return err_set_errno(err, "the kernel refused a FUSE file system");
	return TAKE_FD(fs);
}

static int detached_mount(const char *name, int dev_fd, dev_t *ret_device, struct err *err)
{
	CLEANUP(close) int fs = create_superblock(name, dev_fd, err);
	CLEANUP(close) int mount = -1;
	struct statx st;

	if (fs < 0)
		return fs;
	mount = fsmount(fs, FSMOUNT_CLOEXEC,
	                MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
	/* DONT_SYNC: answered from the kernel's memory; nobody serves the mount yet. */
	if (mount < 0 ||
	    statx(mount, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_BASIC_STATS, &st) < 0)
		return err_set_errno(err, "the kernel refused a FUSE mount");
	*ret_device = makedev(st.stx_dev_major, st.stx_dev_minor);
	return TAKE_FD(mount);
}

/* Before INIT is answered: the kernel then takes the lesser of this and the answer's. */
static void set_read_ahead(dev_t device, int kib)
{
	char path[64];
	char text[16];
	CLEANUP(close) int fd = -1;
	int n = snprintf(text, sizeof(text), "%d", kib);

	(void)snprintf(path, sizeof(path), "/sys/class/bdi/%u:%u/read_ahead_kb", major(device),
	               minor(device));
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || io_write(fd, text, (size_t)n) < 0)
		log_debug("'%s' could not be set: sequential reads of files that are not yet "
		          "resident are slower",
		          path);
}

static void note_init(void *arg, const void *init, size_t len)
{
	const struct session *s = arg;

	if (s->saved)
		saved_set_init(s->saved, init, len);
}

/* Ask for what an earlier daemon has read and not answered. */
static void resend(const struct session *s)
{
	int r = fuse_io_resend(&s->io);

	if (r < 0 && r != -ENODEV)
		log_warn("%s: requests that were under way are lost (%s): their callers hang; the "
		         "kernel must be Linux 6.9 or later",
		         s->name, strerrordesc_np(-r));
}

/* Agree with the kernel, which may have agreed with an earlier daemon. Returns whether there is one. */
static bool begin(struct session *s)
{
	bool replayed = s->io.replay;

	/* Its answer must come before the request for it is sent again under another number. */
	if (s->resumed && !replayed)
		resend(s);
	if (fuse_io_init(&s->io, s->se, note_init, s) < 0)
		return false;
	if (replayed)
		resend(s);
	if (s->resumed && !s->pusher)
		ops_resume_fills(s);
	return true;
}

static int receive(void *arg, struct fuse_buf *buf)
{
	const struct session *s = arg;

	return fuse_session_receive_buf(s->se, buf);
}

static void process(void *arg, const struct fuse_buf *buf)
{
	const struct session *s = arg;

	fuse_session_process_buf(s->se, buf);
}

static void *serve(void *arg)
{
	struct session *s = arg;
	const struct session_threads_config config = {
		.receive = receive,
		.process = process,
		.arg = s,
		.max = image_is_remote(s->img) ? SESSION_THREADS_REMOTE : SESSION_THREADS,
		.max_idle = SESSION_THREADS_IDLE,
	};
	struct session_threads threads;
	struct err err = ERR_INIT;

	session_threads_init(&threads, &config);
	s->watched = (struct watched){ .io = &s->io,
		                       .threads = &threads,
		                       .name = s->name,
		                       .errors = &s->tally->errors };
	watchdog_add(s->engine->watchdog, &s->watched);
	if (begin(s) && session_threads_run(&threads, &err) < 0)
		log_err("%s: %s", s->name, err.msg);
	watchdog_remove(s->engine->watchdog, &s->watched);
	session_threads_release(&threads);
	__atomic_store_n(&s->ended, true, __ATOMIC_RELEASE);
	s->ended_fn(s->ended_arg);
	return NULL;
}

static void close_backing(void *arg, int id)
{
	const struct session *s = arg;

	fuse_io_backing_close(&s->io, id);
}

/* Make the parts that need neither kernel nor libfuse. */
static struct session *session_new(const struct session_config *config, struct image *img)
{
	struct session *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->engine = config->engine;
	s->idx = image_index(img);
	s->tally = &s->own_tally;
	s->io.requests = &s->tally->requests;
	s->io.busy_poll = &s->engine->busy_poll;
	s->ended_fn = config->ended;
	s->ended_arg = config->arg;
	s->name = strdup(config->name);
	if (config->credentials)
		s->credentials = credentials_text_ref(config->credentials);
	s->users = users_new(index_info(s->idx)->n_contents, index_info(s->idx)->n_nodes);
	s->inodes = inodes_new(img, config->engine->region, close_backing, s);
	if (config->small_files)
		s->pusher = pusher_new(s->idx, config->engine->region);
	else
		s->listings = listings_new();
	s->io.cached_only = config->small_files;
	ahead_init(&s->ahead,
	           config->engine->frugal && image_is_remote(img) ? 0 : config->engine->fill_ahead);
	s->recorder = recorder_new();
	if (!s->name || !s->users || !s->inodes || !s->recorder ||
	    (config->small_files ? !s->pusher : !s->listings)) {
		session_free(s);
		return NULL;
	}
	return s;
}

/* Join @s with libfuse. On success libfuse owns *@dev_fd. */
static int attach_libfuse(struct session *s, int *dev_fd, struct err *err)
{
	char program[] = "assetfs";
	char *argv[] = { program, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	struct fuse_lowlevel_ops ops = session_ops;
	int r;

	if (s->pusher)
		ops_small(&ops);
	s->se = fuse_session_new(&args, &ops, sizeof(ops), s);
	fuse_opt_free_args(&args);
	if (!s->se)
		return err_set(err, -ENOMEM, "libfuse made no session");
	r = fuse_io_attach(&s->io, s->se, *dev_fd, err);
	if (r < 0)
		return r;
	(void)TAKE_FD(*dev_fd);
	return s->pusher ? pusher_start(s->pusher, s->se, err) : 0;
}

static void kept_name(const struct session *s, const char *kind, char ret[static KEPT_NAME_MAX])
{
	(void)snprintf(ret, KEPT_NAME_MAX, "%s%u", kind, minor(s->device));
}

/* Give the keeper the credentials, which the next daemon needs, too. */
static void keep_credentials(const struct session *s)
{
	CLEANUP(credentials_secret_free)
	char *text = s->credentials ? credentials_text_copy(s->credentials) : NULL;
	char name[KEPT_NAME_MAX];
	CLEANUP(close) int fd = -1;

	if (!text || !s->saved)
		return;
	fd = secret_file_new(text);
	kept_name(s, SESSION_KEPT_AUTH, name);
	if (fd >= 0)
		notify_keep(name, fd);
	else
		log_warn("%s: its credentials end with this daemon: %s", s->name,
		         strerrordesc_np(-fd));
}

void session_renew_credentials(struct session *s, const char *text)
{
	if (s->credentials && credentials_text_set(s->credentials, text) == 0)
		keep_credentials(s);
}

struct credentials_text *session_credentials(const struct session *s)
{
	return s->credentials;
}

bool session_has_credentials(const struct session *s)
{
	CLEANUP(credentials_secret_free)
	char *text = s->credentials ? credentials_text_copy(s->credentials) : NULL;

	return text != NULL;
}

void session_keep(const struct session *s)
{
	char name[KEPT_NAME_MAX];

	if (!s->saved)
		return;
	/* First what is of no use alone. */
	keep_credentials(s);
	kept_name(s, SESSION_KEPT_STATE, name);
	notify_keep(name, saved_fd(s->saved));
	kept_name(s, SESSION_KEPT_FUSE, name);
	notify_keep(name, s->io.dev_fd);
}

static void drop_kept(const struct session *s)
{
	char name[KEPT_NAME_MAX];

	if (!s->saved)
		return;
	kept_name(s, SESSION_KEPT_FUSE, name);
	notify_drop(name);
	kept_name(s, SESSION_KEPT_STATE, name);
	notify_drop(name);
	if (!s->credentials)
		return;
	kept_name(s, SESSION_KEPT_AUTH, name);
	notify_drop(name);
}

/* @saved is borrowed. */
static void save_to(struct session *s, struct saved *saved)
{
	inodes_save(s->inodes, saved);
	s->tally = saved_tally(saved);
	s->io.requests = &s->tally->requests;
}

/* Let the session outlive this daemon, if there is a keeper. */
static int save(struct session *s, const struct image *img, struct err *err)
{
	const struct manifest *m = image_manifest(img);
	struct saved_facts facts = { .manifest = m->self.digest,
		                     .device = s->device,
		                     .small_files = s->pusher != NULL };
	int r;

	if (!notify_has_keeper())
		return 0;
	if (strlen(s->name) >= sizeof(facts.name))
		return err_set(err, -ENAMETOOLONG, "the name of image '%s' is too long", s->name);
	(void)snprintf(facts.name, sizeof(facts.name), "%s", s->name);
	(void)snprintf(facts.platform, sizeof(facts.platform), "%s", m->platform.name);
	r = saved_new(&facts, s->pusher ? 0 : index_info(s->idx)->n_nodes, &s->saved, err);
	if (r == 0)
		save_to(s, s->saved);
	return r;
}

static int start_thread(struct session *s, struct err *err)
{
	return pthread_create(&s->thread, NULL, serve, s) == 0
	               ? 0
	               : err_set(err, -EAGAIN, "no thread for the session");
}

int session_resume(const struct session_config *config, struct image *img, struct saved *saved,
                   int dev_fd, struct session **ret, struct err *err)
{
	const struct saved_facts *facts = saved_facts(saved);
	const struct session_config as_before = { .engine = config->engine,
		                                  .name = facts->name,
		                                  .credentials = config->credentials,
		                                  .small_files = facts->small_files,
		                                  .ended = config->ended,
		                                  .arg = config->arg };
	CLEANUP(session_free) struct session *s = session_new(&as_before, img);
	CLEANUP(close) int fd = fcntl(dev_fd, F_DUPFD_CLOEXEC, 0); /* libfuse closes its own */
	const void *init;
	size_t len;
	int r;

	if (!s || fd < 0)
		return err_set(err, -ENOMEM, "out of memory");
	s->resumed = true;
	s->device = facts->device;
	r = attach_libfuse(s, &fd, err);
	if (r < 0)
		return r;
	init = saved_init(saved, &len);
	if (len > 0)
		fuse_io_replay(&s->io, init, len);
	save_to(s, saved);
	r = inodes_restore(s->inodes, err);
	if (r < 0)
		return r;
	s->img = img;
	s->saved = saved;
	r = start_thread(s, err);
	if (r < 0) {
		s->img = NULL;
		s->saved = NULL;
		return r;
	}
	(void)close(dev_fd);
	*ret = TAKE_PTR(s);
	return 0;
}

int session_open(const struct session_config *config, struct image *img, struct session **ret,
                 int *ret_mount, struct err *err)
{
	CLEANUP(close) int dev_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
	CLEANUP(close) int mount = -1;
	CLEANUP(session_free) struct session *s = NULL;
	int r;

	if (dev_fd < 0)
		return err_set_errno(err, "'/dev/fuse'");
	s = session_new(config, img);
	if (!s)
		return err_set(err, -ENOMEM, "out of memory");
	s->img = img;
	mount = detached_mount(s->name, dev_fd, &s->device, err);
	r = mount < 0 ? mount : attach_libfuse(s, &dev_fd, err);
	if (r == 0)
		r = save(s, img, err);
	if (r == 0) {
		session_keep(s);
		session_read_ahead(s, /* recorded= */ false);
		r = start_thread(s, err);
	}
	if (r < 0) {
		s->img = NULL;
		return r;
	}
	if (s->pusher)
		prefetch_passed_on(s->engine->prefetch, &image_manifest(img)->self.digest);
	*ret_mount = TAKE_FD(mount);
	*ret = TAKE_PTR(s);
	return 0;
}

void session_free(struct session *s)
{
	if (!s)
		return;
	if (s->thread)
		(void)pthread_join(s->thread, NULL);
	if (s->img) {
		image_cancel(s->img);
		prefetch_cancel(s->engine->prefetch, s->img);
		fill_cancel(s->engine->fill, s->img);
	}
	/* Before the descriptor is closed, through which backing ids are taken back. */
	drop_kept(s);
	inodes_free(s->inodes);
	pusher_free(s->pusher);
	if (s->se)
		fuse_session_destroy(s->se);
	users_free(s->users);
	if (s->recorder && recorder_on(s->recorder))
		log_warn("%s: what was recorded is lost: its mount is gone", s->name);
	ahead_release(&s->ahead);
	recorder_free(s->recorder);
	listings_free(s->listings);
	content_keys_release(&s->keys);
	credentials_text_unref(s->credentials);
	saved_free(s->saved);
	image_close(s->img);
	free(s->name);
	free(s);
}

bool session_ended(const struct session *s)
{
	return __atomic_load_n(&s->ended, __ATOMIC_ACQUIRE);
}

const char *session_name(const struct session *s)
{
	return s->name;
}

struct image *session_image(const struct session *s)
{
	return s->img;
}

struct content_keys *session_content_keys(struct session *s)
{
	return &s->keys;
}

dev_t session_device(const struct session *s)
{
	return s->device;
}

struct recorder *session_recorder(const struct session *s)
{
	return s->recorder;
}

void session_hold(struct session *s)
{
	s->n_holds++;
}

void session_let_go(struct session *s)
{
	s->n_holds--;
}

bool session_held(const struct session *s)
{
	return s->n_holds > 0;
}

void session_read_ahead(const struct session *s, bool recorded)
{
	set_read_ahead(s->device,
	               (recorded ? SESSION_READ_AHEAD_RECORDED : SESSION_READ_AHEAD) >> 10);
}

static void drop_listing(void *arg, uint64_t ino)
{
	const struct session *s = arg;

	(void)fuse_lowlevel_notify_inval_inode(s->se, ino, 0, 0);
}

void session_trim(struct session *s, bool quiet)
{
	index_trim(s->idx);
	if (s->listings && quiet)
		listings_take(s->listings, drop_listing, s);
}

struct users *session_users(const struct session *s)
{
	return s->users;
}

bool session_small_files(const struct session *s)
{
	return s->pusher != NULL;
}

struct inodes *session_inodes(const struct session *s)
{
	return s->inodes;
}

void session_counts(struct session *s, struct session_counts *ret)
{
	*ret = (struct session_counts){
		.open_files = inodes_open_files(s->inodes),
		.opens = __atomic_load_n(&s->tally->opens, __ATOMIC_RELAXED),
		.requests = __atomic_load_n(&s->tally->requests, __ATOMIC_RELAXED),
		.errors = __atomic_load_n(&s->tally->errors, __ATOMIC_RELAXED),
		.oldest_request_ns = fuse_io_oldest(&s->io),
		.passthrough = fuse_io_passthrough(&s->io),
	};
}
