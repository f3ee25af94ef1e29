/* SPDX-License-Identifier: Apache-2.0 */
/* How far a build is, on standard error. One thread. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

enum progress_kind {
	PROGRESS_NONE,
	PROGRESS_PLAIN, /* a line every few seconds */
	PROGRESS_TTY,   /* a bar that is drawn anew */
	PROGRESS_JSON,  /* an object a second, note_event() */
};

struct progress {
	enum progress_kind kind;
	const char *done;  /* borrowed; what becomes of the bytes: "packed" */
	uint64_t total;    /* bytes to do */
	uint64_t start_ns; /* when the first byte was begun */
	uint64_t shown_ns; /* when something was printed last */
	uint64_t known;    /* bytes done when progress_update() was called last */
	bool drawn;        /* a bar stands on the terminal */
};

/* What "auto" means here: a bar if standard error is a terminal that can move its cursor. */
enum progress_kind progress_auto(void);

/* Parse KIND of --progress: auto, tty, plain, json or none. Returns 0 or -EINVAL. */
MUST_CHECK int progress_parse(const char *text, enum progress_kind *ret, struct err *err);

/* Nanoseconds of the monotonic clock. */
uint64_t clock_ns(void);

/* Say with PROGRESS_JSON that @phase has begun, of which no bytes are counted: "walk", "publish". */
void progress_phase(enum progress_kind kind, const char *phase);

/* Begin: @total bytes are to be @done. */
void progress_start(struct progress *p, enum progress_kind kind, const char *done, uint64_t total);

/* @done bytes are done. Prints if it is time to. */
void progress_update(struct progress *p, uint64_t done);

/* Remove the bar. */
void progress_end(struct progress *p);
