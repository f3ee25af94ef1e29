/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A terminal that is drawn on as a whole, and that signals leave as it was. On
 * what is no terminal, or a dumb one, what is drawn is printed. One thread.
 */
#pragma once

#include <stdbool.h>
#include <termios.h>

#include "base/cleanup.h"
#include "base/err.h"

enum term_event {
	TERM_TIMEOUT,
	TERM_REDRAW, /* its size has changed, or the program has been in the background */
	TERM_END,    /* a signal */
	TERM_KEY,
};

struct term {
	bool full; /* can be drawn on */
	bool utf8;
	bool keys;   /* standard input is a terminal, too */
	int signals; /* owned; signalfd(2) */
	struct termios saved;
};

#define TERM_INIT ((struct term){ .signals = -1 })

/* Take the terminal. Returns 0 or -errno; term_close() gives it back. */
MUST_CHECK int term_open(struct term *term, struct err *err);
void term_close(struct term *term);

static inline void term_close_cleanup(struct term *term)
{
	term_close(term);
}

/* Its size in characters. */
void term_size(unsigned *ret_columns, unsigned *ret_rows);

/* Show @text, lines of any length: what does not fit is cut off. Returns 0 or -errno. */
MUST_CHECK int term_draw(const struct term *term, const char *text);

/* Wait for at most @ms. Sets *@ret_key for TERM_KEY. */
enum term_event term_wait(struct term *term, int ms, char *ret_key);
