/* SPDX-License-Identifier: Apache-2.0 */
/* File names are bytes; people and terminals want text. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

enum { NAME_SHOWN_MAX = 160 };

/*
 * Write the @len bytes at @name to @to, with control characters and whatever
 * is not UTF-8 as \ooo (octal, as ls -b does).
 */
void name_print_escaped(FILE *to, const char *name, size_t len);

/* Print a name on standard output: escaped if that is a terminal, else its bytes. */
void name_print(const char *name, size_t len);

/* The name or path @name escaped, cut with "..." when longer than @buf; for messages. Returns @buf. */
const char *name_shown(const char *name, char buf[static NAME_SHOWN_MAX]);
