/* SPDX-License-Identifier: Apache-2.0 */
/* Nodes as `ls -l` writes them. */
#pragma once

#include "index.h"

enum { MODE_TEXT_SIZE = 11, TIME_TEXT_SIZE = 40 };

/* "drwxr-xr-x". Returns @buf. */
const char *node_mode_text(const struct node *node, char buf[static MODE_TEXT_SIZE]);

/* "2001-02-03 04:05:06", UTC: what is shown does not depend on who looks. Returns @buf. */
const char *node_time_text(const struct node *node, char buf[static TIME_TEXT_SIZE]);
