/* SPDX-License-Identifier: AGPL-3.0-or-later */
#include <stdlib.h>
#include <string.h>

#include "core/client.h"
#include "script.h"
#include "tap.h"

static void tags_are_read_percent_encoded(void) {
    struct script s = {ANSWERS(
        {.status = 200,
         .body = "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2=</Value></Tag>"
                 "<Tag><Key>c</Key><Value></Value></Tag></TagSet></Tagging>"},
        {.status = 200, .body = "<Tagging><TagSet/></Tagging>"}
    )};
    struct s3pve_client *client = script_client(&s, NULL);
    char *tags = NULL;

    is_int(s3pve_object_tags(client, "key", &tags, NULL, NULL), 0, "tags are read");
    is_str(tags, "a%20b=1%262%3D&c=", "... percent-encoded");
    free(tags);
    is_int(s3pve_object_tags(client, "key", &tags, NULL, NULL), 0, "an object may have none");
    is_str(tags, "", "... which is an empty text");
    free(tags);
    s3pve_client_close(client);
    script_clear(&s);
}

static void tags_are_written_decoded_and_escaped(void) {
    struct script s = {ANSWERS({.status = 200}, {.status = 204})};
    struct s3pve_client *client = script_client(&s, NULL);

    is_int(
        s3pve_object_set_tags(client, "key", "a%20b=1%262&c=d&e", NULL, NULL), 0, "tags are set"
    );
    is_str(
        s.sent[0].body,
        "<Tagging><TagSet><Tag><Key>a b</Key><Value>1&amp;2</Value></Tag>"
        "<Tag><Key>c</Key><Value>d</Value></Tag><Tag><Key>e</Key><Value></Value></Tag>"
        "</TagSet></Tagging>",
        "... as the document S3 wants"
    );
    ok(sent_header(&s.sent[0], "content-md5") != NULL, "... with Content-MD5");
    is_int(s3pve_object_set_tags(client, "key", "", NULL, NULL), 0, "no tags");
    is_str(s.sent[1].method, "DELETE", "... delete those there are");
    s3pve_client_close(client);
    script_clear(&s);
}

static void nonsense_is_not_sent(void) {
    static const char *const wrong[] = {"=b", "a=%", "a=%4", "a=%zz", "a=%00", "&a=b"};
    struct script s = {0};
    struct s3pve_client *client = script_client(&s, NULL);

    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        struct s3pve_error err = S3PVE_ERROR_INIT;

        s3pve_object_set_tags(client, "key", wrong[i], NULL, &err);
        is_int(err.code, S3PVE_E_INVALID, "'%s' are no tags", wrong[i]);
    }
    is_int(s.n_sent, 0, "nothing was sent");
    s3pve_client_close(client);
    script_clear(&s);
}

int main(void) {
    tags_are_read_percent_encoded();
    tags_are_written_decoded_and_escaped();
    nonsense_is_not_sent();
    return done_testing();
}
