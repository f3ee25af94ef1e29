/* SPDX-License-Identifier: Apache-2.0 */
/* assetfsd: those commands of `assetfs` that need what the daemon is made of. It runs this program for them. */
#include "commands.h"

static const struct cli_command commands[] = {
	{ "serve", "[OPTION]...", "run the node daemon", cmd_serve },
	{ "keeper", "[OPTION]...", "run the node daemon, and another one when it dies",
	  cmd_keeper },
	{ "doctor", "[DIR]", "check this machine, and say what to do", cmd_doctor },
};

static const struct cli_program program = {
	.name = "assetfsd",
	.purpose = "The node daemon; `assetfs` runs it, and knows more commands.",
	.remarks = "",
	.command = commands,
	.n_commands = sizeof(commands) / sizeof(commands[0]),
};

int main(int argc, char *argv[])
{
	return cli_run(&program, argc, argv);
}
