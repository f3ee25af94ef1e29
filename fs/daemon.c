/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads: the main thread waits for clients, signals and ended sessions; each
 * client is served by a thread of its own, for opening an image may take a
 * while; each session has its own threads (session.h).
 *
 * Who looks at the list of sessions holds sessions_lock for as long as it uses
 * one of them. Only the main thread frees sessions, and joins clients' threads:
 * none may be left when exit(3) takes apart what libraries keep for each thread.
 */
#include "daemon_internal.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/text.h"
#include "control.h"
#include "keeper.h"
#include "memory_limit.h"
#include "metrics.h"
#include "mountinfo.h"
#include "notify.h"
#include "process_limits.h"

enum {
	REQUEST_MAX = 1 << 20, /* two paths, and credentials */
	CLIENT_TIMEOUT_SECONDS = 10,
	END_TIMEOUT_MS = 1000,
	TRIM_INTERVAL_MS = 5000,
	HEALTH_TIMEOUT_SECONDS = 5,
	PREFETCH_THREADS_MAX = 4, /* more would only wait for the disk */
};

/* Bytes of memory that the daemon may take besides the region. */
#define BESIDES_REGION ((uint64_t)128 << 20)

void daemon_wake(void *arg)
{
	const struct daemon *d = arg;

	(void)eventfd_write(d->event_fd, 1);
}

static void serve_client(struct daemon *d, int fd)
{
	struct timeval timeout = { .tv_sec = CLIENT_TIMEOUT_SECONDS };
	CLEANUP(json_decref) json_t *message = NULL;
	CLEANUP(json_decref) json_t *reply = NULL;
	struct request request = { .received_fd = -1, .answer_fd = -1 };
	struct err err = ERR_INIT;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout));
	(void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
	if (!control_peer_allowed(fd)) {
		(void)err_set(&err, -EPERM, "only root and the daemon's group may talk to it");
	} else if (control_receive(fd, REQUEST_MAX, &message, &request.received_fd, &err) == 0) {
		request.message = message;
		reply = request_answer(d, &request, &err);
	}
	if (!reply)
		reply = json_pack("{si sb si so}", "version", CONTROL_VERSION, "ok", 0, "code",
		                  -err.code, "error", control_text(err.msg));
	if (reply && control_send(fd, reply, request.answer_fd) < 0)
		log_debug("a client of the control socket went away");
	if (request.answer_fd >= 0)
		(void)close(request.answer_fd);
	if (request.received_fd >= 0)
		(void)close(request.received_fd);
	if (request.leave)
		__atomic_store_n(&d->leave, true, __ATOMIC_RELEASE);
}

struct client {
	struct client *next;
	struct daemon *d;
	pthread_t thread;
	int fd;     /* owned */
	bool ended; /* atomic; its thread has nothing left to do */
};

static void *client_thread(void *arg)
{
	struct client *client = arg;

	serve_client(client->d, client->fd);
	(void)close(client->fd);
	__atomic_store_n(&client->ended, true, __ATOMIC_RELEASE);
	daemon_wake(client->d);
	return NULL;
}

static void accept_client(struct daemon *d)
{
	CLEANUP(close) int fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
	CLEANUP(free) struct client *client = malloc(sizeof(*client));

	if (fd < 0 || !client)
		return;
	*client = (struct client){ .next = d->clients, .d = d, .fd = fd };
	if (pthread_create(&client->thread, NULL, client_thread, client) != 0)
		return;
	(void)TAKE_FD(fd);
	d->clients = TAKE_PTR(client);
}

static void join_clients(struct daemon *d)
{
	struct client **link = &d->clients;

	while (*link) {
		struct client *client = *link;

		if (!__atomic_load_n(&client->ended, __ATOMIC_ACQUIRE)) {
			link = &client->next;
			continue;
		}
		*link = client->next;
		(void)pthread_join(client->thread, NULL);
		free(client);
		d->had_client = true;
	}
}

/* Take an ended session out of the list. Returns NULL when there is none. */
static struct session *take_ended(struct daemon *d)
{
	struct session *s = NULL;

	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions && !s; i++) {
		if (session_ended(d->sessions[i]) && !session_held(d->sessions[i])) {
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
		daemon_forget_session(d, s);
		session_free(s);
		limits_trim();
	}
	join_clients(d);
}

static bool is_quiet(struct daemon *d)
{
	bool quiet;

	(void)pthread_mutex_lock(&d->sessions_lock);
	quiet = d->n_sessions == 0 && !prefetch_busy(d->engine.prefetch);
	(void)pthread_mutex_unlock(&d->sessions_lock);
	return quiet && !d->clients;
}

/* Whether a client has come and all that it wanted is over. */
static bool is_idle(struct daemon *d)
{
	return d->had_client && is_quiet(d);
}

/*
 * Leave all mounts to the next daemon, as a kill would: what is under way is not waited for, for the
 * kernel sends it to the next one again.
 */
static _Noreturn void leave(void)
{
	log_info("leaves its mounts to the next daemon");
	(void)syscall(SYS_exit_group, KEEPER_NEXT);
	abort();
}

/* SIGUSR1 leaves the mounts, and with a keeper apart all signals do; else others end them. */
static int heed_signal(struct daemon *d)
{
	struct signalfd_siginfo info;

	if (read(d->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info) &&
	    (info.ssi_signo == SIGUSR1 || d->config->keeper) && daemon_may_leave(d))
		leave();
	return 0;
}

/* Sessions or clients have ended. Returns whether there is anything left to do. */
static bool heed_ends(struct daemon *d)
{
	eventfd_t events;

	(void)eventfd_read(d->event_fd, &events);
	free_ended(d);
	if (__atomic_exchange_n(&d->leave, false, __ATOMIC_ACQUIRE) && daemon_may_leave(d))
		leave();
	return !d->config->auto_exit || !is_idle(d);
}

/* Returns 0 after a signal that ends the daemon or when it is idle and should end. */
static int event_loop(struct daemon *d, struct err *err)
{
	struct pollfd fds[] = {
		{ .fd = d->signal_fd, .events = POLLIN },
		{ .fd = d->event_fd, .events = POLLIN },
		{ .fd = d->listen_fd, .events = POLLIN },
		{ .fd = d->keeper_fd, .events = POLLIN },
	};
	struct daemon_work work = { 0 };

	for (;;) {
		int n = poll(fds, 4, TRIM_INTERVAL_MS);

		if (n < 0 && errno != EINTR)
			return err_set_errno(err, "poll");
		if (n == 0)
			daemon_trim(d, &work);
		daemon_watch_keeper(d, fds[3].revents != 0);
		fds[3].fd = d->keeper_fd;
		if (fds[0].revents)
			return heed_signal(d);
		if (fds[1].revents && !heed_ends(d))
			return 0;
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
	(void)sigaddset(&set, SIGUSR1);
	(void)pthread_sigmask(SIG_BLOCK, &set, NULL);
	(void)sigdelset(&set, SIGHUP); /* a terminal that closes is no reason to end */
	d->signal_fd = signalfd(-1, &set, SFD_CLOEXEC);
	d->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return d->signal_fd < 0 || d->event_fd < 0 ? err_set_errno(err, "signals") : 0;
}

static json_t *metrics_report(void *arg)
{
	struct err err = ERR_INIT;

	return daemon_stats(arg, &err);
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

static int start_remotes(struct daemon *d, struct err *err)
{
	struct remotes_config config = {
		.store = d->store,
		.stats = d->engine.stats,
		.store_size = d->config->store_size,
		.rate = d->config->fetch_rate,
		.timeout_s = d->config->fetch_timeout,
		.plain_http = d->config->plain_http,
		.ca_file = d->config->ca_file,
	};
	int r;

	r = verifier_new(d->config->verify_key, store_dir(d->store), &d->verifier, err);
	if (r < 0)
		return r;
	config.verifier = d->verifier;
	d->remotes = remotes_new(&config);
	return d->remotes && daemon_watch_tags(d) == 0 ? 0 : err_set(err, -ENOMEM, "out of memory");
}

static int start_prefetch(struct daemon *d, unsigned cores, struct err *err)
{
	const struct prefetch_config config = {
		.region = d->engine.region,
		.fill = d->engine.fill,
		.n_threads = cores < PREFETCH_THREADS_MAX ? cores : PREFETCH_THREADS_MAX,
		.ended = daemon_wake,
		.arg = d,
	};

	return prefetch_new(&config, &d->engine.prefetch, err);
}

/*
 * The size that the region is to have. The region counts as the daemon's memory: one that the limit
 * does not leave room for would have the kernel kill the daemon again and again.
 */
static uint64_t region_size(const struct daemon_config *config)
{
	uint64_t limit = memory_limit_of(0);
	uint64_t room = limit > 2 * BESIDES_REGION ? limit - BESIDES_REGION : limit / 2;
	char wanted[TEXT_SIZE_MAX];
	char had[TEXT_SIZE_MAX];

	if (config->region_directory || config->region_size <= room)
		return config->region_size;
	log_warn("a region of %s does not fit into the memory limit: it has %s",
	         text_size(config->region_size, wanted), text_size(room, had));
	return room;
}

/* The region of an earlier daemon, or a new one. */
static int start_region(struct daemon *d, struct kept_list *kept, struct err *err)
{
	const struct region_config config = { .size = d->region_size,
		                              .directory = d->config->region_directory,
		                              .stats = d->engine.stats };
	CLEANUP(close) int root = kept_take(kept, KEPT_REGION);
	int r;

	if (root >= 0) {
		r = region_adopt(&config, root, &d->engine.region, err);
		if (r == 0) {
			(void)TAKE_FD(root);
			d->took_over = true;
		}
		return r;
	}
	r = region_open(&config, &d->engine.region, err);
	if (r == 0)
		notify_keep(KEPT_REGION, region_root(d->engine.region));
	return r;
}

/* The socket of an earlier daemon, with those who wait at it, or a new one. */
static int start_control(struct daemon *d, struct kept_list *kept, struct err *err)
{
	d->listen_fd = kept_take(kept, KEPT_CONTROL);
	if (d->listen_fd >= 0)
		return 0;
	d->listen_fd = control_listen(store_dir(d->store), err);
	if (d->listen_fd < 0)
		return d->listen_fd;
	notify_keep(KEPT_CONTROL, d->listen_fd);
	return 0;
}

static int start(struct daemon *d, struct kept_list *kept, struct err *err)
{
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	unsigned n_cores = cores > 0 ? (unsigned)cores : 1;
	int r = block_signals(d, err);

	d->region_size = region_size(d->config);
	limits_apply(SESSION_THREADS);
	if (r == 0)
		r = store_open(d->config->store, d->config->keeper != NULL, &d->store, err);
	if (r == 0)
		r = daemon_meet_keeper(d, kept, err);
	if (r == 0)
		r = daemon_check_kept(kept, err);
	if (r == 0)
		r = open_stats(d, err);
	if (r == 0)
		r = watchdog_new(d->config->request_timeout, d->engine.stats, &d->engine.watchdog,
		                 err);
	d->engine.busy_poll.longest = (uint64_t)d->config->busy_poll * 1000;
	d->engine.fill_ahead = d->config->fill_ahead;
	d->engine.xattrs = d->config->xattrs;
	d->engine.frugal = d->config->fetch_rate == 0;
	if (r == 0)
		r = start_remotes(d, err);
	if (r == 0)
		r = start_region(d, kept, err);
	if (r == 0) {
		d->pins = pins_new(d->engine.region);
		r = d->pins ? 0 : err_set(err, -ENOMEM, "out of memory");
	}
	if (r == 0)
		r = fill_new(d->engine.region, d->engine.stats, n_cores,
		             d->config->fill_threads ? d->config->fill_threads : n_cores / 2 + 1,
		             &d->engine.fill, err);
	if (r == 0) {
		fill_set_patience(d->engine.fill, d->config->request_timeout);
		fill_set_local_checks(d->engine.fill, d->config->local_checks);
		r = start_prefetch(d, n_cores, err);
	}
	if (r == 0)
		r = start_control(d, kept, err);
	if (r == 0)
		r = start_metrics(d, err);
	if (r == 0) {
		daemon_resume(d, kept);
		daemon_heal(d);
	}
	if (r == 0 && d->took_over) {
		stats_add(d->engine.stats, STAT_TAKEOVERS, 1);
		daemon_restore_pins(d);
		region_resize(d->engine.region, d->region_size);
	}
	return r;
}

static void stop(struct daemon *d)
{
	metrics_stop(d->metrics);
	watchdog_free(d->engine.watchdog);
	prefetch_free(d->engine.prefetch);
	fill_free(d->engine.fill);
	pins_free(d->pins);
	region_close(d->engine.region);
	tag_watch_free(d->tags);
	remotes_free(d->remotes);
	verifier_free(d->verifier);
	store_close(d->store); /* before listen_fd: see there */
	stats_close(d->engine.stats);
	if (d->listen_fd >= 0)
		(void)close(d->listen_fd);
	if (d->signal_fd >= 0)
		(void)close(d->signal_fd);
	if (d->event_fd >= 0)
		(void)close(d->event_fd);
	free(d->sessions);
	json_decref(d->pod_names);
	(void)pthread_mutex_destroy(&d->sessions_lock);
}

int daemon_run(const struct daemon_config *config, struct err *err)
{
	struct daemon d = { .config = config,
		            .listen_fd = -1,
		            .signal_fd = -1,
		            .event_fd = -1,
		            .keeper_fd = -1 };
	struct kept_list kept;
	bool quiet;
	char size[TEXT_SIZE_MAX];
	int r = notify_inherit(&kept);

	(void)pthread_mutex_init(&d.sessions_lock, NULL);
	(void)clock_gettime(CLOCK_MONOTONIC, &d.started);
	r = r < 0 ? err_set(err, r, "out of memory") : start(&d, &kept, err);
	kept_list_release(&kept);
	if (r == 0) {
		log_info("serving the store '%s', region of %s %s", config->store,
		         text_size(d.region_size, size),
		         config->region_directory ? config->region_directory : "in memory");
		if (!(config->local_checks & CHECK_DIGEST))
			log_info("chunks of local images are compared with checksums, not digests");
		__atomic_store_n(&d.ready, true, __ATOMIC_RELAXED);
		notify_ready();
		r = event_loop(&d, err);
		__atomic_store_n(&d.ready, false, __ATOMIC_RELAXED);
	} else {
		notify_failed(r);
	}
	if (r == 0)
		notify_stopping();
	/* Nobody waits for registries any more. */
	quiet = remotes_stop(d.remotes);
	quiet = tag_watch_stop(d.tags) && quiet;
	prefetch_cancel(d.engine.prefetch, NULL);
	if (d.store)
		detach_mounts(&d);
	if (wait_until_quiet(&d) && quiet) {
		stop(&d);
		return r;
	}
	/*
	 * A mount in another namespace or an open file is left, and with it the
	 * threads that serve it; or a registry does not answer: end without tearing down what is
	 * in use.
	 */
	if (d.n_sessions > 0)
		log_warn("ending with mounts in use, which are cut off");
	store_close(d.store);
	_exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}
