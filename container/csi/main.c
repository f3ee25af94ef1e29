/* SPDX-License-Identifier: Apache-2.0 */
/* assetfs-csi: images of assetfs as volumes of Kubernetes, a driver for one node. */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/cli.h"
#include "base/io.h"
#include "base/log.h"
#include "csi/heal.h"
#include "csi/services.h"

enum {
	NAME_MAX_LENGTH = 63, /* of a driver: the interface's */
	NODE_ID_MAX = 256,    /* the interface's */
	ALIVE_SECONDS = 10,   /* for --alive */
	HTTP2_HEAD = 9,       /* bytes before a frame's payload: RFC 9113, 4.1 */
	HTTP2_TYPE = 3,       /* byte of them that has the frame's type */
	HTTP2_SETTINGS = 4,
};

static const char help[] =
	"Usage: assetfs-csi [OPTION]...\n"
	"Give images of assetfs to the pods of this node as volumes, by the Container\n"
	"Storage Interface. Needs a daemon ('assetfs serve') and root; logs to standard\n"
	"error.\n\n"
	"      --kubelet-dir DIR   kubelet's directory (default /var/lib/kubelet)\n"
	"      --endpoint SOCKET   where kubelet calls the driver (default\n"
	"                          KUBELET-DIR/plugins/NAME/csi.sock)\n"
	"      --registration SOCKET\n"
	"                          where kubelet gets to know it (default\n"
	"                          KUBELET-DIR/plugins_registry/NAME-reg.sock)\n"
	"      --mounts DIR        where images are mounted once for the node (default\n"
	"                          KUBELET-DIR/plugins/NAME/images)\n"
	"      --node-id ID        the node's name (default $NODE_NAME, else the host's)\n"
	"      --name NAME         the driver's (default csi.assetfs.io)\n"
	"      --store DIR         the daemon's store (default $ASSETFS_STORE, else\n"
	"                          /var/lib/assetfs)\n"
	"      --alive             ask the driver that runs whether it is alive\n"
	"      --log-format FORMAT text (default), logfmt or json\n"
	"      --log-level LEVEL   err, warn, info (default) or debug\n"
	"  -h, --help              show this help\n"
	"      --version           show the version\n";

static const struct option options[] = {
	{ "kubelet-dir", required_argument, NULL, 'k' },
	{ "endpoint", required_argument, NULL, 'e' },
	{ "registration", required_argument, NULL, 'r' },
	{ "mounts", required_argument, NULL, 'm' },
	{ "node-id", required_argument, NULL, 'i' },
	{ "name", required_argument, NULL, 'n' },
	{ "store", required_argument, NULL, 's' },
	{ "alive", no_argument, NULL, 'a' },
	{ "log-level", required_argument, NULL, 'l' },
	{ "log-format", required_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ "version", no_argument, NULL, 'v' },
	{ NULL, 0, NULL, 0 },
};

struct config {
	const char *kubelet_dir, *name, *store, *node_id; /* borrowed */
	char *endpoint, *registration, *mounts;           /* owned; absolute */
	char host[NODE_ID_MAX + 1];
	bool alive;
};

static void config_release_cleanup(struct config *config)
{
	free(config->endpoint);
	free(config->registration);
	free(config->mounts);
}

/* The interface's rule: letters, digits, '-' and '.', letters or digits at both ends. */
static bool name_ok(const char *name)
{
	size_t len = strlen(name);

	for (size_t i = 0; i < len; i++) {
		if (!isalnum((unsigned char)name[i]) && name[i] != '-' && name[i] != '.')
			return false;
	}
	return len > 0 && len <= NAME_MAX_LENGTH && isalnum((unsigned char)name[0]) &&
	       isalnum((unsigned char)name[len - 1]);
}

/* A copy of @text in the place of *@slot, if it is an absolute path; "unix://" may come before it. */
static int set_path(char **slot, const char *text)
{
	if (strncmp(text, "unix://", 7) == 0)
		text += 7;
	if (!volume_path_ok(text))
		return -EINVAL;
	free(*slot);
	*slot = strdup(text);
	return *slot ? 0 : -ENOMEM;
}

static int set_log(int option, const char *name)
{
	enum log_level level;
	enum log_format format;

	if (option == 'l') {
		if (log_level_parse(name, &level) < 0)
			return -EINVAL;
		log_set_level(level);
	} else {
		if (log_format_parse(name, &format) < 0)
			return -EINVAL;
		log_set_format(format);
	}
	return 0;
}

/* Returns 0 or -EINVAL. */
static int set_option(int option, struct config *config)
{
	switch (option) {
	case 'k':
		config->kubelet_dir = optarg;
		return volume_path_ok(optarg) ? 0 : -EINVAL;
	case 'e':
		return set_path(&config->endpoint, optarg);
	case 'r':
		return set_path(&config->registration, optarg);
	case 'm':
		return set_path(&config->mounts, optarg);
	case 'i':
		config->node_id = optarg;
		return optarg[0] != '\0' && strlen(optarg) <= NODE_ID_MAX ? 0 : -EINVAL;
	case 'n':
		config->name = optarg;
		return name_ok(optarg) ? 0 : -EINVAL;
	case 's':
		config->store = optarg;
		return 0;
	default:
		return set_log(option, optarg);
	}
}

/* Returns -1 to go on, or an exit status. */
static int parse(int argc, char *argv[], struct config *config)
{
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		if (option == '?')
			return STATUS_USAGE;
		if (option == 'h' || option == 'v') {
			(void)fputs(option == 'h' ? help : "assetfs-csi " ASSETFS_VERSION "\n",
			            stdout);
			return cli_finish(STATUS_OK);
		}
		if (option == 'a') {
			config->alive = true;
		} else if (set_option(option, config) < 0) {
			(void)fprintf(stderr,
			              "assetfs-csi: '%s' is not valid; see 'assetfs-csi --help'\n",
			              optarg);
			return STATUS_USAGE;
		}
	}
	if (optind == argc)
		return -1;
	(void)fprintf(stderr, "assetfs-csi: unexpected argument '%s'\n", argv[optind]);
	return STATUS_USAGE;
}

static const char *environment(const char *name, const char *otherwise)
{
	/* Nothing in this program changes the environment. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	const char *value = getenv(name);

	return value && value[0] != '\0' ? value : otherwise;
}

/* What was not given. */
static int fill_in(struct config *config, struct err *err)
{
	if (!config->endpoint && asprintf(&config->endpoint, "%s/plugins/%s/csi.sock",
	                                  config->kubelet_dir, config->name) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (!config->registration &&
	    asprintf(&config->registration, "%s/plugins_registry/%s-reg.sock", config->kubelet_dir,
	             config->name) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (!config->mounts && asprintf(&config->mounts, "%s/plugins/%s/images",
	                                config->kubelet_dir, config->name) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	if (!config->node_id)
		config->node_id = environment("NODE_NAME", NULL);
	if (!config->node_id && gethostname(config->host, NODE_ID_MAX) < 0)
		return err_set_errno(err, "the host's name");
	if (!config->node_id)
		config->node_id = config->host;
	return 0;
}

/* Say hello as a client of HTTP/2 does, and wait for the same. Returns 0 or -errno. */
static int ask_alive(const char *path, struct err *err)
{
	static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	struct sockaddr_un addr = { .sun_family = AF_UNIX };
	const struct timeval timeout = { .tv_sec = ALIVE_SECONDS };
	CLEANUP(close) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	uint8_t head[HTTP2_HEAD];

	(void)snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", path);
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof(timeout)) < 0 ||
	    connect(fd, (const struct sockaddr *)&addr, sizeof(addr)) < 0 ||
	    send(fd, hello, sizeof(hello) - 1, MSG_NOSIGNAL) < 0)
		return err_set_errno(err, "'%s'", path);
	if (recv(fd, head, sizeof(head), MSG_WAITALL) != (ssize_t)sizeof(head) ||
	    head[HTTP2_TYPE] != HTTP2_SETTINGS)
		return err_set(err, -EPROTO, "'%s': no driver answers", path);
	return 0;
}

/* Have the directory of mounts, and it alone. Returns a descriptor that holds it, or -errno. */
static int take_mounts(struct config *config, struct err *err)
{
	CLEANUP(close) int fd = -1;
	char *resolved;
	int r = io_make_dirs(config->mounts, err);

	if (r < 0)
		return r;
	resolved = realpath(config->mounts, NULL);
	if (!resolved)
		return err_set_errno(err, "'%s'", config->mounts);
	free(config->mounts);
	config->mounts = resolved;
	fd = open(resolved, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return err_set_errno(err, "'%s'", resolved);
	if (flock(fd, LOCK_EX | LOCK_NB) < 0)
		return err_set(err, -errno, "another driver has '%s'", resolved);
	return TAKE_FD(fd);
}

/* SIGTERM and SIGINT, which all threads have blocked. */
static void *wait_for_signal(void *arg)
{
	sigset_t set;
	int signal;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	(void)sigwait(&set, &signal);
	grpc_server_stop(arg);
	return NULL;
}

/* Begin to wait for one. Call before other threads start. */
static int watch_signals(struct grpc_server *server, pthread_t *ret, struct err *err)
{
	sigset_t set;

	(void)sigemptyset(&set);
	(void)sigaddset(&set, SIGTERM);
	(void)sigaddset(&set, SIGINT);
	if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0 ||
	    pthread_create(ret, NULL, wait_for_signal, server) != 0)
		return err_set(err, -EAGAIN, "no thread could be started");
	return 0;
}

/* Sockets last: who connects is to be served. */
static int listen_all(struct grpc_server *server, const struct config *config, struct err *err)
{
	int r = grpc_server_listen(server, config->endpoint, err);

	if (r == 0)
		r = grpc_server_listen(server, config->registration, err);
	if (r == 0)
		log_info("driver %s of node %s at '%s'", config->name, config->node_id,
		         config->endpoint);
	return r;
}

static int serve(struct config *config, struct err *err)
{
	CLEANUP(close) int mounts = take_mounts(config, err);
	struct node node = { .store = config->store,
		             .dir = config->mounts,
		             .targets = NAME_LOCKS_INIT,
		             .images = NAME_LOCKS_INIT,
		             .orders = NAME_LOCKS_INIT };
	struct services services = { .node = &node,
		                     .driver_name = config->name,
		                     .node_id = config->node_id,
		                     .endpoint = config->endpoint };
	CLEANUP(grpc_server_free) struct grpc_server *server = NULL;
	CLEANUP(healer_free) struct healer *healer = NULL;
	pthread_t signals;
	int r;

	if (mounts < 0)
		return mounts;
	node_mounts_tidy(config->mounts);
	r = grpc_server_new(services_methods, services_n_methods, &services, &server, err);
	if (r < 0)
		return r;
	services.server = server;
	r = listen_all(server, config, err);
	if (r == 0)
		r = watch_signals(server, &signals, err);
	if (r < 0)
		return r;
	r = healer_start(&node, &healer, err);
	if (r == 0)
		r = grpc_server_run(server, err);
	(void)pthread_kill(signals, SIGINT);
	(void)pthread_join(signals, NULL);
	if (grpc_server_busy(server)) {
		log_warn("ending although calls are under way; what they do is done again");
		_exit(STATUS_OK);
	}
	if (r == 0 && __atomic_load_n(&services.refused, __ATOMIC_ACQUIRE))
		r = err_set(err, -EPERM, "kubelet refuses the driver");
	return r;
}

int main(int argc, char *argv[])
{
	CLEANUP(config_release)
	struct config config = {
		.kubelet_dir = "/var/lib/kubelet",
		.name = DRIVER_NAME,
		.store = environment("ASSETFS_STORE", "/var/lib/assetfs"),
	};
	struct err err = ERR_INIT;
	int status = parse(argc, argv, &config);
	int r;

	if (status >= 0)
		return status;
	r = fill_in(&config, &err);
	if (r == 0 && !config.alive && geteuid() != 0)
		r = err_set(&err, -EPERM, "needs root, to mount");
	if (r == 0 && !config.alive)
		log_show_time();
	if (r == 0)
		r = config.alive ? ask_alive(config.endpoint, &err) : serve(&config, &err);
	if (r == 0)
		return STATUS_OK;
	(void)fprintf(stderr, "assetfs-csi: %s\n", err.msg);
	return STATUS_FAILED;
}
