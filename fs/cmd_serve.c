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
	"                          (default: half of the processors)\n"
	"      --metrics ADDR:PORT serve /metrics, /healthz and /readyz over HTTP\n"
	"      --xattrs            let files have user.assetfs.*, at a cost to listings\n"
	"      --auto-exit         end once the last mount is gone\n"
	"      --log-format FORMAT text (default), logfmt or json\n"
	"      --log-level LEVEL   err, warn, info (default) or debug\n"
	"  -h, --help              show this help\n";

static const struct option options[] = {
	{ "store", required_argument, NULL, 's' },
	{ "region", required_argument, NULL, 'R' },
	{ "region-size", required_argument, NULL, 'r' },
	{ "fill-threads", required_argument, NULL, 't' },
	{ "metrics", required_argument, NULL, 'm' },
	{ "xattrs", no_argument, NULL, 'x' },
	{ "auto-exit", no_argument, NULL, 'a' },
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

static int parse_threads(const char *text, unsigned *ret)
{
	enum { THREADS_MAX = 1024 };
	uint64_t n;
	int r = text_parse_uint(text, THREADS_MAX, &n);

	if (r < 0 || n == 0)
		return -EINVAL;
	*ret = (unsigned)n;
	return 0;
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
		if (parse_threads(optarg, &config->fill_threads) < 0)
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
	case 'l':
		if (set_log_level(optarg) < 0)
			break;
		return -1;
	case 'f':
		if (set_log_format(optarg) < 0)
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

int cmd_serve(int argc, char *argv[])
{
	struct daemon_config config = { .store = default_store(),
		                        .region_size = region_default_size(),
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
	if (geteuid() != 0) {
		(void)fprintf(stderr, "assetfs serve: needs root, to mount\n");
		return STATUS_FAILED;
	}
	fuse_set_log_func(log_libfuse);
	log_show_time();
	return daemon_run(&config, &err) < 0 ? fail("serve", &err) : STATUS_OK;
}
