/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `assetpack`. Each parses its own arguments and returns an exit status. */
#pragma once

#include "base/cli.h"
#include "base/err.h"

/* Print the message on standard error. Returns the exit status for it: damage has its own. */
int fail(const struct err *err);

/* As fail(), for a mistake on the command line of @command. */
int fail_usage(const char *command, const char *fmt, ...) PRINTF_FMT(2, 3);

int cmd_build(int argc, char *argv[]);
int cmd_ls(int argc, char *argv[]);
int cmd_tree(int argc, char *argv[]);
int cmd_cat(int argc, char *argv[]);
int cmd_extract(int argc, char *argv[]);
int cmd_stat(int argc, char *argv[]);
int cmd_verify(int argc, char *argv[]);
int cmd_inspect(int argc, char *argv[]);
int cmd_diff(int argc, char *argv[]);
int cmd_pull(int argc, char *argv[]);
int cmd_push(int argc, char *argv[]);
int cmd_gc(int argc, char *argv[]);
