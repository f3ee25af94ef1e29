/* SPDX-License-Identifier: Apache-2.0 */
/* Text in a file that has no name and never reaches a disk: what a keeper can hold for the next daemon. */
#pragma once

/* A descriptor, which the caller closes, of a new file of @text, sealed; -errno. */
int secret_file_new(const char *text);

/* All of the text, which the caller frees as a secret; NULL when it is none, or memory runs out. */
char *secret_file_read(int fd);
