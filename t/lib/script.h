/* SPDX-License-Identifier: AGPL-3.0-or-later */
/*
 * script.h - a world for unit tests: a transport that answers from a list, or from a function, with
 * a clock that moves only when somebody waits
 */
#ifndef SCRIPT_H
#define SCRIPT_H

#include "core/client.h"
#include "core/http.h"

#define SCRIPT_SENT 512

struct answer {
    int status;                /* 0 with a failure: no answer */
    enum http_failure failure; /* after the headers and body below, if any */
    const char *headers;       /* "name: value\nname: value\n", names in lower case; a length
                                  is added unless they have one or say "connection: close" */
    const char *body;          /* for HEAD: not delivered */
    size_t body_len;           /* 0: strlen(body) */
    unsigned take_ms;          /* how long the exchange takes */
    unsigned move_ms;          /* and how long bytes move before that */
    unsigned flow;             /* bytes of the body that come in each of those; 0: all at its end */
    bool hang;                 /* never answers */
    bool reused;               /* over a kept-alive connection */
};

/* In an initialiser of struct script: the answers, in order. */
#define ANSWERS(...)                                                                               \
    .answers = (const struct answer[]){__VA_ARGS__},                                               \
    .n_answers = sizeof((const struct answer[]){__VA_ARGS__}) / sizeof(struct answer)

/* The answer to CreateMultipartUpload: the upload is "u1". */
#define UPLOAD_CREATED                                                                             \
    ((struct answer                                                                                \
    ){.status = 200,                                                                               \
      .body = "<InitiateMultipartUploadResult><UploadId>u1</UploadId>"                             \
              "</InitiateMultipartUploadResult>"})

struct sent {
    char method[8];
    char *url;     /* owned; with the query */
    char *headers; /* owned: "name: value\n" */
    char *body;    /* owned, zero-terminated */
    size_t body_len;
    int64_t at_ms;
    bool fresh;        /* over a new connection */
    unsigned stale_ms; /* see struct transfer */
};

struct script {
    const struct answer *answers; /* taken in order; past the end: HTTP_CONNECT failures */
    size_t n_answers;
    /* or: fills *ret_answer for what was sent */
    void (*serve)(struct script *script, const struct sent *sent, struct answer *ret_answer);
    void *ctx;

    unsigned n_sent;
    struct sent sent[SCRIPT_SENT];
    int64_t now_ms, wall_s;
    unsigned n_active, n_active_max;
    uint64_t upload_limit, download_limit;
    bool freed;

    struct {
        struct transfer *transfer;
        struct answer answer;
        int64_t due_ms;
        size_t given; /* bytes of its body */
    } active[64];
};

/* A client whose world is @script: bucket "bucket" at http://s3.test, keys AK and SK, region r1,
 * timeout 10 s; further options as name, value, ..., NULL.  Dies when that fails. */
struct s3pve_client *script_client(struct script *script, ...) __attribute__((__sentinel__));

/* The same, with the log going to @log. */
struct s3pve_client *script_client_log(struct script *script, s3pve_log_fn log, void *ctx);

/* Value of a request header (case-insensitive) in a static buffer, or NULL. */
const char *sent_header(const struct sent *sent, const char *name);

void script_clear(struct script *script);

#endif
