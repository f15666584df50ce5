/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What clients and the server say before anything is read or written, byte by byte. */
#include <stdio.h>

#include "nbd/handshake.h"
#include "tap.h"

#define GREETING                                                                                   \
    "4e42444d41474943"                                                                             \
    "49484156454f5054"                                                                             \
    "0003"
#define REPLY(option, type, len) "0003e889045565a9" option type len
#define ACK(option) REPLY(option, "00000001", "00000000")
#define BOTH "0000000000100000" /* the size of the exports here */

static struct exports exports;
static struct nbd_export *disk, *frozen;

static void begin(struct handshake *handshake) {
    handshake_init(handshake, &exports);
    buf_clear(&handshake->out);
    handshake_take(handshake, (const uint8_t *)"\0\0\0\3", 4);
}

static void says(struct handshake *handshake, const char *hex, const char *what) {
    char text[4096] = "";
    for (size_t i = 0; i < handshake->out.len; i++)
        sprintf(text + 2 * i, "%02x", (uint8_t)handshake->out.data[i]);
    is_str(text, hex, "%s", what);
    buf_clear(&handshake->out);
}

/* Return: bytes that were taken of what was sent. */
static size_t send_option(
    struct handshake *handshake, unsigned option, const void *data, size_t len
) {
    uint8_t bytes[512];
    put_be32(put_be32(put_be64(bytes, WIRE_OPTION), option), (uint32_t)len);
    memcpy(bytes + 16, data, len);
    return handshake_take(handshake, bytes, 16 + len);
}

#define SEND(handshake, option, data) send_option(handshake, option, data, sizeof(data) - 1)

static void test_greeting(void) {
    struct handshake h;
    handshake_init(&h, &exports);
    says(&h, GREETING, "the server speaks first");
    is_int((long long)handshake_take(&h, (const uint8_t *)"\0\0\0", 3), 0, "half of the flags");
    is_int((long long)handshake_take(&h, (const uint8_t *)"\0\0\0\1", 4), 4, "all of them");
    is_int(h.state, HANDSHAKE_OPTIONS, "then there are options");
    handshake_clear(&h);

    handshake_init(&h, &exports);
    handshake_take(&h, (const uint8_t *)"\0\0\0\7", 4);
    is_int(h.state, HANDSHAKE_BROKEN, "a flag that was not offered is the end");
    handshake_clear(&h);
}

static void test_list(void) {
    struct handshake h;
    begin(&h);
    is_int((long long)SEND(&h, OPT_LIST, ""), 16, "LIST");
    says(
        &h,
        REPLY(
            "00000003", "00000002", "0000000a"
        ) "00000006"
          "6469736b2d31" REPLY(
              "00000003", "00000002", "0000000a"
          ) "00000006"
            "66726f7a656e" ACK("00000003"),
        "names all exports"
    );
    SEND(&h, OPT_LIST, "x");
    says(&h, REPLY("00000003", "80000003", "00000000"), "and takes no data");
    handshake_clear(&h);
}

static void test_info(void) {
    struct handshake h;
    begin(&h);
    SEND(&h, OPT_INFO, "\0\0\0\6disk-1\0\0");
    says(
        &h,
        REPLY("00000006", "00000003", "0000000c") "0000" BOTH "0d6d" REPLY(
            "00000006", "00000003", "0000000e"
        ) "0003"
          "00000200"
          "00001000"
          "02000000" ACK("00000006"),
        "INFO tells size, flags and block sizes"
    );
    SEND(&h, OPT_INFO, "\0\0\0\6frozen\0\2\0\1\0\7");
    says(
        &h,
        REPLY("00000006", "00000003", "0000000c") "0000" BOTH "050f" REPLY(
            "00000006", "00000003", "0000000e"
        ) "0003"
          "00000200"
          "00001000"
          "02000000" REPLY(
              "00000006", "00000003", "00000008"
          ) "0001"
            "66726f7a656e" ACK("00000006"),
        "... and the name, if asked; unknown questions are ignored"
    );
    is_int(h.state, HANDSHAKE_OPTIONS, "one may go on");
    SEND(&h, OPT_INFO, "\0\0\0\6disk-2\0\0");
    says(&h, REPLY("00000006", "80000006", "00000000"), "there is no such export");
    SEND(&h, OPT_INFO, "\0\0\0\0\0\0");
    says(&h, REPLY("00000006", "80000006", "00000000"), "nor one without a name");
    is_int((long long)exports_holds(disk), 0, "no export is held for a question");
    handshake_clear(&h);
}

static void test_go(void) {
    struct handshake h;
    struct wire_session session;
    begin(&h);
    SEND(&h, OPT_GO, "\0\0\0\6disk-1\0\1\0\3");
    is_int(h.state, HANDSHAKE_CHOSEN, "GO chooses");
    ok(h.export == disk, "that export");
    says(&h, "", "there is no answer yet");
    is_int((long long)exports_holds(disk), 1, "but it is held");
    is_int((long long)SEND(&h, OPT_LIST, ""), 0, "what follows is not taken");
    is_int(handshake_accept(&h, &session), 0, "accepted");
    says(
        &h,
        REPLY("00000007", "00000003", "0000000c") "0000" BOTH "0d6d" REPLY(
            "00000007", "00000003", "0000000e"
        ) "0003"
          "00000200"
          "00001000"
          "02000000" ACK("00000007"),
        "now there is"
    );
    ok(session.size == 1 << 20 && session.can == 0x0d6d, "this was agreed on");
    ok(!session.structured && !session.allocation, "and no more than was asked for");
    handshake_clear(&h);
    is_int((long long)exports_holds(disk), 0, "and in the end it is let go");
}

static void test_export_name(void) {
    struct handshake h;
    struct wire_session session;
    begin(&h);
    SEND(&h, OPT_EXPORT_NAME, "disk-1");
    is_int(h.state, HANDSHAKE_CHOSEN, "EXPORT_NAME chooses");
    handshake_accept(&h, &session);
    says(&h, BOTH "0d6d", "the old answer");
    handshake_clear(&h);

    handshake_init(&h, &exports);
    buf_clear(&h.out);
    handshake_take(&h, (const uint8_t *)"\0\0\0\0", 4);
    SEND(&h, OPT_EXPORT_NAME, "disk-1");
    handshake_accept(&h, &session);
    is_int((long long)h.out.len, 134, "has 124 zeroes for a client that does not do without");
    handshake_clear(&h);

    begin(&h);
    SEND(&h, OPT_EXPORT_NAME, "disk-2");
    is_int(h.state, HANDSHAKE_BROKEN, "a name that there is not cannot be answered");
    handshake_clear(&h);
}

static void test_contexts(void) {
    struct handshake h;
    struct wire_session session;
    begin(&h);
    SEND(
        &h,
        OPT_SET_META_CONTEXT,
        "\0\0\0\6disk-1\0\0\0\1\0\0\0\x0f"
        "base:allocation"
    );
    says(&h, REPLY("0000000a", "80000003", "00000000"), "contexts need structured replies");
    SEND(&h, OPT_STRUCTURED_REPLY, "x");
    says(&h, REPLY("00000008", "80000003", "00000000"), "which take no data");
    SEND(&h, OPT_STRUCTURED_REPLY, "");
    says(&h, ACK("00000008"), "they can be had");

    SEND(&h, OPT_LIST_META_CONTEXT, "\0\0\0\6disk-1\0\0\0\0");
    says(
        &h,
        REPLY(
            "00000009", "00000004", "00000013"
        ) "00000000"
          "626173653a616c6c6f636174696f6e" ACK("00000009"),
        "all contexts"
    );
    SEND(&h, OPT_LIST_META_CONTEXT, "\0\0\0\6disk-1\0\0\0\2\0\0\0\2x:\0\0\0\5base:");
    is_int((long long)h.out.len, 59, "all of one kind");
    buf_clear(&h.out);
    SEND(&h, OPT_LIST_META_CONTEXT, "\0\0\0\6disk-1\0\0\0\1\0\0\0\6qemu:x");
    says(&h, ACK("00000009"), "none that we do not have");

    SEND(&h, OPT_SET_META_CONTEXT, "\0\0\0\6disk-1\0\0\0\1\0\0\0\5base:");
    says(&h, ACK("0000000a"), "one is set by its whole name only");
    SEND(
        &h,
        OPT_SET_META_CONTEXT,
        "\0\0\0\6disk-1\0\0\0\1\0\0\0\x0f"
        "base:allocation"
    );
    says(
        &h,
        REPLY(
            "0000000a", "00000004", "00000013"
        ) "00000001"
          "626173653a616c6c6f636174696f6e" ACK("0000000a"),
        "like this"
    );
    SEND(&h, OPT_GO, "\0\0\0\6disk-1\0\0");
    handshake_accept(&h, &session);
    ok(session.allocation && session.structured && session.can & CAN_DF, "and is then agreed on");
    handshake_clear(&h);
}

static bool agreed(const char *set, size_t len, const char *again, size_t again_len) {
    struct handshake h;
    struct wire_session session;
    begin(&h);
    SEND(&h, OPT_STRUCTURED_REPLY, "");
    send_option(&h, OPT_SET_META_CONTEXT, set, len);
    if (again)
        send_option(&h, OPT_SET_META_CONTEXT, again, again_len);
    SEND(&h, OPT_GO, "\0\0\0\6disk-1\0\0");
    handshake_accept(&h, &session);
    handshake_clear(&h);
    return session.allocation;
}

static void test_context_of(void) {
    static const char mine[] =
        "\0\0\0\6disk-1\0\0\0\1\0\0\0\x0f"
        "base:allocation";
    static const char other[] =
        "\0\0\0\6frozen\0\0\0\1\0\0\0\x0f"
        "base:allocation";
    static const char none[] = "\0\0\0\6disk-1\0\0\0\0";
    static const char unknown[] =
        "\0\0\0\6disk-2\0\0\0\1\0\0\0\x0f"
        "base:allocation";
    ok(agreed(mine, sizeof(mine) - 1, NULL, 0), "a context of the export");
    ok(!agreed(other, sizeof(other) - 1, NULL, 0), "not of another");
    ok(!agreed(mine, sizeof(mine) - 1, none, sizeof(none) - 1), "the last word counts");
    ok(!agreed(mine, sizeof(mine) - 1, unknown, sizeof(unknown) - 1), "... also if it fails");
    ok(!agreed(mine, sizeof(mine) - 1, "\0\0\0\6di", 6), "... or is nonsense");
}

static void test_others(void) {
    struct handshake h;
    begin(&h);
    SEND(&h, 5, "");
    says(&h, REPLY("00000005", "80000001", "00000000"), "no TLS");
    SEND(&h, 11, "");
    says(&h, REPLY("0000000b", "80000001", "00000000"), "no extended headers");
    SEND(&h, 0xffffffff, "what");
    says(&h, REPLY("ffffffff", "80000001", "00000000"), "nothing we do not know");
    SEND(&h, OPT_ABORT, "bye");
    says(&h, ACK("00000002"), "ABORT is confirmed");
    is_int(h.state, HANDSHAKE_END, "and the end");
    handshake_clear(&h);
}

static void refused(unsigned option, const void *data, size_t len, const char *what) {
    struct handshake h;
    begin(&h);
    SEND(&h, OPT_STRUCTURED_REPLY, "");
    buf_clear(&h.out);
    send_option(&h, option, data, len);
    is_int(get_be32((uint8_t *)h.out.data + 12), REP_ERR_INVALID, "invalid: %s", what);
    is_int((long long)h.out.len, 20, "... and nothing else is said");
    handshake_clear(&h);
}

#define REFUSED(option, data, what) refused(option, data, sizeof(data) - 1, what)

static void test_lies(void) {
    REFUSED(OPT_INFO, "", "no data");
    REFUSED(OPT_INFO, "\0\0\0\7disk-1", "a name beyond the end");
    REFUSED(
        OPT_INFO,
        "\xff\xff\xff\xff"
        "disk-1\0\0",
        "a name far beyond it"
    );
    REFUSED(OPT_INFO, "\0\0\0\6disk-1", "no number of questions");
    REFUSED(OPT_GO, "\0\0\0\6disk-1\0\2\0\3", "fewer questions than said");
    REFUSED(OPT_GO, "\0\0\0\6disk-1\xff\xff", "many fewer");
    REFUSED(OPT_GO, "\0\0\0\6disk-1\0\0\0", "one byte too many");
    REFUSED(OPT_SET_META_CONTEXT, "\0\0\0\6disk-1\xff\xff\xff\xff", "more queries than there are");
    REFUSED(
        OPT_SET_META_CONTEXT,
        "\0\0\0\6disk-1\0\0\0\1\0\0\0\x10"
        "base:",
        "a query beyond"
    );
    REFUSED(OPT_LIST_META_CONTEXT, "\0\0\0\6disk-1\0\0\0\0x", "bytes behind the last");
}

static void test_long(void) {
    struct handshake h;
    uint8_t head[16], filler[100] = {0};
    begin(&h);
    put_be32(put_be32(put_be64(head, WIRE_OPTION), OPT_GO), NBD_OPTION + 1);
    is_int((long long)handshake_take(&h, head, 15), 0, "half a head is waited for");
    is_int((long long)handshake_take(&h, head, 16), 16, "of what is too long");
    says(&h, REPLY("00000007", "80000009", "00000000"), "the head is answered");
    for (size_t left = NBD_OPTION + 1; left > 0;)
        left -= handshake_take(&h, filler, left < 100 ? left : 100);
    SEND(&h, OPT_STRUCTURED_REPLY, "");
    says(&h, ACK("00000008"), "and the rest is read over");

    put_be32(head + 12, UINT32_MAX);
    handshake_take(&h, head, 16);
    is_int(h.state, HANDSHAKE_BROKEN, "4 GiB are not");
    handshake_clear(&h);

    begin(&h);
    put_be64(head, WIRE_MAGIC);
    handshake_take(&h, head, 16);
    is_int(h.state, HANDSHAKE_BROKEN, "what does not begin like an option is the end");
    handshake_clear(&h);
}

static void test_exports(void) {
    struct nbd_export *export;
    struct nbd_export_params params = {.name = "disk-1", .size = 1 << 20};
    char name[NBD_NAME + 2];
    memset(name, 'x', sizeof(name));
    name[NBD_NAME + 1] = '\0';
    is_int(exports_add(&exports, &params, &export), -17, "a name is there once");
    params.name = "";
    is_int(exports_add(&exports, &params, &export), -22, "it must not be empty");
    params.name = name;
    is_int(exports_add(&exports, &params, &export), -22, "or too long");
    params = (struct nbd_export_params){.name = "odd", .size = 513};
    is_int(exports_add(&exports, &params, &export), -22, "half sectors do not exist");
    exports_ask(disk, 0, true);
    ok(!exports_hold(&exports, "disk-1", 6), "one that was stopped is not found");
    exports_take_asked(&exports);
    exports_dropped(&exports);
}

int main(void) {
    exports_init(&exports);
    exports_add(&exports, &(struct nbd_export_params){.name = "disk-1", .size = 1 << 20}, &disk);
    exports_add(
        &exports,
        &(struct nbd_export_params){.name = "frozen", .size = 1 << 20, .read_only = true},
        &frozen
    );
    test_greeting();
    test_list();
    test_info();
    test_go();
    test_export_name();
    test_contexts();
    test_context_of();
    test_others();
    test_lies();
    test_long();
    test_exports();
    exports_remove(disk);
    exports_remove(frozen);
    exports_clear(&exports);
    return done_testing();
}
