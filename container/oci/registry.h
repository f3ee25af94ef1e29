/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One repository of an OCI registry: manifests and blobs, there and back. Any thread; as many
 * transfers at once as there are callers. All functions try again after failures that may pass, for as
 * long as the options say, and go after what took a connection down from where it was.
 *
 * Errors: -EKEYREJECTED when credentials are missing or refused; -ENOMEDIUM when there is no such
 * repository, or no such tag in it; -ENOENT when there is no such blob; -EBADMSG for other bytes than a digest
 * or a size says; -ETIMEDOUT, -ECONNRESET, -ECONNREFUSED, -EHOSTUNREACH when it cannot be
 * reached; -EPROTO when it is not trusted or makes no sense; -ENOMEM; -EIO. Messages begin with the
 * name of the repository.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/hash.h"
#include "oci/reference.h"

struct registry;
struct credentials_text;

struct registry_options {
	bool push;       /* blobs and manifests are to be written */
	bool plain_http; /* http also to hosts that are not this machine */
	const char *
		ca_file; /* certificates to trust instead of the system's and $SSL_CERT_FILE's; or NULL */
	const char *mount_from; /* repository of the host that may have blobs, too; or NULL */
	struct credentials_text
		*credentials;  /* oci/credentials_text.h; come before others; or NULL */
	unsigned attempts;     /* in a row without progress; 0: 6 */
	unsigned stall_s;      /* seconds that a transfer may go on without a byte; 0: 60 */
	uint64_t upload_chunk; /* send blobs in requests of at most this many bytes; 0: in one */

	/*
	 * Where to read first, HOST=URL each, as registry_check_mirror() has it;
	 * $ASSETFS_MIRRORS has more.
	 */
	const char *const *mirrors;
	unsigned n_mirrors;

	/* Called with a line about a mirror that is passed over; any thread; or NULL. */
	void (*note)(void *arg, const char *line);
	void *note_arg;
};

/*
 * Whether @text is a mirror, HOST=URL: of the registry HOST, or of all when that is "*". URL is
 * http[s]://MIRROR[:PORT][/PREFIX], with no more than that: the mirror has PREFIX/REPOSITORY.
 * Returns 0, -EINVAL or -ENOMEM.
 */
MUST_CHECK int registry_check_mirror(const char *text, struct err *err);

/*
 * Open the repository of @ref. Asks this machine, if that is its host, whether it speaks http
 * or https, else performs no I/O. Returns 0 or an error as above; -EINVAL when a mirror is
 * none.
 *
 * What is read is asked of the mirrors of its host first, in their order, and of the host
 * itself last. A mirror that has not what is wanted, fails, or has something else by that
 * digest, is passed over; one that fails is asked last for a minute. Each is shown credentials
 * of its own. To write, no mirror is asked for anything.
 */
MUST_CHECK int registry_open(const struct reference *ref, const struct registry_options *options,
                             struct registry **ret, struct err *err);

/* Nobody is using it any more. Accepts NULL. */
void registry_close(struct registry *reg);
DEFINE_CLEANUP(struct registry *, registry_close)

/* HOST/REPOSITORY; borrowed. */
const char *registry_name(const struct registry *reg);

/* A manifest or an image index, as the bytes that its digest is of. */
struct registry_manifest {
	char *bytes; /* owned; NUL-terminated */
	size_t len;
	struct digest digest; /* checked */
	char *type;           /* owned; media type, "" when the server does not say */
};

#define REGISTRY_MANIFEST_INIT ((struct registry_manifest){ .bytes = NULL, .type = NULL })

void registry_manifest_release(struct registry_manifest *m);

static inline void registry_manifest_release_cleanup(struct registry_manifest *m)
{
	registry_manifest_release(m);
}

/* Get what @target names, a tag or "sha256:…"; @digest, which it must have, or NULL. */
MUST_CHECK int registry_get_manifest(struct registry *reg, const char *target,
                                     const struct digest *digest, struct registry_manifest *ret,
                                     struct err *err);

/*
 * Get the image index that lists which manifests refer to @digest, as their subject; of registries
 * that do not know, the one that others keep there by the tag "sha256-DIGITS". -ENOMEDIUM when there
 * is neither. Lists of several pages are cut after the first.
 */
MUST_CHECK int registry_get_referrers(struct registry *reg, const struct digest *digest,
                                      struct registry_manifest *ret, struct err *err);

/* Whether there is a manifest @digest: 1, 0, or an error. */
MUST_CHECK int registry_has_manifest(struct registry *reg, const struct digest *digest,
                                     struct err *err);

/* Put @m, whose digest and type are set, under @target. What it names is there. */
MUST_CHECK int registry_put_manifest(struct registry *reg, const char *target,
                                     const struct registry_manifest *m, struct err *err);

/* Whether there is a blob @digest: 1, 0, or an error. */
MUST_CHECK int registry_has_blob(struct registry *reg, const struct digest *digest,
                                 struct err *err);

/* Where bytes of a blob go, in order. Returns 0, or -errno with a message to stop. */
typedef int (*registry_take_fn)(void *arg, const void *data, size_t len, struct err *err);

/* A run of a blob. */
struct registry_range {
	struct digest digest; /* of the blob */
	uint64_t size;        /* of the blob */
	uint64_t off, len;    /* within its size */
};

/*
 * Give the bytes of @range to @take. Their digest is the caller's to check. Goes on behind what was
 * given when a transfer breaks. Returns 0; what @take returned; an error.
 */
MUST_CHECK int registry_read(struct registry *reg, const struct registry_range *range,
                             registry_take_fn take, void *arg, struct err *err);

/* As registry_read(), into @buf, which has room for it. */
MUST_CHECK int registry_pread(struct registry *reg, const struct registry_range *range, void *buf,
                              struct err *err);

/* Who has given bytes of a blob: mirrors, or the registry itself. */
struct registry_sources {
	uint32_t used; /* the module's; a bit for each */
	uint32_t told; /* likewise; those that were said to be wrong */
	unsigned now;  /* who gives what take() gets: the number of one, for registry_source() */
};

#define REGISTRY_SOURCES_INIT ((struct registry_sources){ .used = 0, .told = 0 })

/*
 * The name of the @i-th mirror of @reg, borrowed, whose bit in struct registry_sources is 1 << @i; the
 * repository itself comes after them. NULL behind it.
 */
const char *registry_source(const struct registry *reg, unsigned i);

/*
 * As registry_read(), but not from those in *@from, whose bytes were wrong; those that give
 * bytes now are added. So who finds that bytes are wrong calls again with the same *@from, as
 * long as registry_has_other() says that there is somebody else. -EBADMSG when there is not.
 */
MUST_CHECK int registry_read_from(struct registry *reg, const struct registry_range *range,
                                  struct registry_sources *from, registry_take_fn take, void *arg,
                                  struct err *err);

/* As registry_read_from(), into @buf, which has room for it. */
MUST_CHECK int registry_pread_from(struct registry *reg, const struct registry_range *range,
                                   struct registry_sources *from, void *buf, struct err *err);

/* Whether there is somebody who is not in *@from. */
bool registry_has_other(const struct registry *reg, const struct registry_sources *from);

/* A blob that is there. */
struct registry_blob_name {
	struct digest digest;
	uint64_t size;
};

/* A run of a blob, and where its bytes go. */
struct registry_run {
	uint64_t off, len; /* within the blob's size; a run is not empty */
	void *buf;         /* borrowed; room for it */
};

/*
 * Read @n runs of @blob, each behind the one before. One request asks for up to 64 of them; a
 * server that does not understand that is asked for run by run from then on. @from is as for
 * registry_read_from(). Digests are the caller's to check; after an error, what is in the
 * buffers is of no use. Returns as registry_read_from().
 */
MUST_CHECK int registry_read_runs(struct registry *reg, const struct registry_blob_name *blob,
                                  const struct registry_run *run, size_t n,
                                  struct registry_sources *from, struct err *err);

/* Read the whole blob @digest, of @size bytes, into @buf; its digest is checked. */
MUST_CHECK int registry_get_blob(struct registry *reg, const struct digest *digest, uint64_t size,
                                 void *buf, struct err *err);

/* How often a server has ignored a range, and sent a blob from its first byte on. */
uint64_t registry_ignored_ranges(const struct registry *reg);

/* A blob to be uploaded. */
struct registry_blob {
	struct digest digest;
	uint64_t size;
	int fd; /* borrowed; open on its bytes */

	/* Called as bytes are sent, and with a negative number when some have to be sent again; or NULL. */
	void (*sent)(void *arg, int64_t len);
	void *arg;
};

/*
 * Make the registry have @blob, which it lacks: by way of another repository that has it, else by
 * sending it. Returns 0 when it was sent; 1 when it was mounted; -EBADMSG when
 * the server finds another digest; an error.
 */
MUST_CHECK int registry_upload(struct registry *reg, const struct registry_blob *blob,
                               struct err *err);
