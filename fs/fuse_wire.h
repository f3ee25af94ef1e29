/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The parts of the kernel's FUSE protocol (linux/fuse.h, minor 40, Linux 6.9)
 * that libfuse before 3.17 and the headers of Debian 12 do not know. The
 * kernel never changes them.
 */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>

#define WIRE_OP_LOOKUP       1u
#define WIRE_OP_FORGET       2u
#define WIRE_OP_OPEN         14u
#define WIRE_OP_READ         15u
#define WIRE_OP_INIT         26u
#define WIRE_OP_INTERRUPT    36u
#define WIRE_OP_BATCH_FORGET 42u
#define WIRE_MINOR           40u

/* Bits of flags in both INIT messages; bits 32 and up travel in flags2. */
#define WIRE_INIT_MAX_PAGES    (1u << 22)
#define WIRE_INIT_EXT          (1u << 30)
#define WIRE_INIT2_PASSTHROUGH (1u << (37 - 32))

/* In the number of a request that is sent again; and the notice that asks for that (Linux 6.9). */
#define WIRE_UNIQUE_RESEND (UINT64_C(1) << 63)
#define WIRE_NOTIFY_RESEND 7

#define WIRE_OPEN_KEEP_CACHE  (1u << 1)
#define WIRE_OPEN_PASSTHROUGH (1u << 7)

struct wire_in_header {
	uint32_t len;
	uint32_t opcode;
	uint64_t unique;
	uint64_t nodeid;
	uint32_t uid;
	uint32_t gid;
	uint32_t pid;
	uint16_t total_extlen;
	uint16_t padding;
};
static_assert(sizeof(struct wire_in_header) == 40, "kernel ABI");

struct wire_out_header {
	uint32_t len;
	int32_t error;
	uint64_t unique;
};
static_assert(sizeof(struct wire_out_header) == 16, "kernel ABI");

struct wire_init_in {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint32_t flags2;
	uint32_t unused[11];
};
static_assert(sizeof(struct wire_init_in) == 64, "kernel ABI");

struct wire_init_out {
	uint32_t major;
	uint32_t minor;
	uint32_t max_readahead;
	uint32_t flags;
	uint16_t max_background;
	uint16_t congestion_threshold;
	uint32_t max_write;
	uint32_t time_gran;
	uint16_t max_pages;
	uint16_t map_alignment;
	uint32_t flags2;
	uint32_t max_stack_depth;
	uint32_t unused[6];
};
static_assert(sizeof(struct wire_init_out) == 64, "kernel ABI");
static_assert(offsetof(struct wire_init_out, max_stack_depth) == 36, "kernel ABI");

struct wire_open_out {
	uint64_t fh;
	uint32_t open_flags;
	int32_t backing_id;
};
static_assert(sizeof(struct wire_open_out) == 16, "kernel ABI");

struct wire_backing_map {
	int32_t fd;
	uint32_t flags;
	uint64_t padding;
};
static_assert(sizeof(struct wire_backing_map) == 16, "kernel ABI");

#define WIRE_BACKING_OPEN  _IOW(229, 1, struct wire_backing_map)
#define WIRE_BACKING_CLOSE _IOW(229, 2, uint32_t)
