/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads: the main thread waits for clients, signals and ended sessions; each
 * client is served by a thread of its own, for opening an image may take a
 * while; each session has its own threads (session.h).
 *
 * Who looks at the list of sessions holds sessions_lock for as long as it uses
 * one of them. Only the main thread frees sessions.
 */
#include "daemon.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "control.h"
#include "metrics.h"
#include "notify.h"
#include "report.h"
#include "store.h"

enum {
	REQUEST_MAX = 64 << 10, /* two paths */
	CLIENT_TIMEOUT_SECONDS = 10,
	END_TIMEOUT_MS = 1000,
	HEALTH_TIMEOUT_SECONDS = 5,
};

struct daemon {
	/* constant while clients are served */
	const struct daemon_config *config;
	struct store *store; /* owned */
	struct engine engine;
	int listen_fd;           /* owned */
	int signal_fd;           /* owned */
	struct metrics *metrics; /* owned, or NULL */
	int event_fd;            /* owned; written to when a session or a client has ended */
	struct timespec started;
	bool ready; /* atomic; mounts can be asked for */

	pthread_mutex_t sessions_lock;
	/* under sessions_lock */
	struct session **sessions; /* owned */
	size_t n_sessions, cap_sessions;
	unsigned n_clients;
	bool had_client;
};

static void wake(void *arg)
{
	const struct daemon *d = arg;

	(void)eventfd_write(d->event_fd, 1);
}

static uint64_t uptime(const struct daemon *d)
{
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)(now.tv_sec - d->started.tv_sec);
}

/* A further mount of a session that serves @digest already, or -1. With sessions_lock held. */
static int clone_mount(const struct daemon *d, const struct digest *digest, dev_t *ret_device)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	if (mount_points_load(&points, NULL) < 0)
		return -1;
	for (size_t i = 0; i < d->n_sessions; i++) {
		const struct manifest *m = image_manifest(session_image(d->sessions[i]));
		dev_t device = session_device(d->sessions[i]);
		const struct mount_point *point = mount_points_of(&points, device);
		int fd;

		if (!point || session_ended(d->sessions[i]) ||
		    !digest_equal(&m->self.digest, digest))
			continue;
		fd = open_tree(AT_FDCWD, point->path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
		if (fd >= 0)
			*ret_device = device;
		return fd;
	}
	return -1;
}

/* With sessions_lock held. */
static int add_session(struct daemon *d, struct session *s)
{
	if (d->n_sessions == d->cap_sessions) {
		size_t cap = d->cap_sessions > 0 ? d->cap_sessions * 2 : 16;
		struct session **grown = reallocarray(d->sessions, cap, sizeof(struct session *));

		if (!grown)
			return -ENOMEM;
		d->sessions = grown;
		d->cap_sessions = cap;
	}
	d->sessions[d->n_sessions++] = s;
	return 0;
}

/* Serve @img by a new session. Takes @img. Returns the descriptor of its mount, or -errno. */
static int start_session(struct daemon *d, struct image *img, const char *name, dev_t *ret_device,
                         struct err *err)
{
	struct session_config config = { .engine = &d->engine,
		                         .name = name,
		                         .ended = wake,
		                         .arg = d };
	CLEANUP(close) int mount = -1;
	struct session *s;
	int r = session_open(&config, img, &s, &mount, err);

	if (r < 0) {
		image_close(img);
		return r;
	}
	*ret_device = session_device(s);
	(void)pthread_mutex_lock(&d->sessions_lock);
	r = add_session(d, s);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (r < 0) {
		(void)close(TAKE_FD(mount)); /* ends the session */
		session_free(s);
		return err_set(err, r, "out of memory");
	}
	return TAKE_FD(mount);
}

/* What a mount request names. */
struct mount_request {
	const char *image;    /* borrowed from the message */
	const char *platform; /* NULL: this machine's */
};

static int find_manifest(const struct mount_request *request, struct layout **ret_layout,
                         struct image_set *ret_set, const struct manifest **ret, struct err *err)
{
	CLEANUP(image_ref_release) struct image_ref ref = IMAGE_REF_INIT;
	CLEANUP(layout_close) struct layout *layout = NULL;
	struct platform platform = platform_of_host();
	int r = image_ref_parse(request->image, &ref, err);

	if (r == 0 && request->platform)
		r = platform_parse(request->platform, &platform, err);
	if (r == 0)
		r = layout_open(ref.layout, &layout, err);
	if (r == 0)
		r = layout_images(layout, ref.tag, ret_set, err);
	if (r < 0)
		return r;
	*ret = image_set_find(ret_set, &platform, err);
	if (!*ret)
		return -ENOENT;
	*ret_layout = TAKE_PTR(layout);
	return 0;
}

/* Returns the descriptor of a detached mount of the image, or -errno. */
static int mount_image(struct daemon *d, const struct mount_request *request, dev_t *ret_device,
                       struct err *err)
{
	CLEANUP(image_set_release) struct image_set set = IMAGE_SET_INIT;
	CLEANUP(layout_close) struct layout *layout = NULL;
	const struct manifest *manifest;
	struct image *img;
	struct err bad = ERR_INIT;
	uint32_t n_bad;
	int mount;
	int r = find_manifest(request, &layout, &set, &manifest, err);

	if (r < 0)
		return r;
	(void)pthread_mutex_lock(&d->sessions_lock);
	mount = clone_mount(d, &manifest->self.digest, ret_device);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (mount >= 0)
		return mount;
	r = store_open_image(d->store, layout, manifest, &img, err);
	if (r < 0)
		return r;
	n_bad = image_check_packs(img, &bad);
	if (n_bad > 0)
		log_err("%s: %u of %u packs cannot be used; files in them will fail: %s",
		        request->image, n_bad, manifest->n_packs, bad.msg);
	return start_session(d, img, request->image, ret_device, err);
}

static json_t *answer_mount(struct daemon *d, const json_t *message, int *ret_mount,
                            struct err *err)
{
	struct mount_request request = {
		.image = json_string_value(json_object_get(message, "image")),
		.platform = json_string_value(json_object_get(message, "platform")),
	};
	const char *directory = json_string_value(json_object_get(message, "directory"));
	char device_buf[32];
	dev_t device = 0;
	int mount;

	if (!request.image || !directory) {
		(void)err_set(err, -EPROTO, "mount needs an image and a directory");
		return NULL;
	}
	mount = mount_image(d, &request, &device, err);
	if (mount < 0) {
		log_warn("mount of %s at '%s' refused: %s", request.image, directory, err->msg);
		return NULL;
	}
	log_info("mount of %s for '%s'", request.image, directory);
	*ret_mount = mount;
	return json_pack("{si sb ss}", "version", CONTROL_VERSION, "ok", 1, "device",
	                 device_text(device, device_buf));
}

/* An answer made of the sessions' state. */
static json_t *answer_report(struct daemon *d, const json_t *message, bool stats, struct err *err)
{
	struct report_source src = {
		.engine = &d->engine,
		.store = store_path(d->store),
		.uptime_seconds = uptime(d),
	};
	const char *target = json_string_value(json_object_get(message, "target"));
	json_t *report = NULL;

	src.detail = json_string_value(json_object_get(message, "detail"));
	src.n_files = (size_t)json_integer_value(json_object_get(message, "files"));
	(void)pthread_mutex_lock(&d->sessions_lock);
	src.sessions = d->sessions;
	src.n_sessions = d->n_sessions;
	if (!stats)
		report = report_status(&src);
	else if (report_stats(&src, target, &report, err) < 0)
		report = NULL;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return report;
}

/* Answer @message. Returns NULL and @err filled when it is refused. */
static json_t *answer(struct daemon *d, const json_t *message, int *ret_mount, struct err *err)
{
	const char *command = json_string_value(json_object_get(message, "command"));
	json_t *reply = NULL;

	if (command && strcmp(command, "mount") == 0)
		reply = answer_mount(d, message, ret_mount, err);
	else if (command && strcmp(command, "status") == 0)
		reply = answer_report(d, message, /* stats= */ false, err);
	else if (command && strcmp(command, "stats") == 0)
		reply = answer_report(d, message, /* stats= */ true, err);
	else
		(void)err_set(err, -EPROTO, "unknown command '%s'", command ? command : "");
	if (!reply && err->code == 0)
		(void)err_set(err, -ENOMEM, "out of memory");
	return reply;
}

static void serve_client(struct daemon *d, int fd)
{
	struct timeval timeout = { .tv_sec = CLIENT_TIMEOUT_SECONDS };
	CLEANUP(json_decref) json_t *message = NULL;
	CLEANUP(json_decref) json_t *reply = NULL;
	CLEANUP(close) int mount = -1;
	struct err err = ERR_INIT;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (!control_peer_allowed(fd))
		(void)err_set(&err, -EPERM, "only root and the daemon's group may talk to it");
	else if (control_receive(fd, REQUEST_MAX, &message, NULL, &err) == 0)
		reply = answer(d, message, &mount, &err);
	if (!reply)
		reply = json_pack("{si sb si so}", "version", CONTROL_VERSION, "ok", 0, "code",
		                  -err.code, "error", control_text(err.msg));
	if (reply && control_send(fd, reply, mount) < 0)
		log_debug("a client of the control socket went away");
}

struct client {
	struct daemon *d;
	int fd; /* owned */
};

static void *client_thread(void *arg)
{
	CLEANUP(free) struct client *client = arg;
	struct daemon *d = client->d;

	serve_client(d, client->fd);
	(void)close(client->fd);
	(void)pthread_mutex_lock(&d->sessions_lock);
	d->n_clients--;
	d->had_client = true;
	/* Under the lock: the daemon may be gone as soon as it is given up. */
	wake(d);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return NULL;
}

static void accept_client(struct daemon *d)
{
	CLEANUP(close) int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	CLEANUP(free) struct client *client = malloc(sizeof(*client));
	pthread_attr_t detached;
	pthread_t thread;

	if (fd < 0 || !client)
		return;
	*client = (struct client){ .d = d, .fd = fd };
	(void)pthread_attr_init(&detached);
	(void)pthread_attr_setdetachstate(&detached, PTHREAD_CREATE_DETACHED);
	(void)pthread_mutex_lock(&d->sessions_lock);
	d->n_clients++;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	if (pthread_create(&thread, &detached, client_thread, client) == 0) {
		(void)TAKE_FD(fd);
		client = NULL;
	} else {
		(void)pthread_mutex_lock(&d->sessions_lock);
		d->n_clients--;
		(void)pthread_mutex_unlock(&d->sessions_lock);
	}
	(void)pthread_attr_destroy(&detached);
}

/* Take an ended session out of the list. Returns NULL when there is none. */
static struct session *take_ended(struct daemon *d)
{
	struct session *s = NULL;

	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions && !s; i++) {
		if (session_ended(d->sessions[i])) {
			s = d->sessions[i];
			d->sessions[i] = d->sessions[--d->n_sessions];
		}
	}
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return s;
}

static void free_ended(struct daemon *d)
{
	struct session *s;

	while ((s = take_ended(d)) != NULL) {
		log_info("the session of %s has ended", session_name(s));
		session_free(s);
	}
}

static bool is_quiet(struct daemon *d)
{
	bool quiet;

	(void)pthread_mutex_lock(&d->sessions_lock);
	quiet = d->n_sessions == 0 && d->n_clients == 0;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return quiet;
}

/* Whether a client has come and all that it wanted is over. */
static bool is_idle(struct daemon *d)
{
	bool had_client;

	(void)pthread_mutex_lock(&d->sessions_lock);
	had_client = d->had_client;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return had_client && is_quiet(d);
}

/* Returns 0 after a signal that ends the daemon or when it is idle and should end. */
static int event_loop(struct daemon *d, struct err *err)
{
	struct pollfd fds[] = {
		{ .fd = d->signal_fd, .events = POLLIN },
		{ .fd = d->event_fd, .events = POLLIN },
		{ .fd = d->listen_fd, .events = POLLIN },
	};
	eventfd_t events;

	for (;;) {
		if (poll(fds, 3, -1) < 0 && errno != EINTR)
			return err_set_errno(err, "poll");
		if (fds[0].revents)
			return 0;
		if (fds[1].revents) {
			(void)eventfd_read(d->event_fd, &events);
			free_ended(d);
			if (d->config->auto_exit && is_idle(d))
				return 0;
		}
		if (fds[2].revents)
			accept_client(d);
	}
}

/* Detach every mount that this process can see; a session without any other ends then. */
static void detach_mounts(const struct daemon *d)
{
	CLEANUP(mount_points_release) struct mount_points points = MOUNT_POINTS_INIT;

	if (mount_points_load(&points, NULL) < 0)
		return;
	for (size_t i = 0; i < d->n_sessions; i++) {
		const struct mount_point *point;

		for (size_t k = points.n; k-- > 0;) {
			point = &points.point[k];
			if (point->device == session_device(d->sessions[i]))
				(void)umount2(point->path, MNT_DETACH | UMOUNT_NOFOLLOW);
		}
	}
}

/* Wait until sessions and clients are done, but not for those that others keep. */
static bool wait_until_quiet(struct daemon *d)
{
	struct pollfd event = { .fd = d->event_fd, .events = POLLIN };
	eventfd_t events;

	free_ended(d);
	while (!is_quiet(d)) {
		if (poll(&event, 1, END_TIMEOUT_MS) == 0)
			return false;
		(void)eventfd_read(d->event_fd, &events);
		free_ended(d);
	}
	return true;
}

static int block_signals(struct daemon *d, struct err *err)
{
	sigset_t set;

	(void)signal(SIGPIPE, SIG_IGN);
	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigaddset(&set, SIGHUP);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)sigdelset(&set, SIGHUP); /* a terminal that closes is no reason to end */
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return d->signal_fd < 0 || d->event_fd < 0 ? err_set_errno(err, "signals") : 0;
}

static json_t *metrics_report(void *arg)
{
	CLEANUP(json_decref) json_t *message = json_object();
	struct err err = ERR_INIT;

	return message ? answer_report(arg, message, /* stats= */ true, &err) : NULL;
}

/* The lock that every client and every report takes can be had. */
static bool is_healthy(void *arg)
{
	struct daemon *d = arg;
	struct timespec end;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += HEALTH_TIMEOUT_SECONDS;
	if (pthread_mutex_timedlock(&d->sessions_lock, &end) != 0)
		return false;
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return true;
}

static bool is_ready(void *arg)
{
	const struct daemon *d = arg;

	return __atomic_load_n(&d->ready, __ATOMIC_RELAXED);
}

static int start_metrics(struct daemon *d, struct err *err)
{
	const struct metrics_source source = { .report = metrics_report,
		                               .healthy = is_healthy,
		                               .ready = is_ready,
		                               .arg = d };
	int r;

	if (!d->config->metrics)
		return 0;
	r = metrics_start(d->config->metrics, &source, &d->metrics, err);
	if (r == 0)
		log_info("metrics at '%s', port %u", d->config->metrics, metrics_port(d->metrics));
	return r;
}

/* A disk that is full is no reason not to serve. */
static int open_stats(struct daemon *d, struct err *err)
{
	struct err why = ERR_INIT;

	if (stats_open(store_dir(d->store), &d->engine.stats, &why) == 0)
		return 0;
	log_warn("counters end with the daemon: %s", why.msg);
	d->engine.stats = stats_private();
	return d->engine.stats ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int start(struct daemon *d, struct err *err)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	int r = block_signals(d, err);

	if (r == 0)
		r = store_open(d->config->store, &d->store, err);
	if (r == 0)
		r = region_open(d->config->region_size, &d->engine.region, err);
	d->engine.xattrs = d->config->xattrs;
	if (r == 0)
		r = open_stats(d, err);
	if (r == 0)
		r = fill_new(d->engine.region, d->engine.stats, cores > 0 ? (unsigned)cores : 1,
		             &d->engine.fill, err);
	if (r == 0) {
		d->listen_fd = control_listen(store_dir(d->store), err);
		r = d->listen_fd < 0 ? d->listen_fd : 0;
	}
	if (r == 0)
		r = start_metrics(d, err);
	return r;
}

static void stop(struct daemon *d)
{
	metrics_stop(d->metrics);
	fill_free(d->engine.fill);
	region_close(d->engine.region);
	stats_close(d->engine.stats);
	if (d->listen_fd >= 0)
		(void)close(d->listen_fd);
	store_close(d->store);
	if (d->signal_fd >= 0)
		(void)close(d->signal_fd);
	if (d->event_fd >= 0)
		(void)close(d->event_fd);
	free(d->sessions);
	(void)pthread_mutex_destroy(&d->sessions_lock);
}

int daemon_run(const struct daemon_config *config, struct err *err)
{
	struct daemon d = { .config = config, .listen_fd = -1, .signal_fd = -1, .event_fd = -1 };
	char size[TEXT_SIZE_MAX];
	int r;

	(void)pthread_mutex_init(&d.sessions_lock, NULL);
	(void)clock_gettime(CLOCK_MONOTONIC, &d.started);
	r = start(&d, err);
	if (r == 0) {
		log_info("serving the store '%s', region of %s", config->store,
		         text_size(config->region_size, size));
		__atomic_store_n(&d.ready, true, __ATOMIC_RELAXED);
		notify_ready();
		r = event_loop(&d, err);
		__atomic_store_n(&d.ready, false, __ATOMIC_RELAXED);
	}
	if (d.store)
		detach_mounts(&d);
	if (wait_until_quiet(&d)) {
		stop(&d);
		return r;
	}
	/*
	 * A mount in another namespace or an open file is left, and with it the
	 * threads that serve it: end without tearing down what they use.
	 */
	log_warn("ending with mounts in use, which are cut off");
	store_close(d.store);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
