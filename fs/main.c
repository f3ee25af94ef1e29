/* SPDX-License-Identifier: Apache-2.0 */
/* assetfs: the commands of a node; by the name of mount.assetfs, what mount(8) calls. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "commands.h"
#include "mount_helper.h"

/*
 * Those without a function are assetfsd's: this program loads few libraries, so that a command that only
 * asks the daemon starts quickly, from a cold disk, too.
 */
static const struct cli_command commands[] = {
	{ "serve", "[OPTION]...", "run the node daemon", NULL },
	{ "keeper", "[OPTION]...", "run the node daemon, and another one when it dies", NULL },
	{ "mount", "IMAGE DIR", "mount an image", cmd_mount },
	{ "umount", "DIR", "unmount it", cmd_umount },
	{ "pin", "[OPTION]... IMAGE", "keep what the region has of an image", cmd_pin },
	{ "unpin", "IMAGE", "no longer keep it", cmd_unpin },
	{ "doctor", "[DIR]", "check this machine, and say what to do", NULL },
	{ "prefetch", "TARGET", "fill what is going to be read", cmd_prefetch },
	{ "trace", "record|stop TARGET", "record what is read", cmd_trace },
	{ "upgrade", "[--binary PATH]", "let another daemon go on with all mounts", cmd_upgrade },
	{ "generations", "[--json]", "show which images of a name are in use, and by whom",
	  cmd_generations },
	{ "status", "[--json]", "show the daemon and its mounts, or wait", cmd_status },
};

static const struct cli_program program = {
	.name = "assetfs",
	.purpose = "Serve packed game assets to every container of this machine.",
	.remarks = "",
	.command = commands,
	.n_commands = sizeof(commands) / sizeof(commands[0]),
};

static bool is_of_daemon(const char *name)
{
	for (size_t i = 0; i < program.n_commands; i++) {
		if (!commands[i].run && strcmp(name, commands[i].name) == 0)
			return true;
	}
	return false;
}

/* Become assetfsd, which lies beside this program. Returns an exit status when it cannot be. */
static int run_daemon(char *argv[])
{
	char self[PATH_MAX], path[PATH_MAX + sizeof("assetfsd")];
	struct err err = ERR_INIT;
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	self[n > 0 ? n : 0] = '\0';
	slash = strrchr(self, '/');
	(void)snprintf(path, sizeof(path), "%.*sassetfsd", slash ? (int)(slash - self) + 1 : 0,
	               self);
	(void)execv(path, argv);
	(void)err_set_errno(&err, "'%s', which has this command, cannot be run", path);
	return fail(argv[1], &err);
}

int main(int argc, char *argv[])
{
	if (strcmp(program_invocation_short_name, "mount.assetfs") == 0)
		return mount_helper(argc, argv);
	if (argc > 1 && is_of_daemon(argv[1]))
		return run_daemon(argv);
	return cli_run(&program, argc, argv);
}
