/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/io.h"
#include "base/text.h"
#include "client.h"
#include "commands.h"
#include "control.h"

static const char help[] =
	"Usage: assetfs trace record [OPTION]... TARGET\n"
	"       assetfs trace stop [OPTION]... TARGET\n"
	"Record which files and ranges of TARGET, a mount point or an image, are read, in\n"
	"order of first use; stop, and write the trace, for 'assetpack build --trace' and\n"
	"'assetfs prefetch --trace'.\n\n"
	"  -o, --output FILE  where the trace goes (default: standard output of stop)\n"
	"      --pid PID      with record: only what processes in PID's mount namespace\n"
	"                     read, such as those of a container\n"
	"      --store DIR    the daemon's store (default $ASSETFS_STORE, else\n"
	"                     /var/lib/assetfs)\n"
	"  -h, --help         show this help\n";

static const struct option options[] = {
	{ "output", required_argument, NULL, 'o' },
	{ "pid", required_argument, NULL, 'p' },
	{ "store", required_argument, NULL, 's' },
	{ "help", no_argument, NULL, 'h' },
	{ NULL, 0, NULL, 0 },
};

struct trace_args {
	const char *store;
	const char *output; /* NULL: none */
	const char *target;
	uint64_t pid; /* 0: all */
	bool record;
};

static int usage(void)
{
	(void)fprintf(stderr, "assetfs: usage: assetfs trace record [-o FILE] [--pid PID] "
	                      "[--store DIR] TARGET, or assetfs trace stop [-o FILE] "
	                      "[--store DIR] TARGET\n");
	return STATUS_USAGE;
}

static int parse_pid(const char *text, uint64_t *ret)
{
	if (text_parse_uint(text, INT_MAX, ret) == 0 && *ret > 0)
		return -1;
	(void)fprintf(stderr, "assetfs trace: '%s' is not a process id\n", text);
	return STATUS_USAGE;
}

/* Returns -1 to go on, or an exit status. */
static int parse(int argc, char *argv[], struct trace_args *args)
{
	int status = -1;
	int option;

	/* One thread here. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	while (status < 0 && (option = getopt_long(argc, argv, "ho:", options, NULL)) != -1) {
		if (option == 'h') {
			(void)fputs(help, stdout);
			return STATUS_OK;
		}
		if (option == 'o')
			args->output = optarg;
		else if (option == 'p')
			status = parse_pid(optarg, &args->pid);
		else if (option == 's')
			args->store = optarg;
		else
			status = STATUS_USAGE;
	}
	if (status >= 0)
		return status;
	if (argc - optind != 2)
		return usage();
	args->record = strcmp(argv[optind], "record") == 0;
	if (!args->record && (strcmp(argv[optind], "stop") != 0 || args->pid > 0))
		return usage();
	args->target = argv[optind + 1];
	return -1;
}

/* The directory of @path, which the caller frees; *@ret_name is the rest. NULL without memory. */
static char *directory_of(const char *path, const char **ret_name)
{
	const char *slash = strrchr(path, '/');

	*ret_name = slash ? slash + 1 : path;
	return slash ? strndup(path, slash == path ? 1 : (size_t)(slash - path)) : strdup(".");
}

/* The absolute path of @path, whose directory exists. The caller frees *@ret. */
static int absolute(const char *path, char **ret, struct err *err)
{
	const char *name;
	CLEANUP(free) char *dir = directory_of(path, &name);
	CLEANUP(free) char *resolved = NULL;

	if (!dir)
		return err_set(err, -ENOMEM, "out of memory");
	if (name[0] == '\0')
		return err_set(err, -EISDIR, "'%s' is a directory", path);
	resolved = realpath(dir, NULL);
	if (!resolved)
		return err_set_errno(err, "directory of '%s'", path);
	if (asprintf(ret, "%s/%s", strcmp(resolved, "/") == 0 ? "" : resolved, name) < 0)
		return err_set(err, -ENOMEM, "out of memory");
	return 0;
}

static int open_namespace(uint64_t pid, struct err *err)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%llu/ns/mnt", (unsigned long long)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? err_set_errno(err, "process %llu", (unsigned long long)pid) : fd;
}

static int record(const struct trace_args *args, struct err *err)
{
	CLEANUP(free) char *target = client_target(args->target);
	CLEANUP(free) char *output = NULL;
	CLEANUP(json_decref) json_t *request = NULL;
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(close) int ns = -1;
	int r = args->output ? absolute(args->output, &output, err) : 0;

	if (r == 0 && args->pid > 0)
		r = ns = open_namespace(args->pid, err);
	if (r < 0)
		return r;
	request = json_pack("{si ss ss ss*}", "version", CONTROL_VERSION, "command", "trace-record",
	                    "target", target, "output", output);
	if (!request)
		return err_set(err, -EINVAL, "target and file must be named in UTF-8");
	return control_call_with(args->store, request, ns, &answer, NULL, err);
}

/* Copy all of @from, from its start, to the position of @to. */
static int copy_all(int from, int to, struct err *err)
{
	char buf[16384];
	struct stat st;
	int r = fstat(from, &st) < 0 ? -errno : 0;

	for (off_t off = 0; r == 0 && off < st.st_size; off += (off_t)sizeof(buf)) {
		size_t n = (size_t)(st.st_size - off) < sizeof(buf) ? (size_t)(st.st_size - off)
		                                                    : sizeof(buf);

		r = io_pread(from, buf, n, (uint64_t)off);
		if (r == 0)
			r = io_write(to, buf, n);
	}
	return r < 0 ? err_set(err, r, "the trace could not be written: %s", strerrordesc_np(-r))
	             : 0;
}

/* Write the trace in @fd as the file @path, which appears when it is complete. */
static int write_file(int fd, const char *path, struct err *err)
{
	const char *name;
	CLEANUP(free) char *parent = directory_of(path, &name);
	CLEANUP(io_temp_release) struct io_temp tmp = IO_TEMP_INIT;
	CLEANUP(close) int dir = -1;
	int r;

	if (!parent)
		return err_set(err, -ENOMEM, "out of memory");
	dir = open(parent, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return err_set_errno(err, "'%s'", path);
	r = io_temp_open(&tmp, dir, err);
	if (r == 0)
		r = copy_all(fd, tmp.fd, err);
	if (r == 0)
		r = io_temp_publish(&tmp, name, 0644, err);
	return r < 0 ? err_wrap(err, r, "'%s'", path) : 0;
}

static int stop(const struct trace_args *args, struct err *err)
{
	CLEANUP(free) char *target = client_target(args->target);
	CLEANUP(json_decref)
	json_t *request = json_pack("{si ss ss}", "version", CONTROL_VERSION, "command",
	                            "trace-stop", "target", target);
	CLEANUP(json_decref) json_t *answer = NULL;
	CLEANUP(close) int fd = -1;
	const char *output;
	int r;

	if (!request)
		return err_set(err, -EINVAL, "the target must be named in UTF-8");
	r = control_call(args->store, request, &answer, &fd, err);
	if (r < 0)
		return r;
	if (fd < 0)
		return err_set(err, -EPROTO, "the daemon sent no trace");
	if (json_is_true(json_object_get(answer, "cut")))
		(void)fprintf(stderr,
		              "assetfs trace: the trace is cut: it has only the first "
		              "%lld uses\n",
		              (long long)json_integer_value(json_object_get(answer, "uses")));
	output = args->output ? args->output : client_text(answer, "output");
	return output[0] != '\0' ? write_file(fd, output, err) : copy_all(fd, STDOUT_FILENO, err);
}

int cmd_trace(int argc, char *argv[])
{
	struct trace_args args = { .store = default_store() };
	struct err err = ERR_INIT;
	int status = parse(argc, argv, &args);
	int r;

	if (status >= 0)
		return status;
	r = args.record ? record(&args, &err) : stop(&args, &err);
	return r < 0 ? fail("trace", &err) : STATUS_OK;
}
