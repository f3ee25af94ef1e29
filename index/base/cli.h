/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Programs with commands: one table drives dispatch, help and the suggestion
 * for a word that is none of them.
 */
#pragma once

#include <stddef.h>

/* Exit statuses of all programs of this project. */
enum cli_status {
	STATUS_OK = 0,
	STATUS_FAILED = 1,
	STATUS_USAGE = 2,
	STATUS_DAMAGED = 3,
	STATUS_BUDGET = 4,  /* a limit that the user gave was exceeded */
	STATUS_REFUSED = 5, /* a registry refuses the credentials, or has no such repository */
};

/*
 * The exit status for error @code: damage (-EBADMSG), a budget (-EDOM), and credentials that are
 * refused (-EKEYREJECTED), as well as what a registry does not have (-ENOMEDIUM), have their own.
 */
int cli_status_of(int code);

struct cli_command {
	const char *name; /* shorter than 32 letters */
	const char *args; /* as the help shows them */
	const char *help; /* one line, no full stop */
	int (*run)(int argc,
	           char *argv[]); /* argv[0] is the program's name; returns the exit status */
};

struct cli_program {
	const char *name;
	const char *purpose; /* a sentence */
	const char *remarks; /* lines for the end of the help */
	const struct cli_command *command;
	size_t n_commands;
};

/* Do what the command line says. Returns the exit status. */
int cli_run(const struct cli_program *program, int argc, char *argv[]);

/* Make sure that standard output got everything. Returns @status, or STATUS_FAILED after a message. */
int cli_finish(int status);
