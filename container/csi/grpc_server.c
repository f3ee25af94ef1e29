/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The loop's thread alone touches connections. A call's thread sees the call
 * only, and puts it on a list when it is done; the loop finds its connection
 * by number, for the client may have gone meanwhile.
 */
#include "csi/grpc_server.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "csi/grpc_conn.h"

enum {
	/* Each call needs some descriptors, and a process has 1024 at least. */
	CONNECTIONS_MAX = 128, /* kubelet has one a call */
	CALLS_MAX = 128,       /* threads */
	BACKLOG = 64,
	STOP_SECONDS = 10,
};

struct peer {
	struct peer *next;
	struct grpc_server *server;
	uint64_t number;
	int fd;                 /* owned */
	struct grpc_conn *conn; /* owned */
	bool blocked;           /* there is more to send than the socket takes */
	bool gone;              /* to be freed */
};

struct call {
	struct call *next;
	struct grpc_server *server;
	const struct grpc_method *method;
	uint64_t peer; /* its number */
	int32_t stream;
	struct grpc_message request; /* owned */
	struct grpc_message reply;   /* owned */
	struct err err;
};

struct grpc_server {
	/* constant once it runs */
	const struct grpc_method *method; /* borrowed */
	size_t n_methods;
	void *arg; /* borrowed */
	int listener[GRPC_SOCKETS_MAX];
	char *path[GRPC_SOCKETS_MAX]; /* owned */
	unsigned n_listeners;
	int wake; /* eventfd: a call is done, or it is to stop */
	/* atomic */
	int stop;
	/* the loop's */
	struct peer *peers; /* owned */
	unsigned n_peers;
	uint64_t n_numbers; /* given to peers */
	/* under lock */
	pthread_mutex_t lock;
	pthread_cond_t idle; /* n_calls has fallen */
	struct call *done;   /* owned */
	unsigned n_calls;    /* that run */
};

static void call_free(struct call *call)
{
	free(call->request.data);
	free(call->reply.data);
	free(call);
}

static void wake(const struct grpc_server *server)
{
	const uint64_t one = 1;

	/* It can only fail when it has been woken 2^64 times. */
	(void)!write(server->wake, &one, sizeof(one));
}

static void *run_call(void *arg)
{
	struct call *call = arg;
	struct grpc_server *server = call->server;
	int r = call->method->call(server->arg, &call->request, &call->reply, &call->err);

	/* What was in the way and has been got over is no error. */
	if (r >= 0)
		call->err = ERR_INIT;
	else if (call->err.code == 0)
		(void)err_set(&call->err, r, "%s", strerrordesc_np(-r));
	if (r < 0)
		log_warn("%s: %s", strrchr(call->method->path, '/') + 1, call->err.msg);
	(void)pthread_mutex_lock(&server->lock);
	call->next = server->done;
	server->done = call;
	wake(server);
	server->n_calls--;
	(void)pthread_cond_signal(&server->idle);
	(void)pthread_mutex_unlock(&server->lock);
	return NULL;
}

static const struct grpc_method *find_method(const struct grpc_server *server, const char *path)
{
	for (size_t i = 0; i < server->n_methods; i++) {
		if (strcmp(server->method[i].path, path) == 0)
			return &server->method[i];
	}
	return NULL;
}

static int spawn(struct call *call)
{
	struct grpc_server *server = call->server;
	pthread_attr_t attr;
	pthread_t thread;
	bool room;
	int r;

	(void)pthread_mutex_lock(&server->lock);
	room = server->n_calls < CALLS_MAX;
	server->n_calls += room;
	(void)pthread_mutex_unlock(&server->lock);
	if (!room)
		return -EAGAIN;
	r = pthread_attr_init(&attr);
	if (r == 0) {
		(void)pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
		r = pthread_create(&thread, &attr, run_call, call);
		(void)pthread_attr_destroy(&attr);
	}
	if (r != 0) {
		(void)pthread_mutex_lock(&server->lock);
		server->n_calls--;
		(void)pthread_mutex_unlock(&server->lock);
	}
	return -r;
}

static struct call *call_new(struct peer *peer, const struct grpc_method *method,
                             const struct grpc_request *request)
{
	struct call *call = calloc(1, sizeof(*call));

	if (!call)
		return NULL;
	call->server = peer->server;
	call->method = method;
	call->peer = peer->number;
	call->stream = request->stream;
	call->request.len = request->len;
	call->request.data = malloc(request->len + 1);
	if (!call->request.data) {
		call_free(call);
		return NULL;
	}
	if (request->len > 0)
		memcpy(call->request.data, request->message, request->len);
	return call;
}

static void take_request(void *arg, struct grpc_conn *conn, const struct grpc_request *request)
{
	struct peer *peer = arg;
	const struct grpc_method *method = find_method(peer->server, request->path);
	struct err err = ERR_INIT;
	struct call *call;
	int r;

	if (!method) {
		(void)err_set(&err, -ENOSYS, "there is no '%s' here", request->path);
		grpc_conn_reply(conn, request->stream, NULL, 0, &err);
		return;
	}
	call = call_new(peer, method, request);
	r = call ? spawn(call) : -ENOMEM;
	if (r == 0)
		return;
	if (call)
		call_free(call);
	(void)err_set(&err, r, "too many calls at once");
	grpc_conn_reply(conn, request->stream, NULL, 0, &err);
}

int grpc_server_new(const struct grpc_method *method, size_t n, void *arg, struct grpc_server **ret,
                    struct err *err)
{
	struct grpc_server *server = calloc(1, sizeof(*server));

	if (!server)
		return err_set(err, -ENOMEM, "out of memory");
	server->method = method;
	server->n_methods = n;
	server->arg = arg;
	server->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->wake < 0 || pthread_mutex_init(&server->lock, NULL) != 0) {
		(void)close(server->wake);
		free(server);
		return err_set(err, -ENOMEM, "out of memory or descriptors");
	}
	(void)pthread_cond_init(&server->idle, NULL);
	*ret = server;
	return 0;
}

int grpc_server_listen(struct grpc_server *server, const char *path, struct err *err)
{
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	CLEANUP(close) int fd = -1;
	CLEANUP(free) char *copy = strdup(path);
	mode_t mask;
	int r;

	if (!copy || server->n_listeners == GRPC_SOCKETS_MAX)
		return err_set(err, -ENOMEM, "out of memory");
	if (strlen(path) >= sizeof(addr.sun_path))
		return err_set(err, -ENAMETOOLONG, "socket '%s': the path has more than %zu bytes",
		               path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path) + 1);
	if (unlink(path) < 0 && errno != ENOENT)
		return err_set_errno(err, "socket '%s' could not be replaced", path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	mask = umask(0177);
	r = fd < 0 ? -1 : bind(fd, (const struct sockaddr *)&addr, sizeof(addr));
	(void)umask(mask);
	if (r < 0 || listen(fd, BACKLOG) < 0)
		return err_set_errno(err, "socket '%s'", path);
	server->path[server->n_listeners] = TAKE_PTR(copy);
	server->listener[server->n_listeners++] = TAKE_FD(fd);
	return 0;
}

static void peer_free(struct peer *peer)
{
	grpc_conn_free(peer->conn);
	(void)close(peer->fd);
	free(peer);
}

static void accept_peer(struct grpc_server *server, int listener)
{
	CLEANUP(close) int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct peer *peer;

	if (fd < 0 || server->n_peers >= CONNECTIONS_MAX)
		return;
	peer = calloc(1, sizeof(*peer));
	if (!peer)
		return;
	peer->conn = grpc_conn_new(take_request, peer);
	if (!peer->conn) {
		free(peer);
		return;
	}
	peer->server = server;
	peer->number = ++server->n_numbers;
	peer->fd = TAKE_FD(fd);
	peer->next = server->peers;
	server->peers = peer;
	server->n_peers++;
}

/* Read what is there, a bounded part of it: others are waiting, too. */
static void receive(struct peer *peer)
{
	uint8_t buf[16384];
	ssize_t n = recv(peer->fd, buf, sizeof(buf), 0);

	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0 || grpc_conn_feed(peer->conn, buf, (size_t)n) < 0)
		peer->gone = true;
}

/* Send what can be sent. */
static void transmit(struct peer *peer)
{
	const uint8_t *data;
	size_t len;

	peer->blocked = false;
	while (!peer->gone && !peer->blocked) {
		ssize_t n;

		if (grpc_conn_output(peer->conn, &data, &len) < 0) {
			peer->gone = true;
			break;
		}
		if (len == 0) {
			peer->gone = grpc_conn_ended(peer->conn);
			break;
		}
		n = send(peer->fd, data, len, MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n >= 0)
			grpc_conn_sent(peer->conn, (size_t)n);
		else if (errno == EAGAIN)
			peer->blocked = true;
		else
			peer->gone = true;
	}
}

static void drop_gone(struct grpc_server *server)
{
	struct peer **link = &server->peers;

	while (*link) {
		struct peer *peer = *link;

		if (!peer->gone) {
			link = &peer->next;
			continue;
		}
		*link = peer->next;
		server->n_peers--;
		peer_free(peer);
	}
}

/* Give the answers of calls that are done to their connections. */
static void hand_out(struct grpc_server *server)
{
	struct call *done;
	uint64_t count;

	(void)!read(server->wake, &count, sizeof(count));
	(void)pthread_mutex_lock(&server->lock);
	done = TAKE_PTR(server->done);
	(void)pthread_mutex_unlock(&server->lock);
	while (done) {
		struct call *next = done->next;
		struct peer *peer = server->peers;

		while (peer && peer->number != done->peer)
			peer = peer->next;
		if (peer)
			grpc_conn_reply(peer->conn, done->stream, TAKE_PTR(done->reply.data),
			                done->reply.len, &done->err);
		call_free(done);
		done = next;
	}
}

/* What to wait for. Returns how many there are in @ret: the wake-up, sockets, peers in their order. */
static nfds_t fill_poll(const struct grpc_server *server, struct pollfd *ret)
{
	nfds_t n = 0;

	ret[n++] = (struct pollfd){ .fd = server->wake, .events = POLLIN };
	for (unsigned i = 0; i < server->n_listeners; i++)
		ret[n++] = (struct pollfd){ .fd = server->listener[i], .events = POLLIN };
	for (const struct peer *peer = server->peers; peer; peer = peer->next)
		ret[n++] = (struct pollfd){ .fd = peer->fd,
			                    .events = peer->blocked ? POLLIN | POLLOUT : POLLIN };
	return n;
}

static void transmit_all(struct grpc_server *server)
{
	for (struct peer *peer = server->peers; peer; peer = peer->next)
		transmit(peer);
	drop_gone(server);
}

static bool stopped(struct grpc_server *server)
{
	return __atomic_load_n(&server->stop, __ATOMIC_ACQUIRE) != 0;
}

static int turn(struct grpc_server *server, struct err *err)
{
	struct pollfd fds[1 + GRPC_SOCKETS_MAX + CONNECTIONS_MAX];
	nfds_t i = 1 + server->n_listeners;
	nfds_t n;

	transmit_all(server);
	n = fill_poll(server, fds);
	if (poll(fds, n, -1) < 0)
		return errno == EINTR ? 0 : err_set_errno(err, "poll");
	for (struct peer *peer = server->peers; peer; peer = peer->next, i++) {
		if (fds[i].revents != 0)
			receive(peer);
	}
	hand_out(server);
	for (unsigned k = 0; k < server->n_listeners; k++) {
		if (fds[1 + k].revents != 0)
			accept_peer(server, server->listener[k]);
	}
	return 0;
}

static void remove_sockets(struct grpc_server *server)
{
	for (unsigned i = 0; i < server->n_listeners; i++) {
		(void)unlink(server->path[i]);
		(void)close(server->listener[i]);
		free(server->path[i]);
	}
	server->n_listeners = 0;
}

/* Wait for calls that are under way, and send their answers. */
static void drain(struct grpc_server *server)
{
	struct timespec end;
	int r = 0;

	(void)clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += STOP_SECONDS;
	(void)pthread_mutex_lock(&server->lock);
	while (server->n_calls > 0 && r == 0)
		r = pthread_cond_timedwait(&server->idle, &server->lock, &end);
	(void)pthread_mutex_unlock(&server->lock);
	hand_out(server);
	transmit_all(server);
}

int grpc_server_run(struct grpc_server *server, struct err *err)
{
	int r = 0;

	while (r == 0 && !stopped(server))
		r = turn(server, err);
	remove_sockets(server);
	drain(server);
	return r;
}

void grpc_server_stop(struct grpc_server *server)
{
	__atomic_store_n(&server->stop, 1, __ATOMIC_RELEASE);
	wake(server);
}

bool grpc_server_busy(struct grpc_server *server)
{
	bool busy;

	(void)pthread_mutex_lock(&server->lock);
	busy = server->n_calls > 0;
	(void)pthread_mutex_unlock(&server->lock);
	return busy;
}

void grpc_server_free(struct grpc_server *server)
{
	if (!server || grpc_server_busy(server))
		return;
	while (server->peers) {
		server->peers->gone = true;
		drop_gone(server);
	}
	remove_sockets(server);
	hand_out(server);
	(void)close(server->wake);
	(void)pthread_cond_destroy(&server->idle);
	(void)pthread_mutex_destroy(&server->lock);
	free(server);
}
