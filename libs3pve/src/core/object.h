/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* object.h - what putting, copying and uploading objects share */
#ifndef CORE_OBJECT_H
#define CORE_OBJECT_H

#include "core/request.h"
#include "core/span.h"

/* A key that may exist (whoever made it), and one that we may make.  Return: 0, or -1 (INVALID). */
int object_check_key(const struct s3pve_client *client, const char *key, struct s3pve_error *err);
int object_check_new_key(
    const struct s3pve_client *client, const char *key, struct s3pve_error *err
);

/* Does everything in them fit into a header, and nothing beyond it?  Return: 0, or -1 (INVALID). */
int object_check_options(const struct s3pve_put_options *options, struct s3pve_error *err);

/*
 * A random word in an object's metadata by which a write that lost its answer knows its own work
 * again (C3).  It is not shown in struct s3pve_info.
 */
#define OBJECT_MARKER "s3pve-write"
struct object_marker {
    char text[33]; /* "" none */
};
void object_marker_new(struct s3pve_client *client, struct object_marker *ret_marker);

/* Type, class, encryption, metadata and tags of an object to be made.  @options may be NULL. */
void object_describe(
    const struct s3pve_client *client,
    struct request *rq,
    const struct s3pve_put_options *options,
    const struct object_marker *marker
);

/* The store encrypts with keys of its own, so that ETags are no MD5s. */
bool object_etag_is_opaque(const struct s3pve_client *client);

/* Metadata now; @ret_marker may be NULL. */
int object_head(
    struct s3pve_client *client,
    const char *key,
    const struct s3pve_call *call,
    struct s3pve_info *ret_info,
    struct object_marker *ret_marker,
    struct s3pve_error *err
);

/* A failed read: it began where the object had ended; the server sends all, whatever was asked. */
bool object_is_past_end(const struct request *rq);
bool object_ignores_ranges(const struct request *rq);

/* Take the marker out of what a store said of an object. */
void object_hide_marker(struct s3pve_info *info, struct object_marker *ret_marker);

/* s3pve_object_put() from scattered memory. */
struct object_source {
    const char *key;
    const struct iovec *iov;
    size_t n_iov;
    const struct s3pve_put_options *options;
};
int object_put(
    struct s3pve_client *client,
    const struct object_source *source,
    struct s3pve_info *ret_info,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/* The same in one attempt, with the condition told to the server unless it refuses such.  On
 * failure *ret_lost: it may have been done, or be done yet. */
int object_put_once(
    struct s3pve_client *client,
    const struct object_source *source,
    bool *ret_lost,
    const struct s3pve_call *call,
    struct s3pve_error *err
);

/*
 * May we write, as far as reading can tell?  For conditions that the server does not keep, or was
 * not seen to keep.  @marker: an earlier attempt of ours, which is no conflict; may be NULL.
 * Return: 0 go on, 1 the object is already ours (*ret_info), or -1 (CONFLICT, ...).
 */
int object_check_condition(
    const char *key,
    const struct s3pve_put_options *options,
    const struct object_marker *marker,
    struct span *span,
    struct s3pve_info *ret_info,
    struct s3pve_error *err
);

#endif
