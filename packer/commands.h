/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `assetpack`. Each parses its own arguments and returns an exit status. */
#pragma once

#include "base/err.h"

enum exit_status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_DAMAGED = 3,
};

/* Print the message on standard error. Returns the exit status for it: damage has its own. */
int fail(const struct err *err);

/* As fail(), for a mistake on the command line of @command. */
int fail_usage(const char *command, const char *fmt, ...) PRINTF_FMT(2, 3);

/* Make sure that standard output got everything. Returns @status, or STATUS_FAILED. */
int finish_output(int status);

int cmd_build(int argc, char *argv[]);
int cmd_ls(int argc, char *argv[]);
int cmd_tree(int argc, char *argv[]);
int cmd_cat(int argc, char *argv[]);
int cmd_extract(int argc, char *argv[]);
int cmd_stat(int argc, char *argv[]);
int cmd_verify(int argc, char *argv[]);
int cmd_inspect(int argc, char *argv[]);
