/* SPDX-License-Identifier: Apache-2.0 */
/* How much memory a process may have. Any thread. */
#pragma once

#include <stdint.h>

/* Bytes of the machine's memory. */
uint64_t memory_of_machine(void);

/* The least of the machine's memory and the limits of the cgroups of @pid; 0: of this process. */
uint64_t memory_limit_of(int pid);
