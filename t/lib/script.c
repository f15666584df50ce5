/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "script.h"
#include "tap.h"

static void forget(struct sent *sent) {
    free(sent->url);
    free(sent->headers);
    free(sent->body);
    *sent = (struct sent){0};
}

static char *join_lines(const char *const *lines) {
    size_t len = 1;
    char *text, *end;

    for (size_t i = 0; lines[i]; i++)
        len += strlen(lines[i]) + 1;
    text = end = calloc(1, len);
    for (size_t i = 0; lines[i]; i++)
        end = stpcpy(stpcpy(end, lines[i]), "\n");
    return text;
}

static void record(struct script *s, const struct transfer *t, struct sent *sent) {
    size_t at = 0;

    forget(sent);
    snprintf(sent->method, sizeof(sent->method), "%s", t->method);
    sent->url = strdup(t->url);
    sent->headers = join_lines(t->headers);
    sent->body_len = t->body_len;
    sent->body = calloc(1, t->body_len + 1);
    for (size_t i = 0; i < t->n_body; i++) {
        memcpy(sent->body + at, t->body[i].iov_base, t->body[i].iov_len);
        at += t->body[i].iov_len;
    }
    sent->at_ms = s->now_ms;
    sent->fresh = t->fresh;
    sent->stale_ms = t->stale_ms;
}

static int script_start(void *ctx, struct transfer *t) {
    struct script *s = ctx;
    struct sent *sent = &s->sent[s->n_sent % SCRIPT_SENT];
    struct answer answer = {.failure = HTTP_CONNECT};

    record(s, t, sent);
    if (s->serve)
        s->serve(s, sent, &answer);
    else if (s->n_sent < s->n_answers)
        answer = s->answers[s->n_sent];
    s->n_sent++;
    s->active[s->n_active].transfer = t;
    s->active[s->n_active].answer = answer;
    s->active[s->n_active].due_ms = s->now_ms + answer.take_ms;
    s->active[s->n_active].given = 0;
    s->n_active++;
    if (s->n_active > s->n_active_max)
        s->n_active_max = s->n_active;
    return 0;
}

static int play_headers(struct transfer *t, const char *headers) {
    char line[8192];

    while (headers && *headers) {
        size_t len = strcspn(headers, "\n");
        char *colon;

        snprintf(line, sizeof(line), "%.*s", (int)len, headers);
        colon = strstr(line, ": ");
        if (colon) {
            *colon = '\0';
            if (t->on_header(t, line, colon + 2) != 0)
                return -1;
        }
        headers += len + (headers[len] == '\n');
    }
    return 0;
}

/* Every honest server says how long its body is; "connection: close" is for the others. */
static int play_length(struct transfer *t, const char *headers, size_t len) {
    static const char *const others[] = {
        "content-length:", "transfer-encoding:", "connection: close"};
    char value[24];

    for (size_t i = 0; headers && i < sizeof(others) / sizeof(others[0]); i++)
        if (strstr(headers, others[i]))
            return 0;
    snprintf(value, sizeof(value), "%zu", len);
    return t->no_body ? 0 : t->on_header(t, "content-length", value);
}

static size_t body_len(const struct answer *a) {
    return a->body ? (a->body_len ? a->body_len : strlen(a->body)) : 0;
}

static int play_head(struct transfer *t, const struct answer *a) {
    t->status = a->status;
    return play_length(t, a->headers, body_len(a)) != 0 || play_headers(t, a->headers) < 0 ? -1 : 0;
}

static int play_body(struct transfer *t, const struct answer *a, size_t at, size_t end) {
    while (!t->no_body && at < end) {
        size_t n = end - at < 1000 ? end - at : 1000;

        t->received += n;
        if (t->on_data(t, a->body + at, n) != 0)
            return -1;
        at += n;
    }
    return 0;
}

/* The end; @given bytes of the body came before. */
static void play(struct transfer *t, const struct answer *a, size_t given) {
    t->failure = a->failure;
    t->reused = a->reused;
    t->first_byte_ms = a->take_ms;
    if (a->failure == HTTP_FINE || a->status)
        t->sent = t->body_len;
    if (a->failure != HTTP_FINE)
        snprintf(t->detail, sizeof(t->detail), "scripted failure");
    if (!a->status)
        return;
    if ((!given && play_head(t, a) < 0) || play_body(t, a, given, body_len(a)) < 0)
        t->failure = HTTP_STOPPED;
}

static struct transfer *finish_at(struct script *s, unsigned i) {
    struct transfer *t = s->active[i].transfer;
    struct answer answer = s->active[i].answer;
    size_t given = s->active[i].given;

    s->n_active--;
    memmove(&s->active[i], &s->active[i + 1], (s->n_active - i) * sizeof(s->active[0]));
    play(t, &answer, given);
    return t;
}

/* What has come of the body by now; one that stops it early is not for here. */
static void let_flow(struct script *s, unsigned i) {
    const struct answer *answer = &s->active[i].answer;
    struct transfer *t = s->active[i].transfer;
    size_t *given = &s->active[i].given, end = body_len(answer);
    int64_t began = s->active[i].due_ms - answer->take_ms;

    if ((uint64_t)(t->moved_ms - began) * answer->flow < end)
        end = (size_t)(t->moved_ms - began) * answer->flow;
    if (end <= *given)
        return;
    if ((!*given && play_head(t, answer) < 0) || play_body(t, answer, *given, end) < 0)
        bail_out("a flow of bytes was stopped");
    *given = end;
}

/* The clock has moved, and with it what was on the wire. */
static void move_bytes(struct script *s) {
    for (unsigned i = 0; i < s->n_active; i++) {
        const struct answer *answer = &s->active[i].answer;
        struct transfer *t = s->active[i].transfer;
        int64_t began = s->active[i].due_ms - answer->take_ms;

        if (!answer->move_ms)
            continue;
        t->first_moved_ms = began;
        t->moved_ms = s->now_ms < began + answer->move_ms ? s->now_ms : began + answer->move_ms;
        if (answer->flow)
            let_flow(s, i);
    }
}

static struct transfer *script_poll(void *ctx, int timeout_ms) {
    struct script *s = ctx;
    int best = -1;

    for (unsigned i = 0; i < s->n_active; i++)
        if (!s->active[i].answer.hang && (best < 0 || s->active[i].due_ms < s->active[best].due_ms))
            best = (int)i;
    if (best >= 0 && s->active[best].due_ms <= s->now_ms + timeout_ms) {
        if (s->active[best].due_ms > s->now_ms) {
            s->wall_s += (s->active[best].due_ms - s->now_ms) / 1000;
            s->now_ms = s->active[best].due_ms;
            move_bytes(s);
        }
        return finish_at(s, (unsigned)best);
    }
    s->now_ms += timeout_ms;
    s->wall_s += timeout_ms / 1000;
    move_bytes(s);
    return NULL;
}

static void script_cancel(void *ctx, struct transfer *t) {
    struct script *s = ctx;

    for (unsigned i = 0; i < s->n_active; i++) {
        if (s->active[i].transfer != t)
            continue;
        s->n_active--;
        memmove(&s->active[i], &s->active[i + 1], (s->n_active - i) * sizeof(s->active[0]));
        return;
    }
}

static void script_wake(void *ctx) {
    (void)ctx;
}

static int64_t script_now(void *ctx) {
    return ((struct script *)ctx)->now_ms;
}

static int64_t script_wall(void *ctx) {
    return ((struct script *)ctx)->wall_s;
}

static uint32_t script_random(void *ctx) {
    (void)ctx;
    return UINT32_MAX; /* the longest wait there can be */
}

static void script_limit(void *ctx, uint64_t upload, uint64_t download) {
    struct script *s = ctx;

    s->upload_limit = upload;
    s->download_limit = download;
}

static void script_free(void *ctx, bool forked) {
    (void)forked;
    ((struct script *)ctx)->freed = true;
}

static struct s3pve_client *open_client(
    struct script *s, struct s3pve_config *config, s3pve_log_fn log, void *log_ctx
) {
    struct transport transport = {
        script_start,
        script_poll,
        script_cancel,
        script_wake,
        script_now,
        script_wall,
        script_random,
        script_limit,
        script_free,
        s,
    };
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct s3pve_client *client = NULL;

    if (!s->wall_s)
        s->wall_s = 1700000000;
    if (client_open_with(config, log, log_ctx, &transport, &client, &err) < 0)
        bail_out("script_client: %s", err.message);
    s3pve_config_free(config);
    return client;
}

static struct s3pve_config *base_config(void) {
    static const char *const options[][2] = {
        {"endpoint", "http://s3.test"},
        {"bucket", "bucket"},
        {"region", "r1"},
        {"access-key", "AK"},
        {"secret-key", "SK"},
        {"timeout", "10"},
    };
    struct s3pve_config *config = s3pve_config_new();

    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        s3pve_config_set(config, options[i][0], options[i][1], NULL);
    return config;
}

struct s3pve_client *script_client(struct script *s, ...) {
    struct s3pve_config *config = base_config();
    struct s3pve_error err = S3PVE_ERROR_INIT;
    const char *name;
    va_list ap;

    va_start(ap, s);
    while ((name = va_arg(ap, const char *))) {
        if (s3pve_config_set(config, name, va_arg(ap, const char *), &err) < 0)
            bail_out("script_client: %s", err.message);
    }
    va_end(ap);
    return open_client(s, config, NULL, NULL);
}

struct s3pve_client *script_client_log(struct script *s, s3pve_log_fn log, void *ctx) {
    return open_client(s, base_config(), log, ctx);
}

const char *sent_header(const struct sent *sent, const char *name) {
    static char value[2048];
    size_t len = strlen(name);

    for (const char *line = sent->headers ? sent->headers : ""; *line;) {
        size_t n = strcspn(line, "\n");

        if (n > len + 1 && strncasecmp(line, name, len) == 0 && line[len] == ':') {
            snprintf(value, sizeof(value), "%.*s", (int)(n - len - 2), line + len + 2);
            return value;
        }
        line += n + (line[n] == '\n');
    }
    return NULL;
}

void script_clear(struct script *s) {
    for (unsigned i = 0; i < SCRIPT_SENT; i++)
        forget(&s->sent[i]);
}
