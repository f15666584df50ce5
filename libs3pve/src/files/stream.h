/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * stream.h - a file being written, until the store has it
 *
 *                  16 MiB, in order                publish
 *          HEAD --------------------> SENT ------------------------> STORED
 *         ^   \                                                     /  |
 *         |    \ out of order                          small: HEAD /   | written to again
 *         |     `-----------------> SPOOL <-----------------------'    |
 *         `------------------------------------------------------------'
 *
 * HEAD    all of it is in memory; bytes may be rewritten anywhere
 * SENT    an upload takes bytes that follow each other (M1); others fail with EIO
 * SPOOL   a file on the node takes any bytes, and is sent when it is published
 * STORED  the object has it; nothing is here
 *
 * Who closes a file publishes it (M2).  vzdump's archives are *held* instead: sealed at close,
 * under the key they will be renamed to, and completed by the rename in one request (M3).  Both
 * can be repeated, since a close(2) may turn out not to have been the last.
 */
#ifndef FILES_STREAM_H
#define FILES_STREAM_H

#include "files/files.h"
#include "files/spool.h"

enum stream_place { PLACE_HEAD, PLACE_SENT, PLACE_SPOOL, PLACE_STORED };

struct stream {
    struct s3pve_files *files;
    int64_t started_s;

    pthread_mutex_t io; /* guards what follows; see files.h */
    enum stream_place place;
    uint64_t end;        /* bytes so far */
    unsigned char *head; /* owned */
    size_t head_room;
    bool is_flag;                /* an empty file, published while the kernel makes its name */
    bool is_unordered;           /* bytes were rewritten: it will go on like that */
    bool is_dirty;               /* something is neither published nor sealed */
    int failed;                  /* the first -errno; final */
    struct s3pve_upload *upload; /* owned */
    char *upload_key;            /* owned */
    struct record *record;       /* owned */
    bool is_misplaced;           /* complete, but under upload_key rather than where it belongs */
    bool may_be_misplaced;       /* that was begun, and nobody heard the answer */
    struct spool spool;

    /* --- guarded by files->lock */
    struct stream *next; /* of files->streams */
    struct node *node;   /* pinned */
    unsigned n_refs;     /* the open file's, or that of being held */
    bool is_held;        /* closed, and waiting for its rename */
    bool is_settled;     /* nothing is neither published nor sealed: its writer may be gone */
    bool is_broken;      /* it failed, and close(2) will say so or has said so */
    bool is_doomed;      /* unlinked or superseded: nothing of it may appear */
    bool is_superseded;  /* another writer has the file: what is still done to it is an error */
    bool has_writer;     /* an open file, which will flush what is dirty */
    uint64_t size;       /* `end`, for others to see */
    uint64_t stored;     /* bytes the store has confirmed */
    uint64_t reserved;   /* bytes counted against the quota */
    char *target;        /* owned; held: the name it will most likely get; NULL: unknown */
};

/* For a node without one, with `lock` held.  @is_new: starts empty; otherwise what is stored is
 * loaded when it is first written to.  One reference.  NULL without memory. */
struct stream *stream_new(struct s3pve_files *files, struct node *node, bool is_new);

/* Drops one reference.  With the last, what is neither published nor held is gone: aborted, and
 * its name with it when nothing was there before.  Takes `lock`, and the network. */
void stream_unref(struct stream *stream);

/* All of these return 0, or -errno, and block for the network. */
int stream_write(struct stream *stream, const void *buf, size_t len, uint64_t offset);
int stream_append(struct stream *stream, const void *buf, size_t len);
int stream_truncate(struct stream *stream, uint64_t size);
/* By name: published before it returns, unless a writer has yet to publish what he wrote. */
int stream_truncate_now(struct stream *stream, uint64_t size);
int stream_flush(struct stream *stream); /* publish, or seal */
int stream_error(struct stream *stream); /* the error that made it fail, if one did */

/* Return: bytes read; -EAGAIN when the object has them (STORED); -EIO when they are on their way.
 */
ssize_t stream_read(struct stream *stream, void *buf, size_t len, uint64_t offset);

/* With `io` held, and @key taken: have it published as that, all of it, wherever it is now.  The
 * tree is the caller's to change. */
int stream_publish_as(struct stream *stream, const char *key, struct s3pve_info *ret_info);
/* With `io` held: has it bytes that the object has not? */
bool stream_has_content(const struct stream *stream);
/* With `io` held: must its bytes stay where they are going, so that another name is impossible for
 * now? */
bool stream_is_bound(const struct stream *stream);

/* Another writer takes the file over from one who has published or sealed it, and whose last
 * close(2) the kernel may not have told us of yet.  With `lock` held. */
void stream_supersede(struct stream *stream);

/* It was unlinked: with `lock` held, then without. */
void stream_doom(struct stream *stream);
void stream_drop_doomed(struct stream *stream);

/* The open file is closed.  Keeps a sealed archive as held; anything else is stream_unref(). */
void stream_close(struct stream *stream);

/* With `lock` held.  Is this the name that a held archive in @dir is about to get?  Looking for it
 * is the rename's first step, and needs no listing: the name is ours, with a time stamp. */
bool stream_expects_name(const struct s3pve_files *files, const struct node *dir, const char *name);

/* With `lock` held. */
bool stream_is_held(const struct stream *stream);
void stream_describe(const struct stream *stream, struct s3pve_files_upload *ret_upload);

#endif
