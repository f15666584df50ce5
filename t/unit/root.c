/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* volume.json comes back as it went, with what we do not know; what cannot be is refused. */
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "golden.h"
#include "tap.h"
#include "volume/root.h"

#define OWNER                                                                                      \
    "\"owner\":{\"state\":\"open\",\"epoch\":7,\"nonce\":\"9f3c21aa\",\"node\":\"pve1\","          \
    "\"incarnation\":\"boot\"}"
#define EPOCHS                                                                                     \
    "\"epochs\":[{\"e\":6,\"nonce\":\"11ab09f0\",\"first\":3001,\"last\":4096},"                   \
    "{\"e\":7,\"nonce\":\"9f3c21aa\",\"first\":4097}]"
#define HEAD "\"head\":{\"checkpoint\":\"map/1\",\"seq\":3000}"
#define START                                                                                      \
    "{\"format\":\"vdisk\",\"version\":1,\"uuid\":\"00112233-4455-6677-8899-aabbccddeeff\","       \
    "\"rev\":57,\"size\":107374182400,\"block\":4096,\"object_size\":8388608,"
#define REST                                                                                       \
    ",\"notes\":\"mine\",\"snapshots\":[{\"name\":\"a\"}],\"deleting\":false,\"moving_to\":null}"

static const char sample[] = START OWNER "," EPOCHS "," HEAD REST;

static int decode(struct root *root, const char *text, struct s3pve_error *err) {
    return root_decode(root, text, strlen(text), err);
}

static void test_decode(void) {
    _cleanup_(root_clear) struct root root;
    struct s3pve_error err = S3PVE_ERROR_INIT;

    if (!ok(decode(&root, sample, &err) == 0, "a root is read (%s)", err.message))
        return;
    is_int(root.uuid[15], 0xff, "uuid");
    is_int((long long)root.rev, 57, "rev");
    is_int((long long)root.size, 107374182400, "size");
    is_int(root.segment_blocks, 2048, "object_size, in blocks");
    is_int(root.owner.state, ROOT_OPEN, "its owner's state");
    is_int(root.owner.nonce, 0x9f3c21aa, "nonce");
    is_str(root.owner.node, "pve1", "and node");
    is_int(root.n_epochs, 2, "epochs");
    is_int((long long)root.head_seq, 3000, "and where the checkpoint ends");
    ok(!root_epoch_of(&root, 3000), "a segment before it is of no epoch");
    is_int(root_epoch_of(&root, 4096)->epoch, 6, "one of an epoch that is over");
    is_int(root_epoch_of(&root, 99999)->epoch, 7, "and any other of the last");
}

static void test_encode(void) {
    _cleanup_(root_clear) struct root root, again;
    _free_ char *text = NULL;
    const char *notes;

    decode(&root, sample, NULL);
    root.owner.state = ROOT_CLAIMING;
    root.owner.epoch = 8;
    root.owner.nonce = 5;
    is_int(root_add_epoch(&root, 5000), 0, "an epoch begins");
    is_int(root_encode(&root, &text, NULL), 0, "written");
    ok(golden_is("t/data/fuzz/root/three-epochs", text, strlen(text)), "as in the file");
    ok(decode(&again, text, NULL) == 0 && again.n_epochs == 3, "and read again");
    is_int((long long)again.epochs[1].last, 4999, "the epoch before ends where it begins");
    notes = json_string_value(json_object_get(again.json, "notes"));
    is_str(notes, "mine", "what we do not know is kept");
}

static void test_epochs(void) {
    _cleanup_(root_clear) struct root root;

    decode(&root, sample, NULL);
    root.head_seq = 4096;
    root.owner.epoch = 8;
    root_add_epoch(&root, 4097);
    is_int(root.n_epochs, 2, "an epoch that a checkpoint covers is forgotten");
    is_int((long long)root.epochs[0].last, 4096, "one may end before it began");
    ok(root_epoch_of(&root, 4097) == &root.epochs[1], "and has no segment then");
    while (root.n_epochs < ROOT_EPOCHS_MAX) {
        root.owner.epoch++;
        root_add_epoch(&root, root.epochs[root.n_epochs - 1].first + 1);
    }
    is_int(root_add_epoch(&root, 999999), -1, "there is an end to them");
}

static void refused(const char *text, enum s3pve_code code, const char *what) {
    struct s3pve_error err = S3PVE_ERROR_INIT;
    struct root root;

    is_int(decode(&root, text, &err), -1, "refused: %s", what);
    is_str(s3pve_code_name(err.code), s3pve_code_name(code), "... %s", err.message);
}

/* The sample with one piece of it replaced. */
static void refused_with(const char *from, const char *to, enum s3pve_code code, const char *what) {
    const char *at = strstr(sample, from);
    char text[2048];

    if (!at)
        abort();
    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - sample), sample, to, at + strlen(from));
    refused(text, code, what);
}

static void test_lies(void) {
    refused("", S3PVE_E_CORRUPT, "nothing");
    refused("[]", S3PVE_E_CORRUPT, "an array");
    refused("{\"format\":\"vdisk\"", S3PVE_E_CORRUPT, "half of one");
    refused_with("\"version\":1", "\"version\":2", S3PVE_E_UNSUPPORTED, "a newer version");
    refused_with("\"rev\":57", "\"rev\":57,\"incompat\":[\"x\"]", S3PVE_E_UNSUPPORTED, "a feature");
    refused_with("\"block\":4096", "\"block\":512", S3PVE_E_UNSUPPORTED, "other blocks");
    refused_with("00112233", "0011223", S3PVE_E_CORRUPT, "half a uuid");
    refused_with("\"rev\":57", "\"rev\":-1", S3PVE_E_CORRUPT, "a negative rev");
    refused_with("107374182400", "107374182401", S3PVE_E_CORRUPT, "half a sector");
    refused_with("8388608", "33558528", S3PVE_E_CORRUPT, "segments that are too large");
    refused_with("\"open\"", "\"ajar\"", S3PVE_E_CORRUPT, "another state");
    refused_with("9f3c21aa", "9F3C21AA", S3PVE_E_CORRUPT, "a nonce in capitals");
    refused_with("\"first\":4097", "\"first\":4098", S3PVE_E_CORRUPT, "a hole between epochs");
    refused_with("\"e\":7", "\"e\":6", S3PVE_E_CORRUPT, "an epoch twice");
    refused_with(",\"last\":4096", "", S3PVE_E_CORRUPT, "an epoch without end before another");
    refused_with("\"map/1\"", "null", S3PVE_E_CORRUPT, "a checkpoint without a name");
    refused_with("\"rev\":57", "\"rev\":57,\"rev\":58", S3PVE_E_CORRUPT, "a member twice");
}

/* As the sample, with one piece of it replaced, may be read; but not written to. */
static void read_only(const char *from, const char *to, enum s3pve_code code, const char *what) {
    _cleanup_(root_clear) struct root root = {0};
    const char *at = strstr(sample, from);
    struct s3pve_error err = S3PVE_ERROR_INIT;
    char text[2048];

    snprintf(text, sizeof(text), "%.*s%s%s", (int)(at - sample), sample, to, at + strlen(from));
    is_int(decode(&root, text, NULL), 0, "%s can be read", what);
    is_int(root_check_writable(&root, &err), -1, "... and not written to");
    is_str(s3pve_code_name(err.code), s3pve_code_name(code), "... %s", err.message);
}

static void test_writable(void) {
    _cleanup_(root_clear) struct root root;

    decode(&root, sample, NULL);
    is_int(root_check_writable(&root, NULL), 0, "a volume may be written to");
    read_only(
        "\"rev\":57",
        "\"rev\":57,\"ro_compat\":[\"x\"]",
        S3PVE_E_UNSUPPORTED,
        "one with a feature that changes how it is written"
    );
    read_only("\"deleting\":false", "\"deleting\":true", S3PVE_E_CONFLICT, "one that is deleted");
    read_only("\"moving_to\":null", "\"moving_to\":\"x\"", S3PVE_E_CONFLICT, "one that is renamed");
    read_only(
        "\"moving_to\":null", "\"moving_from\":\"x\"", S3PVE_E_CONFLICT, "... on either side"
    );
}

int main(void) {
    test_decode();
    test_encode();
    test_epochs();
    test_lies();
    test_writable();
    return done_testing();
}
