/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `assetfs`. Each parses its own arguments and returns an exit status. */
#pragma once

#include "base/cli.h"
#include "base/err.h"

/* Print "assetfs COMMAND: <message>" as one line on standard error. Returns the exit status. */
int fail(const char *command, const struct err *err);

int cmd_serve(int argc, char *argv[]);
int cmd_mount(int argc, char *argv[]);
int cmd_umount(int argc, char *argv[]);
int cmd_status(int argc, char *argv[]);
int cmd_pin(int argc, char *argv[]);
int cmd_unpin(int argc, char *argv[]);
int cmd_doctor(int argc, char *argv[]);
