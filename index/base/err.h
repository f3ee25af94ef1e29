/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors: a negative errno for the program, one sentence for the human.
 *
 * Functions return 0 (or a documented non-negative value) on success and
 * -Exxx on failure. Those that touch a file, the catalog or untrusted bytes
 * also take a struct err as last parameter, and fill it on failure only. The
 * caller owns it, normally on its stack, so this allocates nothing, needs no
 * lock and works when memory is exhausted. NULL means: the code is enough.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#define PRINTF_FMT(fmt, args) __attribute__((format(printf, fmt, args)))
#define MUST_CHECK            __attribute__((warn_unused_result))

struct err {
	int code;      /* -Exxx, or 0 while nothing has failed */
	char msg[240]; /* complete sentence, no trailing newline or full stop */
};

#define ERR_INIT ((struct err){ .code = 0, .msg = "" })

/* Record a failure and return @code, so that callers write return err_set(...). */
int err_set(struct err *err, int code, const char *fmt, ...) PRINTF_FMT(3, 4);

/* As err_set() with code -errno; appends ": <strerror>" to the message. */
int err_set_errno(struct err *err, const char *fmt, ...) PRINTF_FMT(2, 3);

/* Prefix "<context>: " to the message already in @err; returns @code as is. */
int err_wrap(struct err *err, int code, const char *fmt, ...) PRINTF_FMT(3, 4);

/* Whether @code, -Exxx, says that another machine cannot be reached now, and may be later. */
bool err_is_out_of_reach(int code);
