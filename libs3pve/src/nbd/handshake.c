/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include "nbd/handshake.h"

#include <string.h>

#define HEAD 16 /* bytes of an option before its data */
#define OLD_ZEROES 124

/* Data of an option, read from the front. */
struct reader {
    const uint8_t *p;
    size_t left;
};

static bool read_be16(struct reader *reader, uint16_t *ret_value) {
    if (reader->left < 2)
        return false;
    *ret_value = get_be16(reader->p);
    reader->p += 2;
    reader->left -= 2;
    return true;
}

static bool read_be32(struct reader *reader, uint32_t *ret_value) {
    if (reader->left < 4)
        return false;
    *ret_value = get_be32(reader->p);
    reader->p += 4;
    reader->left -= 4;
    return true;
}

/* A length and so many bytes. */
static bool read_text(struct reader *reader, struct reader *ret_text) {
    uint32_t len;
    if (!read_be32(reader, &len) || len > reader->left)
        return false;
    *ret_text = (struct reader){reader->p, len};
    reader->p += len;
    reader->left -= len;
    return true;
}

static bool is_text(const struct reader *text, const char *what) {
    return text->left == strlen(what) && memcmp(text->p, what, text->left) == 0;
}

/* --- what is sent */

static size_t broken(struct handshake *handshake, const char *why) {
    handshake->state = HANDSHAKE_BROKEN;
    handshake->why = why;
    return 0;
}

static void say(struct handshake *handshake, const void *bytes, size_t len) {
    if (buf_add(&handshake->out, bytes, len) < 0)
        broken(handshake, "out of memory");
}

static void reply(
    struct handshake *handshake, uint32_t option, uint32_t type, const void *data, size_t len
) {
    uint8_t head[20];
    uint8_t *p = put_be64(head, WIRE_OPTION_REPLY);
    p = put_be32(p, option);
    p = put_be32(p, type);
    put_be32(p, (uint32_t)len);
    say(handshake, head, sizeof(head));
    if (len > 0)
        say(handshake, data, len);
}

static void reply_info(
    struct handshake *handshake, uint32_t option, uint16_t type, const void *data, size_t len
) {
    uint8_t info[2 + NBD_NAME];
    put_be16(info, type);
    memcpy(info + 2, data, len);
    reply(handshake, option, REP_INFO, info, len + 2);
}

/* What INFO and GO tell of an export, and the end of it. */
static void reply_export(
    struct handshake *handshake,
    uint32_t option,
    const struct nbd_export *export,
    const struct wire_session *session
) {
    uint8_t facts[10], sizes[12];
    put_be16(put_be64(facts, session->size), session->can);
    put_be32(put_be32(put_be32(sizes, NBD_SECTOR), NBD_BLOCK), (uint32_t)NBD_PAYLOAD);
    reply_info(handshake, option, INFO_EXPORT, facts, sizeof(facts));
    reply_info(handshake, option, INFO_BLOCK_SIZE, sizes, sizeof(sizes));
    if (handshake->wants_name)
        reply_info(handshake, option, INFO_NAME, export->name, strlen(export->name));
    reply(handshake, option, REP_ACK, NULL, 0);
}

static struct wire_session session_of(struct handshake *handshake, struct nbd_export *export) {
    return (struct wire_session){
        .size = exports_size(export),
        .can = wire_can(export->read_only, handshake->structured),
        .structured = handshake->structured,
        .allocation = handshake->structured && strcmp(handshake->context, export->name) == 0,
    };
}

/* --- options */

/* There is no way to refuse but to hang up. */
static void take_export_name(struct handshake *handshake, const uint8_t *data, size_t len) {
    handshake->export = exports_hold(handshake->exports, data, len);
    handshake->option = OPT_EXPORT_NAME;
    if (handshake->export)
        handshake->state = HANDSHAKE_CHOSEN;
    else
        broken(handshake, "there is no such export");
}

static void take_info(
    struct handshake *handshake, uint32_t option, const uint8_t *data, size_t len
) {
    struct reader reader = {data, len}, name;
    uint16_t n, wanted;
    if (!read_text(&reader, &name) || !read_be16(&reader, &n) ||
        reader.left != n * sizeof(wanted)) {
        reply(handshake, option, REP_ERR_INVALID, NULL, 0);
        return;
    }
    handshake->wants_name = false;
    while (read_be16(&reader, &wanted))
        handshake->wants_name |= wanted == INFO_NAME;

    struct nbd_export *export = exports_hold(handshake->exports, name.p, name.left);
    if (!export) {
        reply(handshake, option, REP_ERR_UNKNOWN, NULL, 0);
    } else if (option == OPT_GO) {
        handshake->export = export;
        handshake->option = option;
        handshake->state = HANDSHAKE_CHOSEN;
    } else {
        struct wire_session session = session_of(handshake, export);
        reply_export(handshake, option, export, &session);
        exports_release(export);
    }
}

/* Whether one of the queries means the only context there is. */
static bool read_queries(struct reader *reader, uint32_t n, uint32_t option, bool *ret_matches) {
    struct reader query;
    *ret_matches = option == OPT_LIST_META_CONTEXT && n == 0;
    for (; n > 0 && read_text(reader, &query); n--) {
        bool all = option == OPT_LIST_META_CONTEXT && is_text(&query, "base:");
        *ret_matches |= all || is_text(&query, CONTEXT_ALLOCATION);
    }
    return n == 0 && reader->left == 0;
}

static void reply_context(struct handshake *handshake, uint32_t option) {
    uint8_t context[4 + sizeof(CONTEXT_ALLOCATION) - 1];
    put_be32(context, option == OPT_SET_META_CONTEXT ? CONTEXT_ALLOCATION_ID : 0);
    memcpy(context + 4, CONTEXT_ALLOCATION, sizeof(CONTEXT_ALLOCATION) - 1);
    reply(handshake, option, REP_META_CONTEXT, context, sizeof(context));
}

static void take_context(
    struct handshake *handshake, uint32_t option, const uint8_t *data, size_t len
) {
    struct reader reader = {data, len}, name;
    uint32_t n;
    bool matches;
    if (option == OPT_SET_META_CONTEXT)
        handshake->context[0] = '\0';
    if (!handshake->structured || !read_text(&reader, &name) || !read_be32(&reader, &n) ||
        !read_queries(&reader, n, option, &matches)) {
        reply(handshake, option, REP_ERR_INVALID, NULL, 0);
        return;
    }
    struct nbd_export *export = exports_hold(handshake->exports, name.p, name.left);
    if (!export) {
        reply(handshake, option, REP_ERR_UNKNOWN, NULL, 0);
        return;
    }
    if (matches && option == OPT_SET_META_CONTEXT)
        memcpy(handshake->context, export->name, strlen(export->name) + 1);
    exports_release(export);
    if (matches)
        reply_context(handshake, option);
    reply(handshake, option, REP_ACK, NULL, 0);
}

/* Options that may have no data. */
static void take_bare(struct handshake *handshake, uint32_t option, size_t len) {
    if (len > 0) {
        reply(handshake, option, REP_ERR_INVALID, NULL, 0);
        return;
    }
    if (option == OPT_STRUCTURED_REPLY)
        handshake->structured = true;
    else if (exports_list(handshake->exports, &handshake->out) < 0)
        broken(handshake, "out of memory");
    reply(handshake, option, REP_ACK, NULL, 0);
}

static void take_option(
    struct handshake *handshake, uint32_t option, const uint8_t *data, size_t len
) {
    switch (option) {
    case OPT_EXPORT_NAME: take_export_name(handshake, data, len); break;
    case OPT_ABORT:
        reply(handshake, option, REP_ACK, NULL, 0);
        handshake->state = HANDSHAKE_END;
        break;
    case OPT_INFO:
    case OPT_GO: take_info(handshake, option, data, len); break;
    case OPT_LIST:
    case OPT_STRUCTURED_REPLY: take_bare(handshake, option, len); break;
    case OPT_LIST_META_CONTEXT:
    case OPT_SET_META_CONTEXT: take_context(handshake, option, data, len); break;
    default: reply(handshake, option, REP_ERR_UNSUP, NULL, 0);
    }
}

/* --- messages */

static size_t take_flags(struct handshake *handshake, const uint8_t *bytes, size_t len) {
    if (len < 4)
        return 0;
    uint32_t flags = get_be32(bytes);
    if (flags & ~(uint32_t)(WIRE_FIXED_NEWSTYLE | WIRE_NO_ZEROES))
        return broken(handshake, "unknown flags");
    handshake->zeroes = !(flags & WIRE_NO_ZEROES);
    handshake->state = HANDSHAKE_OPTIONS;
    return 4;
}

static size_t skip(struct handshake *handshake, size_t len) {
    size_t n = len < handshake->skipping ? len : handshake->skipping;
    handshake->skipping -= (uint32_t)n;
    return n;
}

static size_t take_message(struct handshake *handshake, const uint8_t *bytes, size_t len) {
    if (len < HEAD)
        return 0;
    uint32_t option = get_be32(bytes + 8), data_len = get_be32(bytes + 12);
    if (get_be64(bytes) != WIRE_OPTION)
        return broken(handshake, "this is not an option");
    if (data_len > NBD_PAYLOAD || (option == OPT_EXPORT_NAME && data_len > NBD_OPTION))
        return broken(handshake, "an option is too long");
    if (data_len > NBD_OPTION) {
        reply(handshake, option, REP_ERR_TOO_BIG, NULL, 0);
        handshake->skipping = data_len;
        return HEAD;
    }
    if (len - HEAD < data_len)
        return 0;
    take_option(handshake, option, bytes + HEAD, data_len);
    return HEAD + data_len;
}

size_t handshake_take(struct handshake *handshake, const uint8_t *bytes, size_t len) {
    if (handshake->skipping > 0)
        return skip(handshake, len);
    switch (handshake->state) {
    case HANDSHAKE_FLAGS: return take_flags(handshake, bytes, len);
    case HANDSHAKE_OPTIONS: return take_message(handshake, bytes, len);
    default: return 0;
    }
}

int handshake_accept(struct handshake *handshake, struct wire_session *ret_session) {
    struct wire_session session = session_of(handshake, handshake->export);
    if (handshake->option == OPT_GO) {
        reply_export(handshake, OPT_GO, handshake->export, &session);
    } else {
        uint8_t facts[10 + OLD_ZEROES] = {0};
        put_be16(put_be64(facts, session.size), session.can);
        say(handshake, facts, handshake->zeroes ? sizeof(facts) : 10);
    }
    *ret_session = session;
    return handshake->state == HANDSHAKE_BROKEN ? -1 : 0;
}

int handshake_init(struct handshake *handshake, struct exports *exports) {
    uint8_t greeting[18];
    *handshake = (struct handshake){.exports = exports};
    put_be16(
        put_be64(put_be64(greeting, WIRE_MAGIC), WIRE_OPTION), WIRE_FIXED_NEWSTYLE | WIRE_NO_ZEROES
    );
    say(handshake, greeting, sizeof(greeting));
    return handshake->state == HANDSHAKE_BROKEN ? -1 : 0;
}

void handshake_clear(struct handshake *handshake) {
    buf_clear(&handshake->out);
    if (handshake->export)
        exports_release(handshake->export);
    handshake->export = NULL;
}
