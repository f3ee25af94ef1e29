/* SPDX-License-Identifier: Apache-2.0 */
/* The commands of `assetfs`. Each parses its own arguments and returns an exit status. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/cli.h"
#include "base/err.h"

/* Print "assetfs COMMAND: <message>" as one line on standard error. Returns the exit status. */
int fail(const char *command, const struct err *err);

int cmd_keeper(int argc, char *argv[]);
int cmd_serve(int argc, char *argv[]);
int cmd_mount(int argc, char *argv[]);
int cmd_umount(int argc, char *argv[]);
int cmd_prefetch(int argc, char *argv[]);
int cmd_generations(int argc, char *argv[]);
int cmd_status(int argc, char *argv[]);
int cmd_pin(int argc, char *argv[]);
int cmd_unpin(int argc, char *argv[]);
int cmd_doctor(int argc, char *argv[]);
int cmd_trace(int argc, char *argv[]);
int cmd_upgrade(int argc, char *argv[]);

/* What is waited for. */
struct resident_wait {
	const char *store;
	const char *target;   /* as the user gave it; NULL: all mounts */
	const char *platform; /* NULL: of this machine */
	bool has_timeout;
	uint64_t timeout; /* seconds */
};

/*
 * Ask the daemon, again and again, until the target is filled as its last prefetch says; one
 * begins when there was none. Returns 0; -ETIMEDOUT; -EIO when it will never be; what
 * control_call() returns.
 */
MUST_CHECK int wait_resident(const struct resident_wait *what, struct err *err);

/* The source of a prefetch (control.h) that @argument of --prefetch means; NULL: it had none. */
const char *prefetch_source_name(const char *argument);
