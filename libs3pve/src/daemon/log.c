/* SPDX-License-Identifier: AGPL-3.0-or-later */
#define SD_JOURNAL_SUPPRESS_LOCATION /* it would always be this file */
#include "daemon/log.h"

#include <ctype.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>

#include "base/clock.h"

#define REPEAT_MS 30000
#define REPEAT_SLOTS 64 /* different messages remembered; a newer one takes an older one's slot */

/* One kind of message: when it was last let through and how many were held back since. */
struct repeat {
    uint64_t hash;
    int64_t since_ms;
    unsigned n_held;
};

static struct {
    const char *storage;
    enum s3pve_log_level most;
    bool journal;
    pthread_mutex_t lock; /* guards what follows */
    struct repeat repeats[REPEAT_SLOTS];
} state = {.storage = "", .most = S3PVE_LOG_INFO, .lock = PTHREAD_MUTEX_INITIALIZER};

/* systemd tells in JOURNAL_STREAM, as "device:inode", which file standard error would be if the
 * journal reads it. */
static bool stderr_is_journal(void) {
    struct stat st;
    char *rest = NULL;
    const char *stream = getenv("JOURNAL_STREAM");
    if (!stream || fstat(2, &st) < 0)
        return false;
    if (strtoull(stream, &rest, 10) != st.st_dev || *rest != ':')
        return false;
    return strtoull(rest + 1, NULL, 10) == st.st_ino;
}

void log_open(const char *storage, enum s3pve_log_level most) {
    state.storage = storage;
    state.most = most;
    state.journal = stderr_is_journal();
}

/* FNV-1a over the text without its digits: "part 17: 503" and "part 18: 503" are the same news. */
static uint64_t hash_add(uint64_t hash, const char *text) {
    for (; *text; text++) {
        if (!isdigit((unsigned char)*text))
            hash = (hash ^ (unsigned char)*text) * 0x100000001b3u;
    }
    return hash;
}

/* Shall this one be said?  *ret_n_held: how many like it were not, since the last that was. */
static bool repeat_admit(const struct s3pve_log_record *r, unsigned *ret_n_held) {
    uint64_t hash = hash_add(0xcbf29ce484222325u + (unsigned)r->level, r->operation);
    hash = hash_add(hash_add(hash, r->s3_code), r->message);
    int64_t now = clock_monotonic_ms();

    LOCK_SCOPE(&state.lock);
    struct repeat *slot = &state.repeats[hash % REPEAT_SLOTS];
    bool same = slot->hash == hash && slot->since_ms > 0;
    if (same && now - slot->since_ms < REPEAT_MS) {
        slot->n_held++;
        return false;
    }
    *ret_n_held = same ? slot->n_held : 0;
    *slot = (struct repeat){.hash = hash, .since_ms = now};
    return true;
}

static void append(char *text, size_t size, const char *fmt, ...) _printf_(3, 4);
static void append(char *text, size_t size, const char *fmt, ...) {
    size_t len = strlen(text);
    va_list args;
    va_start(args, fmt);
    vsnprintf(text + len, size - len, fmt, args);
    va_end(args);
}

/* "PutObject dump/x.vma.zst: store said slow down (503 SlowDown, attempt 2, 120 ms, id 4f..)" */
static void describe(char *text, size_t size, const struct s3pve_log_record *r, unsigned n_held) {
    text[0] = '\0';
    /* Failures of the library say themselves what they are of. */
    if (strncmp(r->message, r->operation, strlen(r->operation)) != 0)
        append(text, size, "%s%s%s: ", r->operation, r->key[0] ? " " : "", r->key);
    append(text, size, "%s", r->message);
    if (r->http_status)
        append(text, size, " (%d%s%s", r->http_status, r->s3_code[0] ? " " : "", r->s3_code);
    if (r->http_status && r->attempt > 1)
        append(text, size, ", attempt %u", r->attempt);
    if (r->http_status && r->elapsed_ms)
        append(text, size, ", %u ms", r->elapsed_ms);
    if (r->http_status && r->request_id[0])
        append(text, size, ", id %s", r->request_id);
    if (r->http_status)
        append(text, size, ")");
    if (n_held)
        append(text, size, " [and %u more like it before]", n_held);
    for (char *c = text; *c; c++) {
        if (iscntrl((unsigned char)*c))
            *c = '?';
    }
}

static int priority(enum s3pve_log_level level) {
    switch (level) {
    case S3PVE_LOG_ERROR: return LOG_ERR;
    case S3PVE_LOG_WARNING: return LOG_WARNING;
    case S3PVE_LOG_INFO: return LOG_INFO;
    case S3PVE_LOG_DEBUG: break;
    }
    return LOG_DEBUG;
}

#define FIELD_MAX 1400 /* bytes of one field: a key of 1024 and its name */
#define FIELDS 11

/* Adds one field, unless its value is empty. */
static void field(
    struct iovec *fields, int *n, char (*room)[FIELD_MAX], const char *name, const char *value
) {
    if (value[0] == '\0')
        return;
    int len = snprintf(room[*n], FIELD_MAX, "%s=%s", name, value);
    fields[*n] = (struct iovec){room[*n], (size_t)(len < FIELD_MAX ? len : FIELD_MAX - 1)};
    (*n)++;
}

static void field_number(
    struct iovec *fields, int *n, char (*room)[FIELD_MAX], const char *name, int value
) {
    char text[16];
    snprintf(text, sizeof(text), "%d", value);
    if (value)
        field(fields, n, room, name, text);
}

static void send_journal(const struct s3pve_log_record *r, const char *text) {
    char room[FIELDS][FIELD_MAX];
    struct iovec fields[FIELDS];
    int n = 0;

    field(fields, &n, room, "MESSAGE", text);
    field_number(fields, &n, room, "PRIORITY", priority(r->level));
    field(fields, &n, room, "SYSLOG_IDENTIFIER", "s3pved");
    field(fields, &n, room, "S3_STORAGE", r->storage[0] ? r->storage : state.storage);
    field(fields, &n, room, "S3_OPERATION", r->operation);
    field(fields, &n, room, "S3_KEY", r->key);
    field(fields, &n, room, "S3_CODE", r->s3_code);
    field_number(fields, &n, room, "S3_STATUS", r->http_status);
    field(fields, &n, room, "S3_REQUEST_ID", r->request_id);
    field_number(fields, &n, room, "S3_ATTEMPT", (int)r->attempt);
    field_number(fields, &n, room, "S3_MS", (int)r->elapsed_ms);
    sd_journal_sendv(fields, n);
}

void log_record(void *ctx, const struct s3pve_log_record *record) {
    (void)ctx;
    unsigned n_held = 0;
    if (record->level > state.most)
        return;
    if (record->level < S3PVE_LOG_DEBUG && !repeat_admit(record, &n_held))
        return;

    char text[FIELD_MAX - 16];
    describe(text, sizeof(text), record, n_held);
    if (state.journal)
        send_journal(record, text);
    else
        fprintf(stderr, "s3pved[%s]: %s\n", state.storage, text);
}

void log_say(enum s3pve_log_level level, const char *operation, const char *fmt, ...) {
    char message[1024];
    va_list args;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);

    struct s3pve_log_record record = {
        .level = level,
        .storage = state.storage,
        .operation = operation,
        .key = "",
        .s3_code = "",
        .request_id = "",
        .message = message,
    };
    log_record(NULL, &record);
}
