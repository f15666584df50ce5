/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* publish.h - the half of a stream that talks to the store; the stream's `io` is held throughout */
#ifndef FILES_PUBLISH_H
#define FILES_PUBLISH_H

#include "files/stream.h"

/* What the store has of a node, taken at one moment. */
struct object {
    char *key, *etag; /* owned */
    uint64_t size;
    unsigned version;
};

/* Takes `lock`.  One whose name another
 * node took over is still found where it was, by its ETag.  Return: 0, -ENOENT when it has no
 * object or no name, or -ENOMEM. */
int object_of(struct s3pve_files *files, const struct node *node, struct object *ret_object);
void object_clear(struct object *object);

/* A deadline that knows how much there is to do: @ms_per_gib on top of the usual. */
#define COMPLETE_MS_PER_GIB 100
#define COPY_MS_PER_GIB 10000
struct s3pve_call publish_slow_call(struct s3pve_files *files, uint64_t bytes, unsigned ms_per_gib);

/* HEAD -> SENT.  Return: 0, or -errno. */
int publish_start(struct stream *stream);
int publish_append(struct stream *stream, const void *buf, size_t len);

/* Abort the upload, if there is one, and see to it that nothing of it stays. */
void publish_drop(struct stream *stream);
/* It was unlinked while the store took it: what is at @key must not be there, unless it is
 * another's by now.  With @key taken.  Return: 0, or -errno when it may have been left. */
int publish_undo(struct stream *stream, const char *key, const char *etag);
/* Delete what was completed under another key than it should have. */
void publish_drop_misplaced(struct stream *stream);

/* STORED -> HEAD or SPOOL: who keeps some of what is stored, @most bytes, needs it here.  Return:
 * 0, or -errno. */
int stream_load(struct stream *stream, uint64_t most);

/* stream.c, shared with its other halves */
/* Room for @need bytes in all; false when there is no memory for them, and then another place must
 * do. */
bool stream_reserve_head(struct stream *stream, uint64_t need);
void stream_free_head(struct stream *stream);
void stream_discard(struct stream *stream);
/* Its failure; 0 for what was unlinked, as nobody can tell any more whether it is there. */
int stream_outcome(struct stream *stream);
int stream_flush_locked(struct stream *stream);

/* The bytes of @node are now an object of @size and @etag: tree, usage, T1.  With `lock` held. */
void node_set_published(
    struct s3pve_files *files, struct node *node, uint64_t size, const char *etag
);

#endif
