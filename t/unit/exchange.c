/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"
#include "base/limits.h"
#include "core/request.h"
#include "script.h"
#include "tap.h"

#define LARGE (KIB(64) + 1) /* hashing less costs nothing */

static char body[LARGE];

static const char *md5_of(const void *data, size_t len) {
    static char text[32];
    unsigned char digest[EVP_MAX_MD_SIZE];

    EVP_Digest(data, len, digest, NULL, EVP_md5(), NULL);
    EVP_EncodeBlock((unsigned char *)text, digest, 16);
    return text;
}

static const char *crc_of(const void *data, size_t len) {
    static char text[16];
    uint32_t sum = __builtin_bswap32(crc32c(0, data, len));

    EVP_EncodeBlock((unsigned char *)text, (const unsigned char *)&sum, 4);
    return text;
}

static const struct {
    const char *what, *endpoint, *signing;
    size_t len;
    bool checksum, md5, server_checks_crc;
    bool is_signed, has_md5, has_crc; /* what must be sent */
} bodies[] = {
    {"a large one on https",
     "https://s3.test",
     "auto",
     LARGE,
     true,
     false,
     false,
     false,
     true,
     false},
    {"the same, where CRC32C is checked",
     "https://s3.test",
     "auto",
     LARGE,
     true,
     false,
     true,
     false,
     false,
     true},
    {"one that deserves no checksum",
     "https://s3.test",
     "auto",
     LARGE,
     false,
     false,
     true,
     false,
     false,
     false},
    {"a small one on https", "https://s3.test", "auto", 100, true, false, true, true, false, false},
    {"a large one on http", "http://s3.test", "auto", LARGE, true, false, true, true, false, false},
    {"one that is always signed",
     "https://s3.test",
     "always",
     LARGE,
     true,
     false,
     true,
     true,
     false,
     false},
    {"one that is never signed",
     "http://s3.test",
     "never",
     100,
     true,
     false,
     false,
     false,
     true,
     false},
    {"one that needs Content-MD5",
     "http://s3.test",
     "auto",
     100,
     false,
     true,
     true,
     true,
     true,
     false},
    {"an empty one", "https://s3.test", "never", 0, true, false, false, true, false, false},
};

static void every_body_is_protected_once(void) {
    for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++) {
        static const struct answer fine = {.status = 200};
        struct script s = {.answers = &fine, .n_answers = 1};
        struct s3pve_client *client = script_client(
            &s, "endpoint", bodies[i].endpoint, "payload-signing", bodies[i].signing, NULL
        );
        const char *hash, *md5, *crc;
        struct request rq;
        struct iovec iov;

        if (bodies[i].server_checks_crc)
            client->caps.checksum_crc32c = S3PVE_YES;
        request_init(&rq, "PutObject", "PUT", "a", NULL);
        request_body(&rq, &iov, body, bodies[i].len);
        rq.checksum = bodies[i].checksum;
        rq.md5 = bodies[i].md5;
        request_send(client, &rq, NULL);
        hash = sent_header(&s.sent[0], "x-amz-content-sha256");
        ok((strcmp(hash, "UNSIGNED-PAYLOAD") != 0) == bodies[i].is_signed,
           "%s: signature",
           bodies[i].what);
        md5 = sent_header(&s.sent[0], "content-md5");
        if (bodies[i].has_md5)
            is_str(md5, md5_of(body, bodies[i].len), "... Content-MD5");
        else
            ok(!md5, "... no Content-MD5");
        crc = sent_header(&s.sent[0], "x-amz-checksum-crc32c");
        if (bodies[i].has_crc)
            is_str(crc, crc_of(body, bodies[i].len), "... CRC32C");
        else
            ok(!crc, "... no CRC32C");
        request_clear(&rq);
        s3pve_client_close(client);
        script_clear(&s);
    }
}

/* The first attempt finds the store busy, and then a bit flips in our memory. */
static void serve_and_damage(struct script *s, const struct sent *sent, struct answer *ret_answer) {
    *ret_answer = (struct answer){.status = s->n_sent == 0 ? 500 : 200};
    body[7] ^= 1;
}

static void a_checksum_is_of_what_was_to_be_sent(void) {
    struct script s = {.serve = serve_and_damage};
    struct s3pve_client *client = script_client(&s, "endpoint", "https://s3.test", NULL);
    struct request rq;
    struct iovec iov;
    char md5[32];

    snprintf(md5, sizeof(md5), "%s", md5_of(body, LARGE));
    request_init(&rq, "PutObject", "PUT", "a", NULL);
    request_body(&rq, &iov, body, LARGE);
    rq.checksum = true;
    request_send(client, &rq, NULL);
    is_int(s.n_sent, 2, "a body is sent again");
    is_str(sent_header(&s.sent[1], "content-md5"), md5, "... with the checksum it had at first");
    request_clear(&rq);
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    memset(body, 'x', sizeof(body));
    every_body_is_protected_once();
    a_checksum_is_of_what_was_to_be_sent();
    return done_testing();
}
