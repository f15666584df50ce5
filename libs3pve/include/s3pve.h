/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * s3pve.h - everything in an S3 bucket, for Proxmox VE: the whole public API
 *
 * Reading order: errors, configuration, client, objects, listing, uploads, bucket, files.
 *
 * Conventions.  Functions return 0 (or a count, or 1 for "here is one") on success and -1 on
 * failure with *err set; err may be NULL.  `ret_x` is written only on success.  Keys are UTF-8,
 * unescaped, and relative to the configured prefix.  Sizes and offsets are bytes; times named
 * _ms are milliseconds; mtime is seconds since the epoch.  close() functions accept NULL and
 * return NULL.  Every call that talks to the network ends by its deadline.
 */
#ifndef S3PVE_H
#define S3PVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------- errors */

/* What the caller should do about a failure.  See s3pve(3), "ERRORS". */
enum s3pve_code {
    S3PVE_OK = 0,
    S3PVE_E_INVALID,     /* the request makes no sense: a bug, a bad name or a bad setting */
    S3PVE_E_NOT_FOUND,   /* no such object; often an answer, not a fault */
    S3PVE_E_NO_BUCKET,   /* no such bucket: the storage is not there, rather than the object */
    S3PVE_E_CONFLICT,    /* a conditional write lost; somebody else was first */
    S3PVE_E_DENIED,      /* credentials or policy; retrying will not help */
    S3PVE_E_THROTTLED,   /* the deadline or the retry budget ran out while the store said "slow" */
    S3PVE_E_TIMEOUT,     /* the deadline ran out */
    S3PVE_E_CANCELLED,   /* the caller asked to stop */
    S3PVE_E_IO,          /* network, TLS or 5xx, after retries */
    S3PVE_E_CORRUPT,     /* a checksum, a length or a format check failed */
    S3PVE_E_UNSUPPORTED, /* this server cannot do that */
    S3PVE_E_NO_SPACE,    /* a quota, or the store is full */
    S3PVE_E_NOMEM,
};

/**
 * struct s3pve_error - why the last call failed
 *
 * Lives on the caller's stack and owns nothing, so reporting out-of-memory cannot itself fail and
 * there is nothing to free.  Start it with S3PVE_ERROR_INIT; a successful call leaves it alone.
 */
struct s3pve_error {
    enum s3pve_code code;
    int errnum;          /* the errno to hand to FUSE and NBD; never 0 on failure */
    int http_status;     /* 0: no response arrived */
    char s3_code[48];    /* "NoSuchKey"; "" when the store sent none */
    char request_id[80]; /* for the store's support; "" when none */
    char message[480];   /* one line, outermost context first, no newline, no secret */
};

#define S3PVE_ERROR_INIT ((struct s3pve_error){0})

/** s3pve_code_name() - "NOT_FOUND" and so on: the same word in logs, Perl and the manual */
const char *s3pve_code_name(enum s3pve_code code);

/** s3pve_version() - the library's version, e.g. "0.1.0" */
const char *s3pve_version(void);

/* ------------------------------------------------------------------- log */

enum s3pve_log_level {
    S3PVE_LOG_ERROR,
    S3PVE_LOG_WARNING,
    S3PVE_LOG_INFO,
    S3PVE_LOG_DEBUG,
};

/** struct s3pve_log_record - one event; strings are borrowed for the call, "" or 0 when absent */
struct s3pve_log_record {
    enum s3pve_log_level level;
    const char *storage;   /* the configured storage id */
    const char *operation; /* "PutObject", "mount", ... */
    const char *key;       /* object key, with the prefix */
    const char *s3_code;
    const char *request_id;
    const char *message; /* one line */
    int http_status;
    unsigned attempt; /* 1 is the first */
    unsigned elapsed_ms;
};

/** s3pve_log_fn - where events go; called from any thread, never with a secret; must
 *  neither block nor call the library */
typedef void (*s3pve_log_fn)(void *ctx, const struct s3pve_log_record *record);

/* --------------------------------------------------------- configuration */

struct s3pve_config;

/** s3pve_config_new() - an empty configuration, or NULL without memory */
struct s3pve_config *s3pve_config_new(void);
struct s3pve_config *s3pve_config_free(struct s3pve_config *config); /* wipes the secrets */

/**
 * s3pve_config_set() - set one option by its name
 * @name:  as in storage.cfg without "s3-": endpoint bucket prefix region provider addressing
 *         access-key secret-key session-token credentials credentials-file fingerprint ca-file
 *         proxy connections part-size upload-limit download-limit storage-class sse sse-kms-key
 *         payload-signing storage timeout lock-dir; see s3pve(3), "OPTIONS"
 * @value: text; NULL or "" clears
 *
 * Checks the value on the spot and says what is wrong and what would be right.
 *
 * Return: 0, or -1 (INVALID, NOMEM).
 */
int s3pve_config_set(
    struct s3pve_config *config, const char *name, const char *value, struct s3pve_error *err
);

/** s3pve_config_get() - an option as text, defaults and preset applied; never a secret ("" then) */
const char *s3pve_config_get(const struct s3pve_config *config, const char *name);

/** s3pve_config_read_file() - set options from lines "name = value" ('#' comments); INVALID, IO */
int s3pve_config_read_file(struct s3pve_config *config, const char *path, struct s3pve_error *err);

/** s3pve_config_check() - is it complete and does it fit together?  Return: 0, or -1 (INVALID) */
int s3pve_config_check(const struct s3pve_config *config, struct s3pve_error *err);

/** s3pve_provider_next() - walk the presets: NULL gives the first, the last gives NULL */
struct s3pve_provider {
    const char *name;       /* "aws" */
    const char *title;      /* "Amazon S3" */
    const char *endpoint;   /* pattern with <region> or <account>, or "" where there is none */
    const char *region;     /* default region, "" when the user must say */
    const char *addressing; /* "path" or "virtual" */
    unsigned max_parts;     /* parts in one multipart upload */
    bool equal_parts;       /* all parts but the last must have one size */
    bool part_copy;         /* UploadPartCopy works */
};
const struct s3pve_provider *s3pve_provider_next(const struct s3pve_provider *provider);

/* ---------------------------------------------------------------- client */

struct s3pve_client;

/**
 * s3pve_client_open() - a client for one bucket
 * @config:     copied; may be freed after the call
 * @log:        where events go; NULL for nowhere
 *
 * Starts no thread and asks nobody, but for the keys: their file, or with `credentials` imds the
 * machine's metadata service (3 s at most).  A client is thread-safe, lives in the process that
 * opened it and must not be used after fork(); close() in a forked child frees memory only.
 *
 * Return: 0, or -1 (INVALID, NOMEM; NOT_FOUND, DENIED, IO, CORRUPT of the keys).
 */
int s3pve_client_open(
    const struct s3pve_config *config,
    s3pve_log_fn log,
    void *log_ctx,
    struct s3pve_client **ret_client,
    struct s3pve_error *err
);
struct s3pve_client *s3pve_client_close(struct s3pve_client *client);

/**
 * s3pve_client_start_thread() - give the network a thread of its own
 *
 * Without it a call's own thread drives the transfers while it waits, which suits a command line or
 * a forked worker.  A program with many threads (the daemon) starts it once, before other calls.
 */
int s3pve_client_start_thread(struct s3pve_client *client, struct s3pve_error *err);

/**
 * s3pve_client_reconfigure() - new credentials and limits for requests from now on
 *
 * Return: 0; 1: they are in force, but of the rest something is different, which takes a new
 * client; or -1: nothing changed, INVALID when endpoint, bucket or prefix is not the same.
 */
int s3pve_client_reconfigure(
    struct s3pve_client *client, const struct s3pve_config *config, struct s3pve_error *err
);

/** struct s3pve_call - how long one call may take, and how to stop it; NULL: the default */
struct s3pve_call {
    unsigned timeout_ms;   /* 0: the client's `timeout` option (120 s by default); bodies may go
                              on beyond it while they move, a second for each 16 KB at most */
    const int *cancel;     /* borrowed; a nonzero value, written atomically, ends the call */
    unsigned max_attempts; /* 0: as many as fit in the time; 1: never repeat */
};

/** struct s3pve_counters - since the client was opened; requests by class, bytes of bodies */
struct s3pve_counters {
    uint64_t n_put, n_get, n_list, n_delete, n_other; /* PUT/POST/COPY, GET/HEAD, LIST, DELETE */
    uint64_t n_retries;
    uint64_t n_errors; /* that ended a request; answers such as NOT_FOUND and CONFLICT are none */
    uint64_t n_throttled;
    uint64_t bytes_sent, bytes_received;
    int64_t last_ok_s;   /* when the store last gave an answer, epoch seconds; 0: never */
    int64_t last_fail_s; /* when it last gave none, or 403, 429 or 5xx; 0: never */
    unsigned in_flight;
    unsigned latency_ms; /* smoothed time to the first byte */
};
void s3pve_client_counters(struct s3pve_client *client, struct s3pve_counters *ret_counters);

/* --------------------------------------------------------------- objects */

#define S3PVE_ETAG_MAX 128
#define S3PVE_META_MAX 16

/** struct s3pve_meta - user metadata: name in lower case without "x-amz-meta-" */
struct s3pve_meta {
    char name[64];
    char value[256];
};

/** struct s3pve_info - what the store says of an object; owns nothing */
struct s3pve_info {
    uint64_t size;
    int64_t mtime;
    char etag[S3PVE_ETAG_MAX]; /* without quotes; an opaque version token */
    char content_type[80];
    char storage_class[32]; /* "" is the server's standard */
    unsigned n_meta;
    struct s3pve_meta meta[S3PVE_META_MAX]; /* empty in listings */
};

/** struct s3pve_put_options - NULL or zeroes mean: unconditional, no metadata, the client's class
 */
struct s3pve_put_options {
    const char *content_type;
    const char *storage_class;
    const struct s3pve_meta *meta;
    unsigned n_meta;
    const char *tags;     /* "k=v&k2=v2", percent-encoded */
    bool if_absent;       /* fail with CONFLICT when the key exists */
    const char *if_match; /* fail with CONFLICT unless the key has this ETag */
};

/**
 * s3pve_object_put() - store a small object in one request (at most 5 GiB, held in memory)
 * @ret_info: may be NULL; size and etag are set
 *
 * With a condition, an answer that was lost is resolved by reading the object back: success is
 * reported only when the content there is ours.
 *
 * Return: 0, or -1 (CONFLICT, DENIED, NO_BUCKET, NO_SPACE, THROTTLED, TIMEOUT, IO, CORRUPT, ...).
 */
int s3pve_object_put(
    struct s3pve_client *client,
    const char *key,
    const void *data,
    size_t len,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_head() - what the store says of it; NOT_FOUND, and NO_BUCKET where that is why */
int s3pve_object_head(
    struct s3pve_client *client,
    const char *key,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/**
 * s3pve_object_pread() - read a range into memory
 * @if_match: NULL, or the ETag the object must have; CONFLICT otherwise
 * @buf:      receives the bytes
 * @ret_len:  bytes read: @len, or less where the object ends
 * @ret_info: may be NULL
 */
int s3pve_object_pread(
    struct s3pve_client *client,
    const char *key,
    const char *if_match,
    void *buf,
    size_t len,
    uint64_t offset,
    size_t *ret_len,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_get() - a whole object of at most @limit bytes; *ret_data is malloc()ed with a
 *  terminating zero byte beyond *ret_len; free() it.  CORRUPT when it is longer. */
int s3pve_object_get(
    struct s3pve_client *client,
    const char *key,
    size_t limit,
    char **ret_data,
    size_t *ret_len,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/**
 * s3pve_object_get_fd() - stream an object to a file descriptor, in order
 * @offset, @len: the range; @len 0 means to the end
 * @progress:     NULL, or a counter that is advanced atomically, bytes
 *
 * Ranges are read in parallel and pinned to one version; a broken transfer goes on where it
 * stopped.  The timeout of @call bounds each stretch without a byte, not the whole.
 */
int s3pve_object_get_fd(
    struct s3pve_client *client,
    const char *key,
    int fd,
    uint64_t offset,
    uint64_t len,
    uint64_t *progress,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_delete() - gone afterwards; a missing object is success */
int s3pve_object_delete(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_delete_many() - any number of keys, in batches where the server can; the first
 *  failure is reported after all were tried, or when time is up and the store does not answer */
int s3pve_object_delete_many(
    struct s3pve_client *client,
    const char *const *keys,
    size_t n_keys,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_copy() - server-side copy of any size; multipart above 5 GiB; replaces @dst.
 *  @options: NULL keeps metadata, type and tags; @ret_info may be NULL.  Has a second for each 8 MB
 *  on top of its timeout, as nothing tells that the store is at work; in parts, each part has. */
int s3pve_object_copy(
    struct s3pve_client *client,
    const char *src,
    const char *dst,
    const struct s3pve_put_options *options,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_tags() - the tag set as "k=v&k2=v2", percent-encoded; free() it */
int s3pve_object_tags(
    struct s3pve_client *client,
    const char *key,
    char **ret_tags,
    const struct s3pve_call *call,
    struct s3pve_error *err
);
int s3pve_object_set_tags(
    struct s3pve_client *client,
    const char *key,
    const char *tags,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_object_presign() - a URL that GETs the object for @lifetime_s (1..604800); free() it. Asks
 *  the store only (5 s at most) where the region was neither named nor used yet. */
int s3pve_object_presign(
    struct s3pve_client *client,
    const char *key,
    unsigned lifetime_s,
    char **ret_url,
    struct s3pve_error *err
);

/* --------------------------------------------------------------- listing */

struct s3pve_list;

struct s3pve_entry {
    const char *key; /* borrowed until the next call; relative to the configured prefix */
    bool is_prefix;  /* a common prefix: key ends with the delimiter, info is empty */
    struct s3pve_info info;
};

/**
 * s3pve_list_open() - walk the keys below a prefix, in the server's order
 * @prefix:    relative to the configured prefix; "" for all
 * @delimiter: NULL for a flat walk, "/" for one level
 * @start:     NULL, or list keys after this one
 * @call:      the timeout is a page's; its cancel flag must live as long as the list
 */
int s3pve_list_open(
    struct s3pve_client *client,
    const char *prefix,
    const char *delimiter,
    const char *start,
    struct s3pve_list **ret_list,
    const struct s3pve_call *call,
    struct s3pve_error *err
);
/** s3pve_list_next() - Return: 1 with *ret_entry, 0 at the end, -1 on failure */
int s3pve_list_next(
    struct s3pve_list *list, struct s3pve_entry *ret_entry, struct s3pve_error *err
);
struct s3pve_list *s3pve_list_close(struct s3pve_list *list);

/* --------------------------------------------------------------- uploads */

struct s3pve_upload;

/**
 * s3pve_upload_open() - start writing an object of unknown length, strictly in order
 *
 * Nothing is sent until a part is full.  Parts go up in parallel; memory is bounded (64 MiB a
 * stream until the part size has to grow beyond 32 MiB).  The object appears at once, and only, in
 * s3pve_upload_complete().
 *
 *     open -> [begin] -> write ... -> [seal] -> complete   or abort at any point before complete
 */
int s3pve_upload_open(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_put_options *options,
    struct s3pve_upload **ret_upload,
    struct s3pve_error *err
);

/** s3pve_upload_begin() - start the multipart upload before the first write, so that its id can be
 *  written down before there is a part.  Optional: it begins by itself with the second part. */
int s3pve_upload_begin(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
);

/** s3pve_upload_write() - append; blocks while the buffers are full.  A failure is final. */
int s3pve_upload_write(
    struct s3pve_upload *upload,
    const void *data,
    size_t len,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_upload_read_fd() - append from @fd to its end, with as few copies as can be */
int s3pve_upload_read_fd(
    struct s3pve_upload *upload, int fd, const struct s3pve_call *call, struct s3pve_error *err
);

/** s3pve_upload_seal() - send what is left and check that the store has every part.  An upload that
 *  never needed a second part stays in memory until complete.  Should there be more data after all,
 *  s3pve_upload_write() may follow: the short last part is kept in memory until complete, grows,
 * and is sent again under its number.  Sealing twice costs nothing. */
int s3pve_upload_seal(
    struct s3pve_upload *upload, const struct s3pve_call *call, struct s3pve_error *err
);

/** s3pve_upload_complete() - publish, in one request once sealed; verified.  @ret_info may be NULL.
 *  After a failure the upload may be completed again or aborted. */
int s3pve_upload_complete(
    struct s3pve_upload *upload,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_upload_abort() - drop the parts; the store's refusal is logged, not returned */
void s3pve_upload_abort(struct s3pve_upload *upload, const struct s3pve_call *call);

/** s3pve_upload_close() - free; aborts first unless completed, which may take the client's timeout
 *  twice.  Always returns NULL. */
struct s3pve_upload *s3pve_upload_close(struct s3pve_upload *upload);

/** s3pve_upload_leave() - free, and leave the parts for s3pve_upload_resume().  Returns NULL. */
struct s3pve_upload *s3pve_upload_leave(struct s3pve_upload *upload);

/* size and stored may be asked by any thread while another writes. */
uint64_t s3pve_upload_size(const struct s3pve_upload *upload);   /* bytes accepted so far */
uint64_t s3pve_upload_stored(const struct s3pve_upload *upload); /* bytes the store has confirmed */
/** s3pve_upload_id() - the multipart id, "" while there is none; valid until close */
const char *s3pve_upload_id(const struct s3pve_upload *upload);

/**
 * s3pve_upload_resume() - continue a multipart upload that an earlier process left behind
 * @upload_id:  as s3pve_upload_id() said
 * @ret_offset: where to go on writing: the end of the last part without a gap before it
 */
int s3pve_upload_resume(
    struct s3pve_client *client,
    const char *key,
    const char *upload_id,
    const struct s3pve_put_options *options,
    struct s3pve_upload **ret_upload,
    uint64_t *ret_offset,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/**
 * s3pve_upload_sweep() - abort multipart uploads that nobody will finish
 * @prefix:     below this key prefix
 * @older_s:    started at least this many seconds ago, by the store's clock
 * @n_aborted:  may be NULL; set on failure, too
 *
 * Return: 0, or -1 with the first failure; the others are tried while there is time.
 */
int s3pve_upload_sweep(
    struct s3pve_client *client,
    const char *prefix,
    unsigned older_s,
    unsigned *n_aborted,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/** s3pve_upload_abort_id() - abort one upload by its id; already gone is success */
int s3pve_upload_abort_id(
    struct s3pve_client *client,
    const char *key,
    const char *upload_id,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* ---------------------------------------------------------------- bucket */

/** s3pve_bucket_check() - does it answer, with these keys, below this prefix?  One LIST request.
 *  Return: 0, or -1 (NO_BUCKET, DENIED, IO, TIMEOUT, ...) */
int s3pve_bucket_check(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
);
/** s3pve_bucket_create() - create it; existing and ours is success, another owner's CONFLICT */
int s3pve_bucket_create(
    struct s3pve_client *client, const struct s3pve_call *call, struct s3pve_error *err
);
/** s3pve_bucket_location() - its region in @region ("us-east-1" where the server says none) */
int s3pve_bucket_location(
    struct s3pve_client *client,
    char region[64],
    const struct s3pve_call *call,
    struct s3pve_error *err
);
/** s3pve_bucket_usage() - objects and bytes below the configured prefix, by listing all of it; the
 *  timeout of @call is a page's */
int s3pve_bucket_usage(
    struct s3pve_client *client,
    uint64_t *ret_objects,
    uint64_t *ret_bytes,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

enum s3pve_support {
    S3PVE_UNKNOWN,
    S3PVE_YES,
    S3PVE_NO,
    S3PVE_IGNORED, /* accepted and not acted upon: worse than NO */
};

/** struct s3pve_caps - what this server was seen to do with this bucket */
struct s3pve_caps {
    int64_t probed_s;                 /* epoch seconds */
    char server[64];                  /* its Server header */
    enum s3pve_support put_if_absent; /* If-None-Match: *; YES, as the next: of many, one wins */
    enum s3pve_support put_if_match;
    enum s3pve_support complete_if_absent;
    enum s3pve_support delete_if_match;
    enum s3pve_support range;
    enum s3pve_support batch_delete;
    enum s3pve_support list_v2;
    enum s3pve_support content_md5;     /* a wrong one is refused */
    enum s3pve_support checksum_crc32c; /* a wrong one is refused */
    enum s3pve_support part_copy;
    bool etag_quoted; /* If-Match wants the quotes */
    int skew_s;       /* server clock minus ours */
};

/** s3pve_probe() - find out, with sixteen requests on keys below ".s3pve/probe/", and 128 more, 16
 *  at once, where the server seems to keep conditions; the timeout of @call is a request's, which
 * is tried four times unless it says otherwise */
int s3pve_probe(
    struct s3pve_client *client,
    struct s3pve_caps *ret_caps,
    const struct s3pve_call *call,
    struct s3pve_error *err
);
/** s3pve_client_use_caps() - let the client act on them; s3pve_caps_text/parse keep them on disk */
void s3pve_client_use_caps(struct s3pve_client *client, const struct s3pve_caps *caps);
char *s3pve_caps_text(const struct s3pve_caps *caps); /* JSON, one line; free() it */
int s3pve_caps_parse(const char *text, struct s3pve_caps *ret_caps, struct s3pve_error *err);

/* ----------------------------------------------------------------- files */

/*
 * Objects as files: what a mount needs, and nothing about mounting.  Nodes are named by inode
 * number, as in FUSE's low-level interface.  All calls are thread-safe and return 0 or a negative
 * errno; the reason in words goes to the client's log.  See DESIGN.md, "The mount's promises".
 */
struct s3pve_files;
struct s3pve_file; /* an open file */

#define S3PVE_ROOT_INO 1

struct s3pve_files_options {
    const char *state_dir; /* node-local state that matters after a crash; must exist */
    const char *cache_dir; /* may vanish at any time; NULL: no cache */
    uint64_t cache_size;   /* bytes */
    uint64_t quota;        /* bytes; 0: none */
    uint64_t virtual_size; /* bytes statfs shows without a quota */
    unsigned dir_ttl_ms;   /* 0: 4000 */
    uid_t uid;
    gid_t gid;
};

int s3pve_files_open(
    struct s3pve_client *client, /* borrowed; must outlive it */
    const struct s3pve_files_options *options,
    struct s3pve_files **ret_files,
    struct s3pve_error *err
);
/** s3pve_files_close() - wait for nothing: open streams are aborted */
struct s3pve_files *s3pve_files_close(struct s3pve_files *files);

/** s3pve_files_recover() - abort what an earlier daemon on this node left; call once after open */
int s3pve_files_recover(
    struct s3pve_files *files, const struct s3pve_call *call, struct s3pve_error *err
);

/* Where the kernel must hear of changes it did not make; called without locks held. */
struct s3pve_files_notify {
    void (*inval_entry)(void *ctx, uint64_t parent, const char *name);
    void (*inval_inode)(void *ctx, uint64_t ino);
    void *ctx;
};
void s3pve_files_set_notify(struct s3pve_files *files, const struct s3pve_files_notify *notify);

/** s3pve_files_set_limits() - another cache size and quota from now on, bytes; 0: none */
void s3pve_files_set_limits(struct s3pve_files *files, uint64_t cache_size, uint64_t quota);

/** s3pve_files_expire() - every directory counts as old: the next access lists it again, and the
 * next s3pve_files_refresh() checks and recounts whatever it knows */
void s3pve_files_expire(struct s3pve_files *files);

/** s3pve_files_set_cancel() - calls of this thread end with -EINTR soon after *@cancel, written
 *  atomically, becomes nonzero: the process that asked was killed.  NULL: never, the default. */
void s3pve_files_set_cancel(const int *cancel);

/* lookup, create and mkdir add one reference to the inode; forget takes @n away. */
int s3pve_files_lookup(
    struct s3pve_files *files, uint64_t parent, const char *name, struct stat *ret_attr
);
void s3pve_files_forget(struct s3pve_files *files, uint64_t ino, uint64_t n);
int s3pve_files_getattr(struct s3pve_files *files, uint64_t ino, struct stat *ret_attr);
/** @set: bits below.  A new size is published at once, or with what a writer has yet to publish;
 *  -ESTALE as from s3pve_file_open(). */
int s3pve_files_setattr(
    struct s3pve_files *files,
    uint64_t ino,
    const struct stat *attr,
    unsigned set,
    struct stat *ret_attr
);
#define S3PVE_SET_MODE 1u
#define S3PVE_SET_OWNER 2u
#define S3PVE_SET_SIZE 4u
#define S3PVE_SET_MTIME 8u

/* A directory's entries, frozen when it was opened; free with s3pve_dir_close(). */
struct s3pve_dir;
int s3pve_dir_open(struct s3pve_files *files, uint64_t ino, struct s3pve_dir **ret_dir);
/** s3pve_dir_entry() - entry number @index (0 is "."), or -ENOENT past the end; borrowed name */
int s3pve_dir_entry(
    struct s3pve_dir *dir, size_t index, const char **ret_name, struct stat *ret_attr
);
struct s3pve_dir *s3pve_dir_close(struct s3pve_dir *dir);

int s3pve_files_mkdir(
    struct s3pve_files *files, uint64_t parent, const char *name, mode_t mode, struct stat *ret_attr
);
int s3pve_files_rmdir(struct s3pve_files *files, uint64_t parent, const char *name);
int s3pve_files_unlink(struct s3pve_files *files, uint64_t parent, const char *name);
/** @flags: RENAME_NOREPLACE (renameat2) or 0 */
int s3pve_files_rename(
    struct s3pve_files *files,
    uint64_t parent,
    const char *name,
    uint64_t new_parent,
    const char *new_name,
    unsigned flags
);
/** s3pve_files_create() - @flags as in open(2); O_EXCL is honoured */
int s3pve_files_create(
    struct s3pve_files *files,
    uint64_t parent,
    const char *name,
    mode_t mode,
    int flags,
    struct stat *ret_attr,
    struct s3pve_file **ret_file
);
/** s3pve_file_open() - pins one version for reading; O_TRUNC starts a new one.  -ESTALE: the inode
 *  is not its name's any more, look it up again; -EBUSY: it is being written.
 *  @ret_keep_cache: pages the kernel has of this inode are still good */
int s3pve_file_open(
    struct s3pve_files *files,
    uint64_t ino,
    int flags,
    struct s3pve_file **ret_file,
    bool *ret_keep_cache
);
/** Return: bytes read (0 at the end), or a negative errno */
ssize_t s3pve_file_read(struct s3pve_file *file, void *buf, size_t len, uint64_t offset);
ssize_t s3pve_file_write(struct s3pve_file *file, const void *buf, size_t len, uint64_t offset);
/** s3pve_file_truncate() - of a file open for writing; published with the rest of it */
int s3pve_file_truncate(struct s3pve_file *file, uint64_t size);
/** s3pve_file_is_direct() - a writer has it open, too: the kernel may keep no pages for it */
bool s3pve_file_is_direct(const struct s3pve_file *file);
/** s3pve_file_flush() - the last close(2), as far as one can tell: publish (or seal, see promise 3)
 *  and say how it went.  Harmless when repeated or when nothing changed.  A write may still follow
 *  (a descriptor that was passed on); then the next flush publishes the longer file, or that write
 *  fails with EIO; bytes are never lost in silence. */
int s3pve_file_flush(struct s3pve_file *file);
int s3pve_file_fsync(struct s3pve_file *file);
/** s3pve_file_close() - last reference gone; a file never flushed is dropped.  Returns NULL. */
struct s3pve_file *s3pve_file_close(struct s3pve_file *file);

struct s3pve_files_stats {
    uint64_t used_bytes, used_objects; /* below the prefix, our own changes included */
    int64_t used_as_of_s;              /* when the bucket was last counted in full; 0: never */
    uint64_t total_bytes, avail_bytes; /* quota or virtual size */
    uint64_t cache_bytes, cache_size, cache_hits, cache_misses;
    unsigned open_files, uploads, held_uploads;
    uint64_t upload_memory; /* bytes of part buffers in use */
    bool online;            /* the store answered recently */
    char last_error[256];   /* "" or the last failure in one line */
};
void s3pve_files_stats(struct s3pve_files *files, struct s3pve_files_stats *ret_stats);

/** s3pve_files_upload_next() - uploads in flight, for people: index 0.. until -ENOENT */
struct s3pve_files_upload {
    char path[512];
    uint64_t size, stored;
    int64_t started_s;
    bool held; /* sealed, waiting for its rename */
};
int s3pve_files_upload_next(
    struct s3pve_files *files, size_t index, struct s3pve_files_upload *ret_upload
);

/** s3pve_files_refresh() - one heartbeat: check the bucket, recount when due, drop what expired;
 *  the daemon calls it every few seconds from a thread of its own */
void s3pve_files_refresh(struct s3pve_files *files, const struct s3pve_call *call);

#ifdef __cplusplus
}
#endif

#endif
