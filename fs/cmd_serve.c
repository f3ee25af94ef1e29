/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/err.h"
#include "base/log.h"
#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "daemon.h"
#include "fuse_io.h"
#include "image.h"
#include "metrics.h"
#include "region.h"

static const char help[] =
	"Usage: assetfs serve [OPTION]...\n"
	"Run the node daemon in the foreground; it logs to standard error.\n\n"
	"      --store DIR         directory for indexes and the control socket\n"
	"                          (default $ASSETFS_STORE, else /var/lib/assetfs)\n"
	"      --region WHERE      where plain bytes are kept: memory (default), or an\n"
	"                          absolute directory on disk for nothing else\n"
	"      --region-size SIZE  most of them, e.g. 4G (default: half of the machine's\n"
	"                          memory or of the cgroup's limit)\n"
	"      --fill-threads N    threads that may fill at once what nobody waits for\n"
	"                          (default: half of the processors, and one)\n"
	"      --fill-ahead FILES  when files of a directory are opened in order, fill the next\n"
	"                          ones, at most so many; 0: do not (default: 64)\n"
	"      --local-check WHAT  compare chunks of local images before their first use with their\n"
	"                          digest (default), or with the checksum in their frame: faster,\n"
	"                          for layouts that nobody else can write to\n"
	"      --store-size SIZE   most that packs of registries may have in the store\n"
	"                          (default: what the disk has room for)\n"
	"      --fetch-rate SIZE   fetch what nobody has asked for yet, at most so many bytes a\n"
	"                          second; off: do not (default: 32M)\n"
	"      --fetch-timeout SECONDS\n"
	"                          most that a read waits for a registry that sends nothing\n"
	"                          (default: 60)\n"
	"      --request-timeout SECONDS\n"
	"                          most that any request may take, such as one for which a disk\n"
	"                          hangs (default: three times the fetch timeout)\n"
	"      --busy-poll MICROSECONDS\n"
	"                          look for the next request for so long before sleeping; 0: do not\n"
	"                          (default: 200)\n"
	"      --tag-interval SECONDS\n"
	"                          see so often whether tags of what is mounted have moved, for\n"
	"                          'assetfs status'; 0: never (default: 600)\n"
	"      --plain-http        speak http with registries; with this machine itself that\n"
	"                          is found out\n"
	"      --ca-file FILE      trust these certificates of registries instead of the\n"
	"                          system's\n"
	"      --verify-key FILE   mount of registries only images that the owner of this public\n"
	"                          key has signed\n"
	"      --metrics ADDR:PORT serve /metrics, /healthz and /readyz over HTTP\n"
	"      --xattrs            let files have user.assetfs.*, at a cost to listings\n"
	"      --auto-exit         end once the last mount is gone\n"
	"      --keeper SOCKET     let the keeper there ('assetfs keeper --listen') hold what\n"
	"                          outlives the daemon; SIGTERM leaves mounts to the next one\n"
	"      --log-format FORMAT text (default), logfmt or json\n"
	"      --log-level LEVEL   err, warn, info (default) or debug\n"
	"  -h, --help              show this help\n";

enum {
	OPT_FILL_AHEAD = 512,
	OPT_LOCAL_CHECK,
	OPT_STORE_SIZE,
	OPT_FETCH_RATE,
	OPT_FETCH_TIMEOUT,
	OPT_REQUEST_TIMEOUT,
	OPT_BUSY_POLL,
	OPT_TAG_INTERVAL,
	OPT_PLAIN_HTTP,
	OPT_CA_FILE,
	OPT_VERIFY_KEY,
	OPT_KEEPER,
};

#define FETCH_RATE_DEFAULT ((uint64_t)32 << 20)

enum {
	FILL_THREADS_MAX = 1024,
	FILL_AHEAD_DEFAULT = 64,
	FILL_AHEAD_MAX = 4096,
	FETCH_TIMEOUT_DEFAULT = 60,
	FETCH_TIMEOUT_MAX = 24 * 3600,
	REQUEST_TIMEOUT_MAX = 7 * 24 * 3600,
	BUSY_POLL_DEFAULT = 200,
	BUSY_POLL_MAX = 10000,
	TAG_INTERVAL_DEFAULT = 600,
	TAG_INTERVAL_MAX = 365 * 24 * 3600,
};

static const struct option options[] = {
	{ "store", required_argument, NULL, 's' },
	{ "region", required_argument, NULL, 'R' },
	{ "region-size", required_argument, NULL, 'r' },
	{ "fill-threads", required_argument, NULL, 't' },
	{ "fill-ahead", required_argument, NULL, OPT_FILL_AHEAD },
	{ "local-check", required_argument, NULL, OPT_LOCAL_CHECK },
	{ "store-size", required_argument, NULL, OPT_STORE_SIZE },
	{ "fetch-rate", required_argument, NULL, OPT_FETCH_RATE },
	{ "fetch-timeout", required_argument, NULL, OPT_FETCH_TIMEOUT },
	{ "request-timeout", required_argument, NULL, OPT_REQUEST_TIMEOUT },
	{ "busy-poll", required_argument, NULL, OPT_BUSY_POLL },
	{ "tag-interval", required_argument, NULL, OPT_TAG_INTERVAL },
	{ "plain-http", no_argument, NULL, OPT_PLAIN_HTTP },
	{ "ca-file", required_argument, NULL, OPT_CA_FILE },
	{ "verify-key", required_argument, NULL, OPT_VERIFY_KEY },
	{ "metrics", required_argument, NULL, 'm' },
	{ "xattrs", no_argument, NULL, 'x' },
	{ "auto-exit", no_argument, NULL, 'a' },
	{ "keeper", required_argument, NULL, OPT_KEEPER },
	{ "log-level", required_argument, NULL, 'l' },
	{ "log-format", required_argument, NULL, 'f' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

static int set_log_level(const char *name)
{
	enum log_level level;
	int r = log_level_parse(name, &level);

	if (r == 0)
		log_set_level(level);
	return r;
}

static int set_log_format(const char *name)
{
	enum log_format format;
	int r = log_format_parse(name, &format);

	if (r == 0)
		log_set_format(format);
	return r;
}

static int set_local_check(const char *name, unsigned *ret)
{
	if (strcmp(name, "digest") == 0)
		*ret = CHECK_DIGEST;
	else if (strcmp(name, "checksum") == 0)
		*ret = CHECK_CHECKSUM;
	else
		return -EINVAL;
	return 0;
}

/* Apply an option that is one of a few words. Returns 0 or -EINVAL. */
static int apply_word(int option, struct daemon_config *config)
{
	switch (option) {
	case 'l':
		return set_log_level(optarg);
	case 'f':
		return set_log_format(optarg);
	default:
		return set_local_check(optarg, &config->local_checks);
	}
}

static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap) PRINTF_FMT(2, 0);

static void log_libfuse(enum fuse_log_level level, const char *fmt, va_list ap)
{
	char line[512];

	(void)vsnprintf(line, sizeof(line), fmt, ap);
	line[strcspn(line, "\n")] = '\0';
	if (level <= FUSE_LOG_ERR)
		log_err("libfuse: %s", line);
	else
		log_debug("libfuse: %s", line);
}

static int parse_number(const char *text, unsigned min, unsigned max, unsigned *ret)
{
	uint64_t n;

	if (text_parse_uint(text, max, &n) < 0 || n < min)
		return -EINVAL;
	*ret = (unsigned)n;
	return 0;
}

/* Apply an option that is a number. Returns 0 or -EINVAL. */
static int apply_number(int option, struct daemon_config *config)
{
	switch (option) {
	case 't':
		return parse_number(optarg, 1, FILL_THREADS_MAX, &config->fill_threads);
	case OPT_FILL_AHEAD:
		return parse_number(optarg, 0, FILL_AHEAD_MAX, &config->fill_ahead);
	case OPT_FETCH_TIMEOUT:
		return parse_number(optarg, 1, FETCH_TIMEOUT_MAX, &config->fetch_timeout);
	case OPT_REQUEST_TIMEOUT:
		return parse_number(optarg, 1, REQUEST_TIMEOUT_MAX, &config->request_timeout);
	case OPT_BUSY_POLL:
		return parse_number(optarg, 0, BUSY_POLL_MAX, &config->busy_poll);
	default:
		return parse_number(optarg, 0, TAG_INTERVAL_MAX, &config->tag_interval);
	}
}

/* Apply an option about registries. Returns 0 or -EINVAL. */
static int apply_fetch_option(int option, struct daemon_config *config)
{
	switch (option) {
	case OPT_STORE_SIZE:
		return text_parse_size(optarg, &config->store_size) < 0 || config->store_size == 0
		               ? -EINVAL
		               : 0;
	case OPT_FETCH_RATE:
		config->fetch_rate = 0;
		if (strcmp(optarg, "off") == 0)
			return 0;
		return text_parse_size(optarg, &config->fetch_rate) < 0 || config->fetch_rate == 0
		               ? -EINVAL
		               : 0;
	case OPT_PLAIN_HTTP:
		config->plain_http = true;
		return 0;
	case OPT_VERIFY_KEY:
		config->verify_key = optarg;
		return 0;
	default:
		config->ca_file = optarg;
		return 0;
	}
}

/* Returns -1 to go on, or an exit status. */
static int apply_option(int option, struct daemon_config *config)
{
	switch (option) {
	case 's':
		config->store = optarg;
		return -1;
	case 'R':
		if (optarg[0] != '/' && strcmp(optarg, "memory") != 0)
			break;
		config->region_directory = optarg[0] == '/' ? optarg : NULL;
		return -1;
	case 'r':
		if (text_parse_size(optarg, &config->region_size) < 0 || config->region_size == 0)
			break;
		return -1;
	case 't':
	case OPT_FILL_AHEAD:
	case OPT_FETCH_TIMEOUT:
	case OPT_REQUEST_TIMEOUT:
	case OPT_BUSY_POLL:
	case OPT_TAG_INTERVAL:
		if (apply_number(option, config) < 0)
			break;
		return -1;
	case OPT_STORE_SIZE:
	case OPT_FETCH_RATE:
	case OPT_PLAIN_HTTP:
	case OPT_CA_FILE:
	case OPT_VERIFY_KEY:
		if (apply_fetch_option(option, config) < 0)
			break;
		return -1;
	case 'm':
		if (!metrics_address_ok(optarg))
			break;
		config->metrics = optarg;
		return -1;
	case 'x':
		config->xattrs = true;
		return -1;
	case 'a':
		config->auto_exit = true;
		return -1;
	case OPT_KEEPER:
		config->keeper = optarg;
		return -1;
	case 'l':
	case 'f':
	case OPT_LOCAL_CHECK:
		if (apply_word(option, config) < 0)
			break;
		return -1;
	case 'h':
		(void)fputs(help, stdout);
		return STATUS_OK;
	default: /* getopt has said what is wrong */
		return STATUS_USAGE;
	}
	(void)fprintf(stderr, "assetfs serve: '%s' is not valid; see 'assetfs serve --help'\n",
	              optarg);
	return STATUS_USAGE;
}

/* Whether options suit each other; says what does not, else. */
static bool options_agree(const struct daemon_config *config)
{
	const char *wrong = NULL;

	if (config->request_timeout <= config->fetch_timeout)
		wrong = "--request-timeout has to be longer than --fetch-timeout";
	else if (config->verify_key && !(config->local_checks & CHECK_DIGEST))
		wrong = "--verify-key wants bytes that digests prove, --local-check checksum does "
			"without them: leave one out";
	if (wrong)
		(void)fprintf(stderr, "assetfs serve: %s\n", wrong);
	return !wrong;
}

int cmd_serve(int argc, char *argv[])
{
	struct daemon_config config = { .store = default_store(),
		                        .region_size = region_default_size(),
		                        .fetch_rate = FETCH_RATE_DEFAULT,
		                        .fetch_timeout = FETCH_TIMEOUT_DEFAULT,
		                        .busy_poll = BUSY_POLL_DEFAULT,
		                        .fill_ahead = FILL_AHEAD_DEFAULT,
		                        .local_checks = CHECK_DIGEST,
		                        .tag_interval = TAG_INTERVAL_DEFAULT,
		                        .options = argv + 1 };
	struct err err = ERR_INIT;
	int option;

	/* Options are parsed before any thread starts. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while ((option = getopt_long(argc, argv, "h", options, NULL)) != -1) {
		int status = apply_option(option, &config);

		if (status >= 0)
			return status;
	}
	if (optind < argc) {
		(void)fprintf(stderr, "assetfs serve: unexpected argument '%s'\n", argv[optind]);
		return STATUS_USAGE;
	}
	if (config.request_timeout == 0)
		config.request_timeout = 3 * config.fetch_timeout;
	if (!options_agree(&config))
		return STATUS_USAGE;
	if (geteuid() != 0) {
		(void)fprintf(stderr, "assetfs serve: needs root, to mount\n");
		return STATUS_FAILED;
	}
	fuse_set_log_func(log_libfuse);
	log_show_time();
	return daemon_run(&config, &err) < 0 ? fail("serve", &err) : STATUS_OK;
}
