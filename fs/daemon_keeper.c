/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The daemon's side of `assetfs keeper`: another one when it has died, and another program for
 * the next daemon.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "control.h"
#include "daemon_internal.h"
#include "keeper.h"

enum {
	OPTIONS_MAX = 64,
	INTERVAL_SECONDS = 3, /* between looks for a keeper */
	LEAVE_TRIES = 200,    /* for a keeper to be replaced: 20 seconds */
	LEAVE_PAUSE_NS = 100000000,
	CHECK_TIMEOUT_MS = 10000, /* for a program to load and say whether it can take over */
};

static int connect_keeper(struct daemon *d, struct kept_list *kept, struct err *err)
{
	int r = notify_connect(d->config->keeper, kept, err);

	d->keeper_fd = notify_connection();
	/* What is there must not be begun anew; where nothing is, there is nothing to lose. */
	if (r != -ENOTCONN)
		return r;
	log_warn("%s: mounts end with this daemon until there is one", err->msg);
	return 0;
}

int daemon_meet_keeper(struct daemon *d, struct kept_list *kept, struct err *err)
{
	/* The environment changes only before there are threads. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *pid = notify_has_keeper() ? getenv(KEEPER_PID_VARIABLE) : NULL;

	if (d->config->keeper)
		return connect_keeper(d, kept, err);
	d->keeper_fd = pid ? (int)syscall(SYS_pidfd_open, (pid_t)strtol(pid, NULL, 10), 0) : -1;
	d->own_keeper = pid != NULL;
	return 0;
}

/* Start @argv with @fd, unless it is -1, as descriptor 3. Returns its pid or -errno. */
static pid_t spawn(const char *path, char *const argv[], int fd)
{
	posix_spawn_file_actions_t actions;
	pid_t pid = -1;
	int code = posix_spawn_file_actions_init(&actions);

	if (code == 0 && fd >= 0)
		code = posix_spawn_file_actions_adddup2(&actions, fd, KEEPER_SOCKET_FD);
	if (code == 0)
		code = posix_spawn(&pid, path, &actions, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&actions);
	return code == 0 ? pid : -code;
}

static pid_t start_keeper(const struct daemon *d, struct err *err)
{
	CLEANUP(close) int socket = notify_listen_again(err);
	char program[] = "assetfs";
	char command[] = "keeper";
	char adopt[32];
	char *argv[OPTIONS_MAX + 4] = { program, command, adopt };
	pid_t pid;

	if (socket < 0)
		return socket;
	(void)snprintf(adopt, sizeof(adopt), "--adopt=%d", (int)getpid());
	for (size_t i = 0; d->config->options[i] && i < OPTIONS_MAX; i++)
		argv[3 + i] = d->config->options[i];
	pid = spawn("/proc/self/exe", argv, socket);
	return pid < 0 ? err_set(err, pid, "%s", strerrordesc_np(-pid)) : pid;
}

/* Give it all that the last one had. */
static void keep_everything(struct daemon *d)
{
	notify_keep(KEPT_REGION, region_root(d->engine.region));
	notify_keep(KEPT_CONTROL, d->listen_fd);
	(void)pthread_mutex_lock(&d->sessions_lock);
	for (size_t i = 0; i < d->n_sessions; i++)
		session_keep(d->sessions[i]);
	(void)pthread_mutex_unlock(&d->sessions_lock);
}

/* Look for another keeper apart. */
static void find_keeper(struct daemon *d)
{
	struct kept_list kept = { .n = 0 };
	struct err err = ERR_INIT;
	int r;

	if (d->keeper_fd >= 0) {
		log_warn("the keeper at '%s' ends: waiting for the next one", d->config->keeper);
		notify_disconnect();
		d->keeper_fd = -1;
	}
	r = notify_connect(d->config->keeper, &kept, &err);
	if (r < 0 && r != -ENOTCONN)
		log_err("no keeper: mounts end with this daemon: %s", err.msg);
	/* It has met this daemon before, or is a new one: what it holds beyond what it gets now is over. */
	for (size_t i = 0; r == 0 && i < kept.n; i++)
		notify_drop(kept.kept[i].name);
	kept_list_release(&kept);
	if (r < 0)
		return;
	d->keeper_fd = notify_connection();
	keep_everything(d);
	notify_ready();
	log_info("the keeper at '%s' has everything", d->config->keeper);
}

static void start_own_keeper(struct daemon *d)
{
	struct err err = ERR_INIT;
	pid_t pid;

	if (d->keeper_fd >= 0)
		(void)close(TAKE_FD(d->keeper_fd));
	/* One that this daemon has started. */
	(void)waitpid(-1, NULL, WNOHANG);
	log_warn("the keeper has died: starting another one");
	pid = start_keeper(d, &err);
	if (pid < 0) {
		log_err("no keeper: mounts end with this daemon: %s", err.msg);
		return;
	}
	d->keeper_fd = (int)syscall(SYS_pidfd_open, pid, 0);
	keep_everything(d);
}

void daemon_watch_keeper(struct daemon *d, bool died)
{
	bool lacks = (d->own_keeper || d->config->keeper) && d->keeper_fd < 0;
	struct timespec now;

	(void)clock_gettime(CLOCK_MONOTONIC, &now);
	if (!died && (!lacks || now.tv_sec < d->keeper_due))
		return;
	d->keeper_due = now.tv_sec + INTERVAL_SECONDS;
	if (d->config->keeper)
		find_keeper(d);
	else
		start_own_keeper(d);
}

bool daemon_may_leave(struct daemon *d)
{
	const struct timespec pause = { .tv_nsec = LEAVE_PAUSE_NS };
	struct pollfd end = { .fd = d->keeper_fd, .events = POLLIN };

	if (!d->config->keeper)
		return notify_has_keeper();
	if (d->keeper_fd >= 0 && poll(&end, 1, 0) == 0)
		return true;
	for (int i = 0; i < LEAVE_TRIES; i++) {
		find_keeper(d);
		if (d->keeper_fd >= 0)
			return true;
		(void)nanosleep(&pause, NULL);
	}
	log_err("no keeper at '%s': mounts are cut off", d->config->keeper);
	return false;
}

/* Whether the program at @path says that it can go on from here. */
static int check_program(const char *path, struct err *err)
{
	char program[] = "assetfs";
	char command[] = "keeper";
	char can[48];
	char *argv[] = { program, command, can, NULL };
	struct pollfd end = { .events = POLLIN };
	CLEANUP(close) int pidfd = -1;
	uint32_t version;
	uint32_t oldest;
	int status = 0;
	pid_t pid;

	saved_versions(&version, &oldest);
	(void)snprintf(can, sizeof(can), "--can-adopt=%u,%u", version, oldest);
	pid = spawn(path, argv, -1);
	if (pid < 0)
		return err_set(err, pid, "'%s': %s", path, strerrordesc_np(-pid));
	pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	end.fd = pidfd;
	if (poll(&end, 1, CHECK_TIMEOUT_MS) == 0)
		(void)kill(pid, SIGKILL);
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		return err_set(err, -EINVAL,
		               "'%s' cannot take over from this version: nothing was changed",
		               path);
	return 0;
}

json_t *answer_upgrade(struct daemon *d, struct request *request, struct err *err)
{
	const char *path = json_string_value(json_object_get(request->message, "binary"));

	if (!notify_has_keeper()) {
		(void)err_set(
			err, -EOPNOTSUPP,
			"no keeper holds the mounts of this daemon: start it by 'assetfs keeper', "
			"or with FileDescriptorStoreMax= and Environment=FDSTORE= of systemd");
		return NULL;
	}
	if (path && !d->own_keeper) {
		(void)err_set(
			err, -EOPNOTSUPP,
			"the service manager starts the next daemon: install the program where the "
			"service has it, and leave out --binary");
		return NULL;
	}
	if (path && (check_program(path, err) < 0 || notify_program(path, err) < 0))
		return NULL;
	log_info("upgrade to %s", path ? path : "the same program");
	request->leave = true;
	return json_pack("{si sb si}", "version", CONTROL_VERSION, "ok", 1, "pid", (int)getpid());
}
