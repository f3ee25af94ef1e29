/* SPDX-License-Identifier: Apache-2.0 */
/* assetpack: packs asset trees and looks into images. */
#include <malloc.h>
#include <stdarg.h>
#include <stdio.h>

#include "commands.h"
#include "notes.h"

static const struct cli_command commands[] = {
	{ "build", "SOURCE IMAGE", "pack a directory into an image", cmd_build },
	{ "ls", "IMAGE [PATH]", "list a directory", cmd_ls },
	{ "tree", "IMAGE [PATH]", "show a directory and all below it", cmd_tree },
	{ "cat", "IMAGE PATH...", "write files to standard output", cmd_cat },
	{ "extract", "IMAGE DIR [PATH]", "write the tree into a directory", cmd_extract },
	{ "stat", "IMAGE [PATH]", "show sizes and sharing, or one file", cmd_stat },
	{ "verify", "IMAGE", "check every byte and every rule", cmd_verify },
	{ "inspect", "IMAGE [--json]", "show digests and layers", cmd_inspect },
	{ "diff", "OLD NEW", "show what an update costs, file by file", cmd_diff },
	{ "pull", "FROM IMAGE", "copy an image to a layout, by deltas", cmd_pull },
	{ "push", "IMAGE TO", "copy an image to a registry", cmd_push },
	{ "gc", "LAYOUT", "remove what no tag reaches", cmd_gc },
};

static const struct cli_program program = {
	.name = "assetpack",
	.purpose = "Pack game assets into images that assetfs mounts; look into images.",
	.remarks = "IMAGE is LAYOUT[:TAG]; LAYOUT, an OCI image-layout directory, starts with\n"
		   "'/', '.' or 'oci:'; TAG is 'latest' when left out.\n",
	.command = commands,
	.n_commands = sizeof(commands) / sizeof(commands[0]),
};

int fail(const struct err *err)
{
	note_error("%s", err->msg);
	return cli_status_of(err->code);
}

int fail_usage(const char *command, const char *fmt, ...)
{
	char text[400];
	va_list ap;

	va_start(ap, fmt);
	(void)vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	note_error("%s; see 'assetpack %s --help'", text, command);
	return STATUS_USAGE;
}

int main(int argc, char *argv[])
{
	/*
	 * Large blocks go back to the kernel when they are freed: the stages of a build follow each
	 * other, and each wants the memory of the one before. Left alone, libc learns to keep them.
	 */
	/* No thread runs yet. NOLINTNEXTLINE(concurrency-mt-unsafe) */
	(void)mallopt(M_MMAP_THRESHOLD, 1 << 20);
	return cli_run(&program, argc, argv);
}
