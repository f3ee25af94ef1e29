/* SPDX-License-Identifier: Apache-2.0 */
/* assetfs: the node daemon and its clients; by the name of mount.assetfs, what mount(8) calls. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "commands.h"
#include "mount_helper.h"

static const struct cli_command commands[] = {
	{ "serve", "[OPTION]...", "run the node daemon", cmd_serve },
	{ "keeper", "[OPTION]...", "run the node daemon, and another one when it dies",
	  cmd_keeper },
	{ "mount", "IMAGE DIR", "mount an image", cmd_mount },
	{ "umount", "DIR", "unmount it", cmd_umount },
	{ "pin", "[OPTION]... IMAGE", "keep what the region has of an image", cmd_pin },
	{ "unpin", "IMAGE", "no longer keep it", cmd_unpin },
	{ "doctor", "[DIR]", "check this machine, and say what to do", cmd_doctor },
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

int fail(const char *command, const struct err *err)
{
	(void)fprintf(stderr, "assetfs %s: %s\n", command, err->msg);
	return cli_status_of(err->code);
}

int main(int argc, char *argv[])
{
	if (strcmp(program_invocation_short_name, "mount.assetfs") == 0)
		return mount_helper(argc, argv);
	return cli_run(&program, argc, argv);
}
